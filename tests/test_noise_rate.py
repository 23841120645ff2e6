"""The share of wrong labels: distributions of a known share, cases without one, and real runs."""

import dataclasses
import json

import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf
from helpers import run

from mentornet import InputError
from mentornet.cleaning import label_errors, labelled_runs
from mentornet.datasets import records
from mentornet.datasets.catalog import dataset_info
from mentornet.label_noise import history, mixtures, noise_rate, ranking
from mentornet.label_noise.noise_rate import class_means, estimate
from mentornet.label_noise.ranking import Visits

CLASSES = 4


def drawn(share, right, wrong, *, visits=30, size=6000, seed=0):
    """Samples whose wrong events have beta-binomial laws, and that were all memorised in the end.

    Labels of class 0 are wrong half as often as those of the others.
    """
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, CLASSES, size)
    is_wrong = generator.uniform(size=size) < share * np.where(labels == 0, 0.5, 1)
    count = np.where(
        is_wrong,
        scipy.stats.betabinom.rvs(visits, *wrong, size=size, random_state=generator),
        scipy.stats.betabinom.rvs(visits, *right, size=size, random_state=generator),
    )
    return labels, is_wrong, memorised(labels, np.full(size, visits), count / visits)


def memorised(labels, count, events):
    """Visits of samples for which only wrong events are informative."""
    constant, other = np.ones(len(labels)), (labels + 1) % CLASSES
    return Visits(count, events, 0 * constant, constant, 1 - events, events, other)


def learned(share, *, size=6000, hard=0.3, seed=0):
    """Samples with margins of three normal laws, whose wrong ones are still contradicted.

    Labels of class 0 are wrong half as often as those of the others.
    """
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, CLASSES, size)
    is_wrong = generator.uniform(size=size) < share * np.where(labels == 0, 0.5, 1)
    is_hard = generator.uniform(size=size) < hard
    means = np.where(is_wrong, -1.6, np.where(is_hard, 0.3, 1.5))
    margins = means + generator.normal(0, 0.5, size)
    events = (margins < 0).astype(np.float64)
    other = (labels + 1) % CLASSES
    found = Visits(np.full(size, 8.0), events, events, margins, 1 - events, events, other)
    return labels, is_wrong, found


def close_estimate(labels, is_wrong, visits):
    """The estimate: within 3 points, and within 6 of each class."""
    found = estimate(labels, CLASSES, visits)
    assert found.rate == pytest.approx(is_wrong.mean(), abs=0.03)
    assert found.low <= found.rate <= found.high
    for label in range(CLASSES):
        truth = is_wrong[labels == label].mean()
        assert found.by_class[label] == pytest.approx(truth, abs=0.06)
    return found


@pytest.mark.parametrize(
    ("right", "wrong", "share"),
    [
        *(((1, 12), (12, 1), share) for share in (0.05, 0.2, 0.4, 0.8)),  # Learned.
        *(((2, 30), (6, 8), share) for share in (0.05, 0.2, 0.4, 0.8)),  # Memorised.
        # Hard; with fewer wrong labels, the hard right ones are as many as what is sought.
        *(((3, 3), (30, 2), share) for share in (0.2, 0.4, 0.8)),
    ],
)
def test_two_laws(share, right, wrong):
    """Within 3 points, even if most visits came after memorising, or clean labels are hard."""
    labels, is_wrong, visits = drawn(share, right, wrong)
    found = close_estimate(labels, is_wrong, visits)
    assert share / 3 < found.low and found.high < share + 0.1
    weights = np.bincount(labels) / len(labels)
    assert found.by_class @ weights == pytest.approx(found.rate)


@pytest.mark.parametrize("share", [0.05, 0.2, 0.4, 0.8])
@pytest.mark.parametrize("seed", [0, 1])
def test_before_labels_are_memorised(share, seed):
    """Margins separate wrong labels from hard ones, a third of which most visits contradict."""
    labels, is_wrong, visits = learned(share, seed=seed)
    close_estimate(labels, is_wrong, visits)
    events = visits.wrong.mean()
    assert abs(events - is_wrong.mean()) > 0.03 or share == 0.8  # Counting would not do.


def test_a_student_that_prefers_other_classes_for_hard_labels():
    """As with many classes after few visits: the margins of hard labels are negative, too."""
    labels, is_wrong, visits = learned(0.2)
    found = estimate(labels, CLASSES, dataclasses.replace(visits, margin=visits.margin - 0.7))
    assert found.rate == pytest.approx(is_wrong.mean(), abs=0.03)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_one_component_of_margins_below_0_says_nothing(seed):
    """Of so few samples two components fit no better than one, which stands for correct labels."""
    generator = np.random.default_rng(seed)
    is_wrong, zeros = np.arange(300) < 225, np.zeros(300, np.int64)
    margins = np.where(is_wrong, -1.3, 0.0) + generator.normal(0, 0.6, 300)
    events = (margins < 0).astype(np.float64)
    visits = Visits(np.full(300, 4.0), events, events, margins, 1 - events, events, zeros + 1)
    scores = [mixtures.normal(margins, number)[1] for number in (1, 2, 3)]
    assert min(scores) == scores[0]
    assert 0.5 < estimate(zeros, 2, visits).rate < 0.8
    events = (margins + 2.5 < 0).astype(np.float64)
    above = dataclasses.replace(visits, margin=margins + 2.5, wrong=events, last_wrong=events)
    assert estimate(zeros, 2, above).rate < 0.02


@pytest.mark.parametrize("share", [0.0, 0.1, 0.2])
@pytest.mark.parametrize("seed", range(3))
def test_some_wrong_labels_are_memorised_and_others_never(share, seed):
    """As of few samples: one normal law of margins, and three of wrong events."""
    generator, size = np.random.default_rng(seed), 800
    kind = generator.choice(3, size, p=[1 - share, 0.7 * share, 0.3 * share])
    law = np.array([(1, 30), (4, 8), (17, 2)])[kind].T
    events = generator.binomial(20, generator.beta(*law)) / 20
    margins = generator.normal(1.0, 1.0, size)
    labels = generator.integers(0, CLASSES, size)
    constant = np.ones(size)
    visits = Visits(
        20 * constant,
        events,
        (kind == 2) * 1.0,
        margins,
        1 - events,
        events,
        (labels + 1) % CLASSES,
    )
    found = estimate(labels, CLASSES, visits)
    assert not mixtures.normals(margins)[0].any()
    assert found.rate == pytest.approx((kind > 0).mean(), abs=0.05)
    assert (found.rate > 0) == (share > 0)
    # If none was memorised, they may be hard, as wrong ones would have other margins.
    hard = estimate(labels, CLASSES, dataclasses.replace(visits, last_wrong=(kind > 0) * 1.0))
    assert hard.low == 0 and hard.rate <= visits.contradicted.mean() + 1e-9


def test_equal_margins_are_one_component():
    for number, criterion in ((1, 0.0), (2, np.inf), (3, np.inf)):
        probabilities, found = mixtures.normal(np.full(5, -1.0), number)
        assert found == criterion and probabilities.tolist() == [0] * 5
    probabilities, _ = mixtures.normal(np.array([-1.0] * 5 + [1.0] * 5), 2)
    np.testing.assert_allclose(probabilities, [1] * 5 + [0] * 5, atol=1e-6)


def test_likelihoods_are_the_same_in_a_thread_of_tensorflow():
    """There subnormal numbers are 0, on which scipy's betaln divides where a + b is about 171."""
    sums = np.linspace(160, 180, 81)
    count, total = np.arange(6.0), np.full(6, 5.0)

    def law() -> np.ndarray:
        found = [mixtures._log_beta_binomial(count, total, a - 8, 8) for a in sums]
        return np.array(found, np.float64)

    inside = tf.function(lambda: tf.numpy_function(law, [], tf.float64))()
    assert np.isfinite(inside).all()
    np.testing.assert_allclose(inside, law(), rtol=1e-9)
    expected = [scipy.special.betaln(count + a - 8, 13 - count) for a in sums]
    constants = [scipy.special.betaln(a - 8, 8) for a in sums]
    np.testing.assert_allclose(inside, np.array(expected) - np.array(constants)[:, None], rtol=1e-9)


def test_numbers_of_visits_differ():
    """As if samples were seen more often in one of two runs."""
    parts = [
        drawn(0.3, (1, 12), (12, 1), visits=visits, size=2000, seed=visits) for visits in (4, 60)
    ]
    fields = [field.name for field in dataclasses.fields(Visits)[:-1]]
    both = [np.concatenate([getattr(part[2], name) for part in parts]) for name in fields]
    labels, is_wrong = (np.concatenate([part[n] for part in parts]) for n in (0, 1))
    found = estimate(labels, CLASSES, Visits(*both))
    assert found.rate == pytest.approx(is_wrong.mean(), abs=0.03)


def test_it_is_deterministic_and_ignores_the_order():
    labels, _, visits = drawn(0.3, (1, 12), (12, 1), size=500)
    first, second = (estimate(labels, CLASSES, visits) for _ in range(2))
    assert (first.rate, first.low, first.high) == (second.rate, second.low, second.high)
    shuffle = np.random.default_rng(1).permutation(500)
    fields = [getattr(visits, field.name)[shuffle] for field in dataclasses.fields(Visits)[:-1]]
    third = estimate(labels[shuffle], CLASSES, Visits(*fields))
    assert third.rate == pytest.approx(first.rate, abs=1e-9)


def test_one_component_means_that_every_label_is_right():
    for law in ((1, 12), (2, 60), (5, 5)):
        labels, _, visits = drawn(0, law, (1, 1))
        assert estimate(labels, CLASSES, visits).rate <= 0.02
    labels, _, visits = learned(0)
    assert estimate(labels, CLASSES, visits).rate <= 0.02


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("size", [1, 2, 50])
def test_constant_values(value, size):
    same = np.full(size, value)
    labels = np.arange(size) % 2
    for last in (0 * same, 0 * same + 1):
        found = estimate(
            labels, 2, Visits(0 * same + 7, same, last, same, 1 - same, same, 1 - labels)
        )
        assert (found.rate, *found.by_class) == (0, 0, 0)


def test_two_classes():
    labels, is_wrong, visits = drawn(0.3, (1, 12), (12, 1))
    labels = labels % 2
    visits = dataclasses.replace(visits, other_class=1 - labels)
    assert estimate(labels, 2, visits).rate == pytest.approx(is_wrong.mean(), abs=0.03)


def test_samples_without_a_visit_do_not_count():
    labels, is_wrong, visits = drawn(0.3, (1, 12), (12, 1))
    count, events = visits.count.copy(), visits.wrong.copy()
    count[::2] = events[::2] = 0
    found = estimate(labels, CLASSES, dataclasses.replace(visits, count=count, wrong=events))
    assert found.rate == pytest.approx(is_wrong[1::2].mean(), abs=0.03)
    nothing = estimate(labels, CLASSES, dataclasses.replace(visits, count=0 * count))
    assert (nothing.rate, nothing.low, nothing.high) == (0, 0, 1)
    once = estimate(labels, CLASSES, dataclasses.replace(visits, count=0 * count + 1))
    assert once.source == "all visits"


def test_confident_learning_by_hand():
    """Thresholds 0.575 and 0.8; samples that reach neither are not counted."""
    labels = np.array([0, 0, 0, 0, 1, 1])
    given = np.array([0.9, 0.8, 0.1, 0.5, 0.9, 0.7])
    other = np.array([0.1, 0.2, 0.9, 0.5, 0.1, 0.3])
    visits = Visits(np.ones(6), other, other, given - other, given, other, 1 - labels)
    # Class 0: two on the diagonal, one off it, one left out; class 1: one, and one left out.
    found = noise_rate._confident_learning(labels, 2, visits)
    np.testing.assert_allclose(found, [1 / 3] * 4 + [0] * 2)
    # Thresholds 0.675 and 0.4: the first sample reaches that of the less probable class alone.
    labels, other_class = np.array([0, 0, 1, 1]), np.array([1, 2, 0, 0])
    given, other = np.array([0.45, 0.9, 0.4, 0.4]), np.array([0.42, 0.1, 0.3, 0.3])
    visits = Visits(np.ones(4), other, other, given - other, given, other, other_class)
    found = noise_rate._confident_learning(labels, 3, visits)
    np.testing.assert_allclose(found, [0.5, 0.5, 0, 0])
    # Thresholds 0.5 and 0.5, which the second reaches as the other class, and the third as both.
    labels = np.array([0, 0, 1])
    given, other = np.array([0.75, 0.25, 0.5]), np.array([0.25, 0.5, 0.5])
    visits = Visits(np.ones(3), other, other, given - other, given, other, 1 - labels)
    found = noise_rate._confident_learning(labels, 2, visits)
    np.testing.assert_allclose(found, [0.5, 0.5, 0])


def test_disagreement_is_stated():
    by_class = np.array([0.1, 0.3]), np.array([[0.1, 0.19], [0.15, 0.3]])
    rate = noise_rate.NoiseRate(0.2, 0.15, 0.26, *by_class, "x")
    assert str(rate) == "20.0% (between 15.0% and 26.0%)"
    assert str(dataclasses.replace(rate, high=0.24)) == "20.0%"
    assert str(dataclasses.replace(rate, low=0.0, high=0.1)) == "20.0%"  # No further apart.
    assert rate.of_class(0) == "10.0%"
    assert rate.of_class(1) == "30.0% (between 15.0% and 30.0%)"
    for right, wrong in (((2, 3), (4, 3)), ((6, 6), (10, 6))):  # Told apart hardly, and not.
        labels, is_wrong, visits = drawn(0.4, right, wrong, visits=8)
        found = estimate(labels, CLASSES, visits)
        assert "between" in str(found)
        assert found.low < is_wrong.mean() < found.high
        low, high = found.range_by_class.T
        np.testing.assert_array_less(low, high)
        assert ((low <= found.by_class) & (found.by_class <= high)).all()
        counts = np.bincount(labels, minlength=CLASSES) / len(labels)  # Of each estimate's mean.
        assert low @ counts <= found.low and found.high <= high @ counts


def history_of(**columns):
    """Columns of a history of three samples, of which the last was never seen."""
    rows: dict[str, list[float]] = {"num_counted": [4, 4, 0], "num_wrong": [1, 4, 0]}
    rows |= {"mean_margin": [1, -3, 0], "prediction": [1, 5, 0], "other_class": [0, 5, 0]}
    rows |= {"mean_given": [0.7, 0.1, 0], "mean_other": [0.2, 0.9, 0]}
    return {name: np.array(values, float) for name, values in (rows | columns).items()}


def test_rank_score_by_hand():
    """The suspect, contradicted at every visit, is still predicted as another class."""
    visits = ranking.pooled([history_of()])
    np.testing.assert_allclose(visits.margin, [0.5, -1.5, 0])  # The two seen deviate by 2.
    np.testing.assert_array_equal(visits.last_wrong, [0, 1, 0])
    assert visits.memorised == 0
    np.testing.assert_allclose(
        visits.rank_score, [1 / (1 + np.exp(0.5)), 1 / (1 + np.exp(-1.5)), 0]
    )
    # Once it is predicted as given, only the visits count.
    visits = ranking.pooled([history_of(prediction=[1, 2, 0])])
    assert visits.memorised == 1
    np.testing.assert_allclose(visits.rank_score, [0.25, 1, 0], atol=1e-4)
    # One of two equally long runs has memorised: the mean of both scores.
    visits = ranking.pooled([history_of(), history_of(prediction=[1, 2, 0])])
    assert visits.memorised == 0.5
    np.testing.assert_allclose(visits.rank_score[1], (1 / (1 + np.exp(-1.5)) + 1) / 2)
    np.testing.assert_array_equal(visits.other_class, [0, 5, 0])
    once = ranking.pooled([history_of(num_counted=[1, 1, 0], num_wrong=[0, 1, 0])])
    np.testing.assert_allclose(once.margin, [0.5, -1.5, 0])
    np.testing.assert_allclose(once.wrong, [0, 1, 0])
    np.testing.assert_allclose(once.given, [0.7, 0.1, 0])
    np.testing.assert_allclose(once.other, [0.2, 0.9, 0])
    np.testing.assert_allclose(once.rank_score, [1 / (1 + np.exp(0.5)), 1 / (1 + np.exp(-1.5)), 0])


def test_probabilities_join_the_margins_where_little_is_learned():
    """Three of four labels are contradicted, so that both count half; a fifth was never seen."""
    rows: dict[str, list[float]] = {"num_counted": [4.0, 4, 4, 4, 0], "num_wrong": [1, 4, 4, 3, 0]}
    rows |= {"mean_margin": [1, -3, -1, -1, -9], "prediction": [1, 5, 5, 5, 0]}
    rows |= {"other_class": [5, 5, 5, 5, 0], "mean_other": [0.2, 0.9, 0.4, 0.4, 0]}
    given = np.array([np.exp(-1), np.exp(-3), np.exp(-4), 0, 0.5])
    columns = {name: np.array(values, float) for name, values in rows.items()}
    visits = ranking.pooled([columns | {"mean_given": given}])
    surprise = np.array([1, 3, 4, -np.log(1e-6)])  # Probabilities of 0 count as one in a million.
    surprise = (surprise - surprise.mean()) / surprise.std()
    margin = np.array([1, -3, -1, -1]) / np.std([1, -3, -1, -1])
    expected = 1 / (1 + np.exp((margin - surprise) / 2))
    np.testing.assert_allclose(visits.rank_score, [*expected, 0], rtol=1e-12)
    # The same probability for all: nothing but the margins; with half of them contradicted, too.
    even = ranking.pooled([columns | {"mean_given": np.full(5, 0.1)}])
    np.testing.assert_allclose(even.rank_score, [*(1 / (1 + np.exp(margin / 2))), 0], rtol=1e-9)
    half = ranking.pooled(
        [columns | {"mean_given": given, "num_wrong": np.array([1.0, 4, 4, 2, 0])}]
    )
    np.testing.assert_allclose(half.rank_score, [*(1 / (1 + np.exp(margin))), 0], rtol=1e-12)


def test_margins_decide_between_equal_shares_of_wrong_events():
    """No label is contradicted, so only wrong events count; the second has the larger share."""
    rows = {"num_counted": [9, 9, 9, 0], "num_wrong": [0, 1, 0, 0], "mean_margin": [2, 4, 1, 0]}
    rows |= {"prediction": [1, 1, 1, 0], "other_class": [0, 5, 0, 0]}
    history = rows | {"mean_given": [0.7, 0.7, 0.6, 0], "mean_other": [0.2, 0.2, 0.3, 0]}
    visits = ranking.pooled([{name: np.array(v, float) for name, v in history.items()}])
    assert not visits.contradicted.any() and visits.memorised == 1
    np.testing.assert_array_equal(np.argsort(-visits.rank_score), [1, 2, 0, 3])
    np.testing.assert_array_equal(np.argsort(-ranking.label_scores(visits)), [1, 2, 0, 3])


def test_the_share_of_right_labels_that_are_left_out(monkeypatch):
    """Leaving out the likeliest two of four costs 0.3 of 2.2 correct labels."""
    found = np.array([0.1, 0.8, 0.0, 0.9])
    visits = learned(0.4)[2]
    with monkeypatch.context() as patch:
        patch.setattr(ranking, "_wrong_probabilities", lambda visits: (found, []))
        patch.setattr(ranking.Visits, "log_odds", 0.0)
        assert dataclasses.replace(visits).right_left_out(0.5) == pytest.approx(0.3 / 2.2)
        assert dataclasses.replace(visits).right_left_out(0) == 0
        assert dataclasses.replace(visits).right_left_out(1) == pytest.approx(1)
        # 1.6 of the samples are two, 1.2 are one.
        assert dataclasses.replace(visits).right_left_out(0.4) == pytest.approx(0.3 / 2.2)
        assert dataclasses.replace(visits).right_left_out(0.3) == pytest.approx(0.1 / 2.2)
        found[:] = [0.9, 0.7, 0.8, 0.9]  # Fewer than one label is right.
        assert dataclasses.replace(visits).right_left_out(0.5) == pytest.approx(0.2 / 0.7)
        found[:] = 1  # None is.
        assert dataclasses.replace(visits).right_left_out(0.5) == 0
    _, is_wrong, visits = learned(0.4)
    left_out = np.argsort(visits.margin)[: is_wrong.sum()]
    share = (~is_wrong[left_out]).sum() / (~is_wrong).sum()
    assert 0 < visits.right_left_out(is_wrong.mean()) == pytest.approx(share, abs=0.01)


def test_runs_are_pooled_by_their_visits():
    """The second has more visits of the first sample, and alone has seen the last; a third none."""
    first = history_of()
    second = history_of(num_counted=[12, 0, 6], num_wrong=[3, 0, 6], mean_margin=[3, 9, 1])
    second |= {"mean_given": np.array([0.9, 0.9, 0.5]), "other_class": np.array([2.0, 2, 7])}
    third = history_of(num_counted=[0, 0, 0], num_wrong=[0, 0, 0])
    visits = ranking.pooled([first, second, third])
    np.testing.assert_array_equal(visits.count, [16, 4, 6])
    np.testing.assert_allclose(visits.wrong, [4 / 16, 1, 1])
    np.testing.assert_allclose(visits.given, [(4 * 0.7 + 12 * 0.9) / 16, 0.1, 0.5])
    # Each run's margins by their deviation among those seen: 2 and 1.
    np.testing.assert_allclose(visits.margin, [(4 * 0.5 + 12 * 3) / 16, -1.5, 1])
    np.testing.assert_array_equal(visits.other_class, [0, 5, 7])


def test_no_more_labels_are_wrong_than_are_contradicted():
    """The student hesitates between two classes for half of the samples, right or wrong."""
    generator, number = np.random.default_rng(0), np.arange(2000)
    margins = np.where(number < 1000, -0.1, 2.0) + generator.normal(0, 0.4, 2000)
    events, zeros = (margins < -0.2).astype(np.float64), np.zeros(2000, np.int64)
    visits = Visits(zeros + 8.0, events, events, margins, 1 - events, events, zeros + 1)
    assert 0.35 < events.mean() / 0.5 < 0.45
    by_margins = mixtures.normal(visits.seen.margin, 2)[0]
    assert by_margins.mean() > 0.4
    found = estimate(zeros, 2, visits)
    assert found.rate == pytest.approx(events.mean()) and found.high <= events.mean() + 1e-9
    few = ranking.at_most_contradicted(np.full(2000, 0.1), visits)
    np.testing.assert_array_equal(few, 0.1)


def test_label_scores_are_probabilities_in_the_order_of_the_rank():
    labels, is_wrong, visits = learned(0.4)
    score = ranking.label_scores(visits)
    np.testing.assert_array_equal(np.argsort(score), np.argsort(visits.rank_score))
    for low, high in ((0, 0.1), (0.2, 0.8), (0.9, 1)):
        chosen = (score >= low) & (score <= high)
        assert chosen.sum() > 50
        assert is_wrong[chosen].mean() == pytest.approx(score[chosen].mean(), abs=0.06)
    count = visits.count.copy()
    count[:10] = 0
    score = ranking.label_scores(dataclasses.replace(visits, count=count))
    np.testing.assert_array_equal(score[:10], 0)


def test_means_of_classes():
    found = class_means(np.array([1.0, 0, 0.2]), np.array([0, 0, 2]), 3)
    np.testing.assert_allclose(found, [0.5, 0.4, 0.2])


def test_trusted_samples_decide(digits):
    info, examples, _ = labelled_runs.read_labels([config_of(digits)], ["run"], None)
    trusted = np.arange(200) < 50
    wrong = examples.labels != examples.clean_labels
    clean = np.where(trusted, examples.clean_labels, 99)  # Nobody else's clean label is looked at.
    marked = dataclasses.replace(examples, trusted=trusted, clean_labels=clean)
    found = label_errors.estimate_noise_rate(marked, info.num_classes, [{}])
    assert wrong[:50].sum() == 16  # Of which the interval is worked by hand.
    assert (found.rate, str(found)) == (0.32, "32.0% (between 20.8% and 45.8%)")
    threes = examples.labels[:50] == 3
    assert found.by_class[3] == pytest.approx(wrong[:50][threes].mean())


def test_a_history_that_forgets(digits):
    """The losses of an earlier version: two normal laws, as before."""
    info, examples, _ = labelled_runs.read_labels([config_of(digits)], ["run"], None)
    generator = np.random.default_rng(1)
    losses = np.where(np.arange(200) < 60, 0.8, 0.2) + generator.normal(0, 0.05, 200)
    columns = {"mean_loss": losses, "num_seen": np.full(200, 9.0)}
    found = label_errors.estimate_noise_rate(examples, info.num_classes, [columns])
    assert found.rate == pytest.approx(0.3, abs=0.02)
    assert "losses" in found.source
    seen = np.arange(200) % 2 == 0  # The losses of the others are still 0.
    half = {"mean_loss": losses * seen, "num_seen": np.where(seen, 9.0, 0)}
    found = label_errors.estimate_noise_rate(examples, info.num_classes, [half])
    assert found.rate == pytest.approx(0.3, abs=0.02)
    same = columns | {"mean_loss": np.full(200, 0.3)}
    assert label_errors.estimate_noise_rate(examples, info.num_classes, [same]).rate == 0


def config_of(digits):
    folder = digits / "0.4"
    info = dataset_info("digits", str(folder))
    data = records.read_examples(str(folder), info, "train")
    return {
        "dataset_name": "digits",
        "data_dir": str(folder),
        "data_sha256": data.fingerprint(),
    }


def write_run(folder, digits, columns):
    """A run folder whose history has these columns."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config_of(digits)))
    state = {
        history.VALUES: tf.Variable(np.stack(list(columns.values()), axis=1).astype(np.float32)),
        history.NAMES: tf.Variable(list(columns)),
    }
    tf.train.Checkpoint(state=state).write(str(folder / "model.ckpt-10"))
    return str(folder)


def test_memorised_labels_are_ranked_and_corrected(digits, tmp_path):
    """A decayed loss is uninformative; earlier visits are not, nor is their class."""
    _, examples, _ = labelled_runs.read_labels([config_of(digits)], ["run"], None)
    wrong = examples.labels != examples.clean_labels
    zeros = np.zeros(200)
    columns = dict.fromkeys(history.COLUMNS, zeros)
    columns |= {
        "num_seen": zeros + 60,
        "prediction": examples.labels,
        "num_counted": zeros + 60,
        "num_wrong": np.where(wrong, 20 + np.arange(200) % 9, np.arange(200) % 3),
        "mean_given": np.where(wrong, 0.6, 0.97),
        "mean_other": np.where(wrong, 0.35, 0.02),
        "other_class": np.where(wrong, examples.clean_labels, (examples.labels + 1) % 10),
    }
    scores = label_errors.score_labels([write_run(tmp_path / "now", digits, columns)])
    assert label_errors.detection_quality(scores)[0]["auc"] == 1
    assert scores.noise_rate == pytest.approx(wrong.mean(), abs=0.03)
    assert wrong[scores.suspects].mean() > 0.9
    suggested = scores.suggested[scores.suspects]
    assert np.mean(suggested == examples.clean_labels[scores.suspects]) > 0.9
    others = np.setdiff1d(np.arange(200), scores.suspects)
    np.testing.assert_array_equal(scores.suggested[others], examples.labels[others])
    earlier = columns | {"num_counted": zeros + 3}  # Went on under this version for three visits.
    scores = label_errors.score_labels([write_run(tmp_path / "earlier", digits, earlier)])
    assert "losses" in scores.noise.source
    np.testing.assert_array_equal(scores.score, 0)


@pytest.mark.parametrize(
    ("seen", "counted", "exact"), [(60, 20, True), (60, 19, False), (5, 5, True), (5, 4, False)]
)
def test_undecayed_columns_cover_what_the_decayed_ones_reflect(seen, counted, exact):
    """Those are about twenty visits; the first sample has them all."""
    columns = dict.fromkeys(ranking.COLUMNS, np.zeros(2)) | {"num_seen": np.array([60.0, seen])}
    columns["num_counted"] = np.array([60.0, counted])
    assert label_errors._is_undecayed(columns) == exact
    assert not label_errors._is_undecayed({"num_seen": columns["num_seen"]})


@pytest.mark.parametrize("name", ["num_seen", "mean_loss", "mean_weight", "prediction"])
def test_columns_that_scoring_needs(digits, tmp_path, name):
    columns = {other: np.ones(200) for other in history.COLUMNS if other != name}
    with pytest.raises(InputError, match=f"must have the columns .*missing=.'{name}'."):
        labelled_runs.read_run(write_run(tmp_path / "run", digits, columns))


def test_two_runs_that_saw_different_samples(digits, tmp_path):
    """Predictions are those of the first run that saw a sample; the last one was seen by none."""
    _, examples, _ = labelled_runs.read_labels([config_of(digits)], ["run"], None)
    number = np.arange(200)
    columns: list[dict[str, np.ndarray]] = []
    for place, seen in enumerate((number < 100, (number >= 50) & (number < 199))):
        own: dict[str, np.ndarray] = dict.fromkeys(history.COLUMNS, np.zeros(200))
        own |= {"num_seen": 9.0 * seen, "num_counted": 9.0 * seen, "prediction": seen * (place + 3)}
        columns.append(own | {"mean_loss": seen * (1.0 + place), "mean_margin": 2.0 * seen})
    runs = [write_run(tmp_path / f"{n}", digits, own) for n, own in enumerate(columns)]
    scores = label_errors.score_labels(runs)
    assert scores.num_seen == 199 and len(scores.suspects) == 0
    np.testing.assert_array_equal(
        scores.suggested, np.where(number < 100, 3, np.where(number < 199, 4, examples.labels))
    )
    np.testing.assert_allclose(scores.mean_loss[[0, 60, 150, 199]], [1, 1.5, 2, 0])


@pytest.mark.slow
def test_digits(tmp_path, train_flags, monkeypatch):
    """From a run of the scripts to the printed report."""
    from mentornet.datasets.prepare import PrepareConfig, prepare

    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    data = tmp_path / "data"
    prepare(PrepareConfig("digits", str(data), noise_fraction=0.4))
    (tmp_path / "perceptron.py").write_text(
        "import keras\n"
        "def build(classes):\n"
        "    layers = keras.layers\n"
        "    return keras.Sequential([layers.AveragePooling2D(4), layers.Flatten(),\n"
        "        layers.Dense(256, activation='relu'), layers.Dense(256, activation='relu'),\n"
        "        layers.Dense(classes)])\n"
    )
    for steps in (110, 1100):
        folder = tmp_path / f"run{steps}"
        flags = train_flags(
            data_dir=data / "digits" / "0.4",
            train_log_dir=folder / "train",
            studentnet="perceptron:build",
            batch_size=128,
            max_number_of_steps=steps,
            steps_per_loop=10,
            log_every_steps=110,
            learning_rate_boundaries=f"{steps // 2},{steps * 3 // 4}",
            record_sample_weights="true",
        )
        status, output = run("code/cifar_train_baseline.py", *flags)
        assert status == 0, output
        scores = label_errors.score_labels([str(folder)])
        quality = label_errors.detection_quality(scores)[0]
        truth = quality["wrong"] / quality["samples"]
        assert scores.noise_rate == pytest.approx(truth, abs=0.05)
        assert quality["auc"] > 0.97
        assert (scores.noise.low, scores.noise.high) == pytest.approx((truth, truth), abs=0.1)
    status, output = run("code/label_report.py", str(folder))
    assert f"{scores.noise} of the labels estimated wrong, from all visits" in output


def test_margins_and_losses_give_the_same_each_time():
    labels, _, visits = learned(0.2, size=300)
    first, *others = (mixtures.normal(visits.margin, 3)[0] for _ in range(5))
    for other in others:
        np.testing.assert_array_equal(other, first)
    assert len({noise_rate.of_losses(labels, CLASSES, visits.margin).rate for _ in range(5)}) == 1
