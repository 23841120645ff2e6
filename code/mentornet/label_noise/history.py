"""Per-sample training statistics.

To add a statistic, add an entry to `COLUMNS`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from mentornet.core.errors import check

_SMALLEST_RATE = 0.05
# The columns of runs whose checkpoints do not name them.
_UNNAMED = (
    "num_seen",
    "mean_loss",
    "loss_variance",
    "mean_weight",
    "prediction",
    "probability",
)


@dataclasses.dataclass(frozen=True)
class Seen:
    """A step's samples, from which columns are updated; float32 [batch] unless stated otherwise.

    Attributes:
      old: the columns before, by name.
      labels: int64, as given.
      losses: nats.
      weights: before example dropout.
      logits: float32 [batch, classes].
      count: how often each sample has been seen, this time included.
      rate: share of this time in a running mean: 1 / count, at least 5 %.
    """

    old: Mapping[str, tf.Tensor]
    labels: tf.Tensor
    losses: tf.Tensor
    weights: tf.Tensor
    logits: tf.Tensor
    count: tf.Tensor
    rate: tf.Tensor

    @property
    def deviation(self) -> tf.Tensor:
        """The losses' distances from their running means before."""
        return self.losses - self.old["mean_loss"]

    @functools.cached_property
    def prediction(self) -> tf.Tensor:
        """The most probable class, int64 [batch]."""
        return tf.argmax(self.logits, axis=1)

    @functools.cached_property
    def next_best(self) -> tf.Tensor:
        """The most probable class other than the given one, int64 [batch]."""
        classes = tf.range(tf.shape(self.logits, self.labels.dtype)[1])  # Unknown in replicas.
        given = self.labels[:, None] == classes
        return tf.argmax(tf.where(given, self.logits.dtype.min, self.logits), axis=1)

    def logit(self, classes: tf.Tensor) -> tf.Tensor:
        """The logit of one class of each sample, int64 [batch]."""
        return tf.gather(self.logits, classes, axis=1, batch_dims=1)

    def probability(self, classes: tf.Tensor) -> tf.Tensor:
        """The probability of one class of each sample, int64 [batch]."""
        return tf.exp(self.logit(classes) - self._log_sum)

    @functools.cached_property
    def _log_sum(self) -> tf.Tensor:
        return tf.reduce_logsumexp(self.logits, axis=1)

    def plain_mean(self, name: str, values: tf.Tensor) -> tf.Tensor:
        """The mean of column `name` over the visits that are counted, this one included."""
        old = self.old[name]
        return old + (values - old) / (self.old["num_counted"] + 1)

    @property
    def is_wrong(self) -> tf.Tensor:
        """Whether another class than the given one was predicted, bool [batch]."""
        return self.prediction != self.labels

    @property
    def has_changed(self) -> tf.Tensor:
        """Whether another class was predicted than last time, bool [batch]; at first, False."""
        last = tf.cast(self.old["prediction"], self.prediction.dtype)
        return (self.prediction != last) & (self.old["num_counted"] > 0)

    @property
    def other_class(self) -> tf.Tensor:
        """The last predicted class other than the given one; if there is none, the next best."""
        changes = self.is_wrong | (self.old["num_wrong"] == 0)
        return tf.where(changes, tf.cast(self.next_best, tf.float32), self.old["other_class"])


@dataclasses.dataclass(frozen=True)
class Column:
    """A statistic.

    Attributes:
      update: from a step's `Seen` to the new value, [batch].
      absent: the value for runs of older versions without the column; None if such runs cannot be
        resumed.
    """

    update: Callable[[Seen], tf.Tensor]
    absent: float | None = None


COLUMNS = {
    # The number of steps that saw the sample.
    "num_seen": Column(lambda seen: seen.count),
    # Running means: plain over the first 20 times, from then on with 5 % for the newest. Nats.
    "mean_loss": Column(lambda seen: seen.old["mean_loss"] + seen.rate * seen.deviation),
    "loss_variance": Column(
        lambda seen: (1 - seen.rate) * (seen.old["loss_variance"] + seen.rate * seen.deviation**2)
    ),
    "mean_weight": Column(
        lambda seen: seen.old["mean_weight"] + seen.rate * (seen.weights - seen.old["mean_weight"])
    ),
    # The class predicted last, and the probability that the student gave it.
    "prediction": Column(lambda seen: tf.cast(seen.prediction, tf.float32)),
    "probability": Column(lambda seen: seen.probability(seen.prediction)),
    # Without decay. These have their own count of visits: a run started by a version without them
    # continues from 0, so that its plain means are exact over the visits since then.
    "num_counted": Column(lambda seen: seen.old["num_counted"] + 1, absent=0),
    # Wrong events: the visits at which the prediction was not the given label.
    "num_wrong": Column(
        lambda seen: seen.old["num_wrong"] + tf.cast(seen.is_wrong, tf.float32), absent=0
    ),
    # Plain means: probability of the given label and of the next best class, and given logit minus
    # the largest other one (Pleiss et al. 2020, eq. 1 and 2).
    "mean_given": Column(
        lambda seen: seen.plain_mean("mean_given", seen.probability(seen.labels)), absent=0
    ),
    "mean_other": Column(
        lambda seen: seen.plain_mean("mean_other", seen.probability(seen.next_best)), absent=0
    ),
    "mean_margin": Column(
        lambda seen: seen.plain_mean(
            "mean_margin", seen.logit(seen.labels) - seen.logit(seen.next_best)
        ),
        absent=0,
    ),
    # The student's own choice of class, which stays known after the given label is memorised.
    "other_class": Column(lambda seen: seen.other_class, absent=0),
    # The visits at which another class was predicted than at the visit before.
    "num_changed": Column(
        lambda seen: seen.old["num_changed"] + tf.cast(seen.has_changed, tf.float32), absent=0
    ),
}

VALUES, NAMES = "sample_history", "sample_history_columns"


class SampleHistory(tf.Module):
    """The statistics `COLUMNS` of each training sample over the steps that saw it.

    Args:
      num_examples: size of the training split; a sample's place in it is its position.
      values: the variable to use, by default a new one.

    Attributes:
      values: float32 [num_examples, columns] variable, all 0 before the first step.
    """

    def __init__(self, num_examples: int, values: tf.Variable | None = None) -> None:
        super().__init__("sample_history")
        if values is None:
            zeros = tf.zeros([num_examples, len(COLUMNS)])
            values = tf.Variable(zeros, trainable=False, name=VALUES)
        self.values = values

    @functools.cached_property
    def _names(self) -> tf.Variable:
        # Made outside the scope of a strategy: workers cannot broadcast texts.
        return tf.Variable(list(COLUMNS), trainable=False, name=NAMES)

    def state(self) -> dict[str, tf.Variable]:
        """The variables to save: the values and their columns' names.

        To be called outside the scope of a strategy.
        """
        return {VALUES: self.values, NAMES: self._names}

    def restore(self, saved: Mapping[str, np.ndarray]) -> None:
        """Restores the history of a checkpoint, even one of a version with other columns.

        Args:
          saved: the checkpoint's arrays by name, those of `state()`.

        Raises:
          InputError: see `saved_columns`; or a column is missing that cannot be filled, or one is
            there that this version does not know.
        """
        columns = saved_columns(saved)
        unknown = [name for name in columns if name not in COLUMNS]
        rule = "The history of the run in `train_log_dir` has columns that this version lacks."
        check(not unknown, rule, columns=unknown)
        absent = {name: column.absent for name, column in COLUMNS.items() if name not in columns}
        missing = [name for name, value in absent.items() if value is None]
        rule = "The history of the run in `train_log_dir` lacks columns that cannot be filled."
        check(not missing, rule, columns=missing)
        rows = self.values.shape[0]
        filled = columns | {name: np.full(rows, value) for name, value in absent.items()}
        values = np.stack([filled[name] for name in COLUMNS], axis=1)
        self.values.assign(values.astype(np.float32))

    def read(self, positions: tf.Tensor) -> dict[str, tf.Tensor]:
        """The columns of some samples, by name.

        Args:
          positions: int64 [batch].

        Returns:
          float32 [batch] each.
        """
        rows = tf.gather(self.values, positions)
        return dict(zip(COLUMNS, tf.unstack(rows, axis=1), strict=True))

    def update(
        self,
        positions: tf.Tensor,
        labels: tf.Tensor,
        losses: tf.Tensor,
        weights: tf.Tensor,
        logits: tf.Tensor,
    ) -> None:
        """Records one step; if a sample is in the batch twice, its later row counts.

        Args:
          positions: int64 [batch].
          labels: int64 [batch].
          losses: float32 [batch, 1].
          weights: float32 [batch, 1], before example dropout.
          logits: float32 [batch, classes].
        """
        labels = tf.cast(labels, tf.int64)
        old = self.read(positions)
        count = old["num_seen"] + 1
        rate = tf.maximum(1 / count, _SMALLEST_RATE)
        seen = Seen(old, labels, losses[:, 0], weights[:, 0], logits, count, rate)
        rows = tf.stack([column.update(seen) for column in COLUMNS.values()], axis=1)
        self.values.scatter_update(tf.IndexedSlices(rows, positions))


def saved_columns(saved: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The columns of a checkpoint's history by name, of this version or another.

    Args:
      saved: the checkpoint's arrays `VALUES` and, unless it is older, `NAMES`.

    Raises:
      InputError: the columns are not named, and are not those of the versions that did not.
    """
    values, names = saved[VALUES], _UNNAMED
    if NAMES in saved:
        names = tuple(name.decode() for name in saved[NAMES])
    rule = "The history in the checkpoint must name its columns."
    check(values.shape[1] == len(names), rule, columns=values.shape[1])
    return dict(zip(names, values.T, strict=True))
