"""The checkpoint that is kept where memorising begins."""

import dataclasses
import json
import pathlib
import shutil
import types
from typing import Any

import helpers
import keras
import numpy as np
import pytest
import tensorflow as tf

from mentornet import InputError
from mentornet.config.evaluation import EvalConfig
from mentornet.config.training import TrainConfig
from mentornet.config.weighting import NamedWeighting
from mentornet.core import schedules
from mentornet.core.files import read_json_lines
from mentornet.evaluation import job
from mentornet.label_noise.changes import changed_shares, first_minimum, totals
from mentornet.label_noise.history import COLUMNS, SampleHistory
from mentornet.runs.checkpoints import checkpoint_step, find_latest
from mentornet.runs.students import restore_student
from mentornet.training import hooks, loop
from mentornet.training.label_wave import LabelWave


def test_totals_are_exact_where_float32_is_not():
    history = np.zeros((2, len(COLUMNS)), np.float32)
    history[:, list(COLUMNS).index("num_counted")] = 2**24, 1
    assert totals(tf.constant(history)).numpy().tolist() == [0, 2**24 + 1]


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ([], (-1, False)),
        ([0.5], (-1, False)),
        ([0.5, 0.3], (1, False)),
        ([0.5, 0.3, 0.2, 0.2], (3, False)),  # Means 0.4, 0.25, 0.2: still falling.
        ([0.5, 0.3, 0.2, 0.25, 0.1, 0.1], (5, False)),  # 0.4, 0.25, 0.225, 0.175, 0.1.
        ([0.5, 0.3, 0.2, 0.25, 0.3, 0.0, 0.0], (3, True)),  # 0.4, 0.25, 0.225, 0.275: over.
        ([0.5, 0.1, 0.3, 0.1, 0.3, 0.2], (2, True)),  # 0.3, 0.2, 0.2, 0.2, 0.25: the first of them.
        ([0.5, 0.25, 0.25, 0.25, 0.0], (4, False)),  # 0.375, 0.25, 0.25, 0.125.
        ([0.0, 0.0, 0.1, 0.4], (3, False)),  # Rises from the start: 0, 0.05, 0.25.
        ([0.0, 0.0, 0.2, 0.4, 0.2, 0.0, 0.1, 0.3], (6, True)),  # 0, 0.1, 0.3, 0.3, 0.1, 0.05, 0.2.
    ],
)
def test_the_first_minimum(shares, expected):
    assert first_minimum(np.array(shares)) == expected


def test_shares_by_hand():
    assert changed_shares(np.array([[1, 10], [3, 14], [3, 20]])).tolist() == [2 / 4, 0 / 6]
    assert changed_shares(np.zeros((0, 2), np.int64)).tolist() == []


def visits(history, predictions, positions):
    one = tf.ones([len(positions), 1])
    labels = tf.zeros([len(positions)], tf.int64)
    logits = tf.one_hot(predictions, 3)
    history.update(tf.constant(positions), labels, one, one, logits)


@pytest.mark.parametrize("steps_per_call", [1, 2])
def test_shares_equal_numpy_also_after_a_resume(steps_per_call):
    """Seven samples in batches of three: passes end within steps."""
    generator = np.random.default_rng(1)
    order = np.concatenate([generator.permutation(7) for _ in range(6)])
    predicted = generator.integers(0, 3, len(order))
    history = SampleHistory(7)
    last: dict[int, int] = {}
    changes: list[bool] = []
    wave = LabelWave(history, max_number_of_steps=14, batch_size=3)
    totals = [(0, 0)]
    for step in range(1, 15):
        seen = slice(3 * step - 3, 3 * step)
        visits(history, predicted[seen], order[seen])
        for position, prediction in zip(order[seen], predicted[seen], strict=True):
            changes.append(last.get(position, prediction) != prediction)
            last[position] = prediction
        if step % steps_per_call == 0:
            wave.record(step, steps_per_call)
            if 3 * step // 7 > 3 * (step - steps_per_call) // 7:
                totals.append((step, int(np.sum(changes))))
        if step == 6:  # All that a checkpoint holds.
            saved = {name: variable.numpy() for name, variable in wave.state().items()}
            wave = LabelWave(history, max_number_of_steps=14, batch_size=3)
            for name, variable in wave.state().items():
                variable.assign(saved[name])
    ((name, passes),) = wave.state().items()
    assert name == "label_wave_step_changed_visits"  # Checkpoints of earlier versions have it.
    assert not passes.trainable
    rows = passes.numpy()
    rows = rows[rows[:, 0] > 0]
    assert len(rows) >= 3
    assert rows[:, :2].tolist() == [list(row) for row in totals[1 : len(rows) + 1]]
    counted = history.values.numpy()[:, list(COLUMNS).index("num_counted")].sum()
    assert rows[-1, 2] == 3 * rows[-1, 0] <= counted


def test_two_passes_keep_nothing():
    """They have one change, and no mean of two."""
    history = SampleHistory(4)
    wave = LabelWave(history, max_number_of_steps=6, batch_size=2)
    kept = []
    for step in range(1, 7):
        positions = np.arange(4)[2 * (step - 1) % 4 :][:2]
        visits(history, np.full(2, step % 3), positions)
        kept.append(wave.record(step, 1))
        assert bool(wave.remarks()) == (step < 6)
    assert kept == [False] * 5 + [True]
    assert wave.scalars()["label_wave/kept_step"] == 6


def test_rows_tell_of_the_last_pass_after_the_minimum_too():
    history, predicted = SampleHistory(4), np.zeros(4, int)
    wave, kept = LabelWave(history, max_number_of_steps=6, batch_size=4), []
    for step, num_changed in enumerate((0, 4, 2, 1, 3, 4), start=1):
        predicted[:num_changed] = 1 - predicted[:num_changed]
        visits(history, predicted, np.arange(4))
        kept.append(wave.record(step, 1))
    assert kept == [False, False, True, True, False, False]
    expected = {"label_wave/changed": 1, "label_wave/kept_step": 4, "label_wave/is_over": 1}
    assert wave.scalars() == expected


@pytest.mark.parametrize(
    ("first_step", "kept", "kept_step"), [(0, [3, 4], 4), (3, [5], 5), (4, [6], 6), (5, [], 0)]
)
def test_passes_before_the_first_step_do_not_count(first_step, kept, kept_step):
    """The changes of two passes, from the second pass on, are 5, 4, 5 and 5."""
    history, predicted, found = SampleHistory(4), np.zeros(4, int), []
    wave = LabelWave(history, max_number_of_steps=6, batch_size=4, first_step=first_step)
    for step, num_changed in enumerate((0, 4, 1, 3, 2, 3), start=1):
        predicted[:num_changed] = 1 - predicted[:num_changed]
        visits(history, predicted, np.arange(4))
        found += [step] * wave.record(step, 1)
    assert found == kept
    assert wave.scalars().get("label_wave/kept_step", 0) == kept_step


STEPS, STOPS = 20, (3, 7, 17)  # In the middle of passes.
AUTO = NamedWeighting("self_paced", {"loss_p_percentile": "auto", "burn_in_epoch": "auto"})


def config(digits, folder, **values):
    defaults: dict[str, Any] = {"keep_best": "label_wave", "weighting": AUTO, "learning_rate": 0.02}
    defaults |= {"max_number_of_steps": STEPS, "log_every_steps": 1}
    return TrainConfig(
        str(digits / "0.4"),
        str(folder),
        dataset_name="digits",
        studentnet="helpers:small_student",
        batch_size=100,  # Two steps are a pass over the 200 images.
        max_to_keep=1,
        learning_rate_boundaries=(STEPS + 1,),
        **(defaults | values),
    )


@pytest.fixture(scope="module")
def kept(digits, tmp_path_factory):
    """A run, and of each step the positions, what was predicted, and the weights."""
    folder = tmp_path_factory.mktemp("kept") / "train"
    seen, note = [], hooks.FiniteLosses.__call__

    def record(self, moment):
        samples = moment.result.samples
        predictions = np.argmax(samples.logits, axis=1)
        seen.append((samples.positions.numpy(), predictions, samples.before_dropout.numpy()))
        note(self, moment)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hooks.FiniteLosses, "__call__", record)
        loop.train(config(digits, folder))
    return folder, seen


def expected_step(seen):
    """The first local minimum, from what each step predicted."""
    last, shares = np.full(200, -1), []
    for first in range(0, len(seen), 2):
        changed = 0
        for positions, predictions, _ in seen[first : first + 2]:
            changed += int(np.sum((last[positions] >= 0) & (last[positions] != predictions)))
            last[positions] = predictions
        shares.append(changed / 200)
    means = [(a + b) / 2 for a, b in zip(shares[1:], shares[2:], strict=False)]
    falls = next(i for i in range(1, len(means)) if means[i] < means[i - 1])
    rises = [i for i in range(falls, len(means) - 1) if means[i + 1] > means[i]]
    return 2 * ((rises[0] if rises else len(means) - 1) + 3)


def test_the_checkpoint_of_that_pass_is_kept(kept):
    folder, seen = kept
    step = expected_step(seen)
    names = {path.stem for path in (folder / "label_wave").glob("model.ckpt-*.index")}
    assert names == {f"model.ckpt-{step}"}
    assert checkpoint_step(find_latest(str(folder))) == STEPS
    assert step < STEPS  # The run goes on beyond the minimum.
    log = read_json_lines(folder / "metrics.jsonl")
    first = next(row for row in log if row.get("label_wave/kept_step") == step)
    assert first["step"] == step  # The row of the very step says so.
    assert log[-1]["label_wave/kept_step"] == step
    assert log[-1]["label_wave/is_over"] == 1


def test_a_run_that_was_stopped_keeps_the_same(kept, digits, tmp_path, capsys):
    """Also where "auto" has begun to weigh samples, and before."""
    folder, seen = kept
    weighted = [number for number, (*_, weights) in enumerate(seen, 1) if weights.min() == 0]
    assert STOPS[1] < weighted[0] <= STOPS[2] < weighted[-1]
    for stop in (*STOPS, None):
        loop.train(config(digits, tmp_path, stop_after_step=stop))
    said = capsys.readouterr().out
    assert "label_wave:" not in said and said.count("auto: ") == 1  # At the end of the training.
    helpers.assert_same_state(folder, tmp_path)
    helpers.assert_same_state(folder / "label_wave", tmp_path / "label_wave")
    loop.train(config(digits, tmp_path, overwrite=True, max_number_of_steps=4))  # Two passes.
    assert not (tmp_path / "label_wave").exists()
    assert "no checkpoint was kept, as fewer than 3 passes" in capsys.readouterr().out


def test_the_evaluation_says_what_it_reaches(kept, digits, tmp_path, capsys):
    folder, seen = kept
    step = expected_step(seen)
    asked = EvalConfig(str(folder), str(tmp_path), str(digits / "val"), batch_size=360)
    for _ in range(2):
        job.run(asked)
        rows = read_json_lines(tmp_path / "eval.jsonl")
        assert {row["step"] for row in rows} == {step, STEPS}
        summary = json.loads((tmp_path / "summary.json").read_text())
        assert summary["label_wave_step"] == step
        assert summary["label_wave_accuracy"] == accuracy_of(folder / "label_wave", digits)
        assert summary["last_accuracy"] == accuracy_of(folder, digits)
        shown = f"label wave accuracy {summary['label_wave_accuracy']:.4f} (step {step})"
        assert shown in capsys.readouterr().out


def test_a_kept_checkpoint_is_not_the_last_of_a_run_that_was_killed(kept, digits, tmp_path):
    """As if it had been killed between setting aside the last step and saving it."""
    folder, seen = kept
    step, killed = expected_step(seen), tmp_path / "train"
    shutil.copytree(folder / "label_wave", killed)
    shutil.copytree(folder, killed / "label_wave")
    asked = EvalConfig(
        str(killed), str(tmp_path / "eval"), str(digits / "val"), batch_size=360, run_once=True
    )
    for _ in range(2):
        job.run(asked)
        summary = json.loads((tmp_path / "eval" / "summary.json").read_text())
        assert (summary["last_step"], summary["label_wave_step"]) == (step, STEPS)
        assert summary["last_accuracy"] != summary["label_wave_accuracy"]
    rows = read_json_lines(tmp_path / "eval" / "eval.jsonl")
    assert [(row["step"], row.get("kept")) for row in rows] == [(step, None), (STEPS, True)]
    assert not (tmp_path / "eval" / "eval-1.jsonl").exists()

    def resume(_):  # The run goes on to its end, for which the job waits.
        shutil.copytree(folder, killed, dirs_exist_ok=True)

    waiting = dataclasses.replace(asked, run_once=False, timeout_secs=60)
    job.run(waiting, sleep=resume)
    summary = json.loads((tmp_path / "eval" / "summary.json").read_text())
    assert summary["last_step"] == STEPS


def accuracy_of(folder: pathlib.Path, digits: pathlib.Path) -> float:
    from mentornet.datasets import records
    from mentornet.datasets.catalog import dataset_info

    path = str(digits / "val")
    examples = records.read_examples(path, dataset_info("digits", path), "test")
    student: keras.Model = helpers.small_student(10)
    restore_student(student, find_latest(str(folder)))
    pixels = np.asarray(examples.images, np.float64).reshape(len(examples), -1)
    spread = np.maximum(pixels.std(axis=1), 1 / np.sqrt(pixels.shape[1]))
    pixels = (pixels - pixels.mean(axis=1, keepdims=True)) / spread[:, None]
    kernel, bias = student.get_weights()
    return float(np.mean(np.argmax(pixels @ kernel + bias, axis=1) == examples.labels))


def test_other_names():
    with pytest.raises(InputError, match="`keep_best` must be one of label_wave"):
        TrainConfig("d", "t", keep_best="best")


def test_passes_count_from_the_last_rise_of_the_learning_rate(monkeypatch):
    """It rises to 23 % of 200 steps, the step 46."""
    made = []
    monkeypatch.setattr(loop, "LabelWave", lambda *arguments: made.append(arguments))
    trainer: Any = types.SimpleNamespace(history="history")
    asked = TrainConfig("d", "t", keep_best="label_wave", batch_size=7, max_number_of_steps=200)
    rates = schedules.follow_shape("0:0.2,0.23:1,1:0.07", 1.5, 200)
    loop._label_wave(asked, trainer, rates)
    assert made == [("history", 200, 7, 46)]


def test_a_kept_checkpoint_alone_is_not_evaluated(kept, digits, tmp_path, capsys):
    folder, _ = kept
    shutil.copytree(folder / "label_wave", tmp_path / "train" / "label_wave")
    places = str(tmp_path / "train"), str(tmp_path / "eval"), str(digits / "val")
    job.run(EvalConfig(*places, timeout_secs=0))
    assert "Nothing was evaluated." in capsys.readouterr().out
    assert not read_json_lines(tmp_path / "eval" / "eval.jsonl")
