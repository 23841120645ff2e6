"""The steps of an estimate of wrong labels, worked by hand; the mixtures are given."""

import dataclasses

import numpy as np
import pytest
from scipy.special import expit

from mentornet.label_noise import mixtures, noise_rate, ranking

LABELS = np.array([0, 0, 0, 1])
EVENTS, MARGINS = np.array([0.0, 0.12, 0.91, 0.9]), np.array([0.0, 0.2, 0.9, 1.0])


def visits(memorised=0.0, margin=1.0, num_contradicted=2):
    """Of the contradicted labels, the last ones, this share is predicted in the end."""
    wrong, last_wrong = np.full(4, 0.5), np.zeros(4)
    wrong[4 - num_contradicted :], last_wrong[4 - num_contradicted :] = 0.75, 1 - memorised
    margins = margin + np.array([0.1, -0.1, 0.2, -0.2])
    given, other = np.array([0.9, 0.5, 0.25, 0.5]), np.array([0.0, 0.5, 0.75, 0.125])
    return ranking.Visits(np.full(4, 8.0), wrong, last_wrong, margins, given, other, 1 - LABELS)


@pytest.fixture
def given_mixtures(monkeypatch):
    """Sets what the mixtures find, and returns what they were asked."""
    asked = []

    def given(criteria, shares, events=EVENTS, doubt=0.05, rest=0.0):
        def normal(margins, number):
            asked.append((margins, number))
            return np.full(4, shares[number - 1]), criteria[number - 1]

        def beta_binomial(scores, count):
            asked.append((scores, count))
            if len(scores) == 2:  # Below the upper component of all four.
                return np.full(2, rest), doubt
            return (events if len(asked) == 1 else MARGINS), doubt

        asked.clear()
        monkeypatch.setattr(mixtures, "normal", normal)
        monkeypatch.setattr(mixtures, "beta_binomial", beta_binomial)
        return asked

    return given


@pytest.mark.parametrize(
    ("criteria", "margin", "best"),
    [
        ((1, 2, 3), 1.0, 0),
        ((1, 2, 3), 0.0, 0),
        ((1, 2, 3), -0.01, 1),  # One component would say that all labels are right.
        ((1, 3, 2), -0.01, 2),
        ((3, 1, 2), 1.0, 1),
        ((3, 2, 1), 1.0, 2),
    ],
)
def test_margins_decide_before_labels_are_memorised(criteria, margin, best, given_mixtures):
    shares = (0.0, 0.25, 0.375)
    asked = given_mixtures(criteria, shares)
    seen = visits(0.25, margin)
    probabilities, others = seen.wrong_probabilities
    assert [values.tolist() for values in others[:2]] == [[0.25] * 4, [0.375] * 4]
    if best:
        assert probabilities.tolist() == [shares[best]] * 4
    else:  # Too many labels are contradicted to be right.
        np.testing.assert_allclose(probabilities, EVENTS)
        assert others.pop(2).tolist() == [0] * 4
    # Their mean is lowered from 0.4825 to half of the labels, which are contradicted, if need be.
    np.testing.assert_allclose(others[2], EVENTS)
    assert len(others) == 3
    assert asked[0][0] is seen.wrong and asked[0][1] is seen.count
    assert [(values is seen.margin, number) for values, number in asked[1:4]] == [
        (True, 1),
        (True, 2),
        (True, 3),
    ]


def test_no_more_than_the_contradicted(given_mixtures):
    given_mixtures((3, 1, 2), (0.0, 0.5, 0.125))
    probabilities, others = visits(num_contradicted=1).wrong_probabilities
    np.testing.assert_allclose(probabilities, 0.25)
    np.testing.assert_allclose(others[0], 0.25)
    np.testing.assert_allclose(others[1], 0.125)
    np.testing.assert_allclose(others[2], EVENTS * 0.25 / 0.4825)
    given_mixtures((3, 1, 2), (0.0, 0.5, 0.125), 0 * EVENTS)
    assert len(visits().wrong_probabilities[1]) == 2  # Events that find nothing say nothing.
    zeros = ranking.at_most_contradicted(np.zeros(4), visits())
    assert zeros.tolist() == [0] * 4


@pytest.mark.parametrize(
    ("memorised", "share", "by_margins"),
    [
        *((0.875, 0.25, True), (0.9, 0.25, False)),
        *((0.375, 0.0, True), (0.4375, 0.0, True), (0.5, 0.0, False)),
    ],
)
def test_events_decide_once_labels_are_memorised(memorised, share, by_margins, given_mixtures):
    """From 90 % on, or from a half on where the margins find no wrong label."""
    asked = given_mixtures((1, 2, 3), (share, 0.125, 0.125))
    seen = visits(memorised)
    assert seen.memorised == pytest.approx(memorised)
    probabilities, others = seen.wrong_probabilities
    if by_margins:
        np.testing.assert_allclose(probabilities, [share] * 4 if share else EVENTS)
        return
    np.testing.assert_allclose(probabilities, EVENTS, rtol=1e-12)
    expected = [[0, 0, 1, 0], [0, 1, 1, 1], MARGINS.tolist()]
    assert [values.tolist() for values in others] == expected
    scores, count = asked[-1]
    np.testing.assert_allclose(scores, [0.05, 0.5, 0.75, 0.3125])
    assert count is seen.count


@pytest.mark.parametrize(
    ("memorised", "rest", "is_partly"),
    [(0.49, 0.02, True), (0.2, 0.02, False), (0.49, 0.04, False)],
)
def test_some_are_memorised_although_most_contradicted_are_not(
    memorised, rest, is_partly, given_mixtures
):
    """Events are divided once more; most of what is found must be predicted as given.

    And it must be less than half of all samples: with 0.04 it is 50.2 %.
    """
    asked = given_mixtures((1, 2, 3), (0.0, 0.125, 0.125), rest=rest)
    probabilities, others = visits(memorised).wrong_probabilities
    assert asked[-1][0].tolist() == [0.5, 0.5] and asked[-1][1].tolist() == [8, 8]
    if is_partly:
        np.testing.assert_allclose(probabilities, [0.02, 0.1376, 0.91, 0.9])
        assert len(others) == 1
        np.testing.assert_allclose(others[0], EVENTS, rtol=1e-12)
    else:
        np.testing.assert_allclose(probabilities, EVENTS)


@pytest.mark.parametrize(("few", "expected"), [(0.626, 0 * EVENTS), (0.624, EVENTS)])
def test_one_component_of_margins_and_few_events(few, expected, given_mixtures, monkeypatch):
    """All labels are right if few of the visits, here 62.5 %, contradicted them."""
    given_mixtures((1, 2, 3), (0.0, 0.125, 0.125), rest=0.1)
    monkeypatch.setattr(ranking, "_FEW", few)
    probabilities, _ = visits(0.2).wrong_probabilities
    np.testing.assert_allclose(probabilities, expected)


def test_few_events_are_not_none(given_mixtures):
    few = np.array([0.02, 0, 0, 0])
    given_mixtures((1, 2, 3), (0.0, 0.0, 0.0), few, 0.5)
    probabilities, others = visits(1.0).wrong_probabilities
    assert probabilities.tolist() == few.tolist() and len(others) == 3


@pytest.mark.parametrize(("doubt", "said"), [(0.05, 0.05), (0.1, 1.0), (0.5, 1.0)])
def test_one_distribution_of_events(doubt, said, given_mixtures):
    """Few doubts show that all labels are right, else nothing is known."""
    given_mixtures((1, 2, 3), (0.0, 0.0, 0.0), 0 * EVENTS, doubt)
    probabilities, others = visits(1.0).wrong_probabilities
    assert not probabilities.any() and len(others) == 4
    assert others[2].tolist() == [said] * 4


def test_the_estimate_and_its_range(monkeypatch):
    """The first estimate is given in the range of all; confident learning joins until 90 %."""
    found = np.array([0.2, 0.4, 0.6, 1.0]), [np.array([0.0, 0.0, 0.3, 0.5]), np.full(4, 0.75)]
    monkeypatch.setattr(ranking.Visits, "wrong_probabilities", found)
    monkeypatch.setattr(noise_rate, "_confident_learning", lambda *arguments: np.full(4, 0.875))
    late = noise_rate.estimate(LABELS, 3, visits(0.9))
    assert (late.rate, late.low, late.high, late.source) == (
        pytest.approx(0.55),
        pytest.approx(0.2),
        0.75,
        "all visits",
    )
    np.testing.assert_allclose(late.by_class, [0.4, 1, 0.55])
    np.testing.assert_allclose(late.range_by_class, [[0.1, 0.75], [0.5, 1], [0.2, 0.75]])
    assert noise_rate.estimate(LABELS, 3, visits(0.875)).high == 0.875
    once = dataclasses.replace(visits(), count=np.ones(4))
    assert noise_rate.estimate(LABELS, 3, once).source == "all visits"
    unseen = noise_rate.estimate(LABELS, 3, dataclasses.replace(visits(), count=np.zeros(4)))
    assert (unseen.rate, unseen.low, unseen.high, unseen.source) == (0, 0, 1, "no visits")
    assert unseen.by_class.tolist() == [0] * 3
    assert unseen.range_by_class.tolist() == [[0, 1]] * 3


def test_scores_rise_with_the_rank(monkeypatch):
    """Probabilities against their order are averaged; a ten-thousandth of the rank breaks ties."""
    found: tuple[np.ndarray, list[np.ndarray]] = (np.array([0.5, 0.3, 0.9]), [])
    monkeypatch.setattr(ranking.Visits, "wrong_probabilities", found)
    seen = dataclasses.replace(
        visits(),
        count=np.array([1.0, 8, 0, 8]),
        margin=np.array([-0.5, -1.0, -9, -2.0]),
        last_wrong=np.ones(4),
    )
    expected = 0.9999 * np.array([0.4, 0.4, 0, 0.9])
    expected += 1e-4 * expit([0.5, 1.0, 0, 2.0]) * [1, 1, 0, 1]
    np.testing.assert_allclose(ranking.label_scores(seen), expected, rtol=1e-9)
    nothing = dataclasses.replace(seen, count=np.zeros(4))
    assert ranking.label_scores(nothing).tolist() == [0] * 4


def test_contradicted_labels_and_how_many_are_memorised():
    assert visits().contradicted.tolist() == [False, False, True, True]  # Half is not most.
    assert visits(num_contradicted=0).memorised == 1
    assert visits(0.25).memorised == 0.75 - 0.5
    halves = dataclasses.replace(visits(), last_wrong=np.array([1, 1, 0, 1.0]))
    assert halves.memorised == 0.5


def test_runs_whose_samples_have_no_spread():
    """Their margins are taken as they are, and so are those of a run that saw nothing."""
    columns = dict.fromkeys(("num_wrong", "mean_given", "mean_other", "prediction"), np.ones(2))
    columns |= {"num_counted": np.array([2.0, 2]), "mean_margin": np.full(2, 3.0)}
    columns |= {"other_class": np.array([1.0, 0])}
    assert ranking.pooled([columns]).margin.tolist() == [3, 3]
    unseen = columns | dict.fromkeys(("num_counted", "num_wrong", "mean_margin"), np.zeros(2))
    both = ranking.pooled([unseen, columns])
    assert both.margin.tolist() == [3, 3] and both.last_wrong.tolist() == [1, 0]
    once = columns | {"num_counted": np.ones(2)}
    later = ranking.pooled([unseen | {"other_class": np.ones(2)}, once])
    assert later.other_class.tolist() == [1, 0]
    alone = ranking.pooled([unseen])
    assert (alone.count.tolist(), alone.wrong.tolist(), alone.margin.tolist()) == ([0, 0],) * 3


def test_classes_of_two_samples():
    """Between the classes the variance is 0.28: that of a class's share has 0.56 of 0.81."""
    labels = np.array([0, 0, 1, 1])
    shares = noise_rate.shrunk_class_means(np.array([1, 0.9, 0, 0.1]), labels, 2)
    np.testing.assert_allclose(shares, 0.5 + 0.45 * 0.56 / 0.81 * np.array([1, -1]))


def test_decayed_losses_are_two_normal_distributions():
    losses = np.array([0.1, 0.2, 5.1, 5.2, 0.15])
    found = noise_rate.of_losses(np.array([0, 0, 0, 1, 1]), 2, losses)
    assert found.rate == pytest.approx(0.4) and found.source == "decayed losses, a hint"
    np.testing.assert_allclose(found.by_class, [1 / 3, 1 / 2], atol=1e-9)
    assert noise_rate.of_losses(np.zeros(3, np.int64), 1, np.full(3, 5.0)).rate == 0
    two = noise_rate.of_losses(np.array([0, 1]), 2, np.array([0.0, 4.0]))
    np.testing.assert_allclose(two.by_class, [0, 1], atol=1e-9)


def test_shares_of_classes_at_their_bounds():
    labels = np.repeat([0, 1], 100)

    def shares(first, second, classes=2):
        numbers = [first, 100 - first, second, 100 - second]
        wrong = np.repeat([1.0, 0, 1, 0], numbers)
        return noise_rate.shrunk_class_means(wrong, labels, classes)

    # As without the third class, which has no sample: 0.97 of the distance from 0.4 is kept.
    np.testing.assert_allclose(shares(60, 20, 3), [0.594, 0.206, 0.4])
    np.testing.assert_allclose(shares(41, 39), 0.4)  # They differ less than by chance.
    assert shares(0, 0).tolist() == [0, 0] and shares(100, 100).tolist() == [1, 1]
    # Of two samples: between them 0.25, within 0.25, so that half of the distance is kept.
    two = np.array([1.0, 0.0])
    found = noise_rate.shrunk_class_means(two, np.array([0, 1]), 2)
    np.testing.assert_allclose(found, [0.75, 0.25])
    assert noise_rate.shrunk_class_means(two, np.array([0, 0]), 1).tolist() == [0.5]
