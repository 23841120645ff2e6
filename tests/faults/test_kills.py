"""SIGKILL at random moments: nothing is lost, and the results are the same."""

import random
import shutil
import time

import pytest
from helpers import MENTORNET, assert_same_state, run, start, times

from mentornet.core.files import read_json_lines

SCRIPT = "code/cifar_train_mentornet.py"
STEPS = 120
MENTORED = {
    "studentnet": "helpers:small_network",
    "trained_mentornet_dir": MENTORNET,
    "example_dropout_rates": "0.5,50,0,50",
    "max_number_of_steps": STEPS,
    "record_sample_weights": True,
}


def kill_while(process, busy, seconds):
    """Kills a process up to `seconds` after `busy()`; returns its output."""
    deadline = time.monotonic() + 120
    while not busy() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(random.random() * seconds)
    process.kill()
    output, _ = process.communicate()
    assert "Traceback" not in output, output
    return output


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, train_flags):
    folder = tmp_path_factory.mktemp("undisturbed") / "train"
    flags = train_flags(
        train_log_dir=folder, save_interval_steps=40, max_to_keep=9, augment=True, **MENTORED
    )
    status, output = run(SCRIPT, *flags)
    assert status == 0, output
    return folder


def test_training(undisturbed, train_flags, tmp_path):
    """With a checkpoint after every step, so that many kills occur while saving."""
    folder = tmp_path / "train"
    flags = train_flags(train_log_dir=folder, save_interval_secs=0, augment=True, **MENTORED)

    def whole():  # The index of a checkpoint is written last.
        return set(folder.glob("model.ckpt-*.index"))

    for _ in range(times(quick=2, full=20)):
        before = whole()
        process = start(SCRIPT, *flags)
        kill_while(process, lambda old=before: whole() - old, 0.4)  # Once the training goes on.
    status, output = run(SCRIPT, *flags)
    assert status == 0, output
    assert "Resuming from" in output
    assert_same_state(undisturbed, folder)
    rows, expected = (read_json_lines(f / "metrics.jsonl") for f in (folder, undisturbed))
    assert [row["step"] for row in rows] == [row["step"] for row in expected]


def test_evaluating(undisturbed, digits, tmp_path):
    """Each checkpoint is evaluated once, despite kills; the training continues meanwhile."""

    def flags(name, folder):
        values = {"checkpoint_dir": folder, "eval_dir": tmp_path / name, "data_dir": digits / "val"}
        return [f"--{k}={v}" for k, v in values.items()] + ["--eval_interval_secs=0.1"]

    train = tmp_path / "train"
    shutil.copytree(undisturbed, train)
    for _ in range(times(quick=1, full=20)):
        process = start("code/cifar_eval.py", *flags("eval", train))
        kill_while(process, (tmp_path / "eval" / ".lock").exists, 2)
    for name in ("eval", "expected"):
        status, output = run("code/cifar_eval.py", *flags(name, train))
        assert status == 0, output
    rows, expected = (read_json_lines(tmp_path / n / "eval.jsonl") for n in ("eval", "expected"))
    assert rows == expected
    assert [row["step"] for row in rows] == [40, 80, 120]


def test_preparing(tmp_path):
    """A kill leaves records that are complete or absent; restarting makes the same ones."""
    flags = ["--dataset_name=digits", "--noise_fraction=0.4", f"--output_dir={tmp_path / 'data'}"]
    for _ in range(times(quick=1, full=20)):
        process = start("code/cifar_prepare_data.py", *flags)
        kill_while(process, (tmp_path / "data").exists, 1)
    whole = [*flags[:2], f"--output_dir={tmp_path / 'whole'}"]
    for arguments in (flags, whole):
        status, output = run("code/cifar_prepare_data.py", *arguments)
        assert status == 0, output
    files = [p for p in (tmp_path / "whole").rglob("*") if p.is_file()]
    assert len(files) >= 4
    for path in files:
        assert (
            path.read_bytes()
            == (tmp_path / "data" / path.relative_to(tmp_path / "whole")).read_bytes()
        )
