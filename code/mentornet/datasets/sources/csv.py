"""A .csv file of images with the columns `path`, `file_name`, `filename`, `file` or `image`
(relative to the file's folder), `label`, `labels`, `target` or `class` (or `--label_column`), and
optionally `clean_label` and `split` (train or empty for training; test, val, valid or validation
for testing).
"""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Sequence

from mentornet.core.errors import InputError, check
from mentornet.datasets.label_texts import clean_label_texts, label_texts
from mentornet.datasets.sources import Options, Reader, Source
from mentornet.datasets.sources._custom import find_label_column, is_test_split, read_csv
from mentornet.datasets.sources._listing import Listing, read_listing

_PATHS = ("path", "file_name", "filename", "file", "image")


def _path_column(columns: Sequence[str]) -> str | None:
    """The first of the columns that name the images' files; None if there is none."""
    return next((name for name in _PATHS if name in columns), None)


def _list_csv(path: pathlib.Path, options: Options) -> Listing:
    columns, lines = read_csv(path)
    rule = f"{path} must have a column path (of the images' files); cells are separated by commas. "
    rule += "Numbers are read from .parquet or .npz."
    file = _path_column(columns)
    check(file is not None, rule, columns=columns[:20])
    assert file is not None
    label = find_label_column(columns, options, str(path))
    check(bool(lines), f"`source` {path} must have rows.", rows=0)
    is_test, where = [], f"{path}, line"
    for number, row in lines:
        rule = f"{where} {number}: must have a {file} and a {label}."
        check(bool(row[file] and row[label].strip()), rule, row=row)
        is_test.append(is_test_split(row.get("split"), f"{where} {number}"))
    numbers, rows = [number for number, _ in lines], [row for _, row in lines]
    labels = label_texts([row[label] for row in rows], label, where, numbers)
    cells = [row.get("clean_label") for row in rows]
    clean = clean_label_texts(cells, labels, "clean_label", where, numbers)
    return Listing([row[file] for row in rows], labels, clean, is_test)


def _load(dataset: str, location: str, options: Options) -> Source:
    del dataset
    path = pathlib.Path(location)
    return read_listing(_list_csv(path, options), path.parent, options)


def _files(path: pathlib.Path) -> list[pathlib.Path]:
    """The images that the rows name."""
    with contextlib.suppress(OSError, InputError):  # `_list_csv` says what is wrong.
        columns, lines = read_csv(path)
        names = (row.get(_path_column(columns) or "") for _, row in lines)
        return [path.parent / name for name in names if name]
    return []


reader = Reader(_load, takes=lambda path: path.suffix.lower() == ".csv", files=_files)
