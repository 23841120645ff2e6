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


@pytest.mark.parametrize("is_relative", [False, True])
def test_a_copy_of_a_folder_leaves_the_original_alone(tmp_path, monkeypatch, is_relative):
    """The list that was made again names no other folder."""
    monkeypatch.chdir(tmp_path)
    step = tf.Variable(0)

    def opened(name, max_to_keep):
        folder = name if is_relative else str(tmp_path / name)
        state = {"global_step": step}
        return RunCheckpoint(folder, keras.Sequential(), {}, state, max_to_keep)

    for _ in range(2):
        step.assign_add(1)
        opened("run", 5).save()
        (tmp_path / "run" / "checkpoint").unlink()
    opened("run", 5)
    shutil.copytree("run", "copy")
    assert opened("copy", 1).restore_latest()
    step.assign_add(1)
    opened("copy", 1).save()
    steps = [
        [checkpoint_step(path) for path in checkpoint_paths(str(tmp_path / name))]
        for name in ("run", "copy")
    ]
    assert steps == [[1, 2], [3]]
    assert sorted(path.name for path in tmp_path.glob("run/*.index")) == [
        f"model.ckpt-{number}.index" for number in (1, 2)
    ]


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


def test_a_list_may_name_checkpoints_elsewhere(tmp_path):
    """Unless the folder has one of the same name; files with other names are no checkpoints."""
    folder, other = tmp_path / "train", tmp_path / "other"
    for each in (folder, other):
        each.mkdir()
    (other / "model.ckpt-7.index").touch()
    listed, own = str(other / "model.ckpt-7"), str(folder / "model.ckpt-7")
    lines = f'model_checkpoint_path: "{listed}"\nall_model_checkpoint_paths: "{listed}"\n'
    (folder / "checkpoint").write_text(lines)
    assert checkpoint_paths(str(folder)) == [listed]
    (folder / "model.ckpt-7.index").touch()
    assert checkpoint_paths(str(folder)) == [own]
    (folder / "checkpoint").unlink()
    (folder / "model.ckpt-best.index").touch()
    assert checkpoint_paths(str(folder)) == [own]
    with pytest.raises(InputError, match="must be named <name>-<step>. Received: name='a/best'"):
        checkpoint_step("a/best")
