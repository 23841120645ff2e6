"""Momentum and learning rates as TensorFlow 1 computes them, and per-variable settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from mentornet.core.schedules import PiecewiseLinear, RateSchedule


@keras.saving.register_keras_serializable("mentornet")
class TF1Momentum(keras.optimizers.Optimizer):
    """a = momentum * a + g;  w = w - rate * a, or, Nesterov's, w = w - rate * (g + momentum * a).

    tf.train.MomentumOptimizer of TensorFlow 1; the second rule is also torch.optim.SGD's with
    `nesterov=True`. Keras SGD keeps the learning rate inside a, which differs whenever the rate
    changes.

    Args:
      learning_rate: a number or a schedule.
      momentum: in 0..1.
      nesterov: which of the two rules.
      rate_factors: a variable's name -> its factor of the learning rate, 1 for others.
      frozen_after: a variable's path -> the number of steps after which it does not change.
    """

    def __init__(
        self,
        learning_rate: Any = 0.1,
        momentum: float = 0.9,
        nesterov: bool = False,
        rate_factors: Mapping[str, float] | None = None,
        frozen_after: Mapping[str, int] | None = None,
        name: str = "tf1_momentum",
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.momentum, self.nesterov = momentum, nesterov
        self.rate_factors, self.frozen_after = dict(rate_factors or {}), dict(frozen_after or {})

    def build(self, variables: list[keras.Variable]) -> None:
        if self.built:
            return
        super().build(variables)
        self.accumulators = self.add_optimizer_variables(variables, "momentum")

    def update_step(
        self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor
    ) -> None:
        index = self._get_variable_index(variable)
        accumulator, parameter = self.accumulators[index], self._trainable_variables[index]
        rate = tf.cast(learning_rate, variable.dtype) * self.rate_factors.get(parameter.name, 1.0)
        if parameter.path in self.frozen_after:
            trained = self.iterations.value < self.frozen_after[parameter.path]
            rate = tf.where(trained, rate, tf.zeros_like(rate))
        # TensorFlow 1's own kernel, which makes a single pass over memory.
        tf.raw_ops.ResourceApplyMomentum(
            var=variable.handle,
            accum=accumulator.value.handle,
            lr=rate,
            grad=tf.convert_to_tensor(gradient),
            momentum=tf.cast(self.momentum, variable.dtype),
            use_nesterov=self.nesterov,
        )

    def get_config(self) -> dict[str, Any]:
        names = ("momentum", "nesterov", "rate_factors", "frozen_after")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


@keras.saving.register_keras_serializable("mentornet")
class PiecewiseConstantDecay(keras.optimizers.schedules.LearningRateSchedule):
    """A `PiecewiseConstant` schedule for Keras: step int scalar -> float32 scalar.

    Keras' own needs a branch per boundary: with hundreds of them, tracing and each call are slow.
    """

    def __init__(self, boundaries: tuple[int, ...], values: tuple[float, ...]) -> None:
        self.boundaries, self.values = tuple(boundaries), tuple(values)

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        boundaries = tf.constant(self.boundaries, tf.int64)
        passed = tf.reduce_sum(tf.cast(tf.cast(step, tf.int64) > boundaries, tf.int32))
        return tf.gather(tf.constant(self.values, tf.float32), passed)

    def get_config(self) -> dict[str, Any]:
        return {"boundaries": self.boundaries, "values": self.values}


@keras.saving.register_keras_serializable("mentornet")
class PiecewiseLinearDecay(keras.optimizers.schedules.LearningRateSchedule):
    """A `PiecewiseLinear` schedule for Keras: step int scalar -> float32 scalar."""

    def __init__(self, steps: tuple[int, ...], values: tuple[float, ...]) -> None:
        self.steps, self.values = tuple(steps), tuple(values)

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        steps, values = tf.constant(self.steps, tf.int64), tf.constant(self.values, tf.float32)
        step = tf.clip_by_value(tf.cast(step, tf.int64), steps[0], steps[-1])
        right = tf.reduce_sum(tf.cast(step > steps, tf.int32))  # The first not below `step`.
        left = tf.maximum(right - 1, 0)
        width = tf.cast(tf.maximum(steps[right] - steps[left], 1), tf.float32)
        share = tf.cast(step - steps[left], tf.float32) / width
        return values[left] + share * (values[right] - values[left])

    def get_config(self) -> dict[str, Any]:
        return {"steps": self.steps, "values": self.values}


def make_optimizer(
    momentum: float,
    schedule: RateSchedule,
    nesterov: bool = False,
    rate_factors: Mapping[str, float] | None = None,
    frozen_after: Mapping[str, int] | None = None,
) -> keras.optimizers.Optimizer:
    """`TF1Momentum`, or Keras' plain gradient descent where the two are equivalent.

    Args:
      schedule: the learning rate of each step.
      momentum, nesterov, rate_factors, frozen_after: see `TF1Momentum`.
    """
    rate: keras.optimizers.schedules.LearningRateSchedule
    if isinstance(schedule, PiecewiseLinear):
        rate = PiecewiseLinearDecay(schedule.steps, schedule.values)
    else:
        rate = PiecewiseConstantDecay(schedule.boundaries, schedule.values)
    factors = {name: factor for name, factor in (rate_factors or {}).items() if factor != 1}
    if momentum == 0 and not factors and not frozen_after:
        return keras.optimizers.SGD(rate)
    return TF1Momentum(rate, momentum, nesterov, factors, frozen_after)
