"""Hooks, without a training around them."""

import os
import signal
import threading
import weakref
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf

from mentornet import InputError
from mentornet.config.training import TrainConfig
from mentornet.datasets.records import Examples
from mentornet.training import hooks
from mentornet.training.step import Samples, StepResult


def moment(step, *losses, is_last=False):
    """The moment after a call with one step per loss."""
    column = tf.zeros([0, 1])
    empty = Samples(column, column, column, column, tf.zeros([0]), None)
    total = tf.constant(losses[0] if len(losses) == 1 else losses)
    return hooks.Moment(step, StepResult({"mentornet/total_loss": total}, empty), is_last)


@pytest.mark.parametrize("calls", [([1.0, 2.0], [3.0, float("nan")]), ([1.0], [2.0], [3.0])])
def test_the_step_of_a_loss_that_is_not_finite(calls):
    finite, step = hooks.FiniteLosses([]), 0
    for losses in calls:
        step += len(losses)
        last = moment(step, *losses)
        finite(last)
        assert last.result.num_steps == len(losses)
    if len(calls) == 2:
        with pytest.raises(InputError, match="The loss of step 4 is nan"):
            finite.check(step)
        return
    finite.check(3)
    finite(moment(4, 1.0))
    finite(moment(5, float("inf")))
    with pytest.raises(InputError, match="The loss of step 5 is inf"):
        finite.check(5)


def test_no_logits_are_kept_until_the_next_row():
    """Of many steps they would take gigabytes; the row is that of all samples nonetheless."""
    labels = np.array([0, 1, 2, 0])
    unknown = np.full(4, -1)
    examples = Examples(tf.zeros([4, 1]), (1,), labels, unknown, np.arange(4), unknown == 1)
    writer, finite = mock.Mock(), hooks.FiniteLosses([])
    log, kept = hooks.Log(config(log_every_steps=2), writer, examples, finite), []
    for step, (first, predicted) in enumerate((((0, 1), (0, 2)), ((2, 3), (2, 0))), start=1):
        logits = tf.one_hot(predicted, 3)
        kept.append(weakref.ref(logits))
        column, positions = tf.ones([2, 1]), tf.constant(first, tf.int64)
        samples = Samples(column, column, column, logits, tf.zeros([2]), positions)
        scalars = {"mentornet/total_loss": tf.constant(float(step))}
        seen = hooks.Moment(step, StepResult(scalars, samples), False)
        del logits, samples
        finite(seen)
        log(seen)
        del seen
        assert kept[-1]() is None
    ((number, row),) = (call.args for call in writer.write_scalars.call_args_list)
    assert (number, row["mentornet/total_loss"]) == (2, 2.0)
    assert row["predictions/as_given"] == 0.75


def config(**values):
    return TrainConfig("d", "t", max_number_of_steps=20, **values)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"save_interval_steps": 4}, [4, 8, 10]),
        ({"save_interval_secs": 0}, list(range(1, 11))),
        ({}, [10]),
    ],
)
def test_when_a_checkpoint_is_saved(values, expected):
    parameters = [tf.Variable([0.0, 1.0]), tf.Variable([2.0])]
    saved, finite = mock.Mock(), hooks.FiniteLosses(parameters)
    save, seen = hooks.Save(config(**values), saved, finite), []
    hooks.Save(config(**values), None, finite)(moment(10, 1.0, is_last=True))  # Another worker.
    for step in range(1, 11):
        before = saved.save.call_count
        save(moment(step, 1.0, is_last=step == 10))
        seen += [step] * (saved.save.call_count - before)
    assert seen == expected
    finite(moment(11, float("nan")))
    with pytest.raises(InputError, match="step 11"):
        save(moment(11, float("nan"), is_last=True))
    parameters[0].assign([0.0, float("inf")])  # One of several elements.
    with pytest.raises(InputError, match="The parameters after step 12 are not finite"):
        save(moment(12, 1.0, is_last=True))
    assert saved.save.call_count == len(expected)


def test_the_best_is_set_aside():
    """When the wave says so of this call; in other workers the losses are checked, too."""
    parameter = tf.Variable([0.0])
    finite, wave, kept = hooks.FiniteLosses([parameter]), mock.Mock(), mock.Mock()
    wave.record = mock.Mock(side_effect=lambda step, number: (step, number) in ((3, 2), (9, 1)))
    wave.scalars = lambda: {"label_wave/changed": 0.25}
    keep, elsewhere = (hooks.KeepBest(wave, each, finite) for each in (kept, None))
    for last in (moment(1, 1.0), moment(3, 1.0, 1.0), moment(4, 1.0)):
        keep(last)
        elsewhere(last)
        assert kept.set_aside.call_count == (last.step > 1)
        assert last.scalars == {"label_wave/changed": 0.25}
    parameter.assign([float("nan")])
    for hook in (keep, elsewhere):
        with pytest.raises(InputError, match="The parameters after step 9 are not finite"):
            hook(moment(9, 1.0))
    assert kept.set_aside.call_count == 1


def test_rows_of_the_log_by_hand(monkeypatch):
    """Scalars of the last step, shares of all samples since the last row; four took 0.5 s."""
    clock = iter([10.0, 10.5, 11.0, 20.0, 21.0])
    monkeypatch.setattr(hooks.time, "monotonic", lambda: next(clock))
    labels, clean = np.array([0, 1, 1, 0]), np.array([0, 1, 0, 1])  # Two are wrong.
    examples, writer = mock.Mock(labels=labels, clean_labels=clean), mock.Mock()
    finite = hooks.FiniteLosses([])
    made = TrainConfig("d", "t", max_number_of_steps=3, log_every_steps=2)
    log = hooks.Log(made, writer, examples, finite)
    for step, positions, predicted, weights in (
        (1, [0, 2], [0, 1], [1.0, 0.5]),
        (2, [1, 3], [0, 1], [0.5, 0.25]),
        (3, [3, 2], [0, 1], [0.0, 1.0]),
    ):
        column = tf.constant(weights)[:, None]
        given, logits = tf.constant(labels[positions]), tf.one_hot(predicted, 2)
        samples = Samples(0 * column, column, 0 * column, logits, given, tf.constant(positions))
        result = StepResult({"loss": tf.constant(1.0 + step)}, samples)
        last = hooks.Moment(step, result, step == 3, {"label_wave/changed": 0.25})
        log(last)
    rows = [call.args for call in writer.write_scalars.call_args_list]
    expected = {"loss": 3.0, "predictions/as_given": 0.5, "predictions/corrupted_as_given": 0.5}
    expected |= {"sample_weights/mean_clean": 0.75, "sample_weights/mean_corrupted": 0.375}
    expected |= {"sample_weights/auc": 0.875, "images_per_second": 8.0, "label_wave/changed": 0.25}
    assert rows[0] == (2, pytest.approx(expected))
    expected = {"loss": 4.0, "predictions/as_given": 1.0, "predictions/corrupted_as_given": 1.0}
    expected |= {"sample_weights/mean_corrupted": 0.5, "images_per_second": 2 / 9}
    assert rows[1:] == [(3, pytest.approx(expected | {"label_wave/changed": 0.25}))]


def test_a_loss_that_is_not_finite_is_not_logged():
    writer, finite = mock.Mock(), hooks.FiniteLosses([])
    log = hooks.Log(config(log_every_steps=1), writer, mock.Mock(), finite)
    finite(moment(1, float("inf")))
    with pytest.raises(InputError, match="The loss of step 1 is inf"):
        log(moment(1, float("inf")))
    assert not writer.write_scalars.called


def test_training_in_a_thread():
    """Where Python has no signals; an application may train there."""
    stopped = []

    def train():
        with hooks.Stop(mock.Mock()).on_signals():
            stopped.append(False)

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert stopped == [False]


def test_signals_to_this_worker_and_to_another():
    for here, elsewhere, reason in (
        (True, False, "SIGTERM"),
        (False, True, "a signal to another worker"),
    ):
        any_worker = mock.Mock(side_effect=lambda own, other=elsewhere: own or other)
        stop = hooks.Stop(any_worker)
        before = signal.getsignal(signal.SIGTERM)
        with stop.on_signals():
            if here:
                stop(untouched := moment(1, 1.0))
                assert not untouched.is_last and stop.reason is None
                os.kill(os.getpid(), signal.SIGTERM)
            stop(last := moment(2, 1.0))
            assert last.is_last
        assert stop.reason == reason
        assert signal.getsignal(signal.SIGTERM) is before


def test_time_counts_from_the_last_save(monkeypatch):
    """A step takes 30 s; due after 60 s, and at step 5, which begins the time anew."""
    now = [0.0]
    monkeypatch.setattr(hooks.time, "monotonic", lambda: now[0])
    saved, seen = mock.Mock(), []
    values = {"save_interval_secs": 60, "save_interval_steps": 5}
    save = hooks.Save(config(**values), saved, hooks.FiniteLosses([]))
    for step in range(1, 10):
        now[0] += 30
        before = saved.save.call_count
        save(moment(step, 1.0))
        seen += [step] * (saved.save.call_count - before)
    assert seen == [2, 4, 5, 7, 9]


def test_a_second_signal_has_its_usual_effect():
    seen: list[str] = []
    usual = signal.signal(signal.SIGTERM, lambda *_: seen.append("usual"))
    try:
        stop = hooks.Stop(mock.Mock(side_effect=bool))
        with stop.on_signals():
            signal.raise_signal(signal.SIGTERM)
            stop(last := moment(1, 1.0))
            assert last.is_last and seen == []
            signal.raise_signal(signal.SIGTERM)
            assert seen == ["usual"]
        assert stop.reason == "SIGTERM"
    finally:
        signal.signal(signal.SIGTERM, usual)


def test_the_first_bad_loss_is_named():
    finite = hooks.FiniteLosses([])
    finite(moment(2, 1.0, float("nan")))
    finite(moment(3, float("inf")))
    with pytest.raises(InputError, match="The loss of step 2 is nan"):
        finite.check(3)


def test_an_error_leaves_no_handler_behind():
    """So that the next interrupt, of a notebook for example, has its usual effect."""
    numbers = signal.SIGTERM, signal.SIGINT
    before = [signal.getsignal(number) for number in numbers]
    with pytest.raises(InputError, match="nan"), hooks.Stop(mock.Mock()).on_signals():
        assert signal.getsignal(signal.SIGINT) is not before[1]
        raise InputError("The loss is nan.")
    assert [signal.getsignal(number) for number in numbers] == before
