"""How many predictions change from one pass over the data to the next, and where memorising begins.

A student that learns what its labels have in common changes fewer and fewer of its predictions,
until it begins to memorise wrong labels one by one, and changes more of them again. Source: Yuan et
al. 2024, "Early Stopping Against Label Noise Without Validation Data" (Label Wave).
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from mentornet.label_noise.history import COLUMNS

_WINDOW = 2  # Passes over which shares are added.


def totals(history: tf.Tensor | tf.Variable) -> tf.Tensor:
    """The number of changed predictions, and that of the visits, so far; int64 [2].

    Args:
      history: float32 [samples, columns], the values of a `SampleHistory`.
    """
    places = [list(COLUMNS).index(name) for name in ("num_changed", "num_counted")]
    return tf.reduce_sum(tf.cast(tf.gather(history, places, axis=1), tf.int64), axis=0)


def changed_shares(checks: np.ndarray) -> np.ndarray:
    """The share of visits between two checks in which the prediction changed.

    Args:
      checks: int64 [n, 2], `totals` at the end of each pass.

    Returns:
      float64 [n - 1]; empty without checks.
    """
    changed, visits = np.diff(checks, axis=0).T
    return changed / visits


def first_minimum(shares: np.ndarray) -> tuple[int, bool]:
    """Where the sum of the last few values has its first local minimum.

    A rise from the start is not a minimum, as where a student first predicts one class for
    everything: a fall must come before it.

    Args:
      shares: float64 [n].

    Returns:
      The index of the last of these values, -1 if there are too few; and whether the minimum is
      over, or a later value could still be lower.
    """
    if len(shares) < _WINDOW:
        return -1, False
    sums = np.convolve(shares, np.ones(_WINDOW), "valid")
    lowest, has_fallen = 0, False
    for place, total in enumerate(sums):
        if total > sums[lowest] and has_fallen:
            return lowest + _WINDOW - 1, True
        if total != sums[lowest]:
            lowest, has_fallen = place, total < sums[lowest]
    return lowest + _WINDOW - 1, False
