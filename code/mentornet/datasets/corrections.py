"""Reads files of corrections and checks them against the records.

They hold a reviewer's decisions (corrections.csv, or an export of Label Studio) or a report's own
suggestions (labels.csv).
"""

from __future__ import annotations

import dataclasses

import numpy as np

from mentornet.core.errors import check
from mentornet.core.safe_csv import read_table
from mentornet.datasets import label_studio
from mentornet.datasets.catalog import DatasetInfo

# Required columns of corrections.csv.
_NEEDED = ("id", "given_label", "corrected_label")
# Required columns of labels.csv.
_REPORTED = ("id", "given_label", "predicted_label", "label_score")
SCORE_DECIMALS = 10  # Of label scores in files: enough to sort by, and to compare with a threshold.
NOT_USABLE = -1  # Instead of a corrected label: the sample is left out.


@dataclasses.dataclass(frozen=True)
class Known:
    """The records against which a file of corrections is checked.

    Attributes:
      info: the data set.
      ids, labels: int64 [n], of the records.
      paths: id -> file, or row of a table or array; empty for CIFAR and digits.
    """

    info: DatasetInfo
    ids: np.ndarray
    labels: np.ndarray
    paths: dict[int, str]


def read_corrections(
    data: bytes, name: str, known: Known, accept_above: float | None = None
) -> np.ndarray:
    """The decisions in a file's bytes, checked against the records.

    A reviewed file (corrections.csv, or JSON exported from Label Studio) has a row for each decided
    sample; an empty corrected label means that it is not usable. With `accept_above`, the file is a
    report's labels.csv, and the decisions are the rows whose 1 - label_score, rounded as in the
    file (`SCORE_DECIMALS`), is above it.

    Args:
      data: the file.
      name: its name in messages.
      known: the records.
      accept_above: None for a reviewed file.

    Returns:
      int64 [n, 2]: positions of the decided samples among the records, in ascending order, and
      their labels or NOT_USABLE.

    Raises:
      InputError: the file has the wrong form or belongs to another data set, an id or class is
        unknown, or an id has conflicting decisions.
    """
    is_json = data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"[", b"{"))
    rule = f"`accept_above` needs a report's labels.csv, not JSON ({name})."
    check(not is_json or accept_above is None, rule, accept_above=accept_above)
    rows = label_studio.read_export(data, name) if is_json else _table(data, name, accept_above)
    parser = _Rows(known)
    decided: dict[int, int] = {}
    for where, row in rows:
        position = parser.position(where, row)
        if accept_above is None:
            text = row["corrected_label"]
            label = parser.label(where, row, "corrected_label") if text else NOT_USABLE
        else:
            label = parser.label(where, row, "predicted_label")
            if parser.confidence(where, row) <= accept_above:
                continue
        rule = f"{where}: `id` {row['id']} must not have conflicting labels."
        column = "corrected_label" if accept_above is None else "predicted_label"
        check(decided.setdefault(position, label) == label, rule, **{column: row[column]})
    return np.array(sorted(decided.items()), np.int64).reshape(-1, 2)


def _table(data: bytes, name: str, accept_above: float | None) -> list[tuple[str, dict[str, str]]]:
    """For each row of a CSV file, its place (for messages) and its cells by column."""
    needed = _NEEDED if accept_above is None else _REPORTED
    header, rows = read_table(data, name)
    rule = f"`corrections` {name} must have the columns {', '.join(needed)}, separated by commas"
    if accept_above is None and {*_REPORTED} <= {*header}:
        rule += "; a report's labels.csv needs `accept_above`"
    check({*needed} <= {*header}, f"{rule}.", columns=",".join(header)[:200])
    return [(f"{name}, line {line}", dict(zip(header, cells, strict=True))) for line, cells in rows]


class _Rows:
    """Interprets the cells of a file."""

    def __init__(self, known: Known) -> None:
        self._known = known
        self._positions = {str(number): i for i, number in enumerate(known.ids.tolist())}
        names = known.info.all_class_names
        self._labels = {text: label for label, text in enumerate(names)}
        rule = "The records' {} must be distinct for corrections to be assigned."
        check(len(self._positions) == len(known.ids), rule.format("ids"), ids=len(known.ids))
        check(len(self._labels) == len(names), rule.format("classes"), classes=names)

    def label(self, where: str, row: dict[str, str], column: str) -> int:
        """The label whose name is in a column."""
        rule = f"{where}: `{column}` must be a class of the records"
        names = ", ".join(list(self._labels)[:10])
        rule += f" ({names}{', ...' if len(self._labels) > 10 else ''})."
        check(row[column] in self._labels, rule, **{column: row[column]})
        return self._labels[row[column]]

    def position(self, where: str, row: dict[str, str]) -> int:
        """The position of the row's sample in the records, whose label and path must match."""
        rule = f"{where}: `id` must be the id of a record."
        check(row["id"].strip() in self._positions, rule, id=row["id"])
        position = self._positions[row["id"].strip()]
        number = int(self._known.ids[position])
        given = self.label(where, row, "given_label")
        other = "the file belongs to another data set or to other labels."
        expected = self._known.info.class_name(self._known.labels[position])
        rule = f"{where}: `given_label` of id {number} is {expected!r} in the records; {other}"
        check(given == self._known.labels[position], rule, given_label=row["given_label"])
        path, text = self._known.paths.get(number), row.get("path")
        rule = f"{where}: `path` of id {number} is {path!r} in the records; {other}"
        check(path is None or not text or text == path, rule, path=text)
        return position

    def confidence(self, where: str, row: dict[str, str]) -> float:
        """How sure the report is that the given label is wrong: 1 - label_score."""
        try:
            score = float(row["label_score"])
        except ValueError:
            score = float("nan")
        rule = f"{where}: `label_score` must lie in 0..1."
        check(0 <= score <= 1, rule, label_score=row["label_score"])
        return round(1 - score, SCORE_DECIMALS)
