"""Label noise, one file per type: noisy labels as functions of a seed (NumPy only).

A module of this package defines `corrupt(corruption) -> labels`, see `Corruption`. Its docstring's
first paragraph describes it in `--help` and in the documents.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mentornet.core.registry import Registry

NOISE_TYPES = Registry(__name__, attribute="corrupt", argument="noise_type")


@dataclasses.dataclass(frozen=True)
class Corruption:
    """The input of a noise type.

    Attributes:
      labels: int64 [n], the source's labels, in its order.
      num_classes: labels are 0..num_classes-1.
      fraction: probability 0..1 that a label is replaced.
      seed: of NumPy's PCG64; noisy labels depend only on it and on the order of the samples.
      dataset: the data set's name.
      file, key: where noise_type="file" finds labels.
    """

    labels: np.ndarray
    num_classes: int
    fraction: float
    seed: int
    dataset: str
    file: str | None = None
    key: str | None = None

    def replace(self, draw: Callable[[np.random.Generator], np.ndarray]) -> np.ndarray:
        """Replaces each label, independently with probability `fraction`.

        Args:
          draw: a generator -> whole numbers [n], the new label of each sample if it is replaced.

        Returns:
          int64 [n], the noisy labels.
        """
        rng = np.random.default_rng(self.seed)
        chosen = rng.random(len(self.labels)) < self.fraction
        return np.where(chosen, draw(rng), self.labels).astype(np.int64)


def transition_matrix(clean: np.ndarray, noisy: np.ndarray, num_classes: int) -> np.ndarray:
    """int64 [classes, classes]: how many samples of clean class `row` have the label `column`."""
    counts = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(counts, (clean, noisy), 1)
    return counts


def share_of_wrong_labels(labels: np.ndarray, clean: np.ndarray) -> float | None:
    """The share of wrong labels among those whose clean label is known; None if none is.

    Args:
      labels: int64 [n].
      clean: int64 [n], -1 where unknown.
    """
    known = clean >= 0
    return float(np.mean(labels[known] != clean[known])) if known.any() else None


def manifest_facts(
    labels: np.ndarray, clean: np.ndarray, classes: Sequence[str], image_shape: Sequence[int]
) -> dict[str, Any]:
    """What a manifest says of a folder's samples, as JSON values.

    Args:
      labels: int64 [n], as given.
      clean: int64 [n], -1 where unknown.
      classes: their names.
      image_shape: (height, width, channels), or (num_features,).
    """
    known, number = clean >= 0, len(classes)
    return {
        "num_examples": len(labels),
        "examples_per_label": np.bincount(labels, minlength=number).tolist(),
        "num_classes": number,
        "classes": list(classes),
        "image_shape": list(image_shape),
        "num_known_clean_labels": int(known.sum()),
        "share_of_wrong_labels": share_of_wrong_labels(labels, clean),
        "transition_matrix": transition_matrix(clean[known], labels[known], number).tolist(),
    }
