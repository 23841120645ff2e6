"""Labels in data of your own, read alike from every kind of source.

A label is a string, whose surrounding whitespace is ignored, or a whole number from 0 on. Columns
with gaps store whole numbers as floats: the number 2.0 is the label 2, the string is not. An empty
cell, NaN (the number, not the string) and -1, also as a string, mean that there is no label.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from mentornet.core.errors import InputError, check

_UNKNOWN = ("", "-1", "-1.0")


def label_texts(
    cells: Sequence[Any] | np.ndarray, name: str, where: str, rows: Sequence[int] | None = None
) -> list[str]:
    """Labels as text.

    Args:
      cells: the labels; of an array of bytes, these are ASCII.
      name: the column's or array's name in messages.
      where: what messages say before the number of a row, such as "file.csv, line".
      rows: the numbers of the rows, by default 0, 1, ...

    Raises:
      InputError: a cell is not a label; the message names its row.
    """
    texts = []
    cells = _plain(cells)
    for row, cell in zip(rows or range(len(cells)), cells, strict=True):
        text = None if _is_unknown(cell) else _text(cell)
        rule = "must be a string or a whole number from 0 on; -1 means unknown."
        check(text is not None, f"{where} {row}: `{name}` {rule}", **{name: cell})
        assert text is not None
        texts.append(text)
    return texts


def clean_label_texts(
    cells: Sequence[Any] | np.ndarray,
    labels: Sequence[str],
    name: str,
    where: str,
    rows: Sequence[int] | None = None,
) -> list[str | None]:
    """Clean labels as text; None where they are unknown: empty, NaN or -1.

    Where all `labels` are whole numbers, so are these, and the text 2.0 is 2; where all end in .0,
    2 is 2.0. The other arguments are those of `label_texts`.

    Raises:
      InputError: a cell is neither a label nor unknown; the message names its row.
    """
    cells, is_whole = _plain(cells), all(label.isdecimal() for label in labels)
    has_fractions = all(re.fullmatch(r"\d+\.0", label) for label in labels)
    texts: list[str | None] = []
    for row, cell in zip(rows or range(len(cells)), cells, strict=True):
        text = None if _is_unknown(cell) else label_texts([cell], name, where, [row])[0]
        if text and is_whole:
            text = text.removesuffix(".0")
        elif text and text.isdecimal() and has_fractions:
            text += ".0"
        texts.append(text)
    return texts


def decoded(cells: np.ndarray, where: str) -> np.ndarray:
    """Bytes as texts, of any shape; other values as they are.

    Raises:
      InputError: they are not UTF-8; `where` names them.
    """
    try:
        return np.char.decode(cells, "utf-8") if cells.dtype.kind == "S" else cells
    except UnicodeDecodeError as error:
        raise InputError(f"{where} must be UTF-8, or texts: {error}") from None


def _plain(cells: Sequence[Any] | np.ndarray) -> Sequence[Any]:
    """As Python's values."""
    if isinstance(cells, np.ndarray):
        cells = decoded(cells, "Labels").tolist()
    return [cell.item() if isinstance(cell, np.generic) else cell for cell in cells]


def _is_unknown(cell: Any) -> bool:
    is_nan = isinstance(cell, float) and cell != cell
    return cell is None or is_nan or str(cell).strip() in _UNKNOWN


def _text(cell: Any) -> str | None:
    """A label as text; None if the cell is none."""
    if isinstance(cell, str | bool):
        return str(cell).strip()
    is_whole = isinstance(cell, int | float) and cell >= 0 and cell % 1 == 0
    return str(int(cell)) if is_whole else None
