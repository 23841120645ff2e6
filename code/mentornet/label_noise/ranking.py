"""Which labels are wrong: how probably each one is, from the statistics of its visits in training.

No clean label is needed. Which statistic is most informative depends on whether the student has
memorised wrong labels. This, too, can be seen without clean labels: a label is contradicted if most
visits predicted another class, and the criterion is the share of contradicted labels that are
predicted in the end.

* Before memorising, the mean margin of logits (Pleiss et al. 2020) ranks best, and is modelled as a
  mixture of normal distributions: of wrong labels, of right but hard ones, and of easy ones. As far
  as most labels are contradicted, the student has not learned its data: its next best class is
  often arbitrary, and the mean probability of the given label joins the margin in the ranking.
  Where labels are confused in one direction (confusion.py), margins are shifted in the ranking, and
  in the mixture if that of margins as they are finds no wrong label; and the probabilities that a
  mixture gives are updated by how often each class gets the label.
* If neither finds one, and most contradicted labels are not memorised, wrong events are asked: of
  three kinds, as if most wrong labels had been memorised within a few visits, and of two if many
  visits contradicted the labels, since the margins of few samples cannot tell. Else all labels are
  right.
* Afterwards margins are uninformative, but wrong events (visits at which another class was
  predicted) are not. Their number is modelled as a mixture of two beta-binomial distributions, like
  the beta mixture of Arazo et al. (2019, section 3.1), but of shares of visits instead of losses.
  It follows if each sample's probability of a wrong event is Beta distributed; a small number of
  visits therefore needs no correction. The second component lies above the first in likelihood
  ratio: a sample that looks worse is never more likely right.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mentornet.label_noise import confusion, mixtures

MEMORISED = 0.9  # Share of the contradicted labels above which margins are ignored.
_SURE = 0.9
_FEW = 0.1  # Mean share of wrong events below which all labels may be right.
_MOST = 0.5  # Of the contradicted labels, that are memorised.
_TIE_BREAK = 1e-4
_SHIFT_PENALTY = 4.0  # What the exponent of the memorised share gains by a mean shift of 1.
_SHIFT_BY_ODDS = 0.25  # What log odds of 1 add to margins, in standard deviations of these.
_SMALLEST = 1e-6  # Of probabilities and deviations.


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
      other_class: int64 [n], the class predicted last that was not the given one; if none was, the
        next best.
      labels: int64 [n], as given; None where they are not known.
    """

    count: np.ndarray
    wrong: np.ndarray
    last_wrong: np.ndarray
    margin: np.ndarray
    given: np.ndarray
    other: np.ndarray
    other_class: np.ndarray
    labels: np.ndarray | None = None

    @functools.cached_property
    def seen(self) -> Visits:
        """Those of the samples that have a visit."""
        chosen = self.count > 0
        values = (getattr(self, field.name) for field in dataclasses.fields(self))
        seen: list[Any] = [None if each is None else each[chosen] for each in values]
        return Visits(*seen)

    @property
    def contradicted(self) -> np.ndarray:
        """The samples whose label more than half of the visits contradicted, bool [n]."""
        return self.wrong > 0.5

    @property
    def unlearned(self) -> float:
        """How far more than half of the labels are contradicted: 0, or up to 1 if all are."""
        return max(0.0, 2 * float(self.contradicted.mean()) - 1)

    @property
    def margin_shift(self) -> np.ndarray:
        """What makes the margins of all pairs of classes comparable, float64 [n]; added to them."""
        return self._one_sided[0]

    @property
    def log_odds(self) -> np.ndarray:
        """To be added to the log odds that each label is right, float64 [n]: see confusion.py."""
        return self._one_sided[1]

    @functools.cached_property
    def _one_sided(self) -> tuple[np.ndarray, np.ndarray]:
        """`confusion.one_sided` as far as the data are learned; 0 if the labels are not known.

        Every sample must have been visited.
        """
        if self.labels is None:
            return np.zeros(len(self.count)), np.zeros(len(self.count))
        found = confusion.one_sided(self.labels, self.given, self.other, self.other_class)
        shift, log_odds = ((1 - self.unlearned) * each for each in found)
        return shift, log_odds

    @functools.cached_property
    def memorised(self) -> float:
        """Share of the contradicted labels that are predicted in the end; 1 if there are none."""
        last_wrong = self.last_wrong[self.contradicted]
        return float(1 - last_wrong.mean()) if last_wrong.size else 1.0

    @functools.cached_property
    def wrong_probabilities(self) -> tuple[np.ndarray, list[np.ndarray]]:
        """The probability that each label is wrong, float64 [n] in 0..1, and other estimates of it.

        Every sample must have been visited.
        """
        found, others = _wrong_probabilities(self)
        first, *updated = (confusion.update(each, self.log_odds) for each in (found, *others))
        return first, updated

    def right_left_out(self, share: float) -> float:
        """The share of correct labels expected to be left out with a share of the samples; in 0..1.

        Of samples that each have a visit; the most suspicious ones are left out.
        """
        right = 1 - np.sort(self.wrong_probabilities[0])[::-1]
        return float(right[: round(share * len(right))].sum() / max(right.sum(), 1e-12))

    @property
    def rank_score(self) -> np.ndarray:
        """What ranks labels best, the most suspicious highest: float64 [n] in 0..1, 0 if not seen.

        As far as contradicted labels are memorised, the share of wrong events; as far as they are
        not, the logistic function of the negative margin, shifted and with a quarter of the log
        odds. As far as more than half of the samples have contradicted labels, that margin gives
        way to the standardised negative logarithm of the mean probability of the given label. Among
        equal shares of wrong events it decides, too. Wrong events are not shifted; so the larger
        the shifts, the more must be memorised for them to count.
        """
        from scipy.special import expit

        seen, score = self.seen, np.zeros(len(self.count))
        if not seen.count.size:
            return score
        surprise = -np.log(np.maximum(seen.given, _SMALLEST))
        surprise = (surprise - surprise.mean()) / max(surprise.std(), _SMALLEST)
        margin = seen.margin + seen.margin_shift + _SHIFT_BY_ODDS * seen.log_odds
        early = expit(seen.unlearned * surprise - (1 - seen.unlearned) * margin)
        is_late = self.memorised ** (1 + _SHIFT_PENALTY * np.abs(seen.margin_shift).mean())
        is_late = min(is_late, 1 - _TIE_BREAK)
        score[self.count > 0] = (1 - is_late) * early + is_late * seen.wrong
        return score


# The columns of a history that `pooled` needs.
COLUMNS = frozenset(
    ("num_counted", "num_wrong", "mean_margin", "mean_given", "mean_other")
    + ("other_class", "prediction")
)


def pooled(
    histories: Sequence[Mapping[str, np.ndarray]], labels: np.ndarray | None = None
) -> Visits:
    """The visits of several runs; of the other class, the first run's that has seen the sample.

    Args:
      histories: columns of each run's history, by name, among them `COLUMNS`.
      labels: int64 [n], as given; None if they are not known.
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
        labels,
    )


def rising_probabilities(visits: Visits) -> np.ndarray:
    """`Visits.wrong_probabilities`, made to rise with `rank_score`: float64 [n] in 0..1.

    Their mean stays. Every sample must have been visited.
    """
    from sklearn.isotonic import IsotonicRegression

    probabilities, _ = visits.wrong_probabilities
    return IsotonicRegression(y_min=0, y_max=1).fit_transform(visits.rank_score, probabilities)


def label_scores(visits: Visits) -> np.ndarray:
    """How probably each label is wrong: float64 [n] in 0..1, 0 without visits.

    The probabilities that rise with `Visits.rank_score`; where they are the same, that decides the
    order.
    """
    seen, rank = visits.count > 0, visits.rank_score
    score = np.zeros(len(rank))
    if seen.any():
        score[seen] = (1 - _TIE_BREAK) * rising_probabilities(visits.seen)
    return score + _TIE_BREAK * rank


def _wrong_probabilities(visits: Visits) -> tuple[np.ndarray, list[np.ndarray]]:
    """See `Visits.wrong_probabilities`; by margins unless contradicted labels are memorised."""
    events, doubt = mixtures.beta_binomial(visits.wrong, visits.count)
    by_margins, others = mixtures.normals(visits.margin)
    if not by_margins.any() and visits.margin_shift.any():
        by_margins, others = mixtures.normals(visits.margin + visits.margin_shift)
    if by_margins.any() and visits.memorised < MEMORISED:
        return _limited([by_margins, *others], events, visits)
    if not by_margins.any() and visits.memorised < _MOST:
        return _without_margins(others, events, visits)
    return _by_events(events, doubt, visits)


def _limited(
    estimates: list[np.ndarray], events: np.ndarray, visits: Visits
) -> tuple[np.ndarray, list[np.ndarray]]:
    """The first estimate and the others, with that by wrong events, as `at_most_contradicted`."""
    found = [*estimates, *([events] if events.any() else [])]
    first, *others = (at_most_contradicted(values, visits) for values in found)
    return first, others


def _without_margins(
    others: list[np.ndarray], events: np.ndarray, visits: Visits
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Where margins find no wrong label, and most contradicted labels are not memorised."""
    nothing = np.zeros(len(events))
    partly = mixtures.partly_memorised(events, visits.wrong, visits.count, visits.last_wrong)
    if partly.any():
        return partly, [events]
    if visits.wrong.mean() >= _FEW:  # Too many to say that all labels are right.
        return _limited([events, *others, nothing], events, visits)
    return _limited([nothing, *others], events, visits)


def _by_events(
    events: np.ndarray, doubt: float, visits: Visits
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Where contradicted labels are memorised.

    Args:
      events: float64 [n] in 0..1, probabilities of the upper component of wrong events.
      doubt: the mean of that component.
      visits: of the samples.
    """
    others = [(events > _SURE).astype(np.float64), (events > 1 - _SURE).astype(np.float64)]
    if not events.any():  # All are right, which few doubts show; else nothing is known.
        others.append(np.full(len(events), doubt if doubt < _FEW else 1.0))
    margins = (1 + visits.other - visits.given) / 2
    return events, [*others, mixtures.beta_binomial(margins, visits.count)[0]]


def at_most_contradicted(probabilities: np.ndarray, visits: Visits) -> np.ndarray:
    """Lowered in proportion, if necessary, until their mean is at most the contradicted share.

    Where most wrong labels are those of a similar class, the student hesitates between the two for
    right and wrong labels alike, and a component of the mixtures holds both. Labels whose margin is
    shifted up, to 0 or above, do not count; those shifted down are not added, and the odds of
    confused classes, which are applied afterwards, may raise the mean again.
    """
    excused = (visits.margin_shift > 0) & (visits.margin + visits.margin_shift >= 0)
    share = (visits.contradicted & ~excused).mean()
    return probabilities * min(1.0, share / max(probabilities.mean(), 1e-12))
