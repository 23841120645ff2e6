"""Local response normalisation of the release's `inception`, faster than TensorFlow's."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from keras import layers

_RADIUS, _ALPHA = 4, 0.001 / 9.0


def _band(channels: int) -> np.ndarray:
    """[channels, channels]: alpha where two channels are neighbours, else 0."""
    numbers = np.arange(channels)
    return _ALPHA * (np.abs(numbers[:, None] - numbers) <= _RADIUS)


@tf.custom_gradient
def _normalize(x: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    """x * s ** -0.75 with s = 1 + x ** 2 @ band, for x [n, channels].

    The product with the band matrix sums over neighbouring channels, times alpha, and the power is
    computed from square roots: on a CPU, a training step takes 0.72 of its time with
    tf.nn.local_response_normalization. The two products are a third of what remains.
    """
    band = tf.constant(_band(x.shape[-1]), x.dtype)
    s = tf.nn.bias_add(tf.square(x) @ band, tf.ones_like(band[0]))  # One pass over the memory.
    root = tf.math.rsqrt(s)
    power = root * tf.sqrt(root)
    y = x * power

    def gradient(dy: tf.Tensor) -> tf.Tensor:
        return dy * power - x * ((dy * y / s) @ (1.5 * band))

    return y, gradient


@keras.saving.register_keras_serializable("mentornet")
class LocalResponseNormalization(layers.Layer):
    """x / (1 + alpha * sum of squares over the channels within 4 of a channel) ** 0.75.

    Depth radius 4, bias 1, alpha 0.001/9 and beta 0.75 are the release's (Krizhevsky et al. 2012,
    section 3.3). Inputs [batch, height, width, channels]; the output has the same shape and dtype.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        rows = tf.cast(tf.reshape(inputs, [-1, inputs.shape[-1]]), tf.float32)
        return tf.cast(tf.reshape(_normalize(rows), tf.shape(inputs)), inputs.dtype)

    def stock(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        """See `students.stock`. A frozen layer computes the sums over neighbours."""
        channels = inputs.shape[-1]
        sums = layers.Dense(channels, trainable=False, name=f"{self.name}_stock")
        s = sums(keras.ops.square(inputs))
        sums.set_weights([_band(channels), np.ones(channels)])
        return inputs * keras.ops.power(s, -0.75)
