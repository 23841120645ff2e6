"""Where labels are confused in one direction: many trucks are labelled automobile, say, but no
automobile is labelled truck.

A student that has learned such labels is torn between both classes whenever it sees a truck. Its
margin is then near 0 for a right label `truck` and for a wrong label `automobile` alike, and
margins of different pairs of classes are not comparable. What tells them apart is what the student
predicts of samples that surely have a class (anchors: Patrini et al. 2017, section 4.1): it is torn
for the anchors of `truck`, but sure of those of `automobile`.
"""

from __future__ import annotations

import numpy as np

_ANCHORS = 0.05  # Share of each given class: the samples most probable of it.


def margin_shift(
    labels: np.ndarray, given: np.ndarray, other: np.ndarray, other_class: np.ndarray
) -> np.ndarray:
    """What to add to margins, so that those of all pairs of classes are comparable; float64 [n].

    A label k whose next best class is l is compared with both possibilities. Of a sample of class
    k, the student's margin should be that of k's anchors, T[k, k] - T[k, l], where T holds their
    mean probabilities; of one of class l it should be T[l, k] - T[l, l]. The middle of the two is
    where the label is as probably wrong as right, and the shift moves it to 0. But T[k, k] may
    differ from T[l, l] because a class is harder, which says nothing of its labels. So T[k, k]
    is replaced by minus what k's anchors lose in one direction: the sum over all classes j of
    T[k, j] - T[j, k], where that is positive.

    Args:
      labels: int64 [n], as given; at least one.
      given, other: float64 [n] in 0..1, mean probability of the label and of the next best class.
      other_class: int64 [n], that class.

    Returns:
      In units of the standard deviation of `given - other`; 0 where classes are confused equally
      often in both directions.
    """
    transitions = _of_anchors(labels, given, other, other_class)
    one_sided = transitions - transitions.T
    lost = np.maximum(one_sided, 0).sum(axis=1)
    shift = (one_sided + lost[:, None] - lost) / 2
    return shift[labels, other_class] / max((given - other).std(), 1e-6)


def _of_anchors(
    labels: np.ndarray, given: np.ndarray, other: np.ndarray, other_class: np.ndarray
) -> np.ndarray:
    """Mean probabilities that anchors of a class (row) have of the others, float64 [K, K].

    Of an anchor the next best class is known; other probabilities count as 0.
    """
    number = int(max(labels.max(), other_class.max())) + 1
    counts = np.bincount(labels, minlength=number)
    wanted = np.ceil(_ANCHORS * counts)
    # The place of each sample among those of its label, the most probable first.
    order = np.lexsort((-given, labels))
    place = np.empty(len(labels), np.int64)
    place[order] = np.arange(len(labels)) - (np.cumsum(counts) - counts)[labels[order]]
    anchors = np.flatnonzero(place < wanted[labels])
    label, share = labels[anchors], 1 / wanted[labels[anchors]]
    found = np.zeros((number, number))
    np.add.at(found, (label, other_class[anchors]), share * other[anchors])
    return found
