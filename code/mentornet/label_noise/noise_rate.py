"""Estimates which labels are wrong, and how many, from statistics of each sample in training.

No clean label is needed. Which statistic is most informative depends on whether the student has
memorised wrong labels. This, too, can be seen without clean labels: suspects are samples whose
label was contradicted at most visits, and the criterion is the share of suspects whose last
prediction is the given label.

* Before memorising, the mean margin of logits (Pleiss et al. 2020) ranks best, and is modelled as a
  mixture of normal distributions: of wrong labels, of right but hard ones, and of easy ones.
* Afterwards margins are uninformative, but wrong events (visits at which another class was
  predicted) are not. Their number is modelled as a mixture of two beta-binomial distributions, like
  the beta mixture of Arazo et al. (2019, section 3.1), but of shares of visits instead of losses.
  It follows if each sample's probability of a wrong event is Beta distributed; a small number of
  visits therefore needs no correction. The second component lies above the first in likelihood
  ratio: a sample that looks worse is never more likely right.
* The count of confident learning (Northcutt et al. 2021) is a cross-check: the samples that are as
  probable of another class as the samples given that class are of it. It finds nothing once wrong
  labels are memorised.

All estimates count samples that the student cannot learn as mislabelled: if it is too weak, or was
stopped too early, they are too high.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import numpy as np

from mentornet.label_noise import mixtures

# The range is stated where its ends lie further apart than this.
DISAGREEMENT = 0.1
ALL_VISITS = "all visits"  # `NoiseRate.source`.
_SURE = 0.9
_TIE_BREAK = 1e-4
_MEMORISED = 0.9  # Share of the suspects above which margins are ignored.


@dataclasses.dataclass(frozen=True)
class NoiseRate:
    """An estimated share of wrong labels; as text, with its range where the estimates disagree.

    Attributes:
      rate: of all samples.
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
    if high - low > DISAGREEMENT:
        return f"{rate:.1%} (between {low:.1%} and {high:.1%})"
    return f"{rate:.1%}"


@dataclasses.dataclass(frozen=True)
class Visits:
    """Undecayed statistics of each sample, pooled over runs on the same labels.

    Attributes:
      count: float64 [n], visits.
      wrong: float64 [n] in 0..1, share of the visits at which another class was predicted.
      last_wrong: float64 [n] in 0..1, share of the runs, weighted by their visits, whose last
        prediction was another class.
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
        """Those of the samples that have a visit."""
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
    def wrong_probabilities(self) -> tuple[np.ndarray, list[np.ndarray]]:
        """The probability that each label is wrong, float64 [n] in 0..1, and other estimates of it.

        Every sample must have been visited.
        """
        return _wrong_probabilities(self)

    def right_left_out(self, share: float) -> float:
        """The share of right labels expected to be left out with a share of the samples; in 0..1.

        Of samples that each have a visit; the most suspicious ones are left out.
        """
        right = 1 - np.sort(self.wrong_probabilities[0])[::-1]
        return float(right[: round(share * len(right))].sum() / max(right.sum(), 1e-12))

    @property
    def rank_score(self) -> np.ndarray:
        """What ranks labels best, the most suspicious highest: float64 [n] in 0..1, 0 if not seen.

        The logistic function of the negative margin as far as suspects are not memorised, the
        share of wrong events as far as they are; among equal shares, the margin decides.
        """
        from scipy.special import expit

        early, late = expit(-self.margin), self.wrong
        is_late = min(self.memorised, 1 - _TIE_BREAK)
        mixed = (1 - is_late) * early + is_late * late
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
        nothing = np.tile((0.0, 1.0), (num_classes, 1))
        return NoiseRate(0.0, 0.0, 1.0, nothing[:, 0], nothing, "no visits")
    probabilities, others = visits.wrong_probabilities
    if visits.memorised < _MEMORISED:
        others = [*others, _confident_learning(labels, num_classes, visits)]
    return _combined([probabilities, *others], labels, num_classes, ALL_VISITS)


def _combined(
    estimates: Sequence[np.ndarray], labels: np.ndarray, num_classes: int, source: str
) -> NoiseRate:
    """The first estimate of how probably each label is wrong, float64 [n], in the range of all."""
    rates = [float(values.mean()) for values in estimates]
    by_class = np.array([class_means(values, labels, num_classes) for values in estimates])
    ranges = np.stack([by_class.min(axis=0), by_class.max(axis=0)], axis=1)
    return NoiseRate(rates[0], min(rates), max(rates), by_class[0], ranges, source)


def _wrong_probabilities(visits: Visits) -> tuple[np.ndarray, list[np.ndarray]]:
    events, doubt = mixtures.beta_binomial(visits.wrong, visits.count)
    by_margins, others = mixtures.normals(visits.margin)
    if visits.memorised < (_MEMORISED if by_margins.any() else 0.5):
        found = by_margins, *others, *([events] if events.any() else [])
        by_margins, *others = (at_most_suspects(values, visits) for values in found)
        return by_margins, others
    others = [(events > _SURE).astype(np.float64), (events > 1 - _SURE).astype(np.float64)]
    if not events.any():  # All are right, which few doubts show; else nothing is known.
        others.append(np.full(len(events), doubt if doubt < DISAGREEMENT else 1.0))
    margins = (1 + visits.other - visits.given) / 2
    return events, [*others, mixtures.beta_binomial(margins, visits.count)[0]]


def at_most_suspects(probabilities: np.ndarray, visits: Visits) -> np.ndarray:
    """Lowered in proportion, if necessary, until their mean is at most the share of the suspects.

    Where most wrong labels are those of a similar class, the student hesitates between the two for
    right and wrong labels alike, and a component of the mixtures holds both.
    """
    return probabilities * min(1.0, visits.suspects.mean() / max(probabilities.mean(), 1e-12))


def of_losses(labels: np.ndarray, num_classes: int, mean_loss: np.ndarray) -> NoiseRate:
    """A hint from decayed losses, for runs without undecayed statistics: two normals."""
    from sklearn.mixture import GaussianMixture

    wrong = np.zeros(len(mean_loss))
    if len(np.unique(mean_loss)) >= 2:
        mixture = GaussianMixture(2, random_state=0, n_init=3).fit(mean_loss[:, None])
        wrong = mixture.predict_proba(mean_loss[:, None])[:, np.argmax(mixture.means_)]
    return _combined([wrong], labels, num_classes, "decayed losses, a hint")


def class_means(values: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Mean of each class's values, float64 [classes]; of a class without samples, that of all."""
    counts = np.bincount(labels, minlength=num_classes)
    sums = np.bincount(labels, weights=values, minlength=num_classes)
    return np.where(counts > 0, sums / np.maximum(counts, 1), values.mean())


def shrunk_class_means(values: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Each class's share of wrong labels, shrunk towards that of all, small classes the most.

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


def _confident_learning(labels: np.ndarray, num_classes: int, visits: Visits) -> np.ndarray:
    """For each sample its class's calibrated share off the diagonal of the confident joint.

    As in section 3.1 there, but with the most probable other class alone, and mean probabilities
    over the visits.
    """
    thresholds = class_means(visits.given, labels, num_classes)
    as_other = visits.other >= thresholds[visits.other_class]
    as_given = visits.given >= thresholds[labels]
    off = as_other & (~as_given | (visits.other > visits.given))
    found, counted = (class_means(each, labels, num_classes) for each in (off, off | as_given))
    return (found / np.maximum(counted, 1e-12))[labels]
