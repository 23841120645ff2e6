"""Where labels are confused in one direction: many trucks are labelled automobile, say, but no
automobile is labelled truck.

A student that has learned such labels is torn between both classes whenever it sees a truck. Its
margin is then near 0 for a right label `truck` and for a wrong label `automobile` alike, and
margins of different pairs of classes are not comparable. What tells them apart is what the student
predicts of samples that surely have a class (anchors: Patrini et al. 2017, section 4.1): it is torn
for the anchors of `truck`, but sure of those of `automobile`. And whatever the image shows, a label
`truck` is right, since no other class is labelled so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

_ANCHORS = 0.05  # Share of each given class: the samples most probable of it.
_NEVER = 0.02  # Added to probabilities: well below it, classes count as never confused.
_ENOUGH = 6  # Anchors of a class; if there are fewer, more is added.
_COMPARABLE = 0.5  # The smaller of two classes' numbers of labels, at least, to the larger.


def one_sided(
    labels: np.ndarray, given: np.ndarray, other: np.ndarray, other_class: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What to add to each margin, and to the log odds that the label is right; float64 [n] each.

    A label k whose next best class is l is compared with both possibilities. Of a sample of class
    k, the student's margin should be that of k's anchors, T[k, k] - T[k, l], where T holds their
    mean probabilities; of one of class l it should be T[l, k] - T[l, l]. The middle of the two is
    where the image speaks for neither class, and the shift moves it to 0. But T[k, k] may differ
    from T[l, l] because a class is harder, which says nothing of its labels. So T[k, k] is
    replaced by minus what k's anchors lose in one direction: the sum over all classes j of
    T[k, j] - T[j, k], where that is positive.

    The image aside, the label is the more likely to be wrong, the more often samples of class l get
    it: by Bayes' theorem, its odds have the factor T[k, k] / T[l, k]. But two similar classes have
    a high T[l, k] whatever their labels, and what is common to all pairs is in the mixtures
    already. So T[k, l] takes the place of T[k, k]: a heuristic, by which odds rise in classes that
    lose labels in one direction, and fall in those that get them. It is believed less if there are
    few anchors, and odds stay as they are where one of the two has more than twice as many labels:
    of a rare class, wrong labels may be the more, and its anchors among them.

    Args:
      labels: int64 [n], as given; at least one.
      given, other: float64 [n] in 0..1, mean probability of the label and of the next best class.
      other_class: int64 [n], that class.

    Returns:
      The shift, in units of the standard deviation of `given - other`, and the logarithm of what
      multiplies the odds. Both are 0 where classes are confused equally often in both directions.
    """
    transitions = _of_anchors(labels, given, other, other_class)
    difference = transitions - transitions.T
    lost = np.asarray(difference.maximum(0).sum(axis=1)).ravel()
    shift = (_at(difference, labels, other_class) + lost[labels] - lost[other_class]) / 2
    counts = np.bincount(labels, minlength=len(lost))
    numbers = np.sort([counts[labels], counts[other_class]], axis=0)
    never = _NEVER * _ENOUGH / np.clip(np.ceil(_ANCHORS * numbers[0]), 1, _ENOUGH)
    there, back = _at(transitions, labels, other_class), _at(transitions, other_class, labels)
    log_odds = np.log((there + never) / (back + never))
    log_odds[numbers[0] < _COMPARABLE * numbers[1]] = 0
    return shift / max((given - other).std(), 1e-6), log_odds


def update(wrong: np.ndarray, log_odds: np.ndarray) -> np.ndarray:
    """How probably labels are wrong once `log_odds` count as well, float64 [n] in 0..1.

    Args:
      wrong: float64 [n] in 0..1, how probable it was before.
      log_odds: float64 [n], to be added to the log odds that the label is right.
    """
    return wrong / (wrong + (1 - wrong) * np.exp(log_odds))


def _at(matrix: csr_matrix, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The elements at these places, float64 [n]."""
    return np.asarray(matrix[rows, columns]).ravel()


def _of_anchors(
    labels: np.ndarray, given: np.ndarray, other: np.ndarray, other_class: np.ndarray
) -> csr_matrix:
    """Mean probabilities that anchors of a class (row) have of the others, float64 [K, K].

    Sparse, as there may be thousands of classes.

    Of an anchor the next best class is known; other probabilities count as 0.
    """
    from scipy.sparse import csr_matrix

    number = int(max(labels.max(), other_class.max())) + 1
    counts = np.bincount(labels, minlength=number)
    wanted = np.ceil(_ANCHORS * counts)
    # The place of each sample among those of its label, the most probable first.
    order = np.lexsort((-given, labels))
    place = np.empty(len(labels), np.int64)
    place[order] = np.arange(len(labels)) - (np.cumsum(counts) - counts)[labels[order]]
    anchors = np.flatnonzero(place < wanted[labels])
    label, share = labels[anchors], 1 / wanted[labels[anchors]]
    places = label, other_class[anchors]
    return csr_matrix((share * other[anchors], places), shape=(number, number))
