"""Batch normalisation of the residual students, with the release's moving averages."""

from __future__ import annotations

import keras
import tensorflow as tf
from keras import layers

from mentornet.core import replicas

_BATCH_NORM_DECAY = 0.9
_EPSILON = 0.001


@keras.saving.register_keras_serializable("mentornet")
class BatchNormalization(layers.Layer):
    """Batch normalisation whose moving averages are the release's.

    The moving variance is that of the biased batch variance and starts at 1. The moving mean is
    zero-debiased (kept from the release): after t updates it is the decayed sum of batch means
    over 1 - 0.9 ** t, which is what an update rate of 0.1 / (1 - 0.9 ** t) computes.

    In replicas of tf.distribute the moving averages are those of the replicas' statistics.

    Attributes:
      synchronized: whether replicas normalise with the statistics of the global batch, else with
        those of their own samples.
    """

    synchronized = False

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        shape = (input_shape[-1],)
        self.gamma = self._weight("gamma", shape, "ones", trainable=True)
        self.beta = self._weight("beta", shape, "zeros", trainable=True)
        self.moving_mean = self._weight("moving_mean", shape, "zeros")
        self.moving_variance = self._weight("moving_variance", shape, "ones")
        self.num_updates = self._weight("num_updates", (), "zeros")

    def _weight(
        self, name: str, shape: tuple[int | None, ...], initializer: str, trainable: bool = False
    ) -> keras.Variable:
        """A variable that stays float32 whatever the layer computes in."""
        return self.add_weight(
            name=name, shape=shape, initializer=initializer, trainable=trainable, autocast=False
        )

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        fused = tf.compat.v1.nn.fused_batch_norm
        if not training:
            mean, variance = self.moving_mean.value, self.moving_variance.value
            return fused(
                inputs, self.gamma, self.beta, mean, variance, epsilon=_EPSILON, is_training=False
            )[0]
        if self.synchronized and replicas.number() > 1:
            outputs, mean, variance = self._normalize_globally(inputs)
        else:
            outputs, mean, variance = fused(inputs, self.gamma, self.beta, epsilon=_EPSILON)
            # The fused kernel returns the unbiased variance.
            count = tf.cast(tf.size(inputs) // tf.shape(inputs)[-1], tf.float32)
            variance *= (count - 1) / count
            mean, variance = tf.unstack(_mean([mean, variance]))
        rate = 1 - _BATCH_NORM_DECAY
        self.num_updates.assign_add(1.0)
        debiased_rate = rate / (1 - _BATCH_NORM_DECAY**self.num_updates.value)
        self.moving_mean.assign_add(debiased_rate * (mean - self.moving_mean))
        self.moving_variance.assign_add(rate * (variance - self.moving_variance))
        return outputs

    def stock(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        """See `students.stock`."""
        layer = layers.BatchNormalization(
            momentum=_BATCH_NORM_DECAY, epsilon=_EPSILON, name=f"{self.name}_stock"
        )
        outputs = layer(inputs)
        values = (self.gamma, self.beta, self.moving_mean, self.moving_variance)
        layer.set_weights([value.numpy() for value in values])
        return outputs

    def _normalize_globally(self, inputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Outputs, mean and biased variance; replicas must have equally many samples."""
        x = tf.cast(inputs, tf.float32)
        axes = list(range(x.shape.rank - 1))
        mean = _mean(tf.reduce_mean(x, axes))
        variance = _mean(tf.reduce_mean(tf.math.squared_difference(x, mean), axes))
        beta, gamma = self.beta.value, self.gamma.value
        outputs = tf.nn.batch_normalization(x, mean, variance, beta, gamma, _EPSILON)
        return tf.cast(outputs, inputs.dtype), mean, variance


def _mean(values: tf.Tensor | list[tf.Tensor]) -> tf.Tensor:
    return replicas.total(tf.convert_to_tensor(values)) / replicas.number()
