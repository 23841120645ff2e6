"""What commands/reproduce.sh starts, with a fake python."""

import os
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
[[ $* != *launch.py*--dry_run* ]] || printf "train $steps=%s --x\\neval\\n" 5800 60000
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
    assert sum("--source=cifar 10.tar" in flags for flags in preparations) == 7
    assert sum("--noise_type=asymmetric" in flags for flags in preparations) == 1
    assert sum("--noise_file=n.npz" in flags for flags in preparations) == 2
    assert sum("--dataset_name=cifar100" in flags for flags in preparations) == 3
    assert output.startswith(
        "2 runs, 65800 steps in total (finished runs are skipped): 13 to 45 hours"
    )
    assert "else\n57 to 146, and 3.5 GB of memory.\n" in output


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
    assert all("--num_train=10000" in flags for flags in prepared(started))
    assert (
        "65800 steps in total (finished runs are skipped): 1 to 5 hours on two CPU cores.\n"
        in output
    )


def test_a_dry_run_does_nothing(reproduce):
    status, output, started, _ = reproduce("cifar10.tar", "--dry_run")
    assert status == 0 and output.count("train --max_number_of_steps") == output.count("\n") / 2
    assert [arguments[0] for arguments in started] == ["commands/launch.py"]
    assert not prepared(reproduce("cifar10.tar", "--dry_run=true")[2])


@pytest.mark.parametrize("flag", ["--runs_dir=/scratch", "--data_dir", "--table=mine.csv"])
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
