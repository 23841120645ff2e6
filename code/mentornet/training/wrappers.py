"""How a student is changed by the gradient of its loss: an optimizer, and what wraps it.

A wrapper takes a `StudentUpdate` and is one: loss scaling changes the loss and its gradients before
they reach the optimizer, a moving average follows what the optimizer did.
"""

from __future__ import annotations

from typing import Protocol

import keras
import tensorflow as tf

from mentornet.core import replicas
from mentornet.runs.checkpoints import MovingAverage


class StudentUpdate(Protocol):
    """Changes a student once per step."""

    optimizer: keras.optimizers.Optimizer

    def scale_loss(self, loss: tf.Tensor) -> tf.Tensor:
        """The loss whose gradients `apply` is to be given, float32 scalar."""

    def apply(self, gradients: list[tf.Tensor]) -> None:
        """Changes the student's trainable variables."""

    def state(self) -> dict[str, tf.Variable]:
        """What a checkpoint needs besides the student and the global step, by name."""


class OptimizerUpdate:
    """The optimizer alone.

    Args:
      optimizer: its `iterations` is the global step.
      student: whose trainable variables it changes.
    """

    def __init__(self, optimizer: keras.optimizers.Optimizer, student: keras.Model) -> None:
        self.optimizer = optimizer
        optimizer.build(student.trainable_variables)

    def scale_loss(self, loss: tf.Tensor) -> tf.Tensor:
        return loss

    def apply(self, gradients: list[tf.Tensor]) -> None:
        self.optimizer.apply(gradients)

    def state(self) -> dict[str, tf.Variable]:
        own = ("iteration", "learning_rate")
        slots = [variable for variable in self.optimizer.variables if variable.name not in own]
        return {f"optimizer/{number}": slot.value for number, slot in enumerate(slots)}


class LossScaled:
    """Scales the loss so that float16 can hold its gradient.

    The scale is 2**15 at first, half of it after a step whose gradient overflows, and twice as much
    after 2,000 others. Unlike with Keras' LossScaleOptimizer a step whose gradient overflows
    counts, with a gradient of 0, so that the global step remains the number of batches seen.

    Args:
      inner: what is given the gradients of the loss itself.
    """

    _STEPS_TO_DOUBLE = 2000

    def __init__(self, inner: StudentUpdate) -> None:
        self._inner, self.optimizer = inner, inner.optimizer
        self._scale = tf.Variable(2.0**15, trainable=False, name="loss_scale")
        self._num_finite = tf.Variable(0, trainable=False, name="num_finite")

    def scale_loss(self, loss: tf.Tensor) -> tf.Tensor:
        return self._inner.scale_loss(loss) * self._scale

    def apply(self, gradients: list[tf.Tensor]) -> None:
        self._inner.apply(self.unscale(gradients))

    def state(self) -> dict[str, tf.Variable]:
        own = {"loss_scale": self._scale, "num_finite": self._num_finite}
        return self._inner.state() | own

    def unscale(self, gradients: list[tf.Tensor]) -> list[tf.Tensor]:
        """The gradients of the loss itself; all 0 if one is not finite."""
        bad = tf.add_n([tf.math.count_nonzero(~tf.math.is_finite(g)) for g in gradients])
        finite = replicas.total(tf.cast(bad, tf.float32)) == 0
        unscaled = [tf.where(finite, g / self._scale, tf.zeros_like(g)) for g in gradients]
        num_finite = tf.where(finite, self._num_finite + 1, 0)
        doubled = num_finite == self._STEPS_TO_DOUBLE
        factor = tf.where(finite, tf.where(doubled, 2.0, 1.0), 0.5)
        with tf.control_dependencies(unscaled):
            self._scale.assign(self._scale * factor)
            self._num_finite.assign(tf.where(doubled, 0, num_finite))
        return unscaled


class Averaged:
    """Keeps an exponential moving average of the student, which is what is evaluated.

    Args:
      inner: what changes the student.
      student: the network.
      decay: in 0..1.
    """

    def __init__(self, inner: StudentUpdate, student: keras.Model, decay: float) -> None:
        self._inner, self.optimizer = inner, inner.optimizer
        self._average = MovingAverage(student, decay, inner.optimizer.iterations.value)

    def scale_loss(self, loss: tf.Tensor) -> tf.Tensor:
        return self._inner.scale_loss(loss)

    def apply(self, gradients: list[tf.Tensor]) -> None:
        self._inner.apply(gradients)
        self._average.update()

    def state(self) -> dict[str, tf.Variable]:
        return self._inner.state() | self._average.state()
