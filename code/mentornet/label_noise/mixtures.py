"""Mixtures of distributions: one of correct labels, and one of wrong labels above or below it."""

from __future__ import annotations

import functools

import numpy as np

_BINS = 200  # Of the scores; what the fit costs does not depend on the number of samples.
_STARTS = (0.05, 0.2, 0.4, 0.6, 0.8)  # Shares of wrong labels from which the fit starts.
_NOTICEABLE = 0.01  # BIC per sample that a third normal component must gain.
_LARGEST = 1000.0  # Of the components' parameters; beyond, they are binomial in effect.


def normal(margins: np.ndarray, number: int) -> tuple[np.ndarray, float]:
    """Probabilities of the components of wrong labels, float64 [n], and BIC (smaller is better).

    Their mean is negative, where another class is preferred, and nearer to the lowest component's
    than to the highest one's: a student that is far from having learned its data prefers other
    classes for many labels that are right.

    Args:
      margins: float64 [n].
      number: of normal components.
    """
    from sklearn.mixture import GaussianMixture

    if len(np.unique(margins)) < max(2, number):
        return np.zeros(len(margins)), 0.0 if number == 1 else np.inf
    mixture = GaussianMixture(number, random_state=0, n_init=2, reg_covar=1e-3)
    mixture.fit(margins[:, None])
    means = mixture.means_[:, 0]
    wrong = (means < 0) & (means - means.min() < means.max() - means)
    return mixture.predict_proba(margins[:, None])[:, wrong].sum(axis=1), mixture.bic(
        margins[:, None]
    )


def normals(margins: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Like `normal`, for the best number of components; and for two and for three.

    With three, labels that are right but hard have one of their own. It must gain noticeably: of
    many samples, a slight departure from normal distributions is significant, and where people gave
    the labels, the third component would be part of the wrong ones, and count as right.

    Args:
      margins: float64 [n].
    """
    one, two, three = (normal(margins, number) for number in (1, 2, 3))
    best = two if two[1] <= three[1] + _NOTICEABLE * len(margins) else three
    # A single component says that all labels are right, which margins below 0 contradict.
    if margins.mean() >= 0 and one[1] <= best[1]:
        best = one
    return best[0], [two[0], three[0]]


def beta_binomial(scores: np.ndarray, visits: np.ndarray) -> tuple[np.ndarray, float]:
    """Each sample's probability of the upper component, float64 [n], and that component's mean.

    Likelihoods are maximised by L-BFGS from several starts, over a table of the scores, rounded.
    If two components do not fit better than one (by BIC), the probabilities are 0, and the mean is
    that of all scores.

    Args:
      scores: float64 [n] in 0..1, shares of the visits.
      visits: float64 [n], at least 1.
    """
    from scipy import optimize

    table, inverse, samples = np.unique(
        np.stack([np.round(scores * _BINS) / _BINS, visits]),
        axis=1,
        return_inverse=True,
        return_counts=True,
    )
    share, total = table
    log_density = functools.partial(_log_beta_binomial, share * total, total)

    def one(raw: np.ndarray) -> float:
        return -np.sum(samples * log_density(*np.exp(raw)))

    def two(raw: np.ndarray) -> float:
        return -np.sum(samples * np.logaddexp(*_parts(raw, log_density)))

    small, large = np.log(0.05), np.log(_LARGEST)
    single = optimize.minimize(one, (0.0, 0.0), bounds=[(small, large)] * 2)
    bounds = [(-7, 7), *[(small, large)] * 2, *[(-5, large)] * 2]
    starts = _starts(share, samples)
    fits = [optimize.minimize(two, start, bounds=bounds) for start in starts]
    finite = [fit for fit in fits if np.isfinite(fit.fun)]
    best = min(finite, key=lambda fit: fit.fun, default=None)
    penalty = 1.5 * np.log(len(scores))  # Of three more parameters.
    if best is None or single.fun - best.fun <= penalty:
        return np.zeros(len(scores)), float(scores.mean())
    lower, upper = _parts(best.x, log_density)
    above, below = _upper_parameters(best.x)
    return np.exp(upper - np.logaddexp(lower, upper))[inverse.ravel()], above / (above + below)


def partly_memorised(
    upper: np.ndarray, scores: np.ndarray, visits: np.ndarray, last_wrong: np.ndarray
) -> np.ndarray:
    """How probably each label is wrong where some wrong ones are memorised, and others never.

    Args:
      upper, scores, visits: float64 [n], the result and the arguments of `beta_binomial`.
      last_wrong: float64 [n] in 0..1, whether the label is still contradicted in the end.

    Returns:
      Those of either kind, float64 [n]; 0 if most of these samples are still contradicted in the
      end, so that few wrong labels, if any, are memorised; and 0 if they would be more than half of
      all samples, since early visits contradict right labels, too.
    """
    rest, wrong = upper < 0.5, upper.copy()
    if rest.any():
        memorised, _ = beta_binomial(scores[rest], visits[rest])
        wrong[rest] = 1 - (1 - upper[rest]) * (1 - memorised)
    is_credible = wrong.mean() < 0.5 and wrong @ last_wrong < 0.5 * wrong.sum()
    return wrong if is_credible else np.zeros(len(wrong))


def _parts(raw: np.ndarray, log_density: functools.partial[np.ndarray]) -> tuple[np.ndarray, ...]:
    """The logarithms of share times density: the lower component's, and the upper one's."""
    above, below = _upper_parameters(raw)
    # Lower: fewer wrong, more right; so the ratio of the densities rises with the score.
    lower = -np.logaddexp(0, raw[0]) + log_density(np.exp(raw[1]), below + np.exp(raw[4]))
    return lower, -np.logaddexp(0, -raw[0]) + log_density(above, below)


def _upper_parameters(raw: np.ndarray) -> tuple[float, float]:
    return np.exp(raw[1]) + np.exp(raw[3]), np.exp(raw[2])


def _log_beta_binomial(
    count: np.ndarray, total: np.ndarray, alpha: float, beta: float
) -> np.ndarray:
    """The log density without the binomial coefficient, which depends on no parameter.

    Counts need not be whole. scipy's betaln is not used, since it is infinite for some arguments in
    TensorFlow's threads, where subnormal numbers are 0.
    """
    from scipy.special import gammaln

    def log_beta(a: np.ndarray | float, b: np.ndarray | float) -> np.ndarray:
        return gammaln(a) + gammaln(b) - gammaln(a + b)

    return log_beta(count + alpha, total - count + beta) - log_beta(alpha, beta)


def _starts(share: np.ndarray, samples: np.ndarray) -> list[np.ndarray]:
    """Parameters with which the samples above a quantile are wrong; each Beta has strength 8."""
    ranks = np.cumsum(samples) / samples.sum()
    found = []
    for wrong in _STARTS:
        upper = ranks > 1 - wrong
        if upper.all() or not upper.any():
            continue
        low = np.clip(np.average(share[~upper], weights=samples[~upper]), 0.01, 0.95)
        high = np.clip(np.average(share[upper], weights=samples[upper]), low + 0.02, 0.99)
        parameters = np.log(8 * np.array([low, 1 - high, high - low, high - low]))
        found.append(np.array([np.log(wrong / (1 - wrong)), *parameters]))
    return found
