"""Runs and models of an earlier version can be continued (tests/fixtures)."""

import dataclasses
import json
import shutil
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import ROOT, latest_state, start

from mentornet import InputError, MentoredModel
from mentornet.cleaning.label_errors import score_labels
from mentornet.label_noise import history
from mentornet.label_noise.history import COLUMNS, Column, SampleHistory
from mentornet.runs.checkpoints import RunCheckpoint, find_latest, read_run_config

EARLIER = ROOT / "tests" / "fixtures" / "earlier_run"
VALUES = "state/sample_history/.ATTRIBUTES/VARIABLE_VALUE"
NAMES = "state/sample_history_columns/.ATTRIBUTES/VARIABLE_VALUE"
# Bit-identical on the machine that wrote the fixture; others round differently.
CLOSE: Any = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture(scope="module")
def earlier(digits, tmp_path_factory):
    """A copy of the run of an earlier version, with its data in place."""
    folder = tmp_path_factory.mktemp("earlier") / "train"
    shutil.copytree(EARLIER, folder)
    config = json.loads((folder / "config.json").read_text())
    config["data_dir"] = str(digits / "0.4")
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_a_run_goes_on(earlier, digits, tmp_path):
    """Weights, mixup, both moving averages and statistics are those of the earlier version."""
    folder = tmp_path / "train"
    shutil.copytree(earlier, folder)
    flags = {
        "dataset_name": "digits",
        "data_dir": digits / "0.4",
        "studentnet": "tiny_student:build",
        "batch_size": 16,
        "max_number_of_steps": 20,
        "learning_rate": 0.02,
        "log_every_steps": 5,
        "trained_mentornet_dir": "mentornet_pd",
        "burn_in_epoch": 20,
        "example_dropout_rates": "0.5,17,0.1,83",
        "ema_decay": 0.9,
        "record_sample_weights": True,
        "train_log_dir": folder,
    }
    arguments = [f"--{name}={value}" for name, value in flags.items()]
    process = start("code/cifar_train_mentormix.py", *arguments, PYTHONPATH=str(EARLIER))
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert "Resuming from" in output
    state = latest_state(folder)
    with np.load(EARLIER / "end.npz") as file:
        expected = {key.replace("|", "/"): file[key] for key in file.files}
    assert state.keys() - expected.keys() == {NAMES}
    assert expected.keys() <= state.keys()
    assert [name.decode() for name in state[NAMES]] == list(COLUMNS)
    values = state[VALUES]
    state[VALUES] = values[:, : expected[VALUES].shape[1]]
    for key, value in expected.items():
        np.testing.assert_allclose(state[key], value, err_msg=key, **CLOSE)
    # Columns that the version lacked start here: 10 steps of 16 samples.
    counted = values[:, list(COLUMNS).index("num_counted")]
    assert counted.sum() == 160 < values[:, 0].sum()
    before, after = score_labels([str(earlier)]), score_labels([str(folder)])
    assert before.score.max() > 0 and not np.array_equal(before.score, after.score)


def test_a_saved_model_goes_on():
    model = keras.models.load_model(EARLIER / "fit.keras")
    assert isinstance(model, MentoredModel)  # Importing it registers it with Keras.
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(64, 6)).astype("float32")
    labels = generator.integers(0, 3, 64)
    how = {"batch_size": 8, "shuffle": False, "verbose": 0}
    model.fit(inputs, labels, epochs=2, initial_epoch=1, **how)
    with np.load(EARLIER / "fit_end.npz") as file:
        expected = [file[name] for name in file.files]
    for ours, theirs in zip(model.get_weights(), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, **CLOSE)


@pytest.fixture
def saved():
    """Statistics as an earlier checkpoint holds them: six columns without names."""
    values = np.random.default_rng(0).uniform(size=(5, 6)).astype(np.float32)
    return {history.VALUES: values}


def test_columns_that_are_younger_than_the_run(saved, monkeypatch):
    """They are filled with `absent`, or the run is rejected with their names."""
    weights = Column(lambda seen: seen.weights, absent=0.5)
    monkeypatch.setattr(history, "COLUMNS", {"last_weight": weights} | COLUMNS)
    values = SampleHistory(5)
    values.restore(saved)
    np.testing.assert_array_equal(values.values[:, 0], 0.5)
    np.testing.assert_array_equal(values.values[:, 1:7], saved[history.VALUES])
    np.testing.assert_array_equal(values.values[:, 7:], 0)
    one = tf.constant([[1.0]])
    values.update([2], [0], one, 0.25 * one, tf.zeros([1, 3]))
    assert float(values.read([2])["last_weight"][0]) == 0.25
    needed = dataclasses.replace(weights, absent=None)
    monkeypatch.setattr(history, "COLUMNS", {"last_weight": needed} | COLUMNS)
    with pytest.raises(InputError, match=r"lacks columns .* Received: columns=.'last_weight'"):
        SampleHistory(5).restore(saved)


def test_columns_that_are_older_or_unknown(saved):
    names = np.array([*list(COLUMNS)[:6], "visits"]).astype(bytes)
    values = np.concatenate([saved[history.VALUES], np.ones((5, 1), np.float32)], axis=1)
    newer = {history.VALUES: values, history.NAMES: names}
    with pytest.raises(InputError, match=r"this version lacks. Received: columns=.'visits'"):
        SampleHistory(5).restore(newer)
    assert history.saved_columns(newer)["visits"].tolist() == [1] * 5
    with pytest.raises(InputError, match="must name its columns. Received: columns=7"):
        history.saved_columns({history.VALUES: values})


def test_a_report_of_other_columns(earlier, tmp_path):
    """Columns may be in another order, with additional ones; a missing one is named."""
    from mentornet.runs import checkpoints

    read = checkpoints.read_state(
        checkpoints.find_latest(str(earlier)), (history.VALUES, history.NAMES)
    )
    columns = history.saved_columns(read)
    expected = score_labels([str(earlier)]).score
    for number, names in enumerate(([*list(columns)[::-1], "visits"], ["num_seen", "mean_loss"])):
        folder = tmp_path / str(number)
        folder.mkdir()
        shutil.copy(earlier / "config.json", folder)
        values = [columns.get(name, np.ones(200, np.float32)) for name in names]
        state = {
            history.VALUES: tf.Variable(np.stack(values, axis=1)),
            history.NAMES: tf.Variable(names),
        }
        tf.train.Checkpoint(state=state).write(str(folder / "model.ckpt-10"))
        if number == 0:
            np.testing.assert_array_equal(score_labels([str(folder)]).score, expected)
        else:
            with pytest.raises(InputError, match=r"missing=.'mean_weight', 'prediction'"):
                score_labels([str(folder)])


def test_a_checkpoint_holds_the_configuration_with_which_the_run_goes_on(tmp_path):
    """Not that of the version, or of the other settings, with which it began."""
    step = tf.Variable(0)
    for number in (1, 2):
        parts: Any = keras.Sequential(), {"version": number}, {"global_step": step}, 5
        checkpoint = RunCheckpoint(str(tmp_path), *parts)
        assert (checkpoint.restore_latest() is None) == (number == 1)
        step.assign_add(1)
        checkpoint.save()
    latest = find_latest(str(tmp_path))
    assert latest.endswith("-2") and read_run_config(latest) == {"version": 2}
