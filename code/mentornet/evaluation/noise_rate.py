"""The share of wrong labels, from what runs remember of each sample and no clean label.

Estimates that fail in different ways:

* A mixture of two beta-binomial laws of the label scores, for right and wrong labels: the mixture
  of Arazo et al. (2019, section 3.1), of shares of the visits instead of losses. The share in
  which a sample was suspicious has that law if each has a probability of its own, which is Beta
  distributed; so few visits need no correction. The second law lies above the first in likelihood
  ratio: a sample that looks worse is never more likely right.
* The same of the mean margins alone. Where they show no two laws, it says 0.
* The count of confident learning (Northcutt et al. 2021): the samples that are as probable of
  another class as the samples given that class are of it. It finds nothing once wrong labels are
  memorised, and is used only where the mixture says that they mostly were not.

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
      suspicion: float64 [n] in 0..1, the label score (`suspicion`).
      given, other: float64 [n], mean probability of the given label and of the next best.
      other_class: int64 [n].
    """

    count: np.ndarray
    suspicion: np.ndarray
    given: np.ndarray
    other: np.ndarray
    other_class: np.ndarray


def suspicion(columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """How suspicious each sample's label was in the mean of its visits.

    Two parts whether another class was predicted, 0 or 1, and one part the margin by which the most
    probable other class exceeded the given one, (1 + p_other - p_given) / 2. The first does not
    fade when a label is memorised; the second ranks samples of few visits.

    Args:
      columns: of the history, by name.

    Returns:
      float64 [n] in 0..1; 0 without visits.
    """
    visits = columns["num_counted"]
    wrong_events = columns["num_wrong"] / np.maximum(visits, 1)
    margin = columns["mean_other"] - columns["mean_given"]
    return np.where(visits > 0, (2 * wrong_events + (1 + margin) / 2) / 3, 0)


def pooled(histories: Sequence[Mapping[str, np.ndarray]]) -> Visits:
    """The visits of several runs; of the other class, the first run's that has seen the sample."""
    counts = np.array([columns["num_counted"] for columns in histories])
    total = counts.sum(axis=0)

    def mean(values: Sequence[np.ndarray]) -> np.ndarray:
        return (counts * np.array(values)).sum(axis=0) / np.maximum(total, 1)

    classes = np.array([columns["other_class"] for columns in histories])
    first = (counts > 0).argmax(axis=0)
    return Visits(
        total,
        mean([suspicion(columns) for columns in histories]),
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
    posterior, doubt = _mixture(visits.suspicion, visits.count)
    by_class = class_means(posterior, labels, num_classes)
    estimates = [posterior.mean(), (posterior > _SURE).mean(), (posterior > 1 - _SURE).mean()]
    margins = (1 + visits.other - visits.given) / 2
    estimates.append(_mixture(margins, visits.count)[0].mean())
    if not posterior.any():  # All are right, which few doubts show; else nothing is known.
        estimates.append(doubt if doubt < DISAGREEMENT else 1)
    elif doubt > 0.5:
        estimates.append(_confident_learning(labels, num_classes, visits))
    rate = float(posterior.mean())
    return NoiseRate(rate, float(min(estimates)), float(max(estimates)), by_class, "all visits")


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
