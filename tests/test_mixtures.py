"""The mixtures against closed forms, numbers worked by hand, and a fit of scipy's own densities."""

import functools

import numpy as np
import pytest
import scipy.optimize
import scipy.special
import scipy.stats

from mentornet.label_noise import mixtures


def test_one_normal_distribution_by_its_formula():
    """BIC is -2 times the log-likelihood, plus two parameters; 0.001 is added to the variance."""
    margins = np.array([-1.0, -0.5, 0.75, 2.5])
    probabilities, criterion = mixtures.normal(margins, 1)
    assert probabilities.tolist() == [0] * 4
    density = scipy.stats.norm(margins.mean(), np.sqrt(margins.var() + 1e-3))
    expected = -2 * density.logpdf(margins).sum() + 2 * np.log(4)
    assert criterion == pytest.approx(expected, rel=1e-9)
    # A lone component below 0 is as near to the highest one as to the lowest: itself.
    assert mixtures.normal(margins - 2, 1)[0].tolist() == [0] * 4


@pytest.mark.parametrize(
    ("values", "wrong"),
    [
        ((-3, -1, 2), (1, 1, 0)),
        ((-3, -0.2, 2), (1, 0, 0)),  # Nearer to the highest.
        ((-4, -2, 0), (1, 0, 0)),  # As near to either.
        ((-3, 0, 5), (1, 0, 0)),  # Nearer to the lowest, but no other class is preferred.
        ((0, 2), (0, 0)),
        ((-1, 4), (1, 0)),
        ((1, 2, 5), (0, 0, 0)),
    ],
)
def test_which_normal_components_are_wrong_labels(values, wrong):
    """Each component is a point, far from the others."""
    margins = np.repeat(np.array(values, float), 5)
    probabilities, criterion = mixtures.normal(margins, len(values))
    np.testing.assert_allclose(probabilities, np.repeat(wrong, 5), atol=1e-9)
    assert np.isfinite(criterion)
    assert mixtures.normal(margins, len(values) + 1)[1] == np.inf  # Fewer values than components.


def drawn(share=0.3, size=4000, visits=20):
    """Shares of visits, and their number, drawn from two beta-binomial laws that overlap."""
    generator = np.random.default_rng(0)
    upper = generator.random(size) < share
    chance = np.where(upper, generator.beta(4, 0.8, size), generator.beta(0.6, 6, size))
    return generator.binomial(visits, chance) / visits, np.full(size, float(visits))


def test_two_beta_binomial_distributions_equal_those_of_scipy():
    """The same maximum, found over scipy's probabilities from the true parameters."""
    scores, visits = drawn()
    counts = np.round(scores * 20).astype(int)
    table = np.bincount(counts, minlength=21)

    def parts(raw):
        low = scipy.stats.betabinom.logpmf(np.arange(21), 20, *np.exp(raw[:2]))
        high = scipy.stats.betabinom.logpmf(np.arange(21), 20, *np.exp(raw[2:4]))
        return low + np.log(scipy.special.expit(-raw[4])), high + np.log(
            scipy.special.expit(raw[4])
        )

    fit = scipy.optimize.minimize(
        lambda raw: -np.sum(table * np.logaddexp(*parts(raw))),
        [*np.log([0.6, 6, 4, 0.8]), scipy.special.logit(0.3)],
    )
    low, high = parts(fit.x)
    expected = np.exp(high - np.logaddexp(low, high))[counts]
    probabilities, mean = mixtures.beta_binomial(scores, visits)
    np.testing.assert_allclose(probabilities, expected, atol=5e-3)
    above, below = np.exp(fit.x[2:4])
    assert mean == pytest.approx(above / (above + below), abs=2e-3)


@pytest.mark.parametrize(("above", "below"), [(2, 5), (0.3, 3)])
def test_a_single_distribution_says_only_its_mean(above, below):
    """Also one that falls from 0 on, as where few correct labels are hard."""
    generator = np.random.default_rng(0)
    scores = generator.binomial(20, generator.beta(above, below, 5000)) / 20
    probabilities, mean = mixtures.beta_binomial(scores, np.full(5000, 20.0))
    assert not probabilities.any() and mean == pytest.approx(scores.mean())


def test_one_wrong_label_in_a_hundred_is_found():
    generator, count = np.random.default_rng(0), 20_000
    chances = generator.beta(2, 12, count)
    chances[:200] = generator.beta(12, 6, 200)
    scores = generator.binomial(20, chances) / 20
    probabilities, _ = mixtures.beta_binomial(scores, np.full(count, 20.0))
    assert probabilities.mean() == pytest.approx(0.01, abs=0.004)


@pytest.mark.parametrize("change", [0.2, 0.8])
def test_a_second_distribution_must_pay_for_three_parameters(change, monkeypatch):
    """By BIC: half of three logarithms of the number of samples; the fits are given."""
    limit = 1.5 * np.log(400)
    fitted = functools.partial(scipy.optimize.OptimizeResult, x=np.log([0.5, 1, 9, 4, 8]))

    def minimize(function, start, bounds):
        assert len(bounds) == len(start)
        return fitted(fun=100.0 if len(start) == 2 else 99.5 + change - limit)

    monkeypatch.setattr(scipy.optimize, "minimize", minimize)
    scores, visits = drawn(size=400)
    probabilities, mean = mixtures.beta_binomial(scores, visits)
    assert probabilities.any() == (change < 0.5)
    # Its parameters are 1 + 4 and 9; those of the lower one would be 1 and 9 + 8.
    assert mean == pytest.approx(5 / 14 if change < 0.5 else scores.mean())


def test_scores_are_rounded_to_half_a_percent():
    scores, visits = drawn(size=1000)
    few = np.array([0.5, 0.502, 0.503, 0.505])
    scores, visits = np.append(scores, few), np.append(visits, np.full(4, 20.0))
    first, second, third, fourth = mixtures.beta_binomial(scores, visits)[0][-4:]
    assert first == second < third == fourth


def test_starts_by_hand():
    """Ranks are 0.4, 0.5, 0.7, 0.9 and 1."""
    share, samples = np.array([0.0, 0.1, 0.3, 0.6, 1.0]), np.array([40, 10, 20, 20, 10])
    expected = [
        (0.05, 19 / 90, 0.99),
        (0.2, 7 / 70, 22 / 30),
        (0.4, 1 / 50, 28 / 50),
        (0.6, 0.01, 29 / 60),
    ]
    starts = mixtures._starts(share, samples)  # With 0.8, all would be wrong.
    assert len(starts) == len(expected)
    for found, (wrong, low, high) in zip(starts, expected, strict=True):
        beta = np.array([low, 1 - high, high - low, high - low])
        np.testing.assert_allclose(found, [scipy.special.logit(wrong), *np.log(8 * beta)])
    for low, high, limited in ((0.98, 0.99, (0.95, 0.99)), (0.5, 0.51, (0.5, 0.52))):
        found = mixtures._starts(np.array([low, high]), np.array([85, 15]))[0]
        low, high = limited
        beta = np.array([low, 1 - high, high - low, high - low])
        np.testing.assert_allclose(found[1:], np.log(8 * beta))
    found = mixtures._starts(np.array([0.0, 0.01, 0.9]), np.array([10, 70, 20]))[-1]
    np.testing.assert_allclose(scipy.special.expit(found[0]), 0.8)
    low, high = 0.01, (0.7 + 18) / 90
    beta = np.array([low, 1 - high, high - low, high - low])
    np.testing.assert_allclose(found[1:], np.log(8 * beta))


@pytest.mark.parametrize(
    ("criteria", "mean", "best"),
    [
        ((0, -1, -1.039), 1, 2),
        ((0, -1, -1.041), 1, 3),  # More than 0.01 a sample, of four.
        ((-1, -1, -1.041), 1, 3),
        ((-1.042, -1, -1.041), 1, 1),
        ((-1, -1, -1.039), 1, 1),
        ((-1, -1, -1.039), 0, 1),
        ((-1, -1, -1.039), -1, 2),
        ((-2, -1, -1.041), -1, 3),
    ],
)
def test_a_third_component_must_gain_noticeably(monkeypatch, criteria, mean, best):
    def normal(margins, number):
        return np.full(4, float(number)), criteria[number - 1]

    monkeypatch.setattr(mixtures, "normal", normal)
    found, others = mixtures.normals(np.array([mean - 1.0, mean, mean, mean + 1]))
    assert [found[0], *(other[0] for other in others)] == [best, 2, 3]
