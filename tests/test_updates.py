"""Updates of the MentorNet while the student trains."""

import dataclasses
import json
import shutil
import types
from typing import Any
from unittest import mock

import numpy as np
import pytest
from helpers import MENTORNET, assert_same_state, latest_state

from mentornet import InputError, MentorNet, load_mentornet, save_mentornet
from mentornet.config.training import TrainConfig
from mentornet.config.weighting import WeightingConfig
from mentornet.datasets.catalog import dataset_info
from mentornet.datasets.prepare import PrepareConfig, prepare
from mentornet.datasets.records import read_examples
from mentornet.label_noise.history import NAMES, VALUES, saved_columns
from mentornet.learning import settings
from mentornet.runs import run_folder
from mentornet.runs.checkpoints import read_state
from mentornet.runs.students import load_student
from mentornet.training import loop, mentor_updates
from mentornet.weighting.curriculum import CurriculumWeighting
from mentornet.weighting.features import RELEASE


@pytest.fixture(scope="module")
def trusting(tmp_path_factory):
    """Digits of which 100 of 200 training samples are trusted."""
    folder = tmp_path_factory.mktemp("trusting")
    config = PrepareConfig(
        "digits", str(folder), noise_fraction=0.4, num_train=200, num_trusted=100
    )
    prepare(config)
    return config.train_folder


@pytest.fixture(autouse=True, scope="module")
def fewer_steps():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(settings.DEFAULTS, "num_steps", 50)
        yield


def config(data_dir, folder, **values):
    defaults: dict[str, Any] = {
        "dataset_name": "digits",
        "studentnet": "helpers:linear_network",
        "batch_size": 16,
        "max_number_of_steps": 12,
        "trained_mentornet_dir": MENTORNET,
        "mentornet_update_epochs": (50, 75),
        "weighting": WeightingConfig(
            burn_in_epoch=18, fixed_epoch_after_burn_in=True, example_dropout_rates="0,100"
        ),
    }
    return TrainConfig(str(data_dir), str(folder), **(defaults | values))


@pytest.fixture(scope="module")
def whole(trusting, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    loop.train(config(trusting, folder))
    return folder


def test_each_version_is_kept_beside_the_checkpoint(whole):
    first, second = (load_mentornet(str(whole / "mentornet" / f"mentornet-{s}")) for s in (6, 9))
    original = load_mentornet(MENTORNET)
    name = "mentornet/Variable"
    matrices = [m.tf1_variables[name].numpy() for m in (original, first, second)]
    assert np.abs(matrices[0] - matrices[1]).max() > 1e-3
    assert np.abs(matrices[1] - matrices[2]).max() > 1e-3
    key = "state/mentornet.SVariable/.ATTRIBUTES/VARIABLE_VALUE"
    np.testing.assert_array_equal(latest_state(whole)[key], matrices[2])


def test_overwriting_removes_all_that_the_run_wrote(trusting, whole, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(whole, folder)
    (folder / "notes.txt").write_text("mine")
    new = config(trusting, folder, overwrite=True)
    run_folder.open_folder(new, {"new": True}, {})
    left = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert left == {"config.json", "notes.txt", ".lock"}
    assert json.loads((folder / "config.json").read_text()) == {"new": True}
    assert not (folder / "mentornet").exists()


def test_stopping_around_an_update_changes_nothing(trusting, whole, tmp_path):
    for step in (5, 6, 7, None):
        loop.train(config(trusting, tmp_path, stop_after_step=step))
    assert_same_state(whole, tmp_path)


def test_an_update_takes_effect(trusting, whole, tmp_path):
    loop.train(config(trusting, tmp_path, mentornet_update_epochs=()))
    frozen, updated = latest_state(tmp_path), latest_state(whole)
    (key,) = (name for name in frozen if name.startswith("student/") and "kernel" in name)
    assert np.abs(frozen[key] - updated[key]).max() > 1e-6


def test_only_trusted_clean_labels_reach_it(trusting, digits, tmp_path, monkeypatch):
    seen = []

    def spy(mentor, dump, percentile, seed):
        seen.append((dump, percentile, seed))
        return mentor

    asked = config(
        trusting, tmp_path / "a", mentornet_update_epochs=(50,), save_interval_steps=6, seed=7
    )
    monkeypatch.setattr(mentor_updates, "relearn", spy)
    loop.train(asked)
    ((rows, percentile, seed),) = seen
    assert rows.shape == (100, 5)
    assert (percentile, seed) == (pytest.approx(70), 7)
    examples = read_examples(str(trusting), dataset_info("digits", str(trusting)), "train")
    trusted = examples.take(np.flatnonzero(examples.trusted))
    columns = trusted.ids, np.full(100, 18), trusted.labels, trusted.clean_labels
    np.testing.assert_array_equal(rows[:, :4], np.stack(columns, axis=1))
    # The losses are those of the student after the step, in evaluation mode, in NumPy.
    pixels = np.asarray(trusted.images, np.float64)
    flat = pixels.reshape(100, -1)
    spread = np.maximum(flat.std(axis=1), 1 / np.sqrt(flat.shape[1]))
    pixels = (pixels - flat.mean(axis=1)[:, None, None, None]) / spread[:, None, None, None]
    pooled = pixels.reshape(100, 8, 4, 8, 4, 3).mean((2, 4)).reshape(100, -1)
    kernel, bias = load_student(str(tmp_path / "a" / "model.ckpt-6")).get_weights()
    logits = pooled @ kernel + bias
    losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(100), trusted.labels]
    np.testing.assert_allclose(rows[:, 4], losses, rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match="needs trusted samples"):
        loop.train(config(digits / "0.4", tmp_path / "b"))


@pytest.fixture(scope="module")
def with_history(tmp_path_factory):
    """A MentorNet that sees each sample's history."""
    prefix = str(tmp_path_factory.mktemp("history") / "mentornet")
    save_mentornet(MentorNet(seed=3, features=(*RELEASE, "wrong_share", "mean_loss")), prefix)
    return prefix


def test_an_update_sees_the_history(trusting, with_history, tmp_path, monkeypatch):
    """As it is after the step; stopped there, the run ends the same."""
    seen, relearn = [], mentor_updates.relearn

    def spy(mentor, dump, percentile, seed):
        seen.append(dump)
        return relearn(mentor, dump, percentile, seed)

    monkeypatch.setattr(mentor_updates, "relearn", spy)

    values = {"trained_mentornet_dir": with_history, "mentornet_update_epochs": (50,)}
    loop.train(config(trusting, tmp_path / "a", save_interval_steps=6, **values))
    loop.train(config(trusting, tmp_path / "b", stop_after_step=6, **values))
    loop.train(config(trusting, tmp_path / "b", **values))
    assert_same_state(tmp_path / "a", tmp_path / "b")
    saved = read_state(str(tmp_path / "a" / "model.ckpt-6"), (VALUES, NAMES))
    past = saved_columns(saved)
    examples = read_examples(str(trusting), dataset_info("digits", str(trusting)), "train")
    share = (past["num_wrong"] + 1) / (past["num_counted"] + 2)
    np.testing.assert_allclose(seen[0][:, 5], share[examples.trusted], rtol=1e-6)
    np.testing.assert_array_equal(seen[0][:, 6], past["mean_loss"][examples.trusted])
    updated = load_mentornet(str(tmp_path / "a" / "mentornet" / "mentornet-6"))
    assert updated.further_features == ("wrong_share", "mean_loss")


def test_settings_are_checked():
    for values, part in (
        ({"mentornet_update_epochs": (75, 21)}, "increasing whole numbers in 1..99"),
        ({"mentornet_update_epochs": (0,)}, "increasing whole numbers in 1..99"),
        ({"weighting": WeightingConfig()}, "needs fixed_epoch_after_burn_in"),
        ({"mentornet_label": "given"}, "needs mentornet_label=zero"),
        ({"steps_per_loop": 2}, "needs steps_per_loop=1"),
        ({"weighting": WeightingConfig("auto", 18, True)}, "needs a fixed burn_in_epoch"),
    ):
        with pytest.raises(InputError, match=part):
            config("d", "t", **values)
        if "needs" in part:  # For updates only.
            config("d", "t", **values, mentornet_update_epochs=())


def make_updates(trusting, folder, save=True, count=100, **values):
    """Of `count` trusted samples; every loss is 1."""
    examples = read_examples(str(trusting), dataset_info("digits", str(trusting)), "train")
    examples = dataclasses.replace(examples, trusted=np.arange(200) < count)
    asked = config(trusting, folder, **values)
    mentor = MentorNet(seed=1)
    weighting = mock.Mock(spec=CurriculumWeighting, config=asked.weighting, mentor=mentor)
    trainer: Any = types.SimpleNamespace(weighting=weighting, history=None, student=None)
    made: Any = mentor_updates.MentorUpdates(asked, trainer, examples, save)
    made._predictor = lambda part, size: types.SimpleNamespace(losses=np.ones(len(part)))
    return made, mentor


def test_an_update_in_another_worker_and_after_the_last_epoch(trusting, tmp_path, monkeypatch):
    """Only the chief writes; a burn-in of 100 is the epoch 99, as in dumps."""
    seen, learned = [], MentorNet(seed=2)

    def spy(mentor, dump, percentile, seed):
        seen.append(dump)
        return learned

    def after(update, step):
        update(types.SimpleNamespace(step=step))

    monkeypatch.setattr(mentor_updates, "relearn", spy)
    late = WeightingConfig(burn_in_epoch=100, fixed_epoch_after_burn_in=True)
    update, mentor = make_updates(trusting, tmp_path, save=False, weighting=late)
    after(update, 5)
    assert not seen
    after(update, 6)
    assert set(seen[0][:, 1]) == {99} and list(tmp_path.iterdir()) == []
    for ours, theirs in zip(mentor.get_weights(), learned.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    update, _ = make_updates(trusting, tmp_path, weighting=late)
    after(update, 6)
    assert any((tmp_path / "mentornet").glob("mentornet-6*"))


def test_the_steps_after_which_it_is_updated(trusting, tmp_path):
    update, _ = make_updates(trusting, tmp_path)
    done: list[int] = []
    update._update = done.append
    for step in range(13):
        update(types.SimpleNamespace(step=step))
    assert done == [6, 9]


def test_five_trusted_samples_suffice(trusting, tmp_path):
    make_updates(trusting, tmp_path, count=5)
    with pytest.raises(InputError, match="at least 5 .*trusted=4"):
        make_updates(trusting, tmp_path, count=4)


def test_an_update_standardises_as_the_student_does(trusting, tmp_path, monkeypatch):
    found = []
    monkeypatch.setattr(mentor_updates, "Predictor", lambda student, kind: found.append(kind))
    make_updates(trusting, tmp_path, studentnet="airbench93")
    make_updates(trusting, tmp_path)
    assert found == ["channel", "image"]
