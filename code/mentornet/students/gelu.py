"""The Gaussian error linear unit (Hendrycks & Gimpel 2016), at the speed of a simple activation."""

from __future__ import annotations

import math
from collections.abc import Callable

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("mentornet")
class Gelu(keras.layers.Layer):
    """x times the normal distribution function of x, without the approximation by tanh.

    TensorFlow needs about eight passes over memory, and in bfloat16 some of them are not
    vectorised. Here XLA compiles each direction to a single pass that computes in float32. Inputs
    of any shape and floating-point dtype; the output has the same.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return _gelu(inputs)

    def stock(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        """See `students.stock`.

        keras.ops.gelu computes erfc instead, which ONNX does not have.
        """
        return inputs * (0.5 + 0.5 * keras.ops.erf(inputs / math.sqrt(2)))


@tf.custom_gradient
def _gelu(x: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    return _forward(x), lambda upstream: _backward(x, upstream)


@tf.function(autograph=False, jit_compile=True, reduce_retracing=True)
def _forward(x: tf.Tensor) -> tf.Tensor:
    exact = tf.cast(x, tf.float32)
    return tf.cast(exact * _distribution(exact), x.dtype)


@tf.function(autograph=False, jit_compile=True, reduce_retracing=True)
def _backward(x: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
    exact = tf.cast(x, tf.float32)
    density = tf.exp(-0.5 * exact * exact) / math.sqrt(2 * math.pi)
    derivative = _distribution(exact) + exact * density
    return tf.cast(derivative * tf.cast(upstream, tf.float32), x.dtype)


def _distribution(x: tf.Tensor) -> tf.Tensor:
    return 0.5 + 0.5 * tf.math.erf(x / math.sqrt(2))
