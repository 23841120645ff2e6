"""Momentum and learning rates as TensorFlow 1 computes them."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from mentornet.core.schedules import PiecewiseConstant


@keras.saving.register_keras_serializable("mentornet")
class TF1Momentum(keras.optimizers.Optimizer):
    """a = momentum * a + g;  w = w - learning_rate * a.

    tf.train.MomentumOptimizer of TensorFlow 1. Keras SGD keeps the learning rate inside a, which
    differs whenever the rate changes.

    Args:
      learning_rate: a number or a schedule.
      momentum: in 0..1.
    """

    def __init__(
        self,
        learning_rate: Any = 0.1,
        momentum: float = 0.9,
        name: str = "tf1_momentum",
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.momentum = momentum

    def build(self, variables: list[keras.Variable]) -> None:
        if self.built:
            return
        super().build(variables)
        self.accumulators = self.add_optimizer_variables(variables, "momentum")

    def update_step(
        self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: tf.Tensor
    ) -> None:
        accumulator = self.accumulators[self._get_variable_index(variable)]
        if isinstance(variable, keras.Variable):
            variable = variable.value
        # TensorFlow 1's own kernel, which passes over the memory once.
        tf.raw_ops.ResourceApplyMomentum(
            var=variable.handle,
            accum=accumulator.value.handle,
            lr=tf.cast(learning_rate, variable.dtype),
            grad=tf.convert_to_tensor(gradient),
            momentum=tf.cast(self.momentum, variable.dtype),
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "momentum": self.momentum}


@keras.saving.register_keras_serializable("mentornet")
class PiecewiseConstantDecay(keras.optimizers.schedules.LearningRateSchedule):
    """A `PiecewiseConstant` schedule as Keras wants it: step int scalar -> float32 scalar."""

    def __init__(self, boundaries: tuple[int, ...], values: tuple[float, ...]) -> None:
        self.boundaries, self.values = tuple(boundaries), tuple(values)

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        boundaries = tf.constant(self.boundaries, tf.int64)
        passed = tf.reduce_sum(tf.cast(tf.cast(step, tf.int64) > boundaries, tf.int32))
        return tf.gather(tf.constant(self.values, tf.float32), passed)

    def get_config(self) -> dict[str, Any]:
        return {"boundaries": self.boundaries, "values": self.values}


def make_optimizer(momentum: float, schedule: PiecewiseConstant) -> keras.optimizers.Optimizer:
    """Plain gradient descent for momentum 0, else `TF1Momentum`."""
    rate = PiecewiseConstantDecay(schedule.boundaries, schedule.values)
    if momentum == 0:
        return keras.optimizers.SGD(rate)
    return TF1Momentum(rate, momentum)
