"""Which labels are suspicious, and how many are wrong, from what runs remember of each sample.

No clean label is needed. What says most depends on whether the student has memorised wrong labels,
which shows without clean labels, too: as the share of the suspects, whose label most visits
contradicted, that the student predicts as given in the end.

* Before that, the mean margin of logits (Pleiss et al. 2020) ranks best, and is a mixture of normal
  laws: of wrong labels, of labels that are right but hard, and of easy ones.
* Afterwards margins say nothing, but wrong events do, the visits at which another class was
  predicted. Their number is a mixture of two beta-binomial laws: that of Arazo et al. (2019,
  section 3.1), of shares of the visits instead of losses. The share of wrong events has that law if
  each sample has a probability of its own, which is Beta distributed; so few visits need no
  correction. The second law lies above the first in likelihood ratio: a sample that looks worse is
  never more likely right.
* The count of confident learning (Northcutt et al. 2021) is a cross-check: the samples that are as
  probable of another class as the samples given that class are of it. It finds nothing once wrong
  labels are memorised.

All of them take a sample that the student cannot learn for mislabelled: of a student that is too
weak, or was stopped too early, they say too much.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import numpy as np

from mentornet.datasets import records
from mentornet.weighting import mixtures

# The range is stated where its ends lie further apart than this.
DISAGREEMENT = 0.1
_SURE = 0.9
_TIE_BREAK = 1e-4
_MEMORISED = 0.9  # Share of the suspects from which on margins are not looked at at all.


@dataclasses.dataclass(frozen=True)
class NoiseRate:
    """An estimated share of wrong labels.

    Attributes:
      rate: of all samples.
      low, high: the range of what the estimates say.
      by_class: float64 [classes], by given label.
      source: what it was estimated from.
    """

    rate: float
    low: float
    high: float
    by_class: np.ndarray
    source: str

    def __str__(self) -> str:
        if self.high - self.low > DISAGREEMENT:
            return f"{self.rate:.1%} (between {self.low:.1%} and {self.high:.1%})"
        return f"{self.rate:.1%}"


@dataclasses.dataclass(frozen=True)
class Visits:
    """What one or more runs on the same labels remember without forgetting.

    Attributes:
      count: float64 [n], visits.
      wrong: float64 [n] in 0..1, share of the visits at which another class was predicted.
      last_wrong: float64 [n] in 0..1, share of the runs whose last prediction was another class.
      margin: float64 [n], mean of the given logit minus the largest other one, divided by its
        standard deviation over a run's samples.
      given, other: float64 [n], mean probability of the given label and of the next best.
      other_class: int64 [n], the class predicted last that was not the given one.
    """

    count: np.ndarray
    wrong: np.ndarray
    last_wrong: np.ndarray
    margin: np.ndarray
    given: np.ndarray
    other: np.ndarray
    other_class: np.ndarray

    @functools.cached_property
    def seen(self) -> Visits:
        """Those of the samples that have one."""
        chosen = self.count > 0
        return Visits(*(getattr(self, field.name)[chosen] for field in dataclasses.fields(self)))

    @property
    def suspects(self) -> np.ndarray:
        """The samples whose label more than half of the visits contradicted, bool [n]."""
        return self.wrong > 0.5

    @functools.cached_property
    def memorised(self) -> float:
        """Share of the suspects that are predicted as given in the end; 1 without suspects."""
        last_wrong = self.last_wrong[self.suspects]
        return float(1 - last_wrong.mean()) if last_wrong.size else 1.0

    @functools.cached_property
    def wrong_probabilities(self) -> tuple[np.ndarray, list[float]]:
        """The probability that each label is wrong, and what else the share of wrong ones may be.

        Of samples that each have a visit: float64 [n] in 0..1, and further estimates of its mean.
        """
        return _wrong_probabilities(self)

    @property
    def rank_score(self) -> np.ndarray:
        """What ranks labels best, the most suspicious highest: float64 [n] in 0..1, 0 if not seen.

        The logistic function of the negative margin as far as suspects are not memorised, the
        share of wrong events as far as they are.
        """
        from scipy.special import expit

        early, late = expit(-self.margin), self.wrong
        mixed = (1 - self.memorised) * early + self.memorised * late
        return np.where(self.count > 0, mixed, 0)


def pooled(histories: Sequence[Mapping[str, np.ndarray]]) -> Visits:
    """The visits of several runs; of the other class, the first run's that has seen the sample.

    Args:
      histories: columns of each run's history, by name.
    """
    counts = np.array([columns["num_counted"] for columns in histories])
    total = counts.sum(axis=0)

    def mean(values: Sequence[np.ndarray]) -> np.ndarray:
        return (counts * np.array(values)).sum(axis=0) / np.maximum(total, 1)

    margins = []
    for columns, count in zip(histories, counts, strict=True):
        seen = columns["mean_margin"][count > 0]
        margins.append(columns["mean_margin"] / ((seen.std() if seen.size else 0) or 1))
    classes = np.array([columns["other_class"] for columns in histories])
    first = (counts > 0).argmax(axis=0)
    return Visits(
        total,
        np.sum([columns["num_wrong"] for columns in histories], axis=0) / np.maximum(total, 1),
        # A class other than the given one that was predicted last is the last prediction itself.
        mean([columns["prediction"] == columns["other_class"] for columns in histories]),
        mean(margins),
        mean([columns["mean_given"] for columns in histories]),
        mean([columns["mean_other"] for columns in histories]),
        classes[first, np.arange(len(total))].astype(np.int64),
    )


def label_scores(visits: Visits) -> np.ndarray:
    """How probably each label is wrong: float64 [n] in 0..1, 0 without visits.

    The probabilities of the mixtures, made to rise with `Visits.rank_score`; where they are the
    same, that decides the order.
    """
    from sklearn.isotonic import IsotonicRegression

    seen, rank = visits.count > 0, visits.rank_score
    score = np.zeros(len(rank))
    if seen.any():
        probability, _ = visits.seen.wrong_probabilities
        rising = IsotonicRegression(y_min=0, y_max=1).fit_transform(rank[seen], probability)
        score[seen] = (1 - _TIE_BREAK) * rising + _TIE_BREAK * rank[seen]
    return score


def estimate(labels: np.ndarray, num_classes: int, visits: Visits) -> NoiseRate:
    """The share of wrong labels; samples without a visit do not count.

    Args:
      labels: int64 [n], as given.
      num_classes: number of classes.
      visits: of the samples.
    """
    labels, visits = labels[visits.count > 0], visits.seen
    if not labels.size:
        return NoiseRate(0.0, 0.0, 1.0, np.zeros(num_classes), "no visits")
    posterior, others = visits.wrong_probabilities
    others = list(others)
    if visits.memorised < _MEMORISED:
        others.append(_confident_learning(labels, num_classes, visits))
    rate = float(posterior.mean())
    by_class = class_means(posterior, labels, num_classes)
    low, high = min(rate, *others), max(rate, *others)
    return NoiseRate(rate, float(low), float(high), by_class, "all visits")


def _wrong_probabilities(visits: Visits) -> tuple[np.ndarray, list[float]]:
    events, doubt = mixtures.beta_binomial_laws(visits.wrong, visits.count)
    found = [mixtures.normal_laws(visits.margin, number) for number in (1, 2, 3)]
    # One law says that all labels are right, which margins below 0 contradict.
    best = min(range(3) if visits.margin.mean() >= 0 else (1, 2), key=lambda k: found[k][1])
    by_margins = found[best][0]
    others = [float(found[k][0].mean()) for k in (1, 2)]
    if visits.memorised < (_MEMORISED if by_margins.any() else 0.5):
        return by_margins, [*others, *([float(events.mean())] if events.any() else [])]
    others = [float((events > _SURE).mean()), float((events > 1 - _SURE).mean())]
    if not events.any():  # All are right, which few doubts show; else nothing is known.
        others.append(doubt if doubt < DISAGREEMENT else 1.0)
    margins = (1 + visits.other - visits.given) / 2
    by_margins, _ = mixtures.beta_binomial_laws(margins, visits.count)
    return events, [*others, float(by_margins.mean())]


def of_trusted(trusted: records.Examples, num_classes: int) -> NoiseRate:
    """The share of wrong labels among samples whose clean labels may be used."""
    wrong = (trusted.labels != trusted.clean_labels).astype(np.float64)
    rate = float(wrong.mean())
    by_class = class_means(wrong, trusted.labels, num_classes)
    return NoiseRate(rate, rate, rate, by_class, "the trusted samples")


def of_losses(labels: np.ndarray, num_classes: int, mean_loss: np.ndarray) -> NoiseRate:
    """A hint from decayed losses, for runs whose history forgets: a mixture of two normal laws."""
    from sklearn.mixture import GaussianMixture

    wrong = np.zeros(len(mean_loss))
    if len(np.unique(mean_loss)) >= 2:
        mixture = GaussianMixture(2, random_state=0, n_init=3).fit(mean_loss[:, None])
        wrong = mixture.predict_proba(mean_loss[:, None])[:, np.argmax(mixture.means_)]
    rate = float(wrong.mean())
    by_class = class_means(wrong, labels, num_classes)
    return NoiseRate(rate, rate, rate, by_class, "decayed losses, a hint")


def class_means(values: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Mean of each class's values, float64 [classes]; of a class without samples, that of all."""
    counts = np.bincount(labels, minlength=num_classes)
    sums = np.bincount(labels, weights=values, minlength=num_classes)
    return np.where(counts > 0, sums / np.maximum(counts, 1), values.mean())


def shrunk_class_means(values: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Each class's share of wrong labels, nearer to that of all the less its samples can tell.

    An estimate from n samples has variance s (1 - s) / n about the class's share, s being that of
    all samples. What the estimates vary beyond that is the variance between classes, and each is
    weighted by the part of this one in the sum: empirical Bayes, the variance by moments
    (DerSimonian and Laird 1986). Where the noise is the same in all classes, all have the same
    share; a class with a handful of samples has that of all.

    Args:
      values: float64 [n] in 0..1, how probably each label is wrong.
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


def _confident_learning(labels: np.ndarray, num_classes: int, visits: Visits) -> float:
    """The calibrated share of samples off the diagonal of the confident joint (section 3.1 there).

    With the most probable other class alone, from mean probabilities over the visits.
    """
    thresholds = class_means(visits.given, labels, num_classes)
    as_other = visits.other >= thresholds[visits.other_class]
    as_given = visits.given >= thresholds[labels]
    off = as_other & (~as_given | (visits.other > visits.given))
    counted = off | as_given
    share = class_means(off, labels, num_classes) / np.maximum(
        class_means(counted, labels, num_classes), 1e-12
    )
    return float(share[labels].mean())
