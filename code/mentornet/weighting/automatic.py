"""Percentile and burn-in determined from the sample history, whatever the noise rate."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from mentornet.config.weighting import AUTO, WeightingConfig
from mentornet.weighting import noise_rate
from mentornet.weighting.history import COLUMNS, SampleHistory
from mentornet.weighting.protocol import Context

_MEMORISED = 0.2  # Share of the suspects that are predicted as given when the burn-in ends.
_FIRST_PASS = 2  # Passes over the data before the first look.
_INTERVAL = 5  # Epoch percentages between two estimates of the percentile.


class Rules(NamedTuple):
    """The settings that apply in a step; scalars.

    Attributes:
      percentile: float32, the share of the losses below the one that enters the moving average.
      is_burn_in: bool, whether every weight is 1.
      fixed_epoch: int32, the epoch percentage at which the burn-in ends or has ended.
      memorised: float32, share of the suspects that was predicted as given at the last look.
    """

    percentile: tf.Tensor
    is_burn_in: tf.Tensor
    fixed_epoch: tf.Tensor
    memorised: tf.Tensor

    def scalars(self) -> dict[str, tf.Tensor]:
        """For the log."""
        return {
            "automatic/loss_p_percentile": self.percentile,
            "automatic/burn_in": tf.cast(self.is_burn_in, tf.float32),
            "automatic/memorised": self.memorised,
        }


class Automatic:
    """`loss_p_percentile="auto"` and `burn_in_epoch="auto"`.

    After each pass over the data from the second on, the history of all samples is looked at
    (`noise_rate`). The burn-in ends once a fifth of the suspects, whose label more than half of the
    visits contradicted, is predicted as given: from then on wrong labels are being memorised, while
    a training too short for that keeps weight 1 throughout and cannot be harmed. The percentile is
    1 minus the estimated share of wrong labels, estimated as the burn-in ends and again after every
    5 % of the training; with a fixed burn-in first after two passes, until when the weights are 1.

    The results are kept as state, so that a resumed run, and all replicas, use the same.

    Args:
      context: of the training; asked for a history.
      config: of the weighting.
    """

    def __init__(self, context: Context, config: WeightingConfig) -> None:
        self._percentile, self._burn_in = config.loss_p_percentile, config.burn_in_epoch
        self._history: SampleHistory = context.history()
        # Percentile, 0 before the first estimate; epoch at which the burn-in ended plus 1, 0
        # before; epoch of the last estimate; memorised share of the suspects.
        self._state = context.variable("automatic", (4,))
        context.remarks.append(self._remark)

    def look(self, step: tf.Tensor, epoch: tf.Tensor, batch_size: tf.Tensor) -> None:
        """Looks at the history if a pass has just ended; to be called before a step is weighed.

        Args:
          step: int scalar, the number of updates done.
          epoch: int32 scalar, the epoch percentage.
          batch_size: int scalar, of all replicas.
        """
        step, size = tf.cast(step, tf.int64), tf.cast(batch_size, tf.int64)
        count = tf.cast(self._history.values.shape[0], tf.int64)
        passes = step * size // count
        is_due = (passes >= _FIRST_PASS) & (passes > (step - 1) * size // count)
        state = tf.convert_to_tensor(self._state)

        def found() -> tf.Tensor:
            inputs = (tf.convert_to_tensor(self._history.values), state, epoch)
            return tf.ensure_shape(tf.numpy_function(self._found, inputs, tf.float32), [4])

        self._state.assign(tf.cond(is_due, found, lambda: state))

    def rules(self, epoch: tf.Tensor) -> Rules:
        """The settings that apply at an epoch percentage, int32 scalar."""
        state = tf.convert_to_tensor(self._state)
        percentile, end = state[0], tf.cast(state[1], tf.int32)
        if self._burn_in == AUTO:
            is_burn_in, fixed_epoch = tf.equal(end, 0), end - 1
        else:  # Kept from the release: burn-in ends one epoch early.
            assert not isinstance(self._burn_in, str)
            is_burn_in, fixed_epoch = epoch < self._burn_in - 1, tf.constant(self._burn_in)
        if self._percentile == AUTO:
            is_burn_in |= tf.equal(percentile, 0)
        else:
            percentile = tf.constant(self._percentile, tf.float32)
        fixed_epoch = tf.where(is_burn_in, epoch, fixed_epoch)
        return Rules(percentile, is_burn_in, fixed_epoch, state[3])

    def _found(self, values: np.ndarray, state: np.ndarray, epoch: np.ndarray) -> np.ndarray:
        percentile, end, last_epoch, _ = map(float, state)
        columns = dict(zip(COLUMNS, values.astype(np.float64).T, strict=True))
        visits = noise_rate.pooled([columns]).seen
        if end == 0 and (self._burn_in != AUTO or visits.memorised >= _MEMORISED):
            end = float(epoch) + 1
        is_late = percentile == 0 or epoch >= last_epoch + _INTERVAL
        if end and self._percentile == AUTO and is_late:
            wrong = float(visits.wrong_probabilities[0].mean())
            percentile, last_epoch = 1 - wrong, float(epoch)
        return np.array([percentile, end, last_epoch, visits.memorised], np.float32)

    def _remark(self) -> str:
        percentile, end, _, memorised = self._state.numpy()
        suspects = f"{memorised:.1%} of the suspicious labels were predicted in the end"
        if end == 0:
            return f"automatic: every weight was 1: {suspects}, too few to be memorising."
        burn_in = f"weighted from {int(end) - 1} % of the training on"
        if self._percentile != AUTO:
            return f"automatic: {burn_in}; {suspects}."
        return f"automatic: {burn_in}, with percentile {percentile:.3f} at the end; {suspects}."
