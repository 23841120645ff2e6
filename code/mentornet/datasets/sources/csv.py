"""A .csv file of images with the columns `path`, `file_name`, `filename`, `file` or `image`
(relative to the file's folder), `label`, `labels`, `target` or `class` (or `--label_column`), and
optionally `clean_label` and `split` (train or empty for training; test, val, valid or validation
for testing); or of features: all columns but these and `id` hold numbers.
"""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np

from mentornet.core.errors import InputError, check
from mentornet.datasets.label_texts import clean_label_texts, label_texts
from mentornet.datasets.sources import Options, Reader, Source
from mentornet.datasets.sources._custom import (
    LABEL_COLUMNS,
    check_width,
    find_label_column,
    is_test_split,
    read_csv,
    to_features,
)
from mentornet.datasets.sources._listing import Listing, labelled_source, read_listing

_PATHS = ("path", "file_name", "filename", "file", "image")
# "": the index that pandas writes; it reads it as "Unnamed: 0".
_NO_FEATURES = ("id", "", "Unnamed: 0", "clean_label", "split", *LABEL_COLUMNS)
_TRUTH = {"true": 1.0, "false": 0.0}


def _path_column(columns: Sequence[str]) -> str | None:
    """The first of the columns that name the images' files; None if there is none."""
    return next((name for name in _PATHS if name in columns), None)


def _load(dataset: str, location: str, options: Options) -> Source:
    del dataset
    path = pathlib.Path(location)
    columns, lines = read_csv(path)
    rule = f"{path} must have at least 2 columns, separated by commas."
    check(len(columns) > 1, rule, columns=columns)
    file, label = _path_column(columns), find_label_column(columns, options, str(path))
    check(bool(lines), f"`source` {path} must have rows.", rows=0)
    needed = [label] if file is None else [file, label]
    is_test, where = [], f"{path}, line"
    for number, row in lines:
        rule = f"{where} {number}: must have a {' and a '.join(needed)}."
        cells = {name: row[name] for name in needed}
        check(all(cell.strip() for cell in cells.values()), rule, **cells)
        is_test.append(is_test_split(row.get("split"), f"{where} {number}"))
    numbers, rows = [number for number, _ in lines], [row for _, row in lines]
    labels = label_texts([row[label] for row in rows], label, where, numbers)
    known = [row.get("clean_label") for row in rows]
    clean = clean_label_texts(known, labels, "clean_label", where, numbers)
    if file is not None:
        listing = Listing([row[file] for row in rows], labels, clean, is_test)
        return read_listing(listing, path.parent, options)
    names = [name for name in columns if name != label and name not in _NO_FEATURES]
    values = _features(lines, names, options, path)
    listing = Listing([f"row {i}" for i in range(len(rows))], labels, clean, is_test)
    source = labelled_source(values, listing, listing.class_names, options)
    return dataclasses.replace(source, feature_names=tuple(names))


def _features(
    lines: Sequence[tuple[int, dict[str, str]]],
    names: Sequence[str],
    options: Options,
    path: pathlib.Path,
) -> np.ndarray:
    """float32 [n, num_features]."""
    rule = f"{path} must have a column path, of the images' files, or columns of numbers."
    check(bool(names), rule, columns=list(lines[0][1]))
    check_width(len(names), options, str(path))
    values = np.empty((len(lines), len(names)))
    for place, (number, row) in enumerate(lines):
        for column, name in enumerate(names):
            try:
                values[place, column] = _number(row[name])
            except ValueError:
                rule = f"{path}, line {number}: without a column path, of the images' files, each "
                rule += f"column must hold numbers, and {name} does not; encode or drop it."
                check(False, rule, **{name: row[name]})
    return to_features(values, str(path), names)


def _number(cell: str) -> float:
    if "_" in cell:  # Which Python ignores in numbers.
        raise ValueError(cell)
    truth = _TRUTH.get(cell.strip().lower())
    return float(cell) if truth is None else truth


def _files(path: pathlib.Path) -> list[pathlib.Path]:
    """The images that the rows name."""
    with contextlib.suppress(OSError, InputError):  # `_load` says what is wrong.
        columns, lines = read_csv(path)
        if (file := _path_column(columns)) is not None:
            return [path.parent / row[file] for _, row in lines if row[file]]
    return []


reader = Reader(_load, takes=lambda path: path.suffix.lower() == ".csv", files=_files)
