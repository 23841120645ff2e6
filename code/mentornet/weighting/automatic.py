"""Percentile and burn-in determined from the sample history, whatever the noise rate."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from mentornet.config.weighting import AUTO, WeightingConfig
from mentornet.core.errors import check
from mentornet.core.schedules import NUM_EPOCHS
from mentornet.label_noise import changes, ranking
from mentornet.label_noise.history import COLUMNS, SampleHistory
from mentornet.weighting import decisions
from mentornet.weighting.protocol import Context

_FIRST_ESTIMATE = 2  # Passes over the data before the first estimate.
_FEWEST_CHECKS = 5  # In which the changes can fall and rise.
_LATE_EPOCH = 50  # Percent of the training after which weighting begins without memorising,
_LATE_PASSES = 10  # if so many passes are over by then, and few correct labels are left out.


class Rules(NamedTuple):
    """The settings that apply in a step; scalars.

    Attributes:
      percentile: float32, the share of the losses below the one that enters the moving average.
      is_burn_in: bool, whether every weight is 1.
      fixed_epoch: int32, the epoch percentage at which the burn-in ends or has ended.
      memorised: float32, share of the contradicted labels that was predicted at the last check; 1
        if there are none.
      by_class: float32 [classes], the percentile of each given class; empty if it is not known.
      is_by_class: bool, whether these apply instead of the common one.
    """

    percentile: tf.Tensor
    is_burn_in: tf.Tensor
    fixed_epoch: tf.Tensor
    memorised: tf.Tensor
    by_class: tf.Tensor
    is_by_class: tf.Tensor

    def scalars(self, with_classes: bool) -> dict[str, tf.Tensor]:
        """For the log."""
        percentiles = tf.unstack(self.by_class) if with_classes else []
        found = {f"automatic/loss_p_percentile/{c}": p for c, p in enumerate(percentiles)}
        # Without classes `is_by_class` is false.
        for name, bound in (("lowest", tf.reduce_min), ("highest", tf.reduce_max)):
            ruling = tf.where(self.is_by_class, bound(self.by_class), self.percentile)
            found[f"automatic/{name}_percentile"] = ruling
        return found | {
            "automatic/loss_p_percentile": self.percentile,
            "automatic/by_class": tf.cast(self.is_by_class, tf.float32),
            "automatic/burn_in": tf.cast(self.is_burn_in, tf.float32),
            "automatic/memorised": self.memorised,
        }


class State(NamedTuple):
    """What has been found so far: float32 variables, saved by these names, or their values.

    Attributes:
      percentile: scalar, 0 before the first estimate.
      burn_in_end: scalar, 1 + the epoch percentage from which on samples are weighted; 0 before.
      memorised: scalar, see `Rules`.
      is_by_class: scalar, see `Rules`.
      by_class: [classes], see `Rules`.
    """

    percentile: Any
    burn_in_end: Any
    memorised: Any
    is_by_class: Any
    by_class: Any


class Automatic:
    """`loss_p_percentile="auto"` and `burn_in_epoch="auto"`.

    After each pass over the data, at most once in a percent of the training, the history of all
    samples is checked. The burn-in ends when the number of predictions that change from one pass to
    the next has passed its first local minimum (`changes`), and 15 % of the contradicted labels,
    where more than half of the visits predicted another class, are predicted: wrong labels are
    being memorised. In the scripts, which know their schedule, passes before the last rise of the
    learning rate do not count, as it makes the predictions change more. A training that memorises
    nothing in its first half is weighted in the second, if at least ten passes are over and the
    percentile is expected to leave out at most a quarter of the correct labels. But as long as so
    many contradicted labels are being learned that they seem to be those of hard samples
    (`decisions`), it begins neither way. Else it keeps weight 1 throughout: it cannot tell wrong
    labels from hard samples yet, and would lose more by leaving these out.

    The percentile is 1 minus the share of wrong labels that is estimated then (`noise_rate`), at
    most the share of contradicted labels, and less one standard deviation of the share of correct
    labels in a batch: a percentile above that share is the loss of a wrong label, which is then
    learned. It is estimated again only as long as no wrong label is found, because what is
    memorised later looks right, and weights change the history. With a fixed burn-in it is
    estimated from the second pass on until that ends, and weights are 1 until then.

    Each class has a percentile of its own (`noise_rate.shrunk_class_means`) with `class_balanced`,
    and where the common one would leave out most of a class, or does: one that is learned late may
    have no loss below it, and would be left out for good.

    The results are kept as state, so that a resumed run, and all replicas, use the same.

    Args:
      context: of the training; asked for a history.
      config: of the weighting.
    """

    def __init__(self, context: Context, config: WeightingConfig) -> None:
        self._config = config
        self._percentile, self._burn_in = config.loss_p_percentile, config.burn_in_epoch
        self._history: SampleHistory = context.history()
        self._num_classes = num_classes(context, config)
        self._last_rise = context.last_rise
        # The names in a checkpoint say what the variables hold, also column by column.
        shapes = {"by_class": (self._num_classes,)}
        self._state = State(
            *(context.variable(f"automatic_{name}", shapes.get(name, ())) for name in State._fields)
        )
        # `changes.totals` at each check, by epoch percentage.
        self._changes = context.variable("automatic_changed_visits", (NUM_EPOCHS, 2), "int64")
        # Samples in the batches so far, and passes over the data before the latest batch; counted,
        # since the last batch of a pass may be smaller in fit().
        self._seen = context.variable("automatic_samples_passes", (2,), "int64")
        self._labels = context.per_sample("given_labels") if self._num_classes else None
        context.remarks.append(self._remark)

    def remember_labels(self, positions: tf.Tensor | None, labels: tf.Tensor | None) -> None:
        """Remembers the given labels, int [batch], of the samples at int [batch].

        Raises:
          InputError: one of them is not known.
          tf.errors.InvalidArgumentError: a label is not in 0..classes - 1.
        """
        if self._labels is None:
            return
        rule = "`auto` needs positions, and labels that name classes."
        check(positions is not None and labels is not None, rule, labels=labels)
        assert labels is not None
        rule = f"`auto` needs labels in 0..{self._num_classes - 1}, see `num_classes`."
        is_class = (labels >= 0) & (labels < self._num_classes)
        tf.debugging.assert_equal(tf.reduce_all(is_class), True, rule)
        self._labels.write(positions, tf.cast(labels, tf.float32))

    def update(self, epoch: tf.Tensor, batch_size: tf.Tensor) -> None:
        """Updates the estimates if a pass has just ended; to be called before a step is weighed.

        Args:
          epoch: int32 scalar, the epoch percentage, 0..99.
          batch_size: float32 scalar, the number of samples of all replicas.
        """
        size = tf.cast(batch_size, tf.int64)
        num_seen, passes_before = tf.unstack(tf.convert_to_tensor(self._seen))
        passes = num_seen // self._history.values.shape[0]
        self._seen.assign(tf.stack([num_seen + size, passes]))
        old, checks = self._values(), tf.convert_to_tensor(self._changes)
        is_due = (passes > passes_before) & tf.equal(checks[epoch, 1], 0)

        def check_now() -> tuple[State, tf.Tensor]:
            values = tf.convert_to_tensor(self._history.values)
            row = changes.totals(values)[None]
            updated = tf.tensor_scatter_nd_update(checks, [[epoch]], row)
            labels = [] if self._labels is None else [tf.convert_to_tensor(self._labels.values)]
            inputs = (values, updated, epoch, passes, size, *old, *labels)
            new = tf.numpy_function(self._updated, inputs, [tf.float32] * len(old))
            return State(*map(tf.ensure_shape, new, [value.shape for value in old])), updated

        new, checks = tf.cond(is_due, check_now, lambda: (old, checks))
        for variable, value in zip(self._state, new, strict=True):
            variable.assign(value)
        self._changes.assign(checks)

    def _values(self) -> State:
        return State(*map(tf.convert_to_tensor, self._state))

    def rules(self, epoch: tf.Tensor) -> Rules:
        """The settings that apply at an epoch percentage, int32 scalar."""
        found = self._values()
        percentile, start = found.percentile, tf.cast(found.burn_in_end, tf.int32)
        if self._burn_in == AUTO:
            is_burn_in, fixed_epoch = tf.equal(start, 0), start - 1
        else:
            is_burn_in = self._config.is_burn_in(epoch)
            fixed_epoch = tf.constant(self._burn_in, tf.int32)
        if self._percentile == AUTO:
            is_burn_in |= tf.equal(percentile, 0)
        else:
            percentile = tf.constant(self._percentile, tf.float32)
        fixed_epoch = tf.where(is_burn_in, epoch, fixed_epoch)
        is_by_class = tf.cast(found.is_by_class, tf.bool)
        return Rules(
            percentile, is_burn_in, fixed_epoch, found.memorised, found.by_class, is_by_class
        )

    def _updated(
        self,
        values: np.ndarray,
        checks: np.ndarray,
        epoch: np.ndarray,
        passes: np.ndarray,
        batch_size: np.ndarray,
        *old_and_labels: np.ndarray,
    ) -> tuple[np.ndarray, ...]:
        """The new values, in the order of `State`; labels are given where classes are known."""
        number = len(State._fields)
        old, labels = State(*old_and_labels[:number]), old_and_labels[number:]
        if passes < _FIRST_ESTIMATE or not np.isfinite(values).all():  # A loss that is not finite.
            return old
        percentile, start = old.percentile, old.burn_in_end
        is_by_class, by_class = old.is_by_class, old.by_class
        columns = dict(zip(COLUMNS, values.astype(np.float64).T, strict=True))
        given = labels[0].astype(np.int64) if labels else None
        visits = ranking.pooled([columns], given).seen
        fixed = None if isinstance(self._percentile, str) else self._percentile
        is_late = bool(epoch >= _LATE_EPOCH and passes >= _LATE_PASSES)
        counted = checks[self._last_rise :]
        if start == 0 and (
            self._burn_in != AUTO
            or decisions.may_begin(counted, visits, fixed, int(batch_size), is_late)
        ):
            start = epoch + 1
        is_fixed_burn_in = self._burn_in != AUTO and self._config.is_burn_in(epoch)
        if start and self._percentile == AUTO and (is_fixed_burn_in or percentile in (0, 1)):
            percentile, by_class, starves = decisions.percentiles(
                visits, int(batch_size), self._num_classes
            )
            is_by_class = self._config.class_balanced or starves
        elif given is not None and old.burn_in_end and not is_by_class:
            is_by_class = decisions.has_lost_a_class(visits, by_class)
        found = (percentile, start, visits.memorised, is_by_class, by_class)
        return tuple(np.asarray(value, np.float32) for value in found)

    def _remark(self) -> str:
        percentile, start, memorised, is_by_class, by_class = (v.numpy() for v in self._state)
        past = self._history.values.numpy().astype(np.float64)
        finite = np.nan_to_num(past, posinf=0, neginf=0)
        visits = ranking.pooled([dict(zip(COLUMNS, finite.T, strict=True))]).seen
        contradicted = "no label was contradicted at most visits"
        if visits.contradicted.any():
            share = f"{memorised:.1%} of the contradicted labels"
            contradicted = f"at the last check {share} were predicted"
        if start == 0:
            reason = "a loss was not finite"
            if np.isfinite(past).all():
                reason = self._why_unweighted(visits, contradicted)
            return f"auto: no sample was down-weighted, as {reason}."
        # A fixed burn-in may be longer than the first pass, at whose end the history is checked.
        first = int(start) if isinstance(self._burn_in, str) else max(int(start), self._burn_in)
        burn_in = f"weighted from {first - 1} % of the training on"
        if self._percentile != AUTO:
            return f"auto: {burn_in}; {contradicted}."
        said = f"percentile {percentile:.3f}"
        if is_by_class:
            said += f" ({by_class.min():.3f} to {by_class.max():.3f} by class)"
        return f"auto: {burn_in}, with {said}; {contradicted}."

    def _why_unweighted(self, visits: ranking.Visits, contradicted: str) -> str:
        takes = "takes more than {} passes over the data"
        is_checked = self._changes.numpy()[:, 1] > 0
        is_long = is_checked.sum() >= _LATE_PASSES
        if self._burn_in != AUTO:
            return f"an estimate {takes.format(_FIRST_ESTIMATE)}"
        if is_checked[self._last_rise :].sum() < _FEWEST_CHECKS and not is_long:
            after = " after the learning rate has last risen" if self._last_rise else ""
            return f"detecting memorisation {takes.format(_FEWEST_CHECKS)}{after}"
        if not visits.contradicted.any():
            return contradicted
        reason = "no memorisation was detected"
        if decisions.are_hard(visits):
            reason = "the contradicted labels are being learned, and may be right but hard"
        elif is_long:
            reason += " and too many correct labels would be left out"
        return f"{reason}; {contradicted}"


def num_classes(context: Context, config: WeightingConfig) -> int:
    """For how many classes a percentile is kept; 0 if the percentile is fixed, or none is known.

    Raises:
      InputError: none is known, and `class_balanced` asks for them.
    """
    if config.class_balanced:
        return context.require_num_classes()
    return (context.num_classes or 0) if config.loss_p_percentile == AUTO else 0
