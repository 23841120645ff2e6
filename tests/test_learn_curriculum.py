"""One command from trusted samples to a student trained under its own MentorNet."""

import dataclasses
import functools
import json
import pathlib
import re
import signal
import time
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from helpers import run, start

from mentornet import InputError, MentorNet, load_mentornet
from mentornet.cli.commands import learn
from mentornet.config.training import TrainConfig
from mentornet.config.weighting import WeightingConfig
from mentornet.core import files
from mentornet.core.files import read_json_lines
from mentornet.datasets.prepare import PrepareConfig, prepare
from mentornet.evaluation import dump, job
from mentornet.learning import from_dump, quality, settings, teaching, training_rows
from mentornet.training import data_driven, loop
from mentornet.weighting import mentor_checkpoints
from mentornet.weighting.features import RELEASE

SCRIPT = "mentornet_learning/learn_curriculum.py"


@pytest.mark.slow
def test_from_burn_in_to_summary_with_a_kill_between(tmp_path):
    config = PrepareConfig(
        "digits", str(tmp_path), noise_fraction=0.4, num_train=600, num_trusted=200
    )
    prepare(config)
    out = tmp_path / "run"
    flags = [
        "--dataset_name=digits",
        f"--data_dir={config.train_folder}",
        f"--eval_data_dir={config.test_folder}",
        f"--train_log_dir={out}",
        "--studentnet=mlp",
        "--max_number_of_steps=150",
        "--batch_size=32",
        "--loss_p_percentile=0.6",
        "--save_interval_secs=1",
        "--mentornet_update_epochs=60",
    ]
    process = start(SCRIPT, *flags)
    deadline = time.monotonic() + 200
    while not read_json_lines(out / "train" / "metrics.jsonl"):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    kept = [out / "dump.csv", out / "mentornet" / "quality.json"]
    made = [path.stat().st_mtime_ns for path in kept]
    status, output = run(SCRIPT, *flags)
    assert status == 0, output
    assert "Step 90: the MentorNet was updated" in output
    assert [path.stat().st_mtime_ns for path in kept] == made
    assert tf.train.latest_checkpoint(str(out / "burn_in")).endswith("-27")
    assert tf.train.latest_checkpoint(str(out / "train")).endswith("-150")
    # The dump holds the trusted samples at the burn-in epoch, and the MentorNet sees no later one.
    rows = (out / "dump.csv").read_text().splitlines()
    assert len(rows) == 200
    assert {row.split()[1] for row in rows} == {"18"}
    last = read_json_lines(out / "train" / "metrics.jsonl")[-1]
    assert last["debug/epoch_step"] == 18
    summary = json.loads((out / "summary.json").read_text())
    assert summary["last_accuracy"] > 0.5
    assert summary["quality"]["MentorNet"]["auc"] > 0.8


def test_from_the_history_at_several_epochs(tmp_path, monkeypatch, capsys):
    """A dump an epoch, with the features, of one training on the labels as given."""
    monkeypatch.setitem(settings.DEFAULTS, "num_steps", 50)
    prepared = PrepareConfig(
        "digits", str(tmp_path), noise_fraction=0.4, num_train=200, num_trusted=100
    )
    prepare(prepared)
    out = tmp_path / "run"
    config = TrainConfig(
        str(prepared.train_folder),
        str(out),
        dataset_name="digits",
        studentnet="helpers:linear_network",
        batch_size=20,
        max_number_of_steps=50,
        seed=3,
    )
    test = str(prepared.test_folder)
    learning = data_driven.LearnConfig(None, ("wrong_share", "mean_loss"), (20, 60), test)
    weighting = WeightingConfig(0.6, 18, True, example_dropout_rates="0,100")
    summary = data_driven.run(config, weighting, learning)
    assert tf.train.latest_checkpoint(str(out / "burn_in")).endswith("-30")
    rows, _ = training_rows.read_dump(str(out / "dump.csv"))
    assert rows.shape == (200, 7)
    np.testing.assert_array_equal(rows[:, 1], np.repeat([20, 60], 100))
    # After 10 steps each sample was seen once, after 30 three times: (n + 1) / (visits + 2).
    assert set(np.round(rows[:100, 5] * 3).astype(int)) <= {1, 2}
    assert set(np.round(rows[100:, 5] * 5).astype(int)) <= {1, 2, 3, 4}
    np.testing.assert_allclose(rows[:100, 5] * 3, np.round(rows[:100, 5] * 3), atol=1e-5)
    assert summary["mentornet"].endswith("/mentornet_dd_history")  # The method in reports.
    assert load_mentornet(summary["mentornet"]).further_features == ("wrong_share", "mean_loss")
    features, _ = training_rows.read_rows(out / "mentornet" / "tr.npz")
    expected, _ = training_rows.data_driven(training_rows.shuffled(rows, 3), 60, 18)
    np.testing.assert_array_equal(features, expected[: len(features)])
    write_test_losses = functools.partial(
        dump.write_losses,
        str(tmp_path / "test.csv"),
        checkpoint_dir=str(out / "burn_in"),
        data_dir=test,
        split_name="test",
    )
    with pytest.raises(InputError, match="needs the records that the run was trained on"):
        write_test_losses(features=("wrong_share",))
    write_test_losses()  # Losses alone need no history.
    assert len((tmp_path / "test.csv").read_text().splitlines()) == 360
    assert "best so far at" in capsys.readouterr().out
    assert data_driven.run(config, weighting, learning) == summary
    assert "Nothing to do: 50 steps" in capsys.readouterr().out


def test_the_burn_in_ends_where_its_epoch_begins(tmp_path, monkeypatch):
    """A folder that an earlier version dumped one step before is not trained further."""
    config, stops = TrainConfig("data", str(tmp_path), max_number_of_steps=3001), []

    def train(config):
        stops.append(config.stop_after_step)
        return config.stop_after_step

    monkeypatch.setattr(loop, "train", train)
    monkeypatch.setattr(dump, "write_losses", lambda csv, **_: pathlib.Path(csv).touch())
    (tmp_path / "dump_9.csv").write_text("0 8 1 1 0.5\n")
    data_driven.write_dump(config, data_driven.LearnConfig(), (9, 18), tmp_path)
    assert stops == [541]
    assert (tmp_path / "dump.csv").read_text() == "0 8 1 1 0.5\n"


def test_stages_of_other_settings_are_not_used_again(tmp_path, monkeypatch):
    """Whatever dump and MentorNet depend on; log interval and test records may change."""
    monkeypatch.setattr(loop, "train", lambda config: 0)  # A signal stops it.
    config, weighting = TrainConfig("data", str(tmp_path)), WeightingConfig(0.7, 18, True)

    def stop(error, match, config=config, weighting=weighting, **values):
        with pytest.raises(error, match=match):
            data_driven.run(
                config, weighting, data_driven.LearnConfig(**{"eval_data_dir": "-"} | values)
            )

    stop(data_driven.StoppedError, None, dataclasses.replace(config, learning_rate=1e30))
    # The burn-in saved nothing: another rate may be asked for.
    stop(data_driven.StoppedError, None)
    (tmp_path / "burn_in").mkdir()
    (tmp_path / "burn_in" / "config.json").write_text("{}")
    (tmp_path / "burn_in" / "checkpoint").touch()
    stop(data_driven.StoppedError, None, dataclasses.replace(config, log_every_steps=7))
    stop(data_driven.StoppedError, None, eval_data_dir="other")
    recorded = json.loads((tmp_path / "settings.json").read_text())
    assert recorded["dump_epochs"] == [] and recorded["data_dir"] == "data"
    assert not {"eval_data_dir", "log_every_steps"} & recorded.keys()
    lower, later = WeightingConfig(0.6, 18, True), WeightingConfig(0.7, 20, True)
    refused: list[tuple[str, dict[str, Any]]] = [
        ("loss_p_percentile was 0.7, is 0.6", {"weighting": lower}),
        ("burn_in_epoch was 18, is 20", {"weighting": later}),
        (
            "fixed_epoch_after_burn_in was True, is False",
            {"weighting": WeightingConfig(0.7, 18)},
        ),
        ("dump_num_samples was None, is 50", {"dump_num_samples": 50}),
        ("dump_epochs was", {"dump_epochs": (30,)}),
        ("seed was 0, is 1", {"config": dataclasses.replace(config, seed=1)}),
        ("studentnet was", {"config": dataclasses.replace(config, studentnet="mlp")}),
    ]
    for different, values in refused:
        stop(InputError, re.escape(f"holds stages of other settings ({different}"), **values)
    stop(data_driven.StoppedError, None, dataclasses.replace(config, overwrite=True), lower)
    stop(data_driven.StoppedError, None, config, lower)


@pytest.mark.parametrize("left", ["dump.csv", "dump_9.csv", "mentornet/quality.json"])
def test_each_stage_alone_binds_the_settings(tmp_path, monkeypatch, left):
    """The others may have been deleted, or never written."""
    monkeypatch.setattr(loop, "train", lambda config: 0)
    config, weighting = TrainConfig("data", str(tmp_path)), WeightingConfig(0.7, 18, True)
    learning = data_driven.LearnConfig(eval_data_dir="-")
    for seed in (0, 1):  # Nothing was made, so that another seed may be asked for.
        with pytest.raises(data_driven.StoppedError):
            data_driven.run(dataclasses.replace(config, seed=seed), weighting, learning)
    (tmp_path / left).parent.mkdir(exist_ok=True)
    (tmp_path / left).touch()
    with pytest.raises(InputError, match="holds stages of other settings .seed was 1, is 0"):
        data_driven.run(config, weighting, learning)


def test_what_is_learned_from_is_checked():
    for values, part in (
        ({"dump_num_samples": 0}, "`dump_num_samples` must be at least 1"),
        ({"mentornet_features": ("loss",)}, "`mentornet_features` must be among loss_variance"),
        ({"mentornet_features": ("mean_loss",) * 2}, "without duplicates"),
        ({"dump_epochs": (18, 9)}, "`dump_epochs` must be increasing"),
        ({"dump_epochs": (18, 36)}, "more than one epoch needs mentornet_features"),
    ):
        with pytest.raises(InputError, match=part):
            data_driven.LearnConfig(**values)


@pytest.mark.parametrize(
    ("weighting", "values", "message"),
    [
        ({"loss_p_percentile": "auto"}, {}, "`auto` cannot be used with a MentorNet"),
        ({"burn_in_epoch": "auto"}, {}, "`auto` cannot be used with a MentorNet"),
        ({"burn_in_epoch": 0}, {}, "`burn_in_epoch` must be at least 1"),
        ({}, {"dump_epochs": (9,)}, "`dump_epochs` needs fixed_epoch_after_burn_in"),
        ({}, {"eval_data_dir": ""}, "`data_dir` must name a folder"),
    ],
)
def test_what_does_not_fit_is_refused_before_a_stage(tmp_path, weighting, values, message):
    folder = tmp_path / "run"
    config = TrainConfig("-", str(folder), overwrite=True)
    learning = data_driven.LearnConfig(**{"eval_data_dir": "-"} | values)
    with pytest.raises(InputError, match=message):
        data_driven.run(config, WeightingConfig(**{"burn_in_epoch": 1} | weighting), learning)
    fixed = WeightingConfig(burn_in_epoch=1, fixed_epoch_after_burn_in=True)
    learning = data_driven.LearnConfig(eval_data_dir="-")
    for steps_per_loop, updates, part in (
        (10, (50,), "`mentornet_update_epochs` needs steps_per_loop=1"),
        (1, (50, 20), "`mentornet_update_epochs` must be increasing"),
    ):
        with pytest.raises(InputError, match=part):
            other = dataclasses.replace(config, steps_per_loop=steps_per_loop)
            data_driven.run(other, fixed, learning, update_epochs=updates)
    assert not folder.exists()
    data_driven.check_fits(fixed, data_driven.LearnConfig(dump_epochs=(9,)))


@pytest.mark.parametrize("overwrite", [False, True])
def test_overwriting_starts_anew(tmp_path, monkeypatch, overwrite):
    """Before the first stage, so that a run stopped in it does not reuse old results."""
    old = ["burn_in/config.json", "train/model.ckpt-9.index", "eval/eval.jsonl", "dump.csv"]
    old += ["dump_18.csv", "mentornet/quality.json", "summary.json"]
    for name in (*old, "notes.txt", "train/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("old")
    monkeypatch.setattr(loop, "train", lambda config: 0)  # A signal stops it.
    monkeypatch.setattr(from_dump, "learn", lambda *args: {})
    config = TrainConfig("-", str(tmp_path), overwrite=overwrite)
    with pytest.raises(data_driven.StoppedError):
        weighting = WeightingConfig(burn_in_epoch=18)
        data_driven.run(config, weighting, data_driven.LearnConfig(eval_data_dir="-"))
    assert [(tmp_path / name).exists() for name in old] == [not overwrite] * len(old)
    assert (tmp_path / "notes.txt").exists() and (tmp_path / "train/notes.txt").exists()


def test_overwriting_goes_on_from_dump_to_dump(tmp_path, monkeypatch):
    """What is new is not overwritten: the second dump's burn-in resumes after the first."""
    stages = []

    def train(config):
        stages.append(config)
        return config.stop_after_step or 0

    monkeypatch.setattr(loop, "train", train)
    monkeypatch.setattr(dump, "write_losses", lambda csv, **_: pathlib.Path(csv).touch())
    monkeypatch.setattr(from_dump, "learn", lambda *args: {})
    config = TrainConfig("-", str(tmp_path), overwrite=True, max_number_of_steps=100)
    weighting = WeightingConfig(0.7, 18, True, example_dropout_rates="0,100")
    with pytest.raises(data_driven.StoppedError):  # The training under the MentorNet.
        data_driven.run(
            config, weighting, data_driven.LearnConfig(None, ("mean_loss",), (20, 60), "-")
        )
    assert [(stage.stop_after_step, stage.overwrite) for stage in stages] == [
        (20, False),
        (60, False),
        (None, False),
    ]


def test_test_records_by_default(tmp_path, monkeypatch):
    """`val` next to the training's folder, unless another is given."""
    train, val = tmp_path / "0.4", tmp_path / "val"
    train.mkdir()
    with pytest.raises(InputError, match="there is no `val` next to `data_dir`"):
        learn.eval_records(str(train), "")
    val.mkdir()
    monkeypatch.chdir(train)
    for data_dir in (str(train), f"{train}/", "."):
        assert learn.eval_records(data_dir, "") == str(val)
    other = tmp_path / "other"
    other.mkdir()
    assert learn.eval_records(str(train), str(other)) == str(other)


@pytest.mark.parametrize("is_fixed", [True, False])
def test_what_the_mentornet_is_learned_for(tmp_path, monkeypatch, is_fixed):
    """The percentile in percent, the seed, and the epoch if the training has one."""
    learned: list[Any] = []
    monkeypatch.setattr(loop, "train", lambda config: config.stop_after_step or 0)
    monkeypatch.setattr(dump, "write_losses", lambda csv, **_: pathlib.Path(csv).touch())

    def learn(*args):
        learned.append(args)
        return {}

    monkeypatch.setattr(from_dump, "learn", learn)
    config = TrainConfig("-", str(tmp_path), max_number_of_steps=100, seed=5)
    with pytest.raises(data_driven.StoppedError):
        weighting = WeightingConfig(0.7, 18, is_fixed)
        data_driven.run(config, weighting, data_driven.LearnConfig(eval_data_dir="-"))
    epoch = 18 if is_fixed else None
    csv = str(tmp_path / "dump.csv")
    assert learned == [(csv, pytest.approx(70), 5, tmp_path / "mentornet", epoch)]


def test_what_a_dump_is_asked(tmp_path, monkeypatch):
    asked, stages = [], []

    def train(config):
        stages.append(config)
        return config.stop_after_step

    def write(csv, **values):
        asked.append(values)
        pathlib.Path(csv).touch()

    monkeypatch.setattr(loop, "train", train)
    monkeypatch.setattr(dump, "write_losses", write)
    config = TrainConfig("data", str(tmp_path), seed=5, record_sample_weights=True)
    data_driven.write_dump(config, data_driven.LearnConfig(50), (18,), tmp_path)
    folders = {"checkpoint_dir": str(tmp_path / "burn_in"), "data_dir": "data"}
    assert asked == [{**folders, "num_samples": 50, "seed": 5, "features": ()}]
    assert stages[0].record_sample_weights


def test_nothing_is_removed_while_another_uses_a_folder(tmp_path):
    (tmp_path / "burn_in").mkdir()
    (tmp_path / "burn_in" / "config.json").write_text("{}")
    match = "two processes at once"
    with files.held(tmp_path / "eval", "train_log_dir"), pytest.raises(InputError, match=match):
        data_driven.start_anew(tmp_path)
    assert (tmp_path / "burn_in" / "config.json").exists()


def test_a_dump_counts_without_its_burn_in(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "train", lambda config: 0)
    config, weighting = TrainConfig("data", str(tmp_path)), WeightingConfig(0.7, 18)
    learning = data_driven.LearnConfig(eval_data_dir="-")
    with pytest.raises(data_driven.StoppedError):
        data_driven.run(config, weighting, learning)
    (tmp_path / "dump.csv").touch()
    with pytest.raises(InputError, match="seed was 0, is 1"):
        data_driven.run(dataclasses.replace(config, seed=1), weighting, learning)


def test_the_last_epoch_and_the_summary(tmp_path, monkeypatch):
    """A burn-in of 100 % is the epoch 99, as in dumps."""
    learned: list[Any] = []
    evaluated: list[Any] = []
    accuracies = {"last_accuracy": 0.5, "best_accuracy": 0.75}

    def evaluate(asked):
        evaluated.append((asked.checkpoint_dir, asked.data_dir, asked.run_once))
        return accuracies

    def learn_from(*args):
        learned.append(args[-1])
        return {}

    monkeypatch.setattr(loop, "train", lambda config: config.stop_after_step or 100)
    monkeypatch.setattr(dump, "write_losses", lambda csv, **_: pathlib.Path(csv).touch())
    monkeypatch.setattr(from_dump, "learn", learn_from)
    monkeypatch.setattr(job, "run", evaluate)
    config = TrainConfig("-", str(tmp_path), max_number_of_steps=100)
    learning = data_driven.LearnConfig(eval_data_dir="-")
    found = data_driven.run(config, WeightingConfig(0.7, 100, True), learning)
    assert learned == [99] and evaluated == [(str(tmp_path / "train"), "-", True)]
    assert found.items() >= accuracies.items()
    assert json.loads((tmp_path / "summary.json").read_text()) == found


def test_the_published_dropout_is_the_default():
    _, output = run(SCRIPT, "--help")
    assert "(default: '0.5,17,0.05,78,0.9,5')" in output


def test_only_the_dumps_of_epochs_are_removed(tmp_path):
    for name in ("dump.csv", "dump_7.csv", "dump_18.csv", "dump_mine.csv"):
        (tmp_path / name).write_text("old")
    data_driven.start_anew(tmp_path)
    assert [path.name for path in tmp_path.rglob("*.csv")] == ["dump_mine.csv"]


def test_the_seed_reaches_all_that_is_learned_from_a_dump(tmp_path, monkeypatch):
    """It is judged on the rows that are held out."""
    learned: list[Any] = []
    judged: list[Any] = []
    csv = tmp_path / "dump.csv"
    csv.write_text("".join(f"{i} 20 {i % 2} 0 {i}.5\n" for i in range(20)))

    def learn_noisy(*rows, **how):
        learned.append((rows, how))
        return MentorNet()

    def report(mentor, *rows):
        judged.extend(rows)
        return {}

    monkeypatch.setattr(teaching, "learn_noisy", learn_noisy)
    monkeypatch.setattr(quality, "report", report)
    assert from_dump.learn(str(csv), 60, 5, tmp_path / "mentornet") == {}
    ((rows, how),) = learned
    assert how == settings.DEFAULTS | {"seed": 5, "features": RELEASE}
    assert [len(targets) for _, targets in judged] == [16, 4]
    assert all(a is b for a, b in zip(judged, rows, strict=True))
    dump_rows = training_rows.shuffled(training_rows.read_dump(str(csv))[0], 5)
    expected, _ = training_rows.data_driven(dump_rows, 60)
    np.testing.assert_array_equal(np.concatenate([features for features, _ in rows]), expected)
    assert (tmp_path / "mentornet" / "mentornet_dd.index").exists()


def test_a_mentornet_is_learned_on_one_machine(tmp_path, monkeypatch):
    task = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(task))
    asked = TrainConfig("d", str(tmp_path / "run"))
    weighting = WeightingConfig(0.6, 18, True)
    with pytest.raises(InputError, match="learned on one machine: unset TF_CONFIG"):
        data_driven.run(asked, weighting, data_driven.LearnConfig(eval_data_dir="v"))
    assert not (tmp_path / "run").exists()


def test_missing_training_records_are_named_first():
    status, output = run("mentornet_learning/learn_curriculum.py", "--train_log_dir=run")
    assert status == 2 and "`data_dir` must" in output and "eval_data_dir" not in output


def test_test_records_that_do_not_exist(tmp_path):
    with pytest.raises(InputError, match="`eval_data_dir` must be an existing folder"):
        learn.eval_records(str(tmp_path), "tpyo")


def test_a_burn_in_that_is_past_the_epoch_of_a_dump(tmp_path, monkeypatch):
    """Its losses are not those of that epoch."""
    monkeypatch.setattr(loop, "train", lambda config: 72)
    asked = TrainConfig("d", str(tmp_path), max_number_of_steps=200)
    data_driven.burn_in(asked, 36, tmp_path)
    with pytest.raises(InputError, match="already past the epoch .* epoch=18, step=72"):
        data_driven.burn_in(asked, 18, tmp_path)
    with pytest.raises(data_driven.StoppedError):
        data_driven.burn_in(asked, 54, tmp_path)


def test_too_few_wrong_labels_are_refused_before_anything_is_learned(tmp_path, monkeypatch):
    csv = tmp_path / "dump.csv"
    csv.write_text("".join(f"{i} 20 {int(i == 0)} 0 {i}.5\n" for i in range(20)))
    monkeypatch.setattr(teaching, "learn_noisy", lambda *rows, **how: pytest.fail("learns"))
    with pytest.raises(InputError, match="must hold clean and corrupted samples"):
        from_dump.learn(str(csv), 60, 5, tmp_path / "mentornet")


def test_the_quality_is_written_once_the_mentornet_is_saved(tmp_path, monkeypatch):
    """It is what tells a run that goes on that there is a MentorNet."""
    dumped = tmp_path / "dump.csv"
    dumped.write_text("".join(f"{i} 20 {i % 2} 0 {i}.5\n" for i in range(20)))

    def stopped(mentor, prefix):
        raise KeyboardInterrupt

    monkeypatch.setattr(teaching, "learn_noisy", lambda *rows, **how: MentorNet())
    monkeypatch.setattr(mentor_checkpoints, "save_mentornet", stopped)
    with pytest.raises(KeyboardInterrupt):
        from_dump.learn(str(dumped), 60, 5, tmp_path)
    assert not (tmp_path / from_dump.QUALITY_FILE).exists()
