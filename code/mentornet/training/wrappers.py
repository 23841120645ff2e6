"""How the gradient of the loss changes a student: an optimizer and its wrappers.

A wrapper takes a `StudentUpdate` and is one itself: loss scaling changes the loss and its gradients
before they reach the optimizer; a moving average follows the updated parameters.
"""

from __future__ import annotations

from typing import Protocol

import keras
import tensorflow as tf

from mentornet.core import replicas
from mentornet.runs.checkpoints import averaged_variables


class StudentUpdate(Protocol):
    """Changes a student once per step."""

    optimizer: keras.optimizers.Optimizer

    def scale_loss(self, loss: tf.Tensor) -> tf.Tensor:
        """The loss whose gradients must be passed to `apply`, float32 scalar."""

    def apply(self, gradients: list[tf.Tensor]) -> None:
        """Changes the student's trainable variables."""

    def state(self) -> dict[str, tf.Variable]:
        """The state to save in addition to the student and the global step, by name."""


class OptimizerUpdate:
    """The optimizer alone.

    Args:
      optimizer: its `iterations` is the global step.
      student: its trainable variables are updated.
    """

    def __init__(self, optimizer: keras.optimizers.Optimizer, student: keras.Model) -> None:
        self.optimizer = optimizer
        optimizer.build(student.trainable_variables)

    def scale_loss(self, loss: tf.Tensor) -> tf.Tensor:
        return loss

    def apply(self, gradients: list[tf.Tensor]) -> None:
        self.optimizer.apply(gradients)

    def state(self) -> dict[str, tf.Variable]:
        settings = ("iteration", "learning_rate")
        slots = [variable for variable in self.optimizer.variables if variable.name not in settings]
        return {f"optimizer/{number}": slot.value for number, slot in enumerate(slots)}


class LossScaled:
    """Scales the loss so that float16 can hold its gradient.

    The scale starts at 2**15, is halved after a step whose gradient overflows, and doubled after
    2,000 steps without overflow. Unlike with Keras' LossScaleOptimizer, a step whose gradient
    overflows is counted, with a gradient of 0, so that the global step remains the number of
    batches seen.

    Args:
      inner: gets the gradients of the unscaled loss.
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
        scale = {"loss_scale": self._scale, "num_finite": self._num_finite}
        return self._inner.state() | scale

    def unscale(self, gradients: list[tf.Tensor]) -> list[tf.Tensor]:
        """The gradients of the unscaled loss; all 0 if any is not finite.

        None, the gradient of a variable on which the loss does not depend, stays None.
        """
        known = [g for g in gradients if g is not None]
        bad = tf.add_n([tf.math.count_nonzero(~tf.math.is_finite(g)) for g in known])
        finite = replicas.total(tf.cast(bad, tf.float32)) == 0
        unscaled = [
            None if g is None else tf.where(finite, g / self._scale, tf.zeros_like(g))
            for g in gradients
        ]
        num_finite = tf.where(finite, self._num_finite + 1, 0)
        doubled = num_finite == self._STEPS_TO_DOUBLE
        factor = tf.where(finite, tf.where(doubled, 2.0, 1.0), 0.5)
        with tf.control_dependencies([g for g in unscaled if g is not None]):
            self._scale.assign(self._scale * factor)
            self._num_finite.assign(tf.where(doubled, 0, num_finite))
        return unscaled


class Averaged:
    """Keeps an exponential moving average of the student, which is then evaluated.

    It follows the parameters and the moving statistics. In the first steps the decay is
    (1 + step) / (10 + step), as in tf.train.ExponentialMovingAverage.

    Args:
      inner: the update of the student.
      student: the network.
      decay: in 0..1.
    """

    def __init__(self, inner: StudentUpdate, student: keras.Model, decay: float) -> None:
        self._inner, self.optimizer = inner, inner.optimizer
        self._variables = averaged_variables(student)
        global_step = inner.optimizer.iterations.value
        self._average = tf.train.ExponentialMovingAverage(decay, global_step)
        self._average.apply(self._variables.values())

    def scale_loss(self, loss: tf.Tensor) -> tf.Tensor:
        return self._inner.scale_loss(loss)

    def apply(self, gradients: list[tf.Tensor]) -> None:
        self._inner.apply(gradients)
        self._average.apply(self._variables.values())

    def state(self) -> dict[str, tf.Variable]:
        averages = {name: self._average.average(v) for name, v in self._variables.items()}
        return self._inner.state() | averages
