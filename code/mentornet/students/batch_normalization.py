"""Batch normalisation of the residual students, with the release's moving averages."""

from __future__ import annotations

import keras
import tensorflow as tf
from keras import layers

_BATCH_NORM_DECAY = 0.9
_EPSILON = 0.001


@keras.saving.register_keras_serializable("mentornet")
class BatchNormalization(layers.Layer):
    """Batch normalisation whose moving averages are the release's.

    The moving variance is that of the biased batch variance and starts at 1. The moving mean is
    zero-debiased (kept from the release): after t updates it is the decayed sum of batch means
    over 1 - 0.9 ** t, which is what an update rate of 0.1 / (1 - 0.9 ** t) computes.
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        shape = (input_shape[-1],)
        self.gamma = self.add_weight(shape=shape, initializer="ones", name="gamma")
        self.beta = self.add_weight(shape=shape, initializer="zeros", name="beta")
        self.moving_mean = self.add_weight(
            shape=shape, initializer="zeros", trainable=False, name="moving_mean"
        )
        self.moving_variance = self.add_weight(
            shape=shape, initializer="ones", trainable=False, name="moving_variance"
        )
        self.num_updates = self.add_weight(
            shape=(), initializer="zeros", trainable=False, name="num_updates"
        )

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        fused = tf.compat.v1.nn.fused_batch_norm
        if not training:
            mean, variance = self.moving_mean.value, self.moving_variance.value
            return fused(
                inputs, self.gamma, self.beta, mean, variance, epsilon=_EPSILON, is_training=False
            )[0]
        outputs, mean, variance = fused(inputs, self.gamma, self.beta, epsilon=_EPSILON)
        # The fused kernel returns the unbiased variance.
        count = tf.cast(tf.size(inputs) // tf.shape(inputs)[-1], tf.float32)
        variance *= (count - 1) / count
        rate = 1 - _BATCH_NORM_DECAY
        self.num_updates.assign_add(1.0)
        debiased_rate = rate / (1 - _BATCH_NORM_DECAY**self.num_updates.value)
        self.moving_mean.assign_add(debiased_rate * (mean - self.moving_mean))
        self.moving_variance.assign_add(rate * (variance - self.moving_variance))
        return outputs
