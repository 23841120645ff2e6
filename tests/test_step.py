"""The training step's numbers, by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mentornet.config.weighting import MixupConfig
from mentornet.label_noise.history import SampleHistory
from mentornet.students.dropout import Dropout
from mentornet.training.step import Trainer
from mentornet.training.wrappers import OptimizerUpdate
from mentornet.weighting.protocol import Context, Weighed


def make(student, weighting, **values):
    """A trainer that changes nothing: its rate is 0."""
    update = OptimizerUpdate(keras.optimizers.SGD(0.0), student)
    settings = {"weight_decay": 0.0, "max_number_of_steps": 10} | values
    return Trainer(student, update, weighting=weighting, context=Context(0, 4, 3), **settings)


BATCH = tf.zeros([4, 2]), tf.constant([0, 1, 2, 0], tf.int64), tf.range(4, dtype=tf.int64)


def test_a_weighting_sees_logits_in_float32():
    student = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, dtype="mixed_bfloat16")])
    seen = []

    def weigh(batch):
        seen.append((batch.logits.dtype, batch.losses.dtype))
        return Weighed(tf.ones_like(batch.losses))

    make(student, weigh).step(*BATCH)
    assert seen[0] == (tf.float32, tf.float32)


def test_scalars_and_samples_by_hand():
    """Logits are equal, so each loss is log 3. Half squared norms: 3, and half of 6."""
    student = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    student.set_weights([np.ones((2, 3)), np.full(3, 2.0)])
    first = tf.constant([[0.0], [0.001], [0.0011], [1.0]])  # Above 0.001 are two.

    def weigh(batch):
        weights = tf.where(batch.global_step == 0, first, tf.ones_like(first))
        return Weighed(weights, tf.fill([4, 1], 0.5))

    history, decayed = SampleHistory(4), {"kernel": 1.0, "bias": 0.5}
    trainer = make(student, weigh, history=history, weight_decay=0.1, decayed=decayed)
    for mean, used in ((1.0021 / 4, 0.5), (1.0, 0.75)):  # Of all samples so far.
        result = trainer.step(*BATCH)
        assert {name: float(value) for name, value in result.scalars.items()} == {
            "mentornet/orig_loss": pytest.approx(np.log(3), rel=1e-5),
            "mentornet/weighted_loss": pytest.approx(mean * np.log(3), rel=1e-5),
            "mentornet/total_loss": pytest.approx(mean * (np.log(3) + 0.1 * 6), rel=1e-5),
            "data_util/batch_sum_v": pytest.approx(4 * mean, rel=1e-5),
            "data_util/data_util": used,
            "learning_rate": 0.0,
        }
        np.testing.assert_allclose(tf.reduce_mean(result.samples.weights), mean, rtol=1e-5)
        np.testing.assert_array_equal(result.samples.before_dropout, np.full((4, 1), 0.5))
        np.testing.assert_allclose(result.samples.losses, np.full((4, 1), np.log(3)), rtol=1e-5)
        np.testing.assert_array_equal(result.samples.logits, np.full((4, 3), 2.0))
        np.testing.assert_array_equal(result.samples.labels, BATCH[1])
    np.testing.assert_allclose(history.read(tf.range(4))["mean_weight"], 0.5)


def test_each_dropout_draws_its_own_units():
    layers = [Dropout(0.5, seed=0), Dropout(0.5, seed=0), keras.layers.Dense(3)]
    student = keras.Sequential([keras.Input((2,)), *layers])
    make(student, lambda batch: tf.ones_like(batch.losses)).step(*BATCH)
    states = [v.numpy().tolist() for v in student.variables if v.name == "seed_generator_state"]
    assert len(states) == 2 and states[0] != states[1]


def test_mixed_samples_have_weights_of_their_own():
    """1, without a second weighting; half the squared norm of the kernel is 3."""
    student = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    student.set_weights([np.ones((2, 3)), np.full(3, 2.0)])
    settings = {"mixup": MixupConfig(1.0), "weight_decay": 0.1}
    scalars = make(student, lambda batch: 0 * batch.losses, **settings).step(*BATCH).scalars
    expected = pytest.approx(np.log(3) + 0.1 * 3, rel=1e-5)
    assert float(scalars["mentornet/total_loss"]) == expected
    assert float(scalars["data_util/batch_sum_v"]) == 4
    assert float(scalars["data_util/data_util"]) == 1
