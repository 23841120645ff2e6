"""How many labels are wrong: an estimate without clean labels, and its range.

The estimate is the mean probability that a label is wrong (ranking.py), that of a class the mean of
its labels; these are made to rise with the ranking. The count of confident learning (Northcutt et
al. 2021) is a cross-check: the samples that are as probable of another class as the samples given
that class are of it. It finds nothing once wrong labels are memorised.

All estimates count samples that the student cannot learn as mislabelled: if it is too weak, or was
stopped too early, they are too high.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from mentornet.label_noise import ranking
from mentornet.label_noise.ranking import Visits

_DISAGREEMENT = 0.1  # The range is stated where its ends lie further apart.
ALL_VISITS = "all visits"  # `NoiseRate.source`.


@dataclasses.dataclass(frozen=True)
class NoiseRate:
    """An estimated share of wrong labels; as text, with its range where the estimates disagree.

    Attributes:
      rate: of the samples with a visit.
      low, high: the range of what the estimates say.
      by_class: float64 [classes], by given label.
      range_by_class: float64 [classes, 2], the lowest and the highest estimate of each class.
      source: what it was estimated from.
    """

    rate: float
    low: float
    high: float
    by_class: np.ndarray
    range_by_class: np.ndarray
    source: str

    def __str__(self) -> str:
        return _stated(self.rate, self.low, self.high)

    def of_class(self, label: int) -> str:
        """The same for the samples with this label."""
        return _stated(self.by_class[label], *self.range_by_class[label])


def _stated(rate: float, low: float, high: float) -> str:
    if high - low > _DISAGREEMENT:
        return f"{rate:.1%} (between {low:.1%} and {high:.1%})"
    return f"{rate:.1%}"


def estimate(labels: np.ndarray, num_classes: int, visits: Visits) -> NoiseRate:
    """The share of wrong labels; samples without a visit do not count.

    Args:
      labels: int64 [n], as given.
      num_classes: number of classes.
      visits: of the samples.
    """
    labels, visits = labels[visits.count > 0], visits.seen
    if not labels.size:
        nothing = np.tile((0.0, 1.0), (num_classes, 1))
        return NoiseRate(0.0, 0.0, 1.0, nothing[:, 0], nothing, "no visits")
    _, others = visits.wrong_probabilities
    if visits.memorised < ranking.MEMORISED:
        others = [*others, _confident_learning(labels, num_classes, visits)]
    rising = ranking.rising_probabilities(visits)
    return _combined([rising, *others], labels, num_classes, ALL_VISITS)


def _combined(
    estimates: Sequence[np.ndarray], labels: np.ndarray, num_classes: int, source: str
) -> NoiseRate:
    """The first estimate of how probably each label is wrong, float64 [n], in the range of all."""
    rates = [float(values.mean()) for values in estimates]
    by_class = np.array([class_means(values, labels, num_classes) for values in estimates])
    ranges = np.stack([by_class.min(axis=0), by_class.max(axis=0)], axis=1)
    return NoiseRate(rates[0], min(rates), max(rates), by_class[0], ranges, source)


def of_losses(labels: np.ndarray, num_classes: int, mean_loss: np.ndarray) -> NoiseRate:
    """A hint from decayed losses, for runs without undecayed statistics: two normals.

    Args:
      labels: int64 [n], as given.
      num_classes: number of classes.
      mean_loss: float64 [n], of samples with a visit.
    """
    from sklearn.mixture import GaussianMixture

    wrong = np.zeros(len(mean_loss))
    if len(np.unique(mean_loss)) >= 2:
        mixture = GaussianMixture(2, random_state=0, n_init=3).fit(mean_loss[:, None])
        wrong = mixture.predict_proba(mean_loss[:, None])[:, np.argmax(mixture.means_)]
    return _combined([wrong], labels, num_classes, "decayed losses, a hint")


def class_means(values: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Mean of each class's values, float64 [classes]; of a class without samples, that of all.

    Args:
      values: float64 or bool [n], at least one.
      labels: int64 [n] in 0..num_classes - 1.
      num_classes: number of classes.
    """
    counts = np.bincount(labels, minlength=num_classes)
    sums = np.bincount(labels, weights=values, minlength=num_classes)
    return np.where(counts > 0, sums / np.maximum(counts, 1), values.mean())


def shrunk_class_means(values: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Each class's share, such as of wrong labels, shrunk towards that of all; small classes most.

    An estimate from n samples has variance s (1 - s) / n about the class's share, s being that of
    all samples. What the estimates vary beyond that is the variance between classes, and each is
    weighted by the part of this one in the sum: empirical Bayes, the variance by moments
    (DerSimonian and Laird 1986). Where the noise is the same in all classes, all have the same
    share; a class with a handful of samples has that of all.

    Args:
      values: float64 [n] in 0..1, such as how probably each label is wrong.
      labels: int64 [n], as given.
      num_classes: number of classes.

    Returns:
      float64 [classes] in 0..1.
    """
    overall, means = values.mean(), class_means(values, labels, num_classes)
    counts = np.bincount(labels, minlength=num_classes)
    within = overall * (1 - overall)
    beyond = np.sum(counts * (means - overall) ** 2) - (np.count_nonzero(counts) - 1) * within
    between = max(0.0, beyond / max(len(labels) - np.sum(counts**2) / len(labels), 1))
    kept = between * counts / np.maximum(between * counts + within, 1e-12)
    return overall + kept * (means - overall)


def _confident_learning(labels: np.ndarray, num_classes: int, visits: Visits) -> np.ndarray:
    """For each sample its class's calibrated share off the diagonal of the confident joint.

    As in Northcutt et al. (2021, section 3.1), but with the most probable other class alone, and
    mean probabilities over the visits.
    """
    thresholds = class_means(visits.given, labels, num_classes)
    as_other = visits.other >= thresholds[visits.other_class]
    as_given = visits.given >= thresholds[labels]
    off = as_other & (~as_given | (visits.other > visits.given))
    found, counted = (class_means(each, labels, num_classes) for each in (off, off | as_given))
    return (found / np.maximum(counted, 1e-12))[labels]
