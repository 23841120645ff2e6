"""Dropout that does not depend on the number of replicas."""

from __future__ import annotations

import keras
import tensorflow as tf
from keras import layers

from mentornet.core import replicas


@keras.saving.register_keras_serializable("mentornet")
class Dropout(layers.Dropout):
    """Keras' dropout, but the units dropped in a global batch don't depend on the replicas.

    Inputs [batch, ...] of any floating-point dtype; the output has the same shape and dtype.
    """

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        number = replicas.number()
        if number == 1 or not training:
            return super().call(inputs, training=training)
        size = tf.shape(inputs)[0]
        ones = tf.ones([number * size, *inputs.shape[1:]], inputs.dtype)
        first = replicas.place() * size
        return inputs * super().call(ones, training=True)[first : first + size]

    def stock(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        """See `students.stock`."""
        return layers.Dropout(self.rate, seed=self.seed, name=f"{self.name}_stock")(inputs)
