"""Checkpoints truncated, with flipped bits or without their list: an earlier good one is used."""

import random
import shutil

import keras
import pytest
import tensorflow as tf
from helpers import assert_same_state, saving_config, times

from mentornet import InputError
from mentornet.config.evaluation import EvalConfig
from mentornet.core.files import read_json_lines
from mentornet.evaluation import job
from mentornet.runs.checkpoints import RunCheckpoint, checkpoint_paths, checkpoint_step
from mentornet.training import loop


@pytest.fixture(scope="module")
def whole(digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    loop.train(saving_config(digits, folder))
    return folder


def flip(path, choice):
    """Flips a bit in each of three bytes."""
    data = bytearray(path.read_bytes())
    for _ in range(3):
        data[choice.randrange(len(data))] ^= 1 << choice.randrange(8)
    path.write_bytes(data)


def cut(path, choice):
    path.write_bytes(path.read_bytes()[: choice.randrange(path.stat().st_size)])


def remove(path, choice):
    del choice
    path.unlink()


DAMAGE = (flip, cut, remove)
# Only the files of the last step's checkpoint, and the list of checkpoints.
FILES = ("model.ckpt-4.index", "model.ckpt-4.data-00000-of-00001", "checkpoint")


@pytest.mark.parametrize("seed", range(times(quick=9, full=180)))
def test_training_goes_on_from_a_good_one(whole, digits, tmp_path, seed, capsys):
    choice = random.Random(seed)
    damaged = tmp_path / "train"
    shutil.copytree(whole, damaged)
    damage, name = DAMAGE[seed % 3], FILES[seed // 3 % 3]
    damage(damaged / name, choice)
    loop.train(saving_config(digits, damaged))
    assert_same_state(whole, damaged)
    output = capsys.readouterr().out
    assert "Resuming from" in output
    if damage is cut and name != "checkpoint":
        assert "model.ckpt-4 is ignored" in output


@pytest.mark.parametrize("seed", range(times(quick=3, full=60)))
def test_evaluation_takes_what_is_good(whole, digits, tmp_path, seed):
    choice = random.Random(seed)
    damaged = tmp_path / "train"
    shutil.copytree(whole, damaged)
    DAMAGE[seed % 3](damaged / choice.choice(FILES), choice)
    folders = str(damaged), str(tmp_path / "eval"), str(digits / "val")
    job.run(EvalConfig(*folders, run_once=True))
    steps = {row["step"] for row in read_json_lines(tmp_path / "eval" / "eval.jsonl")}
    assert {1, 2, 3} <= steps <= {1, 2, 3, 4}


def test_a_shortened_list_hides_no_checkpoint(tmp_path):
    """A write of the list can end before its first line, or after any."""
    step = tf.Variable(0)

    def opened():
        return RunCheckpoint(str(tmp_path), keras.Sequential(), {}, {"global_step": step}, 5)

    checkpoint = opened()
    for _ in range(3):
        step.assign_add(1)
        checkpoint.save()
    file = tmp_path / "checkpoint"
    lines = file.read_bytes().splitlines(keepends=True)
    assert len(lines) == 8
    for number in range(len(lines)):
        file.write_bytes(b"".join(lines[:number]))
        assert opened().restore_latest() == str(tmp_path / "model.ckpt-3")
        assert step.numpy() == 3
    file.write_bytes(b"")
    checkpoint = opened()
    step.assign_add(1)
    checkpoint.save()
    assert [checkpoint_step(path) for path in checkpoint_paths(str(tmp_path))] == [1, 2, 3, 4]


def test_nothing_that_can_be_read_is_said(whole, digits, tmp_path):
    damaged = tmp_path / "train"
    shutil.copytree(whole, damaged)
    for path in damaged.glob("model.ckpt-*"):
        path.write_bytes(b"")
    with pytest.raises(InputError, match="No checkpoint in .* can be read"):
        loop.train(saving_config(digits, damaged))


def test_the_oldest_are_deleted_and_the_others_ordered_by_number(tmp_path):
    step = tf.Variable(7)
    checkpoint = RunCheckpoint(str(tmp_path), keras.Sequential(), {}, {"global_step": step}, 3)
    for _ in range(4):
        step.assign_add(1)
        checkpoint.save()
    (tmp_path / "checkpoint").unlink()
    assert [checkpoint_step(path) for path in checkpoint_paths(str(tmp_path))] == [9, 10, 11]
