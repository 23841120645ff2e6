"""Faults around a run: full disks, deleted folders, changing data, a clock set back."""

import itertools
import resource
import shutil
import subprocess
import sys
import time

import pytest
import tensorflow as tf
from helpers import ROOT, assert_same_state, saving_config, start, wait_for_step

from mentornet import InputError
from mentornet.config.evaluation import EvalConfig
from mentornet.core.files import read_json_lines
from mentornet.evaluation import job
from mentornet.runs.checkpoints import find_latest
from mentornet.training import loop

BASELINE = "code/cifar_train_baseline.py"


@pytest.fixture(scope="module")
def whole(digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    loop.train(saving_config(digits, folder))
    return folder


def limited(script, size, *flags):
    """Runs a script that cannot write files beyond `size` bytes, as with a full disk."""
    result = subprocess.run(
        [sys.executable, str(ROOT / script), *flags],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
    )
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    assert result.stderr.splitlines()[-1].startswith("error: ")
    return result.stderr


def test_a_full_disk_while_training(train_flags, tmp_path):
    flags = train_flags(studentnet="inception", train_log_dir=tmp_path, max_number_of_steps=3)
    output = limited(BASELINE, 2_000_000, *flags)
    assert "error: Saving the checkpoint of step 3 failed" in output
    assert tf.train.latest_checkpoint(str(tmp_path)) is None


def test_a_full_disk_while_preparing(tmp_path):
    limited(
        "code/cifar_prepare_data.py", 10_000, "--dataset_name=digits", f"--output_dir={tmp_path}"
    )
    assert not list(tmp_path.rglob("digits_*"))


def test_a_full_disk_while_evaluating(whole, digits, tmp_path):
    folders = {"checkpoint_dir": whole, "eval_dir": tmp_path, "data_dir": digits / "val"}
    flags = [f"--{name}={folder}" for name, folder in folders.items()]
    limited("code/cifar_eval.py", 100, *flags, "--run_once", "--studentnet=inception")
    job.run(EvalConfig(str(whole), str(tmp_path), str(digits / "val"), run_once=True))
    rows = read_json_lines(tmp_path / "eval.jsonl")
    assert [row["step"] for row in rows] == [1, 2, 3, 4]


def test_the_run_folder_is_deleted_while_training(train_flags, tmp_path):
    flags = train_flags(train_log_dir=tmp_path / "train", max_number_of_steps=100_000)
    process = start(BASELINE, *flags)
    wait_for_step(process, tmp_path / "train", 5)
    shutil.rmtree(tmp_path / "train")
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 2, output
    assert "Traceback" not in output
    assert "No such file or directory" in output.splitlines()[-1]


def clock(*events):
    """A clock for job.run that calls an event each time the job sleeps, then times out."""
    passed = itertools.count()
    queue = list(events)

    def sleep(seconds):
        del seconds
        if queue:
            queue.pop(0)()

    return {"clock": lambda: next(passed), "sleep": sleep}


def test_the_run_folder_is_deleted_while_evaluating(whole, digits, tmp_path, capsys):
    """The job waits, and evaluates the checkpoint that finally appears."""
    train, results = tmp_path / "train", tmp_path / "eval"
    shutil.copytree(whole, tmp_path / "kept")
    train.mkdir()
    folders = str(train), str(results), str(digits / "val")
    events = lambda: shutil.rmtree(train), lambda: shutil.copytree(tmp_path / "kept", train)
    job.run(EvalConfig(*folders, timeout_secs=100), **clock(*events))
    assert "Waiting for the first checkpoint" in capsys.readouterr().out
    assert [row["step"] for row in read_json_lines(results / "eval.jsonl")] == [1, 2, 3, 4]


def test_the_results_folder_is_deleted_while_evaluating(whole, digits, tmp_path):
    """No row is lost without notice."""
    train, results = tmp_path / "train", tmp_path / "eval"
    train.mkdir()
    folders = str(train), str(results), str(digits / "val")

    def both():
        shutil.rmtree(results)
        shutil.copytree(whole, train, dirs_exist_ok=True)

    with pytest.raises(OSError, match="eval.jsonl"):  # The scripts print it as an error.
        job.run(EvalConfig(*folders, timeout_secs=100), **clock(both))


def test_records_appended_while_training(whole, digits, tmp_path, monkeypatch):
    """A run uses the records present at its start; a later start reports that they differ."""
    shutil.copytree(digits / "0.4", tmp_path / "data" / "0.4")
    file = next((tmp_path / "data" / "0.4").glob("digits_train-*"))
    record = next(iter(tf.data.TFRecordDataset(str(file)))).numpy()
    before = file.read_bytes()
    original = loop.training_batches

    def append_and_go_on(*arguments, **keywords):
        with tf.io.TFRecordWriter(str(tmp_path / "more")) as writer:
            writer.write(record)
        file.write_bytes(before + (tmp_path / "more").read_bytes())
        return original(*arguments, **keywords)

    monkeypatch.setattr(loop, "training_batches", append_and_go_on)
    own = saving_config(tmp_path / "data", tmp_path / "train", stop_after_step=2)
    loop.train(own)
    with pytest.raises(InputError, match="num_examples was 200, is 201"):
        loop.train(own)
    file.write_bytes(before + b"half a record")
    with pytest.raises(InputError, match="record 200: truncated or corrupt"):
        loop.train(own)
    monkeypatch.undo()
    file.write_bytes(before)
    assert find_latest(str(tmp_path / "train")).endswith("-2")
    loop.train(saving_config(tmp_path / "data", tmp_path / "train"))
    assert_same_state(whole, tmp_path / "train")


def test_a_clock_set_back(whole, digits, tmp_path, monkeypatch):
    """Every reading is an hour before the last."""
    seconds = itertools.count(2e9, -3600)
    monkeypatch.setattr(time, "time", lambda: next(seconds))
    loop.train(saving_config(digits, tmp_path / "train"))
    assert_same_state(whole, tmp_path / "train")
    folders = str(tmp_path / "train"), str(tmp_path / "eval"), str(digits / "val")
    job.run(EvalConfig(*folders, timeout_secs=1, eval_interval_secs=0.1))
    rows = read_json_lines(tmp_path / "eval" / "eval.jsonl")
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
