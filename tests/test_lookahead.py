"""Lookahead against NumPy, resumed, and in replicas; and label smoothing."""

import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from mentornet.training.lookahead import Lookahead
from mentornet.training.losses import cross_entropy
from mentornet.training.wrappers import LossScaled, OptimizerUpdate

T, EVERY = 12, 5


def student():
    """A layer with a trained variable, and one that is not."""
    layers = [keras.layers.Dense(3, use_bias=False), keras.layers.BatchNormalization()]
    return keras.Sequential([keras.Input((4,)), *layers])


class Counter:
    """A student's update that changes nothing; `run` does."""

    def __init__(self, step):
        self.optimizer = types.SimpleNamespace(iterations=types.SimpleNamespace(value=step))

    def scale_loss(self, loss):
        return loss

    def apply(self, gradients):
        pass

    def state(self):
        return {}


def make(model, step, num_steps=T):
    return Lookahead(Counter(step), model, EVERY, num_steps)


def run(model, lookahead, step, first, last, gradients):
    """Moves all variables in steps first + 1..last, as an optimizer and moving averages do."""
    for number in range(first, last):
        for variable, gradient in zip(model.variables, gradients[number], strict=True):
            variable.assign_sub(gradient)
        step.assign(number + 1)
        lookahead.apply([])


@pytest.fixture
def case():
    tf.keras.utils.set_random_seed(0)
    model, random = student(), np.random.default_rng(0)
    shapes = [v.shape for v in model.variables]
    return model, [[random.normal(size=shape) for shape in shapes] for _ in range(T)]


@pytest.mark.parametrize("num_steps", [6, 10, 12])
def test_against_numpy(case, num_steps):
    """The number of steps is a multiple of 5, or not: an update due at the end counts."""
    model, gradients = case
    step = tf.Variable(0, dtype=tf.int64)
    lookahead = make(model, step, num_steps)
    assert len(lookahead.state()) == len(model.variables) == 5  # Moving statistics included.
    assert not any(v.trainable for v in lookahead.state().values())
    fast = [v.numpy().astype(np.float64) for v in model.variables]
    slow = [v.copy() for v in fast]
    for t in range(1, num_steps + 1):
        fast = [v - g for v, g in zip(fast, gradients[t - 1], strict=True)]
        if t % EVERY == 0:
            d = 0.95**5 * (t / num_steps) ** 3
            slow = [d * s + (1 - d) * f for s, f in zip(slow, fast, strict=True)]
            fast = [s.copy() for s in slow]
        if t == num_steps:
            fast = slow
        run(model, lookahead, step, t - 1, t, gradients)
        for variable, expected in zip(model.variables, fast, strict=True):
            np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_going_on_from_a_checkpoint_changes_nothing(case):
    model, gradients = case
    start, step = model.get_weights(), tf.Variable(0, dtype=tf.int64)
    run(model, make(model, step), step, 0, T, gradients)
    whole = model.get_weights()
    model.set_weights(start)
    step.assign(0)
    lookahead = make(model, step)
    run(model, lookahead, step, 0, 7, gradients)
    saved = {name: v.numpy() for name, v in lookahead.state().items()}
    resumed = make(model, step)
    for name, variable in resumed.state().items():
        variable.assign(saved[name])
    run(model, resumed, step, 7, T, gradients)
    for a, b in zip(whole, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_steps_that_loss_scaling_skips(case):
    """A gradient that overflows counts as 0, at a step that blends (5) and at one that does not."""
    model, gradients = case
    update = LossScaled(OptimizerUpdate(keras.optimizers.SGD(1.0), model))
    lookahead = Lookahead(update, model, EVERY, T)
    trained = model.trainable_variables
    slow = fast = [v.numpy().astype(np.float64) for v in trained]
    for t in range(1, T + 1):
        step, scale = gradients[t - 1][: len(trained)], float(lookahead.scale_loss(tf.ones([])))
        if is_skipped := t in (3, 5, 11):
            step[1][0] = np.inf if t == 5 else np.nan
        held = {name: v.numpy() for name, v in lookahead.state().items() if "slow" in name}
        lookahead.apply([tf.constant(scale * g, tf.float32) for g in step])
        if not is_skipped:
            fast = [v - g for v, g in zip(fast, step, strict=True)]
        if t % EVERY == 0:
            d = 0.95**5 * (t / T) ** 3
            slow = fast = [d * s + (1 - d) * f for s, f in zip(slow, fast, strict=True)]
        if t % EVERY and t < T:
            for name, value in held.items():
                np.testing.assert_array_equal(lookahead.state()[name], value)
        if t == T:
            fast = slow
        for variable, expected in zip(trained, fast, strict=True):
            np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-4, atol=1e-5)
    assert int(lookahead.optimizer.iterations) == T
    assert float(lookahead.state()["loss_scale"]) == 2**12


def test_smoothed_cross_entropy_against_numpy():
    random = np.random.default_rng(0)
    logits = random.normal(size=(5, 4)).astype(np.float32)
    labels = np.array([0, 1, 2, 3, 0])
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    targets = 0.8 * np.eye(4)[labels] + 0.2 / 4
    expected = -(targets * log_p).sum(1, keepdims=True)
    np.testing.assert_allclose(cross_entropy(labels, logits, 0.2), expected, rtol=1e-5)
    np.testing.assert_allclose(
        cross_entropy(labels, logits), -log_p[np.arange(5), labels][:, None], rtol=1e-5
    )


def test_variables_that_are_no_numbers_are_left_alone():
    """Dropout has the state of a random generator."""
    layers = [keras.layers.Dropout(0.5, seed=0), keras.layers.Dense(1, use_bias=False)]
    model = keras.Sequential([keras.Input((4,)), *layers])
    lookahead = make(model, tf.Variable(EVERY, dtype=tf.int64))
    assert len(lookahead.state()) == 1
    lookahead.apply([])
