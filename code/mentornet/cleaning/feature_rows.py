"""What `labels.html` shows for a row of features, instead of a picture."""

from __future__ import annotations

import collections
from collections.abc import Iterator

import numpy as np

from mentornet.datasets.catalog import DatasetInfo
from mentornet.datasets.records import Examples
from mentornet.students.networks.mlp import statistics

_NUM_SHOWN = 12  # Values of a row.
_NUM_NEAREST = 10
_MOST_COMPARED = 20_000  # Rows among which the nearest are looked for.


class RowDescriptions:
    """Describes rows by their values and by the given labels of the rows nearest to them.

    The nearest are those of the smallest Euclidean distance between standardised columns, among
    all rows or 20,000 of them, drawn at random.
    """

    def __init__(self, info: DatasetInfo, examples: Examples) -> None:
        self._info, self._examples = info, examples
        order = np.random.default_rng(0).permutation(len(examples))
        self._others = np.sort(order[:_MOST_COMPARED])
        self._labels = examples.labels[self._others]
        rows = self._rows(self._others)
        mean, variance = statistics(rows)
        self._mean, self._deviation = mean, np.sqrt(variance)
        self._standardized = (rows - mean) / self._deviation

    def _rows(self, places: np.ndarray) -> np.ndarray:
        return np.asarray(self._examples.read(places))

    def describe(self, chosen: np.ndarray) -> Iterator[str]:
        """One text of a few lines for each of the samples at `chosen`, int [m]."""
        rows = self._rows(chosen)
        standardized = (rows - self._mean) / self._deviation
        # Half the squared distance, without what is the same for all others.
        nearness = standardized @ self._standardized.T
        nearness -= 0.5 * np.square(self._standardized).sum(axis=1)
        nearness[chosen[:, None] == self._others] = -np.inf  # The row itself.
        count = min(_NUM_NEAREST, len(self._others) - 1)
        nearest = np.argsort(-nearness, axis=1, kind="stable")[:, :count]
        for row, z, neighbours in zip(rows, standardized, nearest, strict=True):
            labels = collections.Counter(self._labels[neighbours].tolist()).most_common()
            found = ", ".join(f"{self._info.class_name(label)} {n}" for label, n in labels)
            lines = [f"Labels of the nearest rows ({count}): {found}", ""]
            yield "\n".join(lines + self._values(row, z))

    def _values(self, row: np.ndarray, z: np.ndarray) -> list[str]:
        names = self._info.feature_names or [f"feature {i}" for i in range(len(row))]
        shown = np.arange(len(row))
        if len(row) > _NUM_SHOWN:  # The most unusual.
            shown = np.argsort(-np.abs(z), kind="stable")[:_NUM_SHOWN]
        lines = [f"{names[i]}: {row[i]:.4g} ({z[i]:+.1f} sd)" for i in shown]
        left_out = len(row) - len(shown)
        return lines + ([f"Not shown, as nearer their mean: {left_out}"] if left_out else [])
