"""Finds mislabelled samples from the sample histories of runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mentornet.cleaning.labelled_runs import ranking_history, read_labels, read_run
from mentornet.datasets import records, summaries
from mentornet.datasets.catalog import DatasetInfo
from mentornet.datasets.file_list import read_paths
from mentornet.label_noise import noise_rate, ranking
from mentornet.label_noise.noise_rate import NoiseRate

_REMEMBERED = 20  # Approximate number of visits that the decayed columns reflect.


@dataclasses.dataclass(frozen=True)
class LabelScores:
    """Scores and statistics of each sample, in the order of the records.

    Attributes:
      info, examples: the training split.
      score: float64 [n] in 0..1, higher for labels that are more likely to be wrong; 0 for samples
        that no step saw.
      suggested: int64 [n], the last label that the student predicted; for suspects, the last one
        other than the given label, and for samples that no step saw, the given label.
      mean_weight, mean_loss: float64 [n], see `mentornet.label_noise.history`.
      noise: estimated share of wrong labels.
      paths: id -> file, or row of a table or array; empty for CIFAR and digits.
      num_seen: number of samples that a step saw; None means all.
      notes: about the histories that were used, for people.
    """

    info: DatasetInfo
    examples: records.Examples
    score: np.ndarray
    suggested: np.ndarray
    mean_weight: np.ndarray
    mean_loss: np.ndarray
    noise: NoiseRate
    paths: dict[int, str] = dataclasses.field(default_factory=dict)
    num_seen: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def order(self) -> np.ndarray:
        """Positions of the samples, int64 [n], most suspicious first."""
        return np.argsort(-self.score, kind="stable")

    @property
    def noise_rate(self) -> float:
        """Estimated share of wrong labels."""
        return self.noise.rate

    @property
    def suspects(self) -> np.ndarray:
        """The most suspicious positions, int64 [m], as many as labels are estimated to be wrong."""
        num_seen = len(self.score) if self.num_seen is None else self.num_seen
        return self.order[: round(self.noise_rate * num_seen)]

    @property
    def is_suspect(self) -> np.ndarray:
        """Whether each sample is one of the suspects, bool [n]."""
        found = np.zeros(len(self.score), bool)
        found[self.suspects] = True
        return found


def estimate_noise_rate(
    examples: records.Examples,
    num_classes: int,
    histories: Sequence[Mapping[str, np.ndarray]],
    visits: ranking.Visits | None = None,
) -> NoiseRate:
    """Share of wrong labels: that among the trusted samples, if there are any.

    Otherwise it is estimated from the visits, or from decayed losses if a history has no visits
    (see `noise_rate`).

    Args:
      examples: the training split.
      num_classes: number of classes.
      histories: columns of each run's history, by name.
      visits: the pooled visits of all runs, if their histories do not decay.

    Returns:
      The share among the samples that were seen, with its range and that of each class.
    """
    if examples.trusted.any():
        return _of_trusted(examples.take(np.flatnonzero(examples.trusted)), num_classes)
    if visits is not None:
        return noise_rate.estimate(examples.labels, num_classes, visits)
    seen = np.any([columns["num_seen"] > 0 for columns in histories], axis=0)
    mean_loss = _means(histories, "mean_loss")
    return noise_rate.of_losses(examples.labels[seen], num_classes, mean_loss[seen])


def _of_trusted(trusted: records.Examples, num_classes: int) -> NoiseRate:
    """The noise rate among the trusted samples, with 95 % score intervals (Wilson 1927) as ranges.

    A class without trusted samples gets the overall rate and the range 0..1.
    """
    from scipy.stats import binomtest

    labels, wrong = trusted.labels, trusted.labels != trusted.clean_labels
    numbers = np.bincount(labels, minlength=num_classes).tolist()
    hits = np.bincount(labels[wrong], minlength=num_classes).tolist()

    def interval(hit: int, number: int) -> tuple[float, float]:
        if not number:
            return 0.0, 1.0
        found = binomtest(hit, number).proportion_ci(method="wilson")
        return float(found.low), float(found.high)

    by_class = noise_rate.class_means(wrong.astype(np.float64), labels, num_classes)
    ranges = np.array([interval(*counts) for counts in zip(hits, numbers, strict=True)])
    low, high = interval(sum(hits), len(labels))
    return NoiseRate(float(wrong.mean()), low, high, by_class, ranges, "the trusted samples")


def _is_undecayed(columns: Mapping[str, np.ndarray]) -> bool:
    """Whether the undecayed columns cover at least the visits that the decayed columns reflect.

    A run started with an earlier version has counted only its later visits in them, and a run
    completed with an earlier version lacks some.
    """
    if ranking.COLUMNS - columns.keys():
        return False
    return bool(np.all(columns["num_counted"] >= np.minimum(columns["num_seen"], _REMEMBERED)))


def _means(histories: Sequence[Mapping[str, np.ndarray]], column: str) -> np.ndarray:
    """The mean of a column over the runs that have seen each sample, float64 [n]; 0 if none has."""
    seen = np.array([columns["num_seen"] > 0 for columns in histories])
    values = np.array([columns[column] for columns in histories], np.float64)
    return np.where(seen, values, 0).sum(axis=0) / np.maximum(seen.sum(axis=0), 1)


def score_labels(run_dirs: list[str], data_dir: str | None = None) -> LabelScores:
    """Ranks the training samples of runs on the same data.

    The score is that of `ranking.label_scores`, from each run's `ranking_history`. Visits of
    several runs are pooled, so each run counts in proportion to its visits. If any run is of a
    version without the columns for it, the score is the mean of 1 - exp(-mean loss) over the runs:
    one minus the geometric mean of the probability that the student gave the label over about its
    last twenty epochs. Mean losses and weights are means over the runs that saw the sample.

    Args:
      run_dirs: folders of runs with --record_sample_weights.
      data_dir: the training records, by default those of the first run.

    Raises:
      InputError: a folder holds no such run, or the runs had different labels.
    """
    runs = [read_run(run_dir) for run_dir in run_dirs]
    info, examples, folder = read_labels([config for config, _ in runs], run_dirs, data_dir)
    chosen = [
        ranking_history(run_dir, config, last)
        for run_dir, (config, last) in zip(run_dirs, runs, strict=True)
    ]
    histories = [columns for columns, _ in chosen]
    mean_loss, mean_weight = (_means(histories, name) for name in ("mean_loss", "mean_weight"))
    exact = all(map(_is_undecayed, histories))
    visits = ranking.pooled(histories, examples.labels) if exact else None
    if visits:
        score = ranking.label_scores(visits)
    else:
        score = _means([{**c, "score": 1 - np.exp(-c["mean_loss"])} for c in histories], "score")
    noise = estimate_noise_rate(examples, info.num_classes, histories, visits)
    is_last = all(columns is last for columns, (_, last) in zip(histories, runs, strict=True))
    if noise.source == noise_rate.ALL_VISITS and not is_last:
        noise = dataclasses.replace(noise, source="the visits before labels were memorised")
    predicted = examples.labels.copy()
    for columns in reversed(histories):  # That of the first run which has seen the sample.
        predicted = np.where(columns["num_seen"] > 0, columns["prediction"], predicted)
    predicted = predicted.astype(np.int64)
    num_seen = int(np.any([c["num_seen"] > 0 for c in histories], axis=0).sum())
    paths = read_paths(folder, examples.ids)
    notes = tuple(note for _, note in chosen if note)
    scores = LabelScores(
        info, examples, score, predicted, mean_weight, mean_loss, noise, paths, num_seen, notes
    )
    if visits:  # Once a label is memorised it is predicted; earlier predictions are informative.
        suggested = predicted.copy()
        suggested[scores.suspects] = visits.other_class[scores.suspects]
        scores = dataclasses.replace(scores, suggested=suggested)
    return scores


def detection_quality(scores: LabelScores) -> list[dict[str, Any]]:
    """How well the scores find the wrong labels, overall and per given class.

    Returns:
      Rows with "class", "samples", "wrong", "auc", "average_precision", and "precision" and
      "recall" of the suspects; undefined values are None. Empty if no clean label is known.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    examples = scores.examples
    known = examples.clean_labels >= 0
    if not known.any():
        return []
    is_suspect = scores.is_suspect
    groups = [("all", known)] + [
        (scores.info.class_name(c), known & (examples.labels == c))
        for c in np.unique(examples.labels)
    ]
    rows = []
    for name, chosen in groups:
        wrong = (examples.labels != examples.clean_labels)[chosen]
        score, suspect = scores.score[chosen], is_suspect[chosen]
        hits, found = float(wrong[suspect].sum()), int(suspect.sum())
        both = 0 < wrong.sum() < wrong.size
        rows.append(
            {
                "class": name,
                "samples": int(wrong.size),
                "wrong": int(wrong.sum()),
                "auc": float(roc_auc_score(wrong, score)) if both else None,
                "average_precision": float(average_precision_score(wrong, score)) if both else None,
                "precision": hits / found if found else None,
                "recall": hits / wrong.sum() if wrong.any() else None,
            }
        )
    return rows


def confusion(scores: LabelScores) -> np.ndarray:
    """For each given class, the shares of the suggested classes.

    Samples that are not suspects count as correctly labelled.

    Returns:
      float64 [given class, suggested class]; rows sum to 1, or to 0 for a class without samples.
    """
    classes = scores.info.num_classes
    suggested = scores.examples.labels.copy()
    suggested[scores.suspects] = scores.suggested[scores.suspects]
    counts = summaries.transition_matrix(scores.examples.labels, suggested, classes)
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


def confused_pairs(scores: LabelScores) -> list[tuple[int, int, int]]:
    """Given class, suggested class, and number of the suspects, the most frequent pair first."""
    chosen = scores.suspects
    pairs = np.stack([scores.examples.labels[chosen], scores.suggested[chosen]])
    (given, suggested), counts = np.unique(pairs, axis=1, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return [(int(given[i]), int(suggested[i]), int(counts[i])) for i in order]
