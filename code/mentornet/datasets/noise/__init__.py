"""Label noise, one file per type: noisy labels as functions of a seed (NumPy only).

A module of this package defines `corrupt(corruption) -> labels`, see `Corruption`. Its docstring's
first paragraph describes it in `--help` and in the documents.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

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
