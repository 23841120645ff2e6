"""Batch normalisation with the release's moving averages, or with plain ones."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from keras import layers

from mentornet.core import replicas


@keras.saving.register_keras_serializable("mentornet")
class BatchNormalization(layers.Layer):
    """Batch normalisation with float32 parameters and statistics, whatever the compute type.

    The moving variance is that of the biased batch variance and starts at 1. The moving mean is
    zero-debiased (kept from the release): after t updates it is the decayed sum of batch means
    over 1 - decay ** t, which is what an update rate of (1 - decay) / (1 - decay ** t) computes.

    Inputs [batch, ..., channels] of any floating-point dtype; the output has the same shape and
    dtype. In replicas of tf.distribute, the moving averages are of the mean of the replicas'
    statistics.

    Args:
      decay: of the moving averages.
      epsilon: added to the variance.
      scale: whether there is a trainable scale factor; otherwise it is 1.
      debias: whether the moving mean is zero-debiased; otherwise it starts at 0.

    Attributes:
      synchronized: whether replicas normalise with the statistics of the global batch instead of
        those of their own samples.
    """

    synchronized = False

    def __init__(
        self,
        decay: float = 0.9,
        epsilon: float = 0.001,
        scale: bool = True,
        debias: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.decay, self.epsilon, self.scale, self.debias = decay, epsilon, scale, debias

    def get_config(self) -> dict[str, Any]:
        names = ("decay", "epsilon", "scale", "debias")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        shape = (input_shape[-1],)
        if self.scale:
            self.gamma = self._weight("gamma", shape, "ones", trainable=True)
        self.beta = self._weight("beta", shape, "zeros", trainable=True)
        self.moving_mean = self._weight("moving_mean", shape, "zeros")
        self.moving_variance = self._weight("moving_variance", shape, "ones")
        if self.debias:
            self.num_updates = self._weight("num_updates", (), "zeros")

    def _weight(
        self, name: str, shape: tuple[int | None, ...], initializer: str, trainable: bool = False
    ) -> keras.Variable:
        """A variable that is float32 whatever the layer's compute type."""
        return self.add_weight(
            name=name, shape=shape, initializer=initializer, trainable=trainable, autocast=False
        )

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        fused = tf.compat.v1.nn.fused_batch_norm
        gamma, epsilon = self._gamma(), self.epsilon
        if not training:
            mean, variance = self.moving_mean.value, self.moving_variance.value
            return fused(
                inputs, gamma, self.beta, mean, variance, epsilon=epsilon, is_training=False
            )[0]
        if self.synchronized and replicas.number() > 1:
            outputs, mean, variance = self._normalize_globally(inputs)
        else:
            outputs, mean, variance = fused(inputs, gamma, self.beta, epsilon=epsilon)
            # The fused kernel returns the unbiased variance.
            count = tf.cast(tf.size(inputs) // tf.shape(inputs)[-1], tf.float32)
            variance *= (count - 1) / count
            mean, variance = tf.unstack(_mean([mean, variance]))
        rate = mean_rate = 1 - self.decay
        if self.debias:
            self.num_updates.assign_add(1.0)
            mean_rate = rate / (1 - self.decay**self.num_updates.value)
        self.moving_mean.assign_add(mean_rate * (mean - self.moving_mean))
        self.moving_variance.assign_add(rate * (variance - self.moving_variance))
        return outputs

    def stock(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        """See `students.stock`."""
        layer = layers.BatchNormalization(
            momentum=self.decay, epsilon=self.epsilon, scale=self.scale, name=f"{self.name}_stock"
        )
        outputs = layer(inputs)
        factor = [self.gamma] if self.scale else []
        values = (*factor, self.beta, self.moving_mean, self.moving_variance)
        layer.set_weights([value.numpy() for value in values])
        return outputs

    def _gamma(self) -> tf.Tensor:
        return self.gamma.value if self.scale else tf.ones_like(self.beta.value)

    def _normalize_globally(self, inputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Outputs, mean and biased variance; replicas must have equally many samples."""
        x = tf.cast(inputs, tf.float32)
        axes = list(range(x.shape.rank - 1))
        mean = _mean(tf.reduce_mean(x, axes))
        variance = _mean(tf.reduce_mean(tf.math.squared_difference(x, mean), axes))
        beta, gamma = self.beta.value, self._gamma()
        outputs = tf.nn.batch_normalization(x, mean, variance, beta, gamma, self.epsilon)
        return tf.cast(outputs, inputs.dtype), mean, variance


def _mean(values: tf.Tensor | list[tf.Tensor]) -> tf.Tensor:
    return replicas.total(tf.convert_to_tensor(values)) / replicas.number()
