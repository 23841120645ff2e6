"""What commands/reproduce.sh starts, with a fake python."""

import csv
import os
import re
import shlex
import shutil
import subprocess

import pytest
from helpers import ROOT

# Writes its arguments, and the table of runs that it is given; fails if they match a pattern.
PYTHON = """#!/usr/bin/env bash
printf '%q ' "$@" >> "$LOG"; echo >> "$LOG"
for argument; do
  [[ $argument != --table=* ]] || cp "${argument#--table=}" "$LOG.csv"
done
steps="--max_number_of_steps"
if [[ $* == *launch.py*--dry_run* ]]; then
  printf "train $steps=%s --x\\neval\\n" 5800 60000
  for only; do :; done  # The last argument.
  [[ $only == --filter=cifar* ]] || only=--filter=
  awk -F, 'NR > 1 { print "train --data_dir=data/" $3 " --x" }' "$LOG.csv" | grep -F "${only#*=}"
fi
[[ $* != $FAILS ]]
"""


@pytest.fixture
def reproduce(tmp_path):
    """Runs it: exit status, output, the programs' arguments, and the chosen rows."""
    (tmp_path / "commands").mkdir()
    for name in ("reproduce.sh", "fast_runs.csv", "reduced_runs.csv"):
        shutil.copy(ROOT / "commands" / name, tmp_path / "commands")
    (tmp_path / "commands" / "environment.sh").write_text("")
    (tmp_path / "python").write_text(PYTHON)
    (tmp_path / "python").chmod(0o755)
    log = tmp_path / "log"

    def run(*arguments, fails="never", **more):
        log.write_text("")
        (tmp_path / "log.csv").touch()
        environment = os.environ | {"LOG": str(log), "FAILS": fails} | more
        environment["PATH"] = f"{tmp_path}:{environment['PATH']}"
        done = subprocess.run(
            ["bash", "commands/reproduce.sh", *arguments],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started = [shlex.split(line) for line in log.read_text().splitlines()]
        return done.returncode, done.stdout, started, (tmp_path / "log.csv").read_text()

    return run


def test_readme_says_how_long_the_table_takes():
    script = (ROOT / "commands" / "reproduce.sh").read_text()
    ranges = re.findall(r"\$\(range (\d+) (\d+)\)", script)[1:]  # The first is of --reduced.
    steps_per_hour = [int(number) for pair in ranges for number in pair]
    with (ROOT / "commands" / "fast_runs.csv").open() as file:
        steps = sum(int(row["max_number_of_steps"]) for row in csv.DictReader(file))
    fastest, *others = (steps // number for number in steps_per_hour)
    said = f"{fastest} to {others[0]} hours with bfloat16 instructions"
    page = " ".join((ROOT / "README.md").read_text().split())
    assert said in page and f"{others[1]} to {others[2]} hours without" in page


def test_only_what_the_chosen_runs_need_is_prepared(reproduce):
    flags = prepared(reproduce("cifar10.tar", "n.npz", "cifar100", "--filter=cifar100/0.2")[2])
    assert len(flags) == 1 and "--dataset_name=cifar100" in flags[0]
    assert "--noise_fraction=0.2" in flags[0]


def prepared(started):
    return [arguments[2:] for arguments in started if "prepare" in arguments[0]]


def test_everything(reproduce):
    status, output, started, chosen = reproduce("cifar 10.tar", "n.npz", "cifar100", "--filter=a b")
    assert status == 0
    assert chosen == (ROOT / "commands" / "fast_runs.csv").read_text()
    first, *preparations, launch, report = started
    assert first[-2:] == ["--dry_run", "--filter=a b"] and launch[-1] == "--filter=a b"
    assert report == ["commands/report.py", "cifar_models"]
    assert len(preparations) == len(prepared(started)) == 10
    assert sum("--num_trusted=5000" in flags for flags in preparations) == 7
    settings = sorted(flag for flags in preparations for flag in flags if "--noise" in flag)
    shares = (0, 0.2, 0.2, 0.4, 0.4, 0.4, 0.8, 0.8)
    assert settings[2:10] == [f"--noise_fraction={share}" for share in shares]
    assert settings[10:12] == ["--noise_key=aggre_label", "--noise_key=worse_label"]
    assert sum("--source=cifar 10.tar" in flags for flags in preparations) == 7
    assert sum("--noise_type=asymmetric" in flags for flags in preparations) == 1
    assert sum("--noise_file=n.npz" in flags for flags in preparations) == 2
    assert sum("--dataset_name=cifar100" in flags for flags in preparations) == 3
    assert output.startswith(
        "2 runs, 65800 steps in total (finished runs are skipped): 13 to 77 hours"
    )
    assert "else\n57 to 146, and 3.5 GB of memory.\n" in output


def test_all_data_of_the_tables_are_prepared(reproduce):
    """And no other."""
    for more, table in (([], "fast_runs"), (["--reduced"], "reduced_runs")):
        _, _, started, _ = reproduce(*more, "cifar10.tar", "n.npz", *([] if more else ["cifar100"]))
        made = set()
        for flags in prepared(started):
            values = dict(flag.removeprefix("--").split("=") for flag in flags)
            kind = values.get("noise_type", "")
            name = {"file": values.get("noise_key"), "": values.get("noise_fraction")}.get(kind)
            name = name or f"{kind}_{values['noise_fraction']}"
            made.add(f"{values['output_dir']}/{values['dataset_name']}/{name}")
        with (ROOT / "commands" / f"{table}.csv").open() as file:
            assert made == {f"data/{row['data']}" for row in csv.DictReader(file)}


def test_an_archive_is_needed(reproduce):
    for arguments in ([], ["--dry_run"], ["--reduced"], ["--reduced", "--filter=0.4"]):
        status, output, started, _ = reproduce(*arguments)
        assert status == 2 and output.startswith("usage: ") and not started


def test_what_is_not_given_is_left_out(reproduce):
    _, _, started, chosen = reproduce("cifar10.tar", "--gpus=0,1")
    assert len(prepared(started)) == 5
    assert "cifar100" not in chosen and "_label" not in chosen and "/0.4/" in chosen
    _, _, started, chosen = reproduce("cifar10.tar", "n.npz")
    assert len(prepared(started)) == 7
    assert "cifar100" not in chosen and "/worse_label/" in chosen
    _, _, started, chosen = reproduce("cifar10.tar", "c100")
    assert len(prepared(started)) == 8
    assert "/cifar100/" in chosen and "_label" not in chosen


def test_other_noise_has_folders_of_its_own(reproduce):
    _, _, started, _ = reproduce("cifar10.tar", "n.npz", "cifar100", NOISE_SEED="3")
    places = {argument for flags in prepared(started) for argument in flags if "_dir" in argument}
    assert places == {"--output_dir=data_3/full"}
    assert all("--seed=3" in flags for flags in started if "prepare" in flags[0])
    for launch in (flags for flags in started if "launch" in flags[0]):
        assert {"--data_dir=data_3", "--runs_dir=cifar_models_3"} <= {*launch}
    assert started[-1] == ["commands/report.py", "cifar_models_3"]


def test_the_reduced_runs(reproduce):
    _, output, started, chosen = reproduce("--reduced", "cifar10.tar", "n.npz")
    assert chosen == (ROOT / "commands" / "reduced_runs.csv").read_text()
    assert len(prepared(started)) == 3  # 0.4, 0.8 and worse_label.
    fewer = {"--num_train=10000", "--num_trusted=1000", "--output_dir=data/reduced"}
    assert all(fewer <= {*flags} for flags in prepared(started))
    assert (
        "65800 steps in total (finished runs are skipped): 1.5 to 5.3 hours on two CPU cores.\n"
        in output
    )


def test_a_dry_run_does_nothing(reproduce):
    status, output, started, _ = reproduce("cifar10.tar", "--dry_run")
    assert status == 0 and output.count("train --max_number_of_steps") == 2
    assert [arguments[0] for arguments in started] == ["commands/launch.py"]
    for flag in ("--dry_run=true", "-dry_run"):
        assert not prepared(reproduce("cifar10.tar", flag)[2])
    status, output, started, _ = reproduce("cifar10.tar", "--dry_run=false")
    assert status == 2 and output.startswith("error: --dry_run=false must be") and not started


@pytest.mark.parametrize(
    "flag", ["--runs_dir=/scratch", "--data_dir", "--table=mine.csv", "-runs_dir=/scratch"]
)
def test_flags_that_it_gives_itself(reproduce, flag):
    status, output, started, _ = reproduce("cifar10.tar", flag)
    assert status == 2 and output.startswith(f"error: {flag} cannot be given") and not started


def test_a_report_is_made_where_a_run_failed(reproduce):
    fails = "*--runs_dir=cifar_models --gpus=7"
    status, _, started, _ = reproduce("cifar10.tar", "--gpus=7", fails=fails)
    assert status == 1
    assert started[-1][0] == "commands/report.py"


def test_a_table_that_cannot_be_read_ends_it_at_once(reproduce):
    status, _, started, _ = reproduce("cifar10.tar", fails="*launch.py*")
    assert status == 1 and len(started) == 1


# Writes its arguments at once, as two of them may run beside each other.
LOGGING = """#!/usr/bin/env bash
printf '%s\\n' "$(printf '%q ' "$@")" >> "$LOG"
for flag in "$@"; do
  [[ -z $MAKES || $flag != --train_log_dir=* ]] && continue
  mkdir -p "${flag#*=}"
  echo "model_checkpoint_path: \\"$MAKES\\"" > "${flag#*=}/checkpoint"
  touch "${flag#*=}/$MAKES.index"
done
[[ -z "$FAILS" ]]
"""


def started_by(folder, script, *arguments, **more):
    """Runs Bash in `folder` with such a python: exit status, and the arguments of each python.

    A training leaves the checkpoint that MAKES names.
    """
    (folder / "python").write_text(LOGGING)
    (folder / "python").chmod(0o755)
    (folder / "log").write_text("")
    environment = os.environ | {"LOG": str(folder / "log"), "FAILS": "", "EXTRA": "", "MAKES": ""}
    environment |= more | {"PATH": f"{folder}:{environment['PATH']}"}
    command = ["bash", *script, *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True)
    return done.returncode, [shlex.split(x) for x in (folder / "log").read_text().splitlines()]


def test_the_quick_start(tmp_path):
    """Two trainings that differ in the weighting, each evaluated where the report reads it."""
    (tmp_path / "commands").mkdir()
    shutil.copy(ROOT / "commands" / "quickstart.sh", tmp_path / "commands")
    (tmp_path / "commands" / "environment.sh").write_text("")
    quickstart = ["commands/quickstart.sh"]
    status, started = started_by(tmp_path, quickstart, "my results")
    # The first training was stopped, perhaps before its evaluation had begun.
    names = {name for name, *_ in started} - {"code/cifar_eval.py"}
    assert status == 130
    assert names == {"code/cifar_prepare_data.py", "code/cifar_train_baseline.py"}
    status, started = started_by(tmp_path, quickstart, "my results", MAKES="model.ckpt-600")
    assert status == 0 and len(started) == 6
    flags = [dict(f.removeprefix("--").split("=", 1) for f in rest) for _, *rest in started]
    assert started[0][0] == "code/cifar_prepare_data.py"
    asked = {"dataset_name": "digits", "noise_fraction": "0.4", "output_dir": "my results/data"}
    assert asked.items() <= flags[0].items()
    assert started[5] == ["commands/quickstart_report.py", "--output_dir=my results"]
    trainings = []
    for script, method, first in (("baseline", "baseline", 1), ("mentornet", "mentornet_pd", 3)):
        programs = {started[n][0]: flags[n] for n in (first, first + 1)}
        assert programs.keys() == {"code/cifar_eval.py", f"code/cifar_train_{script}.py"}
        evaluation = programs.pop("code/cifar_eval.py")
        (training,) = programs.values()
        assert training.pop("train_log_dir") == f"my results/{method}/train"
        assert training["data_dir"] == "my results/data/digits/0.4"
        del evaluation["eval_interval_secs"]
        assert evaluation == {
            "checkpoint_dir": f"my results/{method}/train",
            "eval_dir": f"my results/{method}/eval",
            "data_dir": "my results/data/digits/val",
        }
        trainings.append(training)
    weighting = {"trained_mentornet_dir", "loss_p_percentile", "example_dropout_rates"}
    assert trainings[1].keys() - trainings[0].keys() == weighting
    assert trainings[0].items() <= trainings[1].items()


@pytest.mark.parametrize(
    ("name", "step"), [("mentornet_dd", "1800"), ("mentornet_dd_history", "546")]
)
def test_a_shipped_mentornet_is_learned_from_whole_trainings_only(tmp_path, name, step):
    """One that was stopped ends without an error: its losses must not be dumped."""
    (tmp_path / "commands").mkdir()
    shutil.copy(ROOT / "commands" / f"learn_{name}.sh", tmp_path / "commands")
    (tmp_path / "commands" / "environment.sh").write_text("")
    script = [f"commands/learn_{name}.sh"]
    for made in ("", "model.ckpt-500"):
        status, started = started_by(tmp_path, script, "archive", "my out", MAKES=made)
        programs = [arguments[0] for arguments in started]
        assert status == 1 and programs[1:] == ["code/cifar_train_baseline.py"]
        assert f"--stop_after_step={step}" in started[1]
    _, started = started_by(tmp_path, script, "archive", "my out", MAKES=f"model.ckpt-{step}")
    assert started[2][0] == "code/cifar_eval.py"


def test_what_is_installed_is_not_installed_again(tmp_path):
    """Unless it failed, or what is required has changed; with EXTRA it is another installation."""
    (tmp_path / "commands").mkdir()
    shutil.copy(ROOT / "commands" / "environment.sh", tmp_path / "commands")
    for name in ("pyproject.toml", "requirements.txt", "setup.py"):
        (tmp_path / name).write_text(name)
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    script = ["-euc", "source commands/environment.sh; command -v python >> paths"]
    moved = started_by(tmp_path, script, VIRTUAL_ENV=str(tmp_path / "venv"))
    assert moved == (2, [])
    (tmp_path / "venv" / "bin" / "python").symlink_to("../../python")

    def installed(**more):
        venv = str(tmp_path / "venv")
        status, started = started_by(tmp_path, script, VIRTUAL_ENV=venv, **more)
        assert (status == 0) == ("FAILS" not in more)
        assert all(arguments[:3] == ["-m", "pip", "install"] for arguments in started)
        return [arguments[-1] for arguments in started]

    assert installed(FAILS="yes") == installed() == ["."]
    assert installed() == []
    assert installed(EXTRA="dev") == [".[dev]"]
    assert installed(EXTRA="dev") == installed() == []
    (tmp_path / "requirements.txt").write_text("another")
    assert installed() == ["."]
    assert installed() == []
    # The environment's python, although it was not activated.
    assert {*(tmp_path / "paths").read_text().split()} == {
        str(tmp_path / "venv" / "bin" / "python")
    }
