"""The objective of a step against NumPy, with simple functions for its parts."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from mentornet import InputError
from mentornet.config.weighting import MixupConfig
from mentornet.weighting.mixup import draw_partners
from mentornet.weighting.objective import Objective
from mentornet.weighting.protocol import Weighed

BATCH, STEP, STEPS, SEED, ALPHA = 4, 3, 12, 7, 0.8
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(BATCH, 3)).astype(np.float32)
KERNEL = RANDOM.normal(size=(3, 2)).astype(np.float32)
ONE_HOT = np.eye(2, dtype=np.float32)[[0, 1, 1, 0]]
GIVEN = np.array([[1.0], [0.5], [2.0], [0.25]], np.float32)
KNOWN = {"step": tf.constant(STEP, tf.int64), "total_steps": tf.constant(STEPS, tf.int64)}


def squares(labels, outputs):
    return tf.reduce_sum((outputs - 2 * labels) ** 2, axis=1, keepdims=True)


def cubes(labels, outputs):
    return tf.reduce_sum(tf.abs(outputs - 2 * labels) ** 3, axis=1, keepdims=True)


class Recorder:
    """A weighting that notes its batches, and returns what it is given or a falling function."""

    def __init__(self, result=None):
        self.batches, self._result = [], result

    def __call__(self, batch):
        self.batches.append(batch)
        return 1 / (1 + batch.losses) if self._result is None else self._result


def objective(weighting, **values):
    student = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, use_bias=False)])
    student.set_weights([KERNEL])
    values = {"labels_of": lambda y: tf.argmax(y, axis=1), "logits_of": lambda z: 10 * z} | values
    forward = functools.partial(student, training=True)
    return Objective(weighting, squares, forward, student, SEED, **values)


def compute(made, **values):
    outputs = made.outputs(tf.constant(X))
    return made(tf.constant(X), tf.constant(ONE_HOT), outputs, **KNOWN, **values)


def expected_loss(targets, inputs=X, power=2):
    return np.sum(np.abs(inputs @ KERNEL - 2 * targets) ** power, axis=1, keepdims=True)


@pytest.mark.parametrize("learned", [None, cubes])
def test_plain_samples(learned):
    """The weighting sees the plain losses; others may be learned; given weights multiply."""
    added = tf.constant([[1.0], [2.0], [3.0], [4.0]])
    weights = tf.constant([[0.1], [0.2], [0.3], [0.4]])
    weighting = Recorder(Weighed(weights, added=added))
    positions = tf.constant([5, 6, 7, 8], tf.int64)
    result = compute(objective(weighting, learned_losses=learned), positions=positions, given=GIVEN)
    losses, (batch,) = expected_loss(ONE_HOT), weighting.batches
    for found in (batch.losses, result.losses):
        np.testing.assert_allclose(found, losses, rtol=1e-5)
    assert (batch.epoch_percentage, batch.global_step) == (25, STEP)
    np.testing.assert_allclose(batch.logits, 10 * X @ KERNEL, rtol=1e-5)
    assert batch.labels.numpy().tolist() == [0, 1, 1, 0]
    assert batch.positions is positions
    minimised = expected_loss(ONE_HOT, power=3) if learned else losses
    np.testing.assert_allclose(result.learned_losses, minimised, rtol=1e-5)
    np.testing.assert_allclose(result.weights, weights * GIVEN, rtol=1e-6)
    np.testing.assert_allclose(result.weighed.weights, weights)  # As logged and remembered.
    size = tf.constant(5.0)
    expected = np.sum(weights * GIVEN * minimised) / 5
    assert result.weighted_loss(size).numpy() == pytest.approx(expected, rel=1e-5)
    assert result.added_loss(size).numpy() == pytest.approx((1 + 1 + 6 + 1) / 5)
    alone = compute(objective(Recorder(weights)), given=GIVEN)
    assert alone.added_loss(size) is None


def test_only_the_plain_pass_has_a_gradient_and_the_weighting_none():
    for mixup in (None, MixupConfig(ALPHA)):
        weighting = Recorder()
        made = objective(weighting, mixup=mixup)
        with tf.GradientTape(persistent=True) as tape:
            outputs = made.outputs(tf.constant(X))
            made(tf.constant(X), tf.constant(ONE_HOT), outputs, **KNOWN)
        kernel = made.student.trainable_variables[0]
        assert (tape.gradient(outputs, kernel) is None) == (mixup is not None)
        assert tape.gradient(weighting.batches[0].losses, kernel) is None


def test_a_second_weighting_has_no_gradient():
    second = Recorder()
    made = objective(Recorder(), mixup=MixupConfig(ALPHA, True), second=second)
    with tf.GradientTape() as tape:
        compute(made)
    kernel = made.student.trainable_variables[0]
    assert tape.gradient(second.batches[0].losses, kernel) is None


def test_the_last_epoch_lasts():
    """A training may go on after its number of steps, as a second fit() does."""
    weighting = Recorder()
    made, inputs = objective(weighting), tf.constant(X)
    for step in (11, 12, 15):
        known = KNOWN | {"step": tf.constant(step, tf.int64)}
        made(inputs, tf.constant(ONE_HOT), made.outputs(inputs), **known)
    assert [int(batch.epoch_percentage) for batch in weighting.batches] == [91, 99, 99]


@pytest.mark.parametrize("learned", [None, cubes])
@pytest.mark.parametrize("second", [False, True])
@pytest.mark.parametrize("given", [None, GIVEN])
def test_mixed_samples(learned, second, given):
    """Labels are mixed through the losses for both; the second weighting sees the plain ones."""
    first, again = Recorder(), Recorder() if second else None
    made = objective(first, mixup=MixupConfig(ALPHA, second), second=again, learned_losses=learned)
    result = compute(made, given=None if given is None else tf.constant(given))
    losses = expected_loss(ONE_HOT)
    np.testing.assert_allclose(result.losses, losses, rtol=1e-5)
    np.testing.assert_allclose(result.weighed.weights, 1 / (1 + losses), rtol=1e-5)
    partners, shares = draw_partners(tf.constant(1 / (1 + losses)), ALPHA, SEED, STEP)
    other, share = partners.numpy(), shares.numpy()[:, None]
    assert (other != np.arange(BATCH)).any()
    mixed = share * X + (1 - share) * X[other]

    def mixed_loss(power):
        own, others = (expected_loss(y, mixed, power) for y in (ONE_HOT, ONE_HOT[other]))
        return share * own + (1 - share) * others

    minimised = mixed_loss(3 if learned else 2)
    np.testing.assert_allclose(result.learned_losses, minimised, rtol=1e-4)
    weights = np.ones((BATCH, 1))
    if again is not None:
        (batch,) = again.batches
        np.testing.assert_allclose(batch.losses, mixed_loss(2), rtol=1e-4)
        np.testing.assert_allclose(batch.logits, 10 * mixed @ KERNEL, rtol=1e-4)
        weights = 1 / (1 + mixed_loss(2))
    if given is not None:
        weights = weights * (share * given + (1 - share) * given[other])
    np.testing.assert_allclose(result.weights, weights, rtol=1e-4)


def test_mixed_samples_have_no_added_terms():
    weighting = Recorder(Weighed(tf.ones([BATCH, 1]), added=tf.ones([BATCH, 1])))
    with pytest.raises(InputError, match=r"`mixup_alpha` cannot be .* Received: mixup_alpha=0\.8"):
        compute(objective(weighting, mixup=MixupConfig(ALPHA)))
