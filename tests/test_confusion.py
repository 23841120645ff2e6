"""Labels that are confused in one direction: margins and odds, the ranking, the estimate."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

import mentornet
from mentornet.label_noise import mixtures, noise_rate, ranking
from mentornet.label_noise.confusion import one_sided
from mentornet.label_noise.ranking import Visits, label_scores

# Probabilities that the student learns of each class (row): many of class 0 are labelled 1.
ONE_WAY = np.array([[0.45, 0.45, 0.0], [0.0, 0.9, 0.0], [0.0, 0.0, 0.9]])
# Fewer are, so that no class has twice as many labels as another.
FEWER = np.array([[0.6, 0.3, 0.0], [0.0, 0.9, 0.0], [0.0, 0.0, 0.9]])


def drawn(transitions, *, size=6000, deviation=0.08, seed=0):
    """Samples of a student that has learned `transitions`; whether their labels are wrong."""
    generator = np.random.default_rng(seed)
    classes = generator.integers(0, len(transitions), size)
    sums = transitions.sum(axis=1, keepdims=True)
    labels = np.array([generator.choice(len(sums), p=(transitions / sums)[k]) for k in classes])
    found = transitions[classes] + 0.02 + deviation * generator.normal(size=(size, len(sums)))
    found = np.clip(found, 0, 1)
    given = found[np.arange(size), labels]
    found[np.arange(size), labels] = -1
    other_class, other = found.argmax(axis=1), found.max(axis=1)
    wrong_events = np.clip(0.5 + (other - given) / 0.4, 0, 1)
    margin = (given - other) / (given - other).std()
    visits = Visits(
        np.full(size, 8.0), wrong_events, wrong_events, margin, given, other, other_class
    )
    return dataclasses.replace(visits, labels=labels), labels != classes


def test_many_classes_take_little_memory():
    """A square matrix of 200,000 classes would take 320 GB."""
    labels, other_class = np.array([0, 0, 199_999, 5]), np.array([199_999, 199_999, 0, 7])
    given, other = np.array([0.4, 0.4, 0.9, 0.8]), np.array([0.5, 0.5, 0.05, 0.1])
    shift, log_odds = one_sided(labels, given, other, other_class)
    dense = one_sided(np.array([0, 0, 1, 2]), given, other, np.array([1, 1, 0, 3]))
    np.testing.assert_allclose([shift, log_odds], dense)
    assert shift[0] > 0 > shift[2] and log_odds[0] > 0 > log_odds[2]


def test_two_anchors():
    """Each class has one anchor: its sample that is the most probable of it."""
    labels = np.array([0, 0, 1, 1])
    given, other = np.array([0.5, 0.1, 0.9, 0.4]), np.array([0.4, 0.9, 0.1, 0.5])
    shift, log_odds = one_sided(labels, given, other, 1 - labels)
    # T[0, 1] - T[1, 0] = 0.3; class 0 loses as much, and class 1 nothing.
    expected = 0.3 / (given - other).std()
    np.testing.assert_allclose(shift, [expected, expected, -expected, -expected])
    expected = np.log((0.4 + 0.12) / (0.1 + 0.12))  # 0.02 with six anchors, 0.12 with one.
    np.testing.assert_allclose(log_odds, [expected, expected, -expected, -expected])


def test_a_twentieth_of_a_class_are_anchors():
    """Of 41 samples of class 0 three, rounded up; probabilities of other classes count as 0."""
    labels = np.array([0] * 41 + [1, 2])
    given = np.array([0.5, 0.6, 0.7] + [0.4] * 38 + [0.8, 0.8])
    other_class = np.array([1, 1, 2] + [2] * 38 + [2, 1])
    other = np.array([0.3, 0.3, 0.12] + [0.39] * 38 + [0.0, 0.1])
    found, log_odds = one_sided(labels, given, other, other_class)
    rise = 0.2 + 0.04  # What class 0 loses: a third of 0.6 to class 1, of 0.12 to class 2.
    one_to_two = (0 - 0.1) + 0 - 0.1  # Class 2 loses 0.1 to class 1.
    expected = np.array([0.2 + rise, 0.2 + rise, 0.04 + rise - 0.1]) / 2 / (given - other).std()
    np.testing.assert_allclose(found[:3], expected)
    np.testing.assert_allclose(found[3:41], expected[2])
    np.testing.assert_allclose(
        found[41:], np.array([1, -1]) * one_to_two / 2 / (given - other).std()
    )
    last = np.log(0.12 / 0.22)  # Class 0 has too many labels to be compared.
    np.testing.assert_allclose(log_odds, [*[0] * 41, last, -last])


@pytest.mark.parametrize("labels", [[0, 0, 0], [2, 2, 0]])
def test_classes_that_are_only_given_or_only_predicted(labels):
    labels, other_class = np.array(labels), np.array([1, 1, 1])
    given, other = np.array([0.6, 0.5, 0.7]), np.array([0.3, 0.4, 0.2])
    shift, log_odds = one_sided(labels, given, other, other_class)
    first = 0.3 if labels[0] else 0.2  # Class 1 loses nothing; the others' anchors are torn.
    np.testing.assert_allclose(shift[0] * np.std([0.3, 0.1, 0.5]), first)
    assert not log_odds.any()


@pytest.mark.parametrize(
    ("size", "is_compared"), [(200, True), (201, False), (50, True), (49, False)]
)
def test_a_class_with_twice_as_many_labels_is_not_compared(size, is_compared):
    labels = np.repeat([0, 1], [size, 100])
    given, other = np.full(len(labels), 0.6), np.where(labels == 0, 0.3, 0.1)
    shift, log_odds = one_sided(labels, given, other, 1 - labels)
    assert shift.all() and bool(log_odds.all()) == is_compared == bool(log_odds.any())


@pytest.mark.parametrize(("size", "never"), [(100, 0.024), (101, 0.02), (400, 0.02), (41, 0.04)])
def test_few_anchors_say_less(size, never):
    """A twentieth of 100 samples are five anchors, of 101 and more at least six, of 41 three."""
    labels = np.repeat([0, 1], size)
    given, other = np.full(len(labels), 0.6), np.where(labels == 0, 0.3, 0.1)
    _, log_odds = one_sided(labels, given, other, 1 - labels)
    expected = np.log((0.3 + never) / (0.1 + never))
    np.testing.assert_allclose(log_odds, np.where(labels == 0, expected, -expected))


def test_harder_classes_are_not_shifted():
    """The student is less sure of class 0, but loses nothing to the other in one direction."""
    visits, _ = drawn(np.array([[0.5, 0.1], [0.1, 0.9]]), deviation=0)
    np.testing.assert_allclose(visits.margin_shift, 0, atol=1e-12)
    np.testing.assert_allclose(visits.log_odds, 0, atol=1e-12)


def test_names_of_classes_do_not_matter():
    visits, _ = drawn(FEWER)
    renamed = np.array([2, 0, 1])
    other = renamed[visits.other_class]
    changed = dataclasses.replace(visits, labels=renamed[visits.labels], other_class=other)
    np.testing.assert_allclose(changed.margin_shift, visits.margin_shift, rtol=1e-12)
    np.testing.assert_allclose(changed.log_odds, visits.log_odds, rtol=1e-12)


def test_samples_without_a_visit_do_not_count():
    visits, _ = drawn(ONE_WAY)
    count = np.where(np.arange(len(visits.count)) % 2, visits.count, 0)
    half = Visits(*(getattr(visits, field.name)[1::2] for field in dataclasses.fields(visits)))
    found = dataclasses.replace(visits, count=count)
    np.testing.assert_array_equal(found.seen.margin_shift, half.margin_shift)


@pytest.mark.parametrize("seed", range(3))
def test_one_sided_confusion_is_ranked(seed):
    """Right labels 0 and wrong labels 1 have equal margins; the shift tells them apart."""
    visits, is_wrong = drawn(ONE_WAY, seed=seed)
    unshifted = dataclasses.replace(visits, labels=None)
    before, after = (roc_auc_score(is_wrong, v.rank_score) for v in (unshifted, visits))
    assert before < 0.92 and after > 0.97
    assert roc_auc_score(is_wrong, label_scores(visits)) == pytest.approx(after, abs=0.01)
    shift, labels = visits.margin_shift, visits.labels
    assert shift[(labels == 0) & (visits.other_class == 1)].min() > 0.5
    assert shift[(labels == 1) & (visits.other_class == 0)].max() < -0.5
    margin = visits.margin + shift
    assert np.median(margin[is_wrong]) < 0 < np.quantile(margin[~is_wrong], 0.2)


@pytest.mark.parametrize("seed", [1, 3])
def test_shares_of_classes_are_those_of_the_ranking(seed):
    """By margins alone, more labels are wrong in class 0, which has none, than in class 1."""
    visits, is_wrong = drawn(ONE_WAY, seed=seed)
    labels, (probabilities, _) = visits.labels, visits.wrong_probabilities
    actual, by_margins = (noise_rate.class_means(p, labels, 3) for p in (is_wrong, probabilities))
    found = noise_rate.estimate(labels, 3, visits)
    assert by_margins[0] > by_margins[1]
    assert np.abs(found.by_class - actual).sum() < 0.8 * np.abs(by_margins - actual).sum()
    assert found.rate == pytest.approx(probabilities.mean())
    of_scores = noise_rate.class_means(label_scores(visits), labels, 3)
    np.testing.assert_allclose(of_scores, found.by_class, atol=1e-3)


def test_odds_by_hand(monkeypatch):
    """The odds that a label is right are a third or threefold; those that are certain stay so."""
    log_odds = np.log([1, 3, 1 / 3, 3, 3])
    monkeypatch.setattr(Visits, "log_odds", log_odds)
    wrong, other = np.array([0.5, 0.5, 0.5, 0.0, 1.0]), np.full(5, 0.25)
    monkeypatch.setattr(ranking, "_wrong_probabilities", lambda visits: (wrong, [other]))
    visits = Visits(*(np.ones(5),) * 6, np.ones(5, int))
    first, (second,) = visits.wrong_probabilities
    np.testing.assert_allclose(first, [1 / 2, 1 / 4, 3 / 4, 0, 1])
    np.testing.assert_allclose(second, [1 / 4, 1 / 10, 1 / 2, 1 / 10, 1 / 10])


def test_labels_that_the_shift_excuses_do_not_count(monkeypatch):
    """Of the four contradicted, the shift makes two margins positive; one was positive before."""
    margin = np.array([-0.4, -0.4, 0.1, 0.1, 0.9, 0.9])
    shift = np.array([0.4, 0.3, 0.1, -0.05, 0.5, 0.0])
    monkeypatch.setattr(Visits, "margin_shift", shift)
    wrong = np.array([0.6, 0.6, 0.6, 0.6, 0.1, 0.1])
    visits = Visits(np.full(6, 8.0), wrong, wrong, margin, 1 - wrong, wrong, np.ones(6, int))
    np.testing.assert_allclose(ranking.at_most_contradicted(np.full(6, 0.5), visits), 2 / 6)
    np.testing.assert_allclose(ranking.at_most_contradicted(np.full(6, 0.3), visits), 0.3)


def test_symmetric_noise_is_ranked_as_before():
    transitions = np.full((5, 5), 0.06) + np.diag([0.6] * 5)
    visits, is_wrong = drawn(transitions)
    assert np.abs(visits.margin_shift).mean() < 0.05
    unshifted = dataclasses.replace(visits, labels=None)
    before, after = (roc_auc_score(is_wrong, v.rank_score) for v in (unshifted, visits))
    assert after == pytest.approx(before, abs=0.002)


def test_an_unlearned_student_is_not_believed():
    visits, _ = drawn(FEWER)
    shift = visits.margin_shift
    contradicted = np.where(np.arange(len(shift)) % 4, 1.0, 0.0)  # Three quarters.
    found = dataclasses.replace(visits, wrong=contradicted)
    assert found.unlearned == 0.5
    np.testing.assert_allclose(found.margin_shift, shift / 2)
    np.testing.assert_allclose(found.log_odds, visits.log_odds / 2)
    assert dataclasses.replace(visits, wrong=0 * contradicted).unlearned == 0


def test_wrong_events_count_later_where_margins_are_shifted():
    visits, _ = drawn(FEWER)
    last = np.where(visits.contradicted, 0.4, 0.0)  # 60 % of these are memorised.
    visits = dataclasses.replace(visits, last_wrong=last)
    is_late = 0.6 ** (1 + 4 * np.abs(visits.margin_shift).mean())
    early = 1 / (1 + np.exp(visits.margin + visits.margin_shift + visits.log_odds / 4))
    expected = (1 - is_late) * early + is_late * visits.wrong
    np.testing.assert_allclose(visits.rank_score, expected, rtol=1e-9)


def test_shifted_margins_are_asked_only_if_the_others_find_nothing(monkeypatch):
    visits, _ = drawn(ONE_WAY)
    asked, nothing = [], np.zeros(len(visits.count))

    def normals(margins):
        asked.append(margins)
        return answers[len(asked) - 1], []

    monkeypatch.setattr(mixtures, "normals", normals)
    monkeypatch.setattr(Visits, "log_odds", nothing)
    answers = [nothing, nothing + 0.01]
    np.testing.assert_array_equal(visits.wrong_probabilities[0], answers[1])
    np.testing.assert_array_equal(asked[0], visits.margin)
    np.testing.assert_array_equal(asked[1], visits.margin + visits.margin_shift)
    asked, answers = [], [nothing + 0.02]
    np.testing.assert_array_equal(dataclasses.replace(visits).wrong_probabilities[0], answers[0])
    asked, answers = [], [nothing]
    unshifted = dataclasses.replace(visits, labels=None)
    assert unshifted.wrong_probabilities and len(asked) == 1


@pytest.mark.slow
def test_half_of_a_class_has_labels_of_another():
    """Half of the digits 8 are labelled 3: none of the labels 8 is wrong, or suspected."""
    digits = load_digits()
    generator = np.random.default_rng(1)
    is_wrong = (digits.target == 8) & (generator.uniform(size=len(digits.target)) < 0.5)
    labels = np.where(is_wrong, 3, digits.target)
    found = mentornet.find_label_issues(digits.data.astype(np.float32), labels, seed=1)
    assert roc_auc_score(is_wrong, 1 - found["label_score"]) > 0.97
    is_issue = found["is_label_issue"].to_numpy()
    assert is_issue.sum() > 15 and is_wrong[is_issue].mean() > 0.8
    assert is_issue[labels == 8].mean() < 0.05
