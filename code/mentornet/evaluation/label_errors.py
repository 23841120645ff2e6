"""Which samples are mislabelled, from what runs remember of each sample."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Any

import numpy as np

from mentornet.core.errors import check
from mentornet.datasets import records
from mentornet.datasets.catalog import DatasetInfo, dataset_info
from mentornet.datasets.corrections import read_paths
from mentornet.runs.checkpoints import find_latest, read_state
from mentornet.runs.layout import CONFIG_FILE, TRAIN_FOLDER
from mentornet.weighting import history

# The columns of the history from which labels are scored.
_NEEDED = ("mean_loss", "mean_weight", "prediction")


@dataclasses.dataclass(frozen=True)
class LabelScores:
    """What is known of each sample, in the order of the records.

    Attributes:
      info, examples: the training split.
      score: float64 [n] in 0..1, higher for labels that are more likely wrong; 0 for samples that
        no step saw.
      suggested: int64 [n], the label that the student predicted last.
      mean_weight, mean_loss: float64 [n], see `mentornet.history`.
      noise_rate: estimated share of wrong labels.
      paths: id -> file, for data made from files; else empty.
    """

    info: DatasetInfo
    examples: records.Examples
    score: np.ndarray
    suggested: np.ndarray
    mean_weight: np.ndarray
    mean_loss: np.ndarray
    noise_rate: float
    paths: dict[int, str] = dataclasses.field(default_factory=dict)

    @property
    def order(self) -> np.ndarray:
        """Positions of the samples, the most suspicious first."""
        return np.argsort(-self.score, kind="stable")

    @property
    def suspects(self) -> np.ndarray:
        """The most suspicious positions, as many as labels are estimated to be wrong."""
        return self.order[: round(self.noise_rate * len(self.score))]


def train_folder(run_dir: str) -> pathlib.Path:
    """The training folder of a run: `run_dir` itself, or `train` below it.

    Raises:
      InputError: neither holds a run.
    """
    folders = [pathlib.Path(run_dir), pathlib.Path(run_dir) / TRAIN_FOLDER]
    found = [folder for folder in folders if (folder / CONFIG_FILE).is_file()]
    check(bool(found), "`RUN_DIR` must hold a training run.", RUN_DIR=run_dir)
    return found[0]


def _read_run(run_dir: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Configuration of a run, and its history's columns."""
    folder = train_folder(run_dir)
    config = json.loads((folder / CONFIG_FILE).read_text())
    saved = read_state(find_latest(str(folder)), (history.VALUES, history.NAMES))
    rule = "The run must have been trained with --record_sample_weights."
    check(history.VALUES in saved, rule, RUN_DIR=run_dir)
    columns = {name: v.astype(np.float64) for name, v in history.saved_columns(saved).items()}
    missing = [name for name in _NEEDED if name not in columns]
    check(not missing, "The run's history must have every column.", RUN_DIR=run_dir, lacks=missing)
    return config, columns


def estimate_noise_rate(examples: records.Examples, mean_loss: np.ndarray) -> float:
    """Share of wrong labels.

    That of the trusted samples, where there are any. Else the weight of the upper part of a mixture
    of two normal laws of the losses, which is no more than a hint: it takes part of the samples to
    which the MentorNet gave no weight for mislabelled, and misses wrong labels that the student
    has memorised.

    Args:
      examples: the training split.
      mean_loss: float64 [n].
    """
    if examples.trusted.any():
        trusted = examples.take(np.flatnonzero(examples.trusted))
        return float(np.mean(trusted.labels != trusted.clean_labels))
    from sklearn.mixture import GaussianMixture

    if len(np.unique(mean_loss)) < 2:
        return 0.0
    mixture = GaussianMixture(2, random_state=0, n_init=3).fit(mean_loss[:, None])
    return float(mixture.weights_[np.argmax(mixture.means_)])


def score_labels(run_dirs: list[str], data_dir: str | None = None) -> LabelScores:
    """Ranks the training samples of runs on the same data; scores and means are averaged.

    The score is 1 - exp(-mean loss): one minus the (geometric) mean of the probability that the
    student gave the label over its last twenty or so passes.

    Args:
      run_dirs: of runs with --record_sample_weights.
      data_dir: the training records, by default where the first run found them.

    Raises:
      InputError: a folder holds no such run, or the runs saw different labels.
    """
    runs = [_read_run(run_dir) for run_dir in run_dirs]
    config = runs[0][0]
    hashes = {run["data_sha256"] for run, _ in runs}
    check(len(hashes) == 1, "The runs must have been trained on the same labels.", runs=run_dirs)
    folder = data_dir or config["data_dir"]
    info = dataset_info(config["dataset_name"], folder)
    examples = records.read_examples(folder, info, "train")
    rule = "`data_dir` must hold the records that the runs were trained on."
    check(examples.fingerprint() in hashes, rule, data_dir=folder)
    histories = [columns for _, columns in runs]
    mean_loss, mean_weight = (
        np.mean([columns[name] for columns in histories], axis=0)
        for name in ("mean_loss", "mean_weight")
    )
    score = np.mean([1 - np.exp(-columns["mean_loss"]) for columns in histories], axis=0)
    suggested = histories[0]["prediction"].astype(np.int64)
    rate = estimate_noise_rate(examples, mean_loss)
    paths = read_paths(folder)
    return LabelScores(info, examples, score, suggested, mean_weight, mean_loss, rate, paths)


def detection_quality(scores: LabelScores) -> list[dict[str, Any]]:
    """How well the scores find the labels that are wrong, overall and by given class.

    Returns:
      Rows "class", "samples", "wrong", "auc", "average_precision", and "precision", "recall" of
      the suspects; a value that is not defined is None. Empty if no clean label is known.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    examples = scores.examples
    known = examples.clean_labels >= 0
    if not known.any():
        return []
    is_suspect = np.zeros(len(examples), bool)
    is_suspect[scores.suspects] = True
    groups = [("all", known)] + [
        (scores.info.class_name(c), known & (examples.labels == c))
        for c in np.unique(examples.labels)
    ]
    rows = []
    for name, chosen in groups:
        wrong = (examples.labels != examples.clean_labels)[chosen]
        score, hits = scores.score[chosen], float(wrong[is_suspect[chosen]].sum())
        both = 0 < wrong.sum() < wrong.size
        found = int(is_suspect[chosen].sum())
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
    """Of each given class, the shares of the suggested ones.

    Samples that are not suspect count as right.

    Returns:
      float64 [classes given, classes suggested]; rows sum to 1, or to 0 without a sample.
    """
    classes = scores.info.num_classes
    counts = np.zeros((classes, classes))
    suggested = scores.examples.labels.copy()
    suggested[scores.suspects] = scores.suggested[scores.suspects]
    np.add.at(counts, (scores.examples.labels, suggested), 1)
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
