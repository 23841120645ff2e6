"""Recomputed gradients are the same gradients."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import MENTORNET

from mentornet import InputError, build_student
from mentornet.config.training import TrainConfig
from mentornet.config.weighting import WeightingConfig
from mentornet.students.networks import coteaching_cnn, preactivation
from mentornet.training.build import make_trainer
from mentornet.training.recompute import Recomputed


@pytest.mark.parametrize("name", ["inception", "coteaching_cnn", "resnet8", "preact_resnet18"])
def test_the_same_run(monkeypatch, name):
    """Parameters, moving averages and dropout of some steps, to rounding; of narrow networks."""
    blocks = [[width // 16 for width in block] for block in coteaching_cnn._BLOCKS]
    monkeypatch.setattr(coteaching_cnn, "_BLOCKS", blocks)
    narrow = preactivation._student("preact_resnet18", 8, (8, 16), 1)
    monkeypatch.setitem(preactivation.student, "preact_resnet18", narrow)
    weighting = WeightingConfig(example_dropout_rates="0.2,100")
    images = tf.random.stateless_normal((8, 32, 32, 3), (0, 0))
    labels = tf.range(8, dtype=tf.int64)
    results = []
    for recompute in (False, True):
        config = TrainConfig(
            *("-", "-"),
            studentnet=name,
            weighting=weighting,
            trained_mentornet_dir=MENTORNET,
            learning_rate=0.01,
            recompute_gradients=recompute,
        )
        trainer = make_trainer(config, 200, 10, (32, 32, 3))
        for _ in range(3):
            outputs = trainer.step(images, labels)
        assert isinstance(trainer._forward, Recomputed) == recompute
        results.append([outputs.samples.logits, *trainer.student.weights])
    assert len(Recomputed(trainer.student)._parts) >= 3
    for plain, recomputed in zip(*results, strict=True):
        np.testing.assert_allclose(recomputed, plain, rtol=1e-5, atol=1e-6)


def test_parts_are_the_student():
    student = build_student("resnet8", 10)
    images = tf.random.stateless_normal((2, 32, 32, 3), (0, 0))
    np.testing.assert_array_equal(
        Recomputed(student)(images, training=False), student(images, training=False)
    )


def test_an_input_that_is_used_later():
    x = h = keras.Input((4,))
    for _ in range(5):
        h = keras.layers.Dense(4)(h)
    student = keras.Model(x, keras.layers.Add()([x, h]))
    values = tf.random.stateless_normal((2, 4), (0, 0))
    np.testing.assert_array_equal(Recomputed(student)(values, training=False), student(values))


def test_other_models_are_refused():
    class Own(keras.Model):
        def call(self, inputs, training=False):
            return inputs

    inputs, shared = keras.Input((4,)), keras.layers.Dense(4)
    for model in (Own(), keras.Model(inputs, shared(shared(inputs)))):
        with pytest.raises(InputError, match="needs a functional keras.Model"):
            Recomputed(model)


def test_activations_are_computed_a_second_time():
    calls = []

    class Counted(keras.layers.Dense):
        def call(self, inputs):
            calls.append(self.name)
            return super().call(inputs)

    x = inputs = keras.Input((4,))
    for _ in range(4):
        x = Counted(4)(x)
    model = keras.Model(inputs, x)
    recomputed = Recomputed(model)
    calls.clear()
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(recomputed(tf.ones([2, 4]), training=True))
    assert len(calls) == 4
    tape.gradient(total, model.trainable_variables)
    assert len(calls) == 8
