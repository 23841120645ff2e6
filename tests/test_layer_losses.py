"""A network's regularisers, and losses that its layers add."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import warm_server

from mentornet import InputError
from mentornet.config.weighting import MixupConfig
from mentornet.training.losses import adds_losses, layer_loss
from mentornet.training.optimizers import TF1Momentum
from mentornet.training.step import Trainer
from mentornet.training.wrappers import OptimizerUpdate
from mentornet.weighting import registry
from mentornet.weighting.protocol import Context

RATE, SIZE = 0.1, 12
X = np.random.default_rng(0).normal(size=(SIZE, 4)).astype(np.float32)
Y = np.arange(SIZE) % 3
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def network(kind=keras.layers.Dense, **dense):
    """Six dense layers, the last of this kind; a regulariser of the first kernel."""
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((4,))
    for regularizer in (keras.regularizers.L2(0.5), *4 * [None]):
        x = keras.layers.Dense(4, kernel_regularizer=regularizer)(x)
    return keras.Model(inputs, kind(3, **dense)(x))


def trainer(student, **values):
    context, update = Context(0, SIZE, 3), OptimizerUpdate(TF1Momentum(RATE, 0.0), student)
    values = {"weight_decay": 0.0, "max_number_of_steps": 10} | values
    return Trainer(
        student, update, weighting=registry.make("uniform", context, {}), context=context, **values
    )


def test_a_frozen_layers_regulariser_hides_no_other_loss():
    frozen = keras.layers.Dense(3, kernel_regularizer=keras.regularizers.L2(0.5), trainable=False)
    active = keras.layers.Dense(3, activity_regularizer=keras.regularizers.L2(0.3))
    student = keras.Sequential([keras.Input((2,)), frozen, active])
    student(tf.ones([4, 2]))
    assert adds_losses(student, student.losses)


def test_weight_decay_of_a_network_without_kernels():
    """There is nothing to decay."""
    student = keras.Sequential([keras.Input((4,)), keras.layers.BatchNormalization()])
    result = trainer(student, weight_decay=0.1).step(*batch())
    assert float(result.total_loss) == float(result.scalars["mentornet/orig_loss"])


def batch():
    return tf.constant(X), tf.constant(Y), tf.range(SIZE, dtype=tf.int64)


class OfEachOutput(keras.layers.Dense):
    """Adds a loss that is no scalar, which Keras sums."""

    def call(self, inputs):
        outputs = super().call(inputs)
        self.add_loss(0.01 * keras.ops.square(outputs))
        return outputs


ACTIVITY: dict[str, Any] = {"activity_regularizer": keras.regularizers.L2(0.3)}


@pytest.mark.parametrize(
    "dense", [{}, ACTIVITY, {"kind": OfEachOutput}], ids=["kernel", "activity", "each"]
)
@pytest.mark.parametrize("per_loop", [1, 2])
def test_as_in_keras_own_fit(dense, per_loop):
    reference = network(**dense)
    reference.compile(keras.optimizers.SGD(RATE), LOSS)
    losses = reference.fit(X, Y, SIZE, epochs=2, shuffle=False, verbose=0).history["loss"]
    ours = trainer(network(**dense))
    if per_loop == 1:
        results = [ours.step(*batch()) for _ in range(2)]
    else:
        both = dict(zip(("images", "labels", "positions"), batch(), strict=True))
        results = [ours.steps({name: tf.stack([v, v]) for name, v in both.items()})]
    found = np.concatenate([np.ravel(result.total_loss) for result in results])
    np.testing.assert_allclose(found, losses, rtol=1e-5)
    added = results[0].scalars["mentornet/layer_loss"]
    assert np.ravel(added)[0] > 0.1
    for a, b in zip(ours.student.get_weights(), reference.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_what_layers_add_by_hand(monkeypatch):
    """Kernels of ones: a regulariser's 0.5 * 12, and twice 0.01 * 48**2 for outputs of 3 * 16."""
    ones: dict[str, Any] = {"kernel_initializer": "ones", "use_bias": False}
    layer = keras.layers.Dense(3, kernel_regularizer=keras.regularizers.L2(0.5), **ones)
    student = keras.Sequential([keras.Input((4,)), layer])
    found = layer_loss(student)
    assert found is not None and float(found) == 6
    assert layer_loss(keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])) is None
    monkeypatch.setattr("mentornet.core.replicas.number", lambda: 2)
    found = layer_loss(student)
    assert found is not None and float(found) == 3
    both = keras.Sequential([student, OfEachOutput(2, **ones)])
    both(np.full((1, 4), 4, np.float32))
    with pytest.raises(InputError, match="on one device only. Received: devices=2"):
        layer_loss(both)
    monkeypatch.undo()
    found = layer_loss(both)
    assert found is not None and float(found) == pytest.approx(6 + 2 * 0.01 * 48**2)


def test_with_mixup_those_of_the_mixed_batch():
    """Doubled activities would mean that both passes count."""
    student = network(**ACTIVITY)
    half_norm = 0.5 * float(tf.reduce_sum(student.layers[1].kernel ** 2))
    # With a huge alpha each share is a half; equal rows are their own mixture.
    rows = tf.constant(np.tile(X[:1], (SIZE, 1)))
    scalars = trainer(student, mixup=MixupConfig(1e6)).step(rows, *batch()[1:]).scalars
    expected = half_norm + 0.3 * float(np.square(network(**ACTIVITY)(X[:1])).sum())
    assert float(scalars["mentornet/layer_loss"]) == pytest.approx(expected, rel=1e-4)


def test_recomputed_gradients_of_regularisers():
    results = []
    for recompute in (False, True):
        ours = trainer(network(), recompute_gradients=recompute)
        total = ours.step(*batch()).total_loss
        results.append([total, *ours.student.weights])
    for plain, recomputed in zip(*results, strict=True):
        np.testing.assert_allclose(recomputed, plain, rtol=1e-5, atol=1e-6)
    with pytest.raises(InputError, match="`recompute_gradients` needs a network whose layers add"):
        trainer(network(**ACTIVITY), recompute_gradients=True).step(*batch())


REPLICAS = """
import sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import pytest
import test_layer_losses as own
from mentornet import MentoredModel
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])

def halves(value):
    parts = tf.split(value, 2)
    return strategy.experimental_distribute_values_from_function(
        lambda context: parts[context.replica_id_in_sync_group]
    )

def step(**dense):
    with strategy.scope():
        ours = own.trainer(own.network(**dense))
    return ours.step(*map(halves, own.batch())), ours.student.get_weights()

result, weights = step()
alone = own.trainer(own.network())
alone_loss = alone.step(*own.batch()).total_loss
own.np.testing.assert_allclose(result.total_loss, alone_loss, rtol=1e-5)
for a, b in zip(weights, alone.student.get_weights(), strict=True):
    own.np.testing.assert_allclose(a, b, atol=1e-6)

# fit() counts the regulariser once, too.
with strategy.scope():
    fitted = MentoredModel(own.network(), weighting="uniform")
    fitted.compile(own.keras.optimizers.SGD(own.RATE), own.LOSS)
loss = fitted.fit(own.X, own.Y, own.SIZE, shuffle=False, verbose=0).history["loss"]
own.np.testing.assert_allclose(loss, alone_loss, rtol=1e-5)
for a, b in zip(fitted.student.get_weights(), alone.student.get_weights(), strict=True):
    own.np.testing.assert_allclose(a, b, atol=1e-6)
refused = pytest.raises(own.InputError, match="on one device only. Received: devices=2")
with refused:
    step(**own.ACTIVITY)
with strategy.scope():
    fitted = MentoredModel(own.network(**own.ACTIVITY), weighting="uniform")
    fitted.compile("sgd", own.LOSS)
with refused:
    fitted.fit(own.X, own.Y, own.SIZE, verbose=0)
"""


def test_replicas():
    status, _, output = warm_server().run("-c", REPLICAS)
    assert status == 0, output[-2000:]
