"""What `auto` decides from the history: when weighting begins, and with which percentiles."""

from __future__ import annotations

import numpy as np

from mentornet.label_noise import changes, noise_rate, ranking
from mentornet.label_noise.ranking import Visits

_BEGUN = 0.15  # Share of the contradicted labels that are predicted, once memorising has begun.
_LEARNED = 0.25  # By how much this share exceeds that of contradicted labels if these are hard.
_MOST_LEFT_OUT = 0.25  # Share of the correct labels.
# Share of a class's correct labels that a common percentile must keep, and that must be learned.
_STARVED, _LOST = 0.55, 0.25


def may_begin(
    checks: np.ndarray, visits: Visits, percentile: float | None, batch_size: int, is_late: bool
) -> bool:
    """Whether weighting may begin: labels are memorised, or it is late and does little harm.

    Args:
      checks, visits: see `is_memorising`.
      percentile: that of the weighting; None is `common_percentile`.
      batch_size: of all replicas.
      is_late: whether the training is long, and in its second half.
    """
    if are_hard(visits):
        return False
    if is_memorising(checks, visits):
        return True
    if not is_late:
        return False
    share = common_percentile(visits, batch_size) if percentile is None else percentile
    return visits.right_left_out(1 - share) <= _MOST_LEFT_OUT


def is_memorising(checks: np.ndarray, visits: Visits) -> bool:
    """Whether contradicted labels are memorised, and changes have passed their first minimum.

    Their number also rises by chance where few samples are hard to learn.

    Args:
      checks: int64 [n, 2], `changes.totals` at each check; other rows are 0.
      visits: of the samples until the last check.
    """
    if visits.memorised < _BEGUN:
        return False
    shares = changes.changed_shares(checks[checks[:, 1] > 0])
    return changes.first_minimum(shares)[1]


def are_hard(visits: Visits) -> bool:
    """Whether the contradicted labels seem to be right but hard, as they are being learned.

    Of wrong labels, few are predicted until they are memorised. The fewer labels are contradicted,
    the more of them may be those of hard samples; where none is, there is nothing to leave out. A
    few wrong labels that are memorised from one check to the next are taken for hard ones, too.

    Args:
      visits: of the samples until the last check, at least one.
    """
    return bool(visits.memorised >= visits.contradicted.mean() + _LEARNED)


def common_percentile(visits: Visits, batch_size: int) -> float:
    """The percentile for all classes, as in `percentiles`."""
    return float(_lowered(1 - _wrong_probabilities(visits).mean(), batch_size))


def percentiles(
    visits: Visits, batch_size: int, num_classes: int
) -> tuple[float, np.ndarray, bool]:
    """The percentile, and that of each given class.

    Each is the share of correct labels, less its standard deviation in a batch: a percentile above
    that share is the loss of a wrong label, which is then learned.

    Args:
      visits: of the samples, before labels are memorised.
      batch_size: of all replicas. That of a class counts the same: the moving average of its
        percentiles covers as many samples as that of all classes.
      num_classes: 0 if labels are not known.

    Returns:
      float; float64 [num_classes]; and whether a class needs its own: one that is learned late may
      have no loss below the common percentile, and would be left out for good.
    """
    common = common_percentile(visits, batch_size)
    if visits.labels is None:
        return common, np.zeros(num_classes), False
    wrong = _wrong_probabilities(visits)
    right = 1 - noise_rate.shrunk_class_means(wrong, visits.labels, num_classes)
    is_kept = visits.given >= np.quantile(visits.given, 1 - common)
    starves = _has_less(is_kept, visits.labels, _STARVED * right)
    return common, _lowered(right, batch_size), starves


def _wrong_probabilities(visits: Visits) -> np.ndarray:
    return ranking.at_most_contradicted(ranking.rising_probabilities(visits), visits)


def has_lost_a_class(visits: Visits, right: np.ndarray) -> bool:
    """Whether hardly a sample of a class was predicted as given at its last visit.

    Args:
      visits: of the samples, with their labels.
      right: float [classes], shares of correct labels, or somewhat less.
    """
    assert visits.labels is not None
    return _has_less(visits.last_wrong == 0, visits.labels, _LOST * right)


def _has_less(chosen: np.ndarray, labels: np.ndarray, least: np.ndarray) -> bool:
    """Whether of a class a smaller share is chosen, bool [n], than the least, [classes].

    Shares are shrunk: of a class of some dozens of samples this may stay unknown.
    """
    shares = noise_rate.shrunk_class_means(chosen.astype(np.float64), labels, len(least))
    return bool((shares < least).any())


def _lowered(share: np.ndarray | float, batch_size: int) -> np.ndarray:
    lowest = 1e-6  # 0 stands for "not estimated yet".
    return np.maximum(share - np.sqrt(share * (1 - share) / batch_size), lowest)
