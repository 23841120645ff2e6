"""Which labels are suspicious, and how many are wrong, from what runs remember of each sample.

No clean label is needed. What says most depends on whether the student has memorised wrong labels,
which shows without clean labels, too: as the share of the suspects, whose label most visits
contradicted, that the student predicts as given in the end.

* Before that, the mean margin of logits (Pleiss et al. 2020) ranks best, and is a mixture of normal
  laws: of wrong labels, of labels that are right but hard, and of easy ones. Wrong are those of the
  laws with a negative mean, in which another class is preferred.
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

# The range is stated where its ends lie further apart than this.
DISAGREEMENT = 0.1
_BINS = 200  # Of the scores; what the fit costs does not depend on the number of samples.
_STARTS = (0.05, 0.2, 0.4, 0.6, 0.8)  # Shares of wrong labels from which the fit starts.
_LARGEST = 1000.0  # Of the laws' parameters; beyond, they are binomial laws in effect.
_SURE = 0.9
_MEMORISED = 0.9  # Share of the suspects from which on margins are not looked at.


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
    def memorised(self) -> float:
        """Share of the suspects that are predicted as given in the end; 1 without suspects.

        Suspects are the samples whose label more than half of the visits contradicted.
        """
        suspects = self.wrong > 0.5
        return float(1 - self.last_wrong[suspects].mean()) if suspects.any() else 1.0

    @property
    def score(self) -> np.ndarray:
        """How suspicious each label is: float64 [n] in 0..1, 0 without visits.

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


def estimate(labels: np.ndarray, num_classes: int, visits: Visits) -> NoiseRate:
    """The share of wrong labels; samples without a visit do not count.

    Args:
      labels: int64 [n], as given.
      num_classes: number of classes.
      visits: of the samples.
    """
    seen = visits.count > 0
    if not seen.any():
        return NoiseRate(0.0, 0.0, 1.0, np.zeros(num_classes), "no visits")
    rows = [getattr(visits, field.name)[seen] for field in dataclasses.fields(visits)]
    visits, labels = Visits(*rows), labels[seen]
    posterior, others = wrong_probabilities(visits)
    if visits.memorised < _MEMORISED:
        others.append(_confident_learning(labels, num_classes, visits))
    rate = float(posterior.mean())
    by_class = class_means(posterior, labels, num_classes)
    low, high = min(rate, *others), max(rate, *others)
    return NoiseRate(rate, float(low), float(high), by_class, "all visits")


def wrong_probabilities(visits: Visits) -> tuple[np.ndarray, list[float]]:
    """The probability that each label is wrong, and what else the share of wrong ones may be.

    Args:
      visits: of samples that each have one.

    Returns:
      float64 [n] in 0..1, and further estimates of its mean.
    """
    events, doubt = _mixture(visits.wrong, visits.count)
    others = [float((events > _SURE).mean()), float((events > 1 - _SURE).mean())]
    if visits.memorised >= _MEMORISED:
        if not events.any():  # All are right, which few doubts show; else nothing is known.
            others.append(doubt if doubt < DISAGREEMENT else 1.0)
        margins = (1 + visits.other - visits.given) / 2
        return events, [*others, float(_mixture(margins, visits.count)[0].mean())]
    found = [_normal_laws(visits.margin, number) for number in (1, 2, 3)]
    best = min(range(3), key=lambda k: found[k][1])
    others = [float(events.mean())] if events.any() else []
    return found[best][0], [*others, *(float(found[k][0].mean()) for k in (1, 2) if k != best)]


def _normal_laws(margins: np.ndarray, number: int) -> tuple[np.ndarray, float]:
    """Probabilities of the laws with a negative mean, float64 [n], and BIC (smaller is better).

    The law with the highest mean never counts: where even that is negative, the student is far
    from having learned its data.
    """
    from sklearn.mixture import GaussianMixture

    if len(np.unique(margins)) < max(2, number):
        return np.zeros(len(margins)), 0.0 if number == 1 else np.inf
    mixture = GaussianMixture(number, random_state=0, n_init=2, reg_covar=1e-3)
    mixture.fit(margins[:, None])
    means = mixture.means_[:, 0]
    wrong = (means < 0) & (np.arange(number) != np.argmax(means))
    return mixture.predict_proba(margins[:, None])[:, wrong].sum(axis=1), mixture.bic(
        margins[:, None]
    )


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


def _mixture(scores: np.ndarray, visits: np.ndarray) -> tuple[np.ndarray, float]:
    """Of each sample, the probability of the upper law, float64 [n], and the upper law's mean.

    Likelihoods are maximised by L-BFGS from several starts, over a table of the scores, rounded.
    Where two laws do not say more than one (by BIC), the probabilities are 0, and the mean is that
    of all scores.
    """
    from scipy import optimize

    table, inverse, samples = np.unique(
        np.stack([np.round(scores * _BINS) / _BINS, visits]),
        axis=1,
        return_inverse=True,
        return_counts=True,
    )
    share, total = table
    log_law = functools.partial(_log_beta_binomial, share * total, total)

    def one(raw: np.ndarray) -> float:
        return -np.sum(samples * log_law(*np.exp(raw)))

    def two(raw: np.ndarray) -> float:
        return -np.sum(samples * np.logaddexp(*_parts(raw, log_law)))

    small, large = np.log(0.05), np.log(_LARGEST)
    single = optimize.minimize(one, (0.0, 0.0), bounds=[(small, large)] * 2)
    bounds = [(-7, 7), *[(small, large)] * 2, *[(-5, large)] * 2]
    starts = _starts(share, samples)
    fits = [optimize.minimize(two, start, bounds=bounds) for start in starts]
    best = min(fits, key=lambda fit: fit.fun, default=None)
    penalty = 1.5 * np.log(len(scores))  # Of three more parameters.
    if best is None or single.fun - best.fun <= penalty:
        return np.zeros(len(scores)), float(scores.mean())
    lower, upper = _parts(best.x, log_law)
    above, below = _upper_parameters(best.x)
    return np.exp(upper - np.logaddexp(lower, upper))[inverse.ravel()], above / (above + below)


def _parts(raw: np.ndarray, log_law: functools.partial[np.ndarray]) -> tuple[np.ndarray, ...]:
    """The logarithms of share times law, the lower one's and the upper one's."""
    above, below = _upper_parameters(raw)
    # Lower: fewer wrong, more right; so the ratio of the laws rises with the score.
    lower = -np.logaddexp(0, raw[0]) + log_law(np.exp(raw[1]), below + np.exp(raw[4]))
    return lower, -np.logaddexp(0, -raw[0]) + log_law(above, below)


def _upper_parameters(raw: np.ndarray) -> tuple[float, float]:
    return np.exp(raw[1]) + np.exp(raw[3]), np.exp(raw[2])


def _log_beta_binomial(
    count: np.ndarray, total: np.ndarray, alpha: float, beta: float
) -> np.ndarray:
    """Without the binomial coefficient, which no parameter changes; counts need not be whole."""
    from scipy.special import betaln

    return betaln(count + alpha, total - count + beta) - betaln(alpha, beta)


def _starts(share: np.ndarray, samples: np.ndarray) -> list[np.ndarray]:
    """Parameters with which the samples above a quantile are wrong; a Beta law of strength 8."""
    ranks = np.cumsum(samples) / samples.sum()
    found = []
    for wrong in _STARTS:
        upper = ranks > 1 - wrong
        if upper.all() or not upper.any():
            continue
        low = np.clip(np.average(share[~upper], weights=samples[~upper]), 0.01, 0.95)
        high = np.clip(np.average(share[upper], weights=samples[upper]), low + 0.02, 0.99)
        laws = np.log(8 * np.array([low, 1 - high, high - low, high - low]))
        found.append(np.array([np.log(wrong / (1 - wrong)), *laws]))
    return found


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
