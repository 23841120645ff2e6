"""The launcher: published command lines, and a small table of runs with kills in between."""

import base64
import csv
import dataclasses
import html.parser
import importlib
import io
import json
import os
import re
import shlex
import signal
import time
import types
from typing import Any
from unittest import mock

import absl.flags
import imageio.v3 as imageio
import numpy as np
import pytest
from helpers import ROOT, look_at, run, warm_server

from mentornet.cli import config_flags, training_flags, weighting_flags
from mentornet.core.errors import InputError
from mentornet.core.files import holder, read_json_lines
from mentornet.datasets.prepare import PrepareConfig, prepare
from mentornet.students import registry
from mentornet.students.recipes import Recipe, Student, staircase
from mentornet.training import data_driven
from mentornet.training.data_driven import LearnConfig

SCRIPT = "commands/launch.py"
PUBLISHED = ROOT / "commands" / "published_runs.csv"


def parse(command):
    """Script and flags of a command line, by name."""
    _, script, *flags = shlex.split(command)
    pairs = (flag.removeprefix("--").partition("=") for flag in flags)
    return script, {name: value if equals else True for name, equals, value in pairs}


@pytest.fixture
def launch(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "commands")
    return importlib.import_module("launch")


@pytest.fixture(scope="module")
def dry_run():
    status, output = run(SCRIPT, f"--table={PUBLISHED}", "--dry_run")
    assert status == 0, output
    return [parse(line) for line in output.splitlines()]


def test_published_commands(dry_run):
    with PUBLISHED.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 60
    assert len(dry_run) == 120
    for row, (script, flags), (eval_script, eval_flags) in zip(
        rows, dry_run[::2], dry_run[1::2], strict=True
    ):
        folder = row["train_log_dir"].removesuffix("/train")
        data = f"data/{row['dataset_name']}"
        expected = {
            "studentnet": row["studentnet"],
            "dataset_name": row["dataset_name"],
            "data_dir": f"{data}/{row['noise_fraction']}",
            "train_log_dir": f"{folder}/train",
            "max_number_of_steps": row["max_number_of_steps"],
        }
        names = ["burn_in_epoch", "example_dropout_rates", "trained_mentornet_dir"]
        names += ["num_epochs_per_decay", "learning_rate_decay_factor"]
        expected |= {name: row[name] for name in names if row[name]}
        if row["method"] == "baseline":
            assert script == "code/cifar_train_baseline.py"
        else:
            assert script == "code/cifar_train_mentornet.py"
            expected["loss_p_precentile"] = row["loss_p_percentile_as_written"]
            fixed = row["fixed_epoch_after_burn_in"] == "True"
            expected["fixed_epoch_after_burn_in" if fixed else "nofixed_epoch_after_burn_in"] = True
        assert flags == expected
        assert eval_script == "code/cifar_eval.py"
        assert eval_flags == {
            "studentnet": row["studentnet"],
            "dataset_name": row["dataset_name"],
            "data_dir": f"{data}/val",
            "checkpoint_dir": f"{folder}/train",
            "eval_dir": f"{folder}/eval_val",
        }


@pytest.mark.parametrize(
    "table", sorted(path.stem for path in (ROOT / "commands").glob("*_runs.csv"))
)
def test_each_row_of_a_table_is_a_configuration(launch, table):
    """Script, student and MentorNet exist; the script has the flags, and accepts their values."""
    for row in launch.read_table(str(ROOT / "commands" / f"{table}.csv")):
        script, *given = launch.make_run(row, data="d", runs="r").train
        assert (ROOT / script).is_file()
        values, learns = absl.flags.FlagValues(), script.endswith("learn_curriculum.py")
        training_flags.define_training_flags(values)
        if learns:
            training_flags.define_weighting_flags(values)
            config_flags.define_flags(LearnConfig, flag_values=values, features="names")
        elif script == "code/cifar_train_baseline.py":
            weighting_flags.define_weighting_flag("uniform", values)
        else:
            training_flags.define_mentornet_flags(values)
            weighting_flags.define_weighting_flag("mentornet", values)
        values([script, *given])
        config = training_flags.train_config(values)
        assert config.max_number_of_steps == int(row["max_number_of_steps"]), row
        registry.find_student(config.studentnet)
        if config.trained_mentornet_dir:
            assert (ROOT / f"{config.trained_mentornet_dir}.index").is_file(), row
        if learns:
            weighting = training_flags.weighting_config(values)
            learning = LearnConfig(**config_flags.read_flags(LearnConfig, values))
            data_driven.check_fits(weighting, learning)
            dataclasses.replace(
                config,
                weighting=weighting,
                trained_mentornet_dir="learned",
                mentornet_update_epochs=values.mentornet_update_epochs,
            )


def test_scale_and_percentile():
    flags = ["--scale=0.1", "--percentile=release", "--filter=cifar10/.*/0.8/mentornet_pd"]
    status, output = run(SCRIPT, f"--table={PUBLISHED}", "--dry_run", *flags)
    assert status == 0, output
    resnet, inception = (parse(line)[1] for line in output.splitlines()[::2])
    assert resnet["max_number_of_steps"] == "3900"
    assert resnet["learning_rate_boundaries"] == "1953,2500,3000"
    assert inception["max_number_of_steps"] == "12000"
    assert inception["num_epochs_per_decay"] == "20"
    for flags in (resnet, inception):
        assert flags["loss_p_percentile"] == "0.7"
        assert "loss_p_precentile" not in flags


def test_further_flags_follow_those_of_the_table(launch):
    """So that they replace the table's, in the training only."""
    row = ROW | {"method": "baseline", "flags": "--seed=1"}
    made = launch.make_run(row, data="d", runs="r", flags="--seed=2 --weighting_options='a=1, b=2'")
    assert made.train[-3:] == ("--seed=1", "--seed=2", "--weighting_options=a=1, b=2")
    assert not any("seed" in flag for flag in made.evaluate)
    flags = f"--table={PUBLISHED}", "--dry_run", "--flags=--seed=7 --jit_compile"
    status, output = run(SCRIPT, *flags, "--filter=inception/0.8/baseline")
    assert status == 0, output
    trainings = [parse(line)[1] for line in output.splitlines()[::2]]
    assert [(flags["seed"], flags["jit_compile"]) for flags in trainings] == [("7", True)] * 2


@pytest.mark.parametrize(
    "flag",
    ["-max_number_of_steps=7", "--train_log_dir=a", "--data_dir=a", "--stop_after_step=7"]
    + ["--overwrite", "--flagfile=a"],
)
def test_flags_on_which_the_launcher_relies(launch, flag):
    """It would wait for the table's number of steps, in the table's folder."""
    name = flag.lstrip("-").partition("=")[0]
    rule = f"runs/a/train: `flags` must leave these .* Received: given=.'{name}'."
    for cell, further in ((f"--seed=1 {flag}", ""), ("", f"--seed=1 {flag}")):
        row = ROW | {"method": "baseline", "flags": cell}
        with pytest.raises(InputError, match=rule):
            launch.make_run(row, data="d", runs="r", flags=further)


def test_an_evaluation_without_an_accuracy_is_none(tmp_path, launch):
    made = launch.make_run(ROW | {"method": "baseline"}, data="d", runs=str(tmp_path))
    (made.folder / "eval_val").mkdir(parents=True)
    (made.folder / "eval_val" / "eval.jsonl").write_text('{"step": 39000}\n')
    assert made.result() is None


def test_every_filter_must_match():
    filters = "--filter=^cifar10/.*/0.8/", "--filter=_d{1,2}1$"
    status, output = run(SCRIPT, f"--table={PUBLISHED}", "--dry_run", *filters)
    assert status == 0, output
    folders = [parse(line)[1]["train_log_dir"] for line in output.splitlines()[::2]]
    students = ("resnet", "inception")
    assert folders == [f"cifar_models/cifar10/{s}/0.8/mentornet_dd1/train" for s in students]
    status, output = run(SCRIPT, f"--table={PUBLISHED}", "--dry_run", *filters, "--filter=pd1")
    assert status == 2 and "`filter` must match at least one run. Received: filter=(" in output


ROW = {
    "dataset_name": "cifar10",
    "studentnet": "resnet101",
    "noise_fraction": "0.4",
    "max_number_of_steps": "39000",
    "train_log_dir": "runs/a/train",
}


@pytest.mark.parametrize(
    ("kind", "cells"),
    [
        ("mentornet", {"method": "elr", "weighting": "elr", "weighting_options": "beta=1,q=2"}),
        ("mentornet", {"method": "own", "weighting": "my_module:make"}),
        ("baseline", {"method": "mixup", "script": "code/cifar_train_baseline.py"}),
        ("baseline", {"method": "baseline", "weighting": "gce"}),
        ("mentornet", {"method": "pd", "trained_mentornet_dir": "mentornet_pd"}),
        ("mentornet", {"method": "pd", "weighting": "mentornet"}),
        ("mentornet", {"method": "gce", "flags": "--weighting=gce"}),
        ("mentornet", {"method": "gce", "flags": "--seed=1 -weighting gce --jit_compile"}),
    ],
)
def test_a_weighting_is_a_column_or_among_the_flags(launch, kind, cells):
    """It becomes the flag; resnet101 has the baseline's schedule to scale without a MentorNet."""
    made = launch.make_run(ROW | cells, data="data", runs="runs", scale=0.1)
    script, flags = parse(shlex.join(("python", *made.train)))
    assert script == f"code/cifar_train_{kind}.py"
    given = cells.keys() - {"method", "script", "flags"}
    assert {name: flags[name] for name in given} == {name: cells[name] for name in given}
    has_mentornet = cells["method"] == "pd"
    assert flags.get("num_epochs_per_decay") == (None if has_mentornet else "5")
    boundaries = "1953,2500,3000" if has_mentornet else None
    assert flags.get("learning_rate_boundaries") == boundaries


@pytest.mark.parametrize(
    ("recipe", "scaled"),
    [
        (Recipe(), {}),
        (Recipe(schedule=staircase), {"num_epochs_per_decay": "25"}),
        (Recipe(mentored_boundaries=(10, 30)), {"learning_rate_boundaries": "5,15"}),
    ],
)
def test_what_is_scaled_is_the_students_schedule(launch, monkeypatch, recipe, scaled):
    """Other schedules than these follow the number of steps by themselves."""
    students = {"new": Student(lambda *_: None, recipe)}
    monkeypatch.setattr(registry, "find_student", students.__getitem__)
    row = ROW | {"studentnet": "new", "method": "pd"}
    if recipe.mentored_boundaries:  # At which the student has a factor of its own.
        row["learning_rate_decay_factor"] = "0.9"
    made = launch.make_run(row, data="data", runs="runs", scale=0.5)
    names = "num_epochs_per_decay", "learning_rate_boundaries", "learning_rate_decay_factor"
    flags = parse(shlex.join(("python", *made.train)))[1]
    assert {name: flags[name] for name in names if name in flags} == scaled


def test_boundaries_of_a_row_are_scaled(launch):
    """Those of the student's own schedule do not count then."""
    row = ROW | {"method": "pd", "learning_rate_boundaries": "1500,2250"}
    made = launch.make_run(row, data="data", runs="runs", scale=0.1)
    flags = parse(shlex.join(("python", *made.train)))[1]
    assert flags["learning_rate_boundaries"] == "150,225"
    assert "num_epochs_per_decay" not in flags


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--table=nowhere.csv"], "nowhere.csv cannot be read"),
        ([f"--table={ROOT / 'requirements.txt'}"], "must have rows and these columns"),
        ([f"--table={PUBLISHED}", "--filter=mnist"], "`filter` must match at least one run"),
        ([f"--table={PUBLISHED}", "--filter=mixup("], "Received: filter='mixup('"),
        ([f"--table={PUBLISHED}", "--scale=0"], "`scale` must be a positive number"),
        ([f"--table={PUBLISHED}", "--flags=--seed='1"], "`flags` must hold flags as in a shell"),
    ],
)
def test_bad_input(flags, message):
    status, output = run(SCRIPT, *flags)
    assert status == 2
    assert message in output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ("100,,", "must have `data` or `noise_fraction`. Received: row={"),
        ("0,0.4,", "`max_number_of_steps` must be a positive whole number. Received"),
        ("1e4,0.4,", "`max_number_of_steps` must be a positive whole number. Received"),
        ("100,0.4,,,", "must not have more cells than the header. Received: row={"),
        ("", "must not leave these cells empty. Received: missing=['max_number_of_steps']"),
    ],
)
def test_bad_rows(tmp_path, launch, cells, message):
    table, run = tmp_path / "runs.csv", "digits,mlp,baseline,runs/a/train"
    header = "dataset_name,studentnet,method,train_log_dir,max_number_of_steps,noise_fraction,data"
    table.write_text(f"{header}\n{run},100,0.4,\n{run.replace('/a/', '/b/')},{cells}\n")
    with pytest.raises(InputError, match=re.escape(f"`table` {table}, row 2: {message}")):
        launch.read_table(str(table))
    for folders in (
        ["train"],
        ["runs/train"],
        ["runs/a/seed_0"],
        ["runs/b/train", "runs/c/train", "runs/b/train"],
    ):
        rows = [f"{run.replace('runs/a/train', folder)},100,0.4,\n" for folder in folders]
        table.write_text(f"{header}\n{''.join(rows)}")
        rule = f"row {len(rows)}: `train_log_dir` must be like runs/NAME/train, and differ"
        with pytest.raises(InputError, match=rule):
            launch.read_table(str(table))


@pytest.mark.parametrize(
    ("name", "cell"),
    [("learning_rate_boundaries", "1e3"), ("num_epochs_per_decay", "x"), ("flags", "--a='b")],
)
def test_cells_that_cannot_be_read(tmp_path, launch, name, cell):
    table = tmp_path / "runs.csv"
    header = "dataset_name,studentnet,method,train_log_dir,max_number_of_steps,data"
    table.write_text(f"{header},{name}\ndigits,mlp,baseline,runs/a/train,100,digits,{cell}\n")
    with pytest.raises(InputError, match=f"row 1: `{name}` cannot be read: "):
        launch.read_table(str(table))


def test_the_time_left(tmp_path, launch, monkeypatch, capsys):
    """From the steps that were trained here: 30 of 40 took an hour, and 70 are left."""
    trains = (
        "-c",
        "import json, pathlib, sys, time\n"
        "folder, steps = pathlib.Path(sys.argv[1]), int(sys.argv[2])\n"
        "for name, row in (('train/metrics', {'step': steps}), ('eval_val/eval', {'step': steps, "
        "'eval/accuracy': 0.5})):\n"
        "    path = folder / f'{name}.jsonl'\n"
        "    path.parent.mkdir(exist_ok=True, parents=True)\n"
        "    with path.open('a') as file:\n"
        "        print(json.dumps(row), file=file)\n",
    )
    steps = {"first": 40, "second": 50, "third": 20}
    runs = []
    for name, number in steps.items():
        command = (*trains, str(tmp_path / name), str(number))
        runs.append(launch.Run(name, tmp_path / name, number, command, ("-c", "pass")))
    (tmp_path / "first" / "train").mkdir(parents=True)
    (tmp_path / "first" / "train" / "metrics.jsonl").write_text('{"step": 10}\n')
    (tmp_path / "first" / "train" / "model.ckpt-10.index").touch()
    assert [run.steps_left() for run in runs] == [30, 50, 20]
    # Each takes an hour.
    monkeypatch.setattr(
        launch.time, "monotonic", lambda: 3600 * len([*tmp_path.glob("*/eval_val/eval.jsonl")])
    )
    assert launch.Launcher(runs, ["0"]).work() == 0
    assert [run.steps_left() for run in runs] == [0, 0, 0]
    told = [line for line in capsys.readouterr().out.splitlines() if "last accuracy" in line]
    assert told == [
        "[1/3] first: last accuracy 0.5000, best 0.5000, 60.0 minutes, about 2.3 hours left",
        "[2/3] second: last accuracy 0.5000, best 0.5000, 60.0 minutes, about 30 minutes left",
        "[3/3] third: last accuracy 0.5000, best 0.5000, 60.0 minutes",
    ]


def test_a_checkpoint_that_was_set_aside_is_not_the_last(tmp_path, launch):
    run = launch.Run("run", tmp_path, 10, (), ())
    (tmp_path / "eval_val").mkdir()
    file, row = tmp_path / "eval_val" / "eval.jsonl", {"step": 10, "eval/accuracy": 0.5}
    file.write_text(json.dumps(row | {"kept": True}) + "\n")
    assert run.result() is None and run.steps_left() == 10
    with file.open("a") as added:
        print(json.dumps(row | {"eval/accuracy": 0.25}), file=added)
    assert run.result() == {"last_accuracy": 0.25, "best_accuracy": 0.25}
    with file.open("a") as added:
        print(json.dumps({"step": 5, "eval/accuracy": 0.75}), file=added)
    assert run.result() == {"last_accuracy": 0.25, "best_accuracy": 0.75}


@pytest.mark.parametrize(("status", "last_step"), [(0, 9), (2, 10)])
def test_an_evaluation_does_not_wait_for_ever(tmp_path, launch, status, last_step):
    """A training job that was stopped before its last step, or failed while saving it."""
    wait = ("-c", "import time; time.sleep(600)")
    ends = ("-c", f"raise SystemExit({status})")
    (tmp_path / "run/train").mkdir(parents=True)
    (tmp_path / "run/train/metrics.jsonl").write_text(f'{{"step": {last_step}}}\n')
    (tmp_path / f"run/train/model.ckpt-{last_step}.index").touch()
    pair = launch.Pair(launch.Run("run", tmp_path / "run", 10, ends, wait), "0")
    assert pair.first_step == last_step
    pair.train.wait()
    deadline = time.monotonic() + 60
    while not pair.ended():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert pair.train.returncode == status and pair.evaluation.returncode == -signal.SIGTERM


@pytest.mark.parametrize("failures", [1, 2])
def test_an_evaluation_that_failed_is_tried_again_after_the_training(tmp_path, launch, failures):
    """Once; if it fails again, so does the run."""
    (tmp_path / "run/train").mkdir(parents=True)
    (tmp_path / "run/train/metrics.jsonl").write_text('{"step": 10}\n')
    (tmp_path / "run/train/model.ckpt-10.index").touch()
    tries = tmp_path / "tries"
    code = f"""
import pathlib
tries = pathlib.Path({str(tries)!r})
tries.open("a").write("x")
if len(tries.read_text()) <= {failures}:
    raise SystemExit(1)
folder = pathlib.Path({str(tmp_path)!r}, "run", "eval_val")
folder.mkdir()
(folder / "eval.jsonl").write_text('{{"step": 10, "eval/accuracy": 0.5}}')
"""
    run = launch.Run("run", tmp_path / "run", 10, ("-c", "pass"), ("-c", code))
    launcher = launch.Launcher([run], ["0"])
    assert launcher.work() == failures - 1 and launcher._seconds == 0  # Nothing was trained.
    assert tries.read_text() == "xx"


@pytest.mark.parametrize("stage", ["train", "burn_in", "eval_val"])
@pytest.mark.parametrize(("process", "by"), [(7, "process 7"), (0, "another process")])
def test_a_run_that_another_process_trains_holds_up_no_other(
    tmp_path, launch, monkeypatch, capsys, process, by, stage
):
    """It waits until the run beside it has ended, which is noticed meanwhile.

    An evaluation counts once the training has ended.
    """
    ends = ("-c", "pass")
    if stage == "eval_val":
        (tmp_path / "held" / "train").mkdir(parents=True)
        (tmp_path / "held" / "train" / "metrics.jsonl").write_text('{"step": 10}\n')
    runs = [launch.Run(name, tmp_path / name, 10, ends, ends) for name in ("own", "held")]
    launcher, asked = launch.Launcher(runs, ["0", "1"]), []

    def holder(folder):
        asked.append(folder)
        assert len(asked) < 600
        is_held = folder.parts[-2:] == ("held", stage) and not launcher._failed
        return process if is_held else None

    monkeypatch.setattr(launch.files, "holder", holder)
    assert launcher.work() == 2
    output = capsys.readouterr().out
    told = f"held: is being trained or evaluated by {by}, which is left running"
    assert output.count(told) == 1
    assert output.index("own: FAILED") < output.index("held: started")


def test_an_evaluation_alone_does_not_delay_the_training(tmp_path, launch, monkeypatch):
    ends = ("-c", "pass")
    launcher = launch.Launcher([launch.Run("run", tmp_path / "run", 10, ends, ends)], ["0"])
    monkeypatch.setattr(launch.files, "holder", lambda folder: 7 if "eval" in folder.name else None)
    launcher._start_next()
    assert [pair.run.name for pair in launcher._pairs.values()] == ["run"]
    launcher._pairs["0"].stop()
    launcher._pairs["0"].wait()


class Page(html.parser.HTMLParser):
    """Collects a page's pictures and table cells, and checks that its tags match."""

    def __init__(self, text):
        super().__init__()
        self.pictures: list[np.ndarray] = []
        self.cells: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        if tag == "img":
            kind, _, data = dict(attributes)["src"].partition(",")
            assert kind == "data:image/png;base64"
            self.pictures.append(imageio.imread(io.BytesIO(base64.b64decode(data))))
        if tag not in ("img", "meta", "link", "br", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.cells.append(data)


def write_table(path, steps):
    weighting = {
        "mentornet_pd": ("mentornet_pd", "0.75", "0.5,17,0.05,83"),
        "self_paced": ("self_paced", "0.7", "0.0,100"),
    }
    with path.open("w", newline="") as file:
        names = ("trained_mentornet_dir", "loss_p_percentile", "example_dropout_rates")
        facts = ("dataset_name", "studentnet", "noise_fraction", "method", "max_number_of_steps")
        writer = csv.writer(file)
        writer.writerow([*facts, *names, "flags", "train_log_dir"])
        flags = "--batch_size=16 --save_interval_steps=20 --log_every_steps=10 "
        flags += "--record_sample_weights"
        for method in ("baseline", "mentornet_pd", "self_paced"):
            run_facts = ("digits", "mlp", "0.4", method, steps)
            values = weighting.get(method, ("", "", ""))
            writer.writerow([*run_facts, *values, flags, f"runs/digits/{method}/train"])


@pytest.mark.slow
def test_a_miniature_of_the_whole(tmp_path):
    """The launcher is killed twice and restarted; then report and label report."""
    prepare(PrepareConfig("digits", str(tmp_path / "data"), noise_fraction=0.4, num_train=400))
    write_table(tmp_path / "table.csv", 80)
    runs = tmp_path / "runs"
    flags = [f"--table={tmp_path}/table.csv", f"--data_dir={tmp_path}/data", f"--runs_dir={runs}"]

    def launch():
        python = warm_server().python()
        return warm_server().start(ROOT / SCRIPT, *flags, WARM_PYTHON=python)

    metrics = runs / "digits" / "baseline" / "train" / "metrics.jsonl"

    def wait_for_step(process, step):
        deadline = time.monotonic() + 120
        while not any(row["step"] >= step for row in read_json_lines(metrics)):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)

    launcher = launch()
    wait_for_step(launcher, 20)
    launcher.send_signal(signal.SIGTERM)  # What runs is saved and ended.
    launcher.communicate(timeout=60)
    assert holder(metrics.parent) is None
    assert read_json_lines(metrics)[-1]["step"] < 80
    launcher = launch()
    wait_for_step(launcher, 50)
    os.kill(launcher.pid, signal.SIGKILL)  # Its jobs live on; the next launcher lets them end.
    launcher.communicate(timeout=60)

    launcher = launch()
    output, _ = launcher.communicate()
    assert launcher.returncode == 0, output
    assert output.count("last accuracy") == 3
    assert [row["step"] for row in read_json_lines(metrics)] == list(range(10, 81, 10))
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("*.jsonl")}
    launcher = launch()
    output, _ = launcher.communicate()
    assert launcher.returncode == 0 and output.count("is done") == 3, output
    assert {path: path.stat().st_mtime_ns for path in runs.rglob("*.jsonl")} == before

    status, output = run("commands/report.py", str(runs))
    assert status == 0, output
    page = Page((runs / "results.html").read_text())
    assert {"baseline", "mentornet_pd", "self_paced"} <= set(page.cells)
    last = read_json_lines(runs / "digits" / "mentornet_pd" / "eval_val" / "eval.jsonl")[-1]
    assert f"{last['eval/accuracy']:.3f}" in page.cells
    assert len(page.pictures) == 1 and page.pictures[0].std() > 10
    table = (runs / "results.md").read_text()
    assert "Reduced: digits, noise 0.4, mlp" in table and "| mentornet_pd |" in table

    folders = [str(runs / "digits" / method) for method in ("mentornet_pd", "self_paced")]
    status, output = run("code/label_report.py", *folders, "--num_shown=12")
    assert status == 0, output
    text = (runs / "digits" / "mentornet_pd" / "labels.html").read_text()
    (images,) = re.findall(r'<script type="application/json" id="images-0">(.*?)</script>', text)
    pictures = [imageio.imread(base64.b64decode(data)) for data in json.loads(images)]
    assert len(pictures) == 12
    assert pictures[0].shape[:2] == (32, 32)
    with (runs / "digits" / "mentornet_pd" / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    scores = np.array([float(row["label_score"]) for row in rows])
    assert len({row["id"] for row in rows}) == 400 and (np.diff(scores) >= 0).all()
    assert np.count_nonzero(np.diff(scores)) > 300  # One can sort by them.
    for name in ("results.html", "digits/mentornet_pd/labels.html"):
        look_at(runs / name, tmp_path)


def test_how_the_two_jobs_are_started(tmp_path, launch):
    says = ("-c", "import os, sys; print(sys.argv[1:], os.getsid(0) == os.getpid())")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "train.log").write_text("before\n")
    pair = launch.Pair(launch.Run("run", tmp_path / "run", 10, says, says), "3")
    assert pair.train.wait() == pair.evaluation.wait() == 0
    train, evaluation = ((tmp_path / f"run/{n}.log").read_text() for n in ("train", "eval"))
    assert train == "before\n['--device_id=3'] True\n"
    flags = ["--eval_interval_secs=5", "--batch_size=100", "--device_id=3"]
    assert evaluation == f"{flags} True\n"


def test_failed_runs_are_an_error(tmp_path, launch, monkeypatch):
    write_table(tmp_path / "table.csv", 80)
    values: dict[str, Any] = {"table": str(tmp_path / "table.csv"), "gpus": ("1", "0", "1")}
    values["runs_dir"], devices = str(tmp_path / "runs"), []

    class Failing:
        def __init__(self, runs, gpus):
            devices.extend(gpus)

        def work(self):
            return 2

    monkeypatch.setattr(launch.config_flags, "read_flags", lambda cls: values)
    monkeypatch.setattr(launch.signal, "signal", lambda *_: None)
    monkeypatch.setattr(launch, "Launcher", Failing)
    monkeypatch.chdir(tmp_path)  # main changes it; undone afterwards.
    with pytest.raises(InputError, match="2 of 3 runs failed"):
        launch.main()
    assert devices == ["1", "0"]
    for variable, found in (("3,5", ["3", "5"]), ("", [""]), (None, ["0"])):
        devices.clear()
        values["gpus"], values["scale"] = (), 0.5
        if variable is None:
            monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        else:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
        with pytest.raises(InputError, match="2 of 3 runs failed"):
            launch.main()
        assert devices == found


def test_a_row_that_learns_its_mentornet(launch):
    row = ROW | {"method": "mentornet_dd", "data": "full/cifar10/0.4"}
    row["script"] = "mentornet_learning/learn_curriculum.py"
    made = launch.make_run(row, data="data", runs="other")
    script, flags = parse(shlex.join(("python", *made.train)))
    assert script == row["script"]
    assert flags == {
        "dataset_name": "cifar10",
        "studentnet": "resnet101",
        "max_number_of_steps": "39000",
        "data_dir": "data/full/cifar10/0.4",
        "train_log_dir": "other/a",
        "eval_data_dir": "data/full/cifar10/val",
    }
    evaluate = parse(shlex.join(("python", *made.evaluate)))[1]
    assert evaluate["data_dir"] == "data/full/cifar10/val"
    assert evaluate["checkpoint_dir"] == "other/a/train"


def test_epochs_of_a_row_are_scaled_whatever_the_schedule(launch, monkeypatch):
    monkeypatch.setattr(registry, "find_student", lambda name: Student(lambda *_: None, Recipe()))
    row = ROW | {"method": "pd", "num_epochs_per_decay": "30"}
    made = launch.make_run(row, data="data", runs="runs", scale=0.5)
    assert parse(shlex.join(("python", *made.train)))[1]["num_epochs_per_decay"] == "15"


def test_the_time_left_on_two_devices(tmp_path, launch):
    runs = [launch.Run(name, tmp_path / name, 50, (), ()) for name in "ab"]
    launcher = launch.Launcher(runs, ["0", "1"])
    launcher._seconds, launcher._steps = 3600.0, 10
    assert launcher._time_left() == ", about 5.0 hours left"
    run = launcher._waiting.pop()
    pair = types.SimpleNamespace(run=run, trained=lambda: (0.0, 0))
    launcher._pairs[launcher._free.pop()] = pair
    assert launcher._time_left() == ", about 5.0 hours left"
    pair.trained = lambda: (1800.0, 10)  # 20 in an hour and a half.
    assert launcher._time_left() == ", about 3.8 hours left"
    launcher._waiting.clear()  # A run is not shared by two devices.
    assert launcher._time_left() == ", about 3.8 hours left"


def test_progress_is_reported_while_a_run_goes_on(tmp_path, launch, monkeypatch, capsys):
    """Every five minutes: the step, and the time left."""
    seconds = [0.0]
    monkeypatch.setattr(launch.time, "monotonic", lambda: seconds[0])
    run = launch.Run("run", tmp_path / "run", 2000, ("-c", "pass"), ("-c", "pass"))
    metrics = tmp_path / "run" / "train" / "metrics.jsonl"
    metrics.parent.mkdir(parents=True)
    metrics.write_text('{"step": 540}\n')
    for step in (300, 500):  # What was logged later is trained again.
        (metrics.parent / f"model.ckpt-{step}.index").touch()
    launcher = launch.Launcher([run], ["0"])
    launcher._start_next()
    for seconds[0], step in ((299, 510), (300, 600), (599, 900), (601, 1000)):
        metrics.write_text(f'{{"step": {step}}}\n')
        launcher._report_progress()
    launcher._pairs["0"].wait()
    assert capsys.readouterr().out.splitlines()[1:] == [
        "[0/1] run: step 600 of 2,000, about 1.2 hours left",
        "[0/1] run: step 1,000 of 2,000, about 20 minutes left",
    ]


def test_a_burn_in_is_no_part_of_the_time_of_a_step(tmp_path, launch, monkeypatch, capsys):
    seconds = [0.0]
    monkeypatch.setattr(launch.time, "monotonic", lambda: seconds[0])
    run = launch.Run("run", tmp_path, 400, ("-c", "pass"), ("-c", "pass"))
    launcher = launch.Launcher([run], ["0"])
    launcher._start_next()
    for seconds[0], stage, step in (
        (300, "burn_in", 90),
        (3600, "burn_in", 120),
        (7200, "train", 4),
    ):
        (tmp_path / stage).mkdir(exist_ok=True)
        (tmp_path / stage / "metrics.jsonl").write_text(f'{{"step": {step}}}\n')
        launcher._report_progress()
    launcher._pairs["0"].wait()
    assert capsys.readouterr().out.splitlines()[1:] == [
        "[0/1] run: burn-in, step 90",
        "[0/1] run: burn-in, step 120",
        "[0/1] run: step 4 of 400, about 99.0 hours left",
    ]


def test_boundaries_stay_increasing_and_positive(launch):
    row = ROW | {"method": "pd", "learning_rate_boundaries": "2,12,14"}
    made = launch.make_run(row, data="data", runs="runs", scale=0.1)
    assert parse(shlex.join(("python", *made.train)))[1]["learning_rate_boundaries"] == "1"


@pytest.mark.parametrize("name", ["dataset_name", "studentnet", "method", "train_log_dir"])
def test_columns_that_every_table_has(tmp_path, launch, name):
    row = {"dataset_name": "digits", "studentnet": "mlp", "method": "baseline", "data": "d"}
    row |= {"train_log_dir": "runs/a/train", "max_number_of_steps": "100"}
    # With the mark that spreadsheets write at the beginning.
    (tmp_path / "t.csv").write_text(f"\ufeff{','.join(row)}\n{','.join(row.values())}\n")
    assert launch.read_table(str(tmp_path / "t.csv")) == [row]
    del row[name]
    (tmp_path / "t.csv").write_text(f"{','.join(row)}\n{','.join(row.values())}\n")
    with pytest.raises(InputError, match=rf"these columns.*missing=\['{name}'\]"):
        launch.read_table(str(tmp_path / "t.csv"))


def test_paths_are_those_of_the_repository_and_what_is_left_is_said(
    tmp_path, launch, monkeypatch, capsys
):
    """Of three runs of 80 steps, one was evaluated; one was killed after 30, later after 80."""
    write_table(tmp_path / "table.csv", 80)
    digits = tmp_path / "runs" / "digits"
    (digits / "baseline" / "eval_val").mkdir(parents=True)
    row = json.dumps({"step": 80, "eval/accuracy": 0.5})
    (digits / "baseline" / "eval_val" / "eval.jsonl").write_text(f"{row}\n")
    (digits / "self_paced" / "train").mkdir(parents=True)
    (digits / "self_paced" / "train" / "metrics.jsonl").write_text('{"step": 30}\n')
    values = {"table": str(tmp_path / "table.csv"), "runs_dir": str(tmp_path / "runs")}
    monkeypatch.setattr(launch.config_flags, "read_flags", lambda cls: values)
    monkeypatch.setattr(launch.signal, "signal", lambda *_: None)
    monkeypatch.setattr(launch.Launcher, "work", lambda self: 0)
    monkeypatch.chdir(tmp_path)  # main changes it; undone afterwards.
    launch.main()
    assert os.getcwd() == str(ROOT)
    assert capsys.readouterr().out == "1 of 3 runs are done; 130 steps are left\n"
    (digits / "self_paced" / "train" / "metrics.jsonl").write_text('{"step": 80}\n')
    launch.main()
    assert capsys.readouterr().out == "1 of 3 runs are done; 80 steps are left\n"


def test_an_empty_cell_is_no_other_weighting(launch):
    """resnet101 has boundaries under a MentorNet; at the smallest scale one step is left."""
    row = ROW | {"method": "pd", "trained_mentornet_dir": "mentornet_pd", "weighting": ""}
    made = launch.make_run(row, data="data", runs="runs", scale=0.1)
    flags = parse(shlex.join(("python", *made.train)))[1]
    assert flags["learning_rate_boundaries"] == "1953,2500,3000"
    assert "num_epochs_per_decay" not in flags and "weighting" not in flags
    assert launch.make_run(row, data="data", runs="runs", scale=1e-6).steps == 1


def test_all_runs_are_asked_to_end_before_one_is_waited_for(launch, monkeypatch, capsys):
    def interrupted(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(launch.time, "sleep", interrupted)
    launcher, both = launch.Launcher([], []), mock.Mock()
    for pair in (both.first, both.second):
        pair.ended.return_value, pair.reported_at = False, float("inf")
    launcher._pairs = {"0": both.first, "1": both.second}
    with pytest.raises(KeyboardInterrupt):
        launcher.work()
    names = [name for name, _, _ in both.mock_calls if "ended" not in name]
    assert names == ["first.stop", "second.stop", "first.wait", "second.wait"]
    assert capsys.readouterr().out == "Stopping; run the same command again to continue.\n"
