"""Lookahead (Zhang et al. 2019) with an increasing decay, as in Jordan (2024, section 3.4)."""

from __future__ import annotations

import keras
import tensorflow as tf

from mentornet.runs.checkpoints import variables_of
from mentornet.training.wrappers import StudentUpdate

_DECAY = 0.95  # Per step.


class Lookahead:
    """Keeps slow parameters, to which the student's fast ones are reset at intervals.

    After each k-th step t of T,

        slow = d * slow + (1 - d) * fast;  fast = slow,  d = 0.95**k * (t / T)**3,

    and after step T, and the update that may be due then, the student has the slow parameters. This
    applies to all floating-point variables, including the moving statistics of batch normalisation,
    but not to the optimizer's.

    Args:
      inner: the update of the fast parameters.
      student: the network.
      every: k, at least 1 and below T: otherwise the student would end as it began, or nearly.
      num_steps: T.
    """

    def __init__(
        self, inner: StudentUpdate, student: keras.Model, every: int, num_steps: int
    ) -> None:
        self._inner, self.optimizer = inner, inner.optimizer
        self._every, self._num_steps = every, num_steps
        named = variables_of(student)
        self._fast = {name: v for name, v in named.items() if v.dtype.is_floating}
        self._slow = {
            name: tf.Variable(variable, trainable=False, name="slow")
            for name, variable in self._fast.items()
        }

    def state(self) -> dict[str, tf.Variable]:
        slow = {f"slow/{name}": variable for name, variable in self._slow.items()}
        return self._inner.state() | slow

    def scale_loss(self, loss: tf.Tensor) -> tf.Tensor:
        return self._inner.scale_loss(loss)

    def apply(self, gradients: list[tf.Tensor]) -> None:
        self._inner.apply(gradients)
        # In cross-replica context, since a conditional branch may not wait for other replicas.
        tf.distribute.get_replica_context().merge_call(self._update)

    def _update(self, strategy: tf.distribute.Strategy) -> None:
        del strategy
        step = tf.identity(self.optimizer.iterations.value)
        is_due, is_last = step % self._every == 0, step >= self._num_steps
        tf.cond(is_due | is_last, lambda: self._blend(step, is_due), tf.no_op)

    def _blend(self, step: tf.Tensor, is_due: tf.Tensor) -> tf.Operation:
        share = tf.cast(step / self._num_steps, tf.float32)
        decay = tf.where(is_due, _DECAY**self._every * share**3, 1.0)
        for name, slow in self._slow.items():
            fast = self._fast[name]
            # In this form, a variable that never changes (the whitening kernel) stays exact.
            slow.assign_add((1 - decay) * (fast - slow))
            fast.assign(slow)
        return tf.no_op()
