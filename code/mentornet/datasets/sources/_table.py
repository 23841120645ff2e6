"""pyarrow tables: images in one column, or features in one or many, with their labels."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mentornet.core.errors import check
from mentornet.core.safe_csv import check_columns
from mentornet.datasets.label_texts import clean_label_texts, label_texts
from mentornet.datasets.sources import Options, Source
from mentornet.datasets.sources._custom import (
    LABEL_COLUMNS,
    check_width,
    find_label_column,
    is_test_split,
    to_features,
)
from mentornet.datasets.sources._listing import Listing, labelled_source, read_listing

if TYPE_CHECKING:
    import pyarrow as pa

_IMAGES = ("image", "img")
_FILES = ("file_name", "path")
_CLEAN, _SPLIT = "clean_label", "split"


@dataclasses.dataclass(frozen=True)
class Columns:
    """Which columns of a table are used, by name.

    Attributes:
      label: the column of labels.
      image: bytes, a struct of `bytes` and `path`, or paths; None if samples are features.
      features: one column of lists, or one column per feature.
      file: the column that names the samples, if there is one.
      extra: `clean_label` and `split`, if present.
    """

    label: str
    image: str | None
    features: tuple[str, ...]
    file: str | None
    extra: tuple[str, ...]

    @property
    def used(self) -> list[str]:
        """The names of all columns that are used."""
        names = (self.label, self.image, *self.features, self.file, *self.extra)
        return [name for name in dict.fromkeys(names) if name is not None]


def _is_list(kind: Any) -> bool:
    from pyarrow import types

    tests = (types.is_list, types.is_large_list, types.is_fixed_size_list)
    return any(test(kind) for test in tests) and _is_number(kind.value_type)


def _is_number(kind: Any) -> bool:
    from pyarrow import types

    return types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    if types.is_dictionary(kind):  # As pandas stores categories.
        return _is_text(kind.value_type)
    tests = (types.is_string, types.is_large_string, types.is_string_view)
    return any(test(kind) for test in tests)


def _is_encoded(kind: Any) -> bool:
    from pyarrow import types

    if types.is_struct(kind):
        parts = {field.name: field.type for field in kind}
        are_there = {"bytes", "path"} <= parts.keys()
        is_path = are_there and (_is_text(parts["path"]) or types.is_null(parts["path"]))
        return is_path and _is_encoded(parts["bytes"])
    tests = (types.is_binary, types.is_large_binary, types.is_fixed_size_binary)
    return any(test(kind) for test in tests)


def path_columns(schema: pa.Schema) -> list[str]:
    """The columns that may hold paths of images."""
    names = (*_IMAGES, *_FILES)
    return [field.name for field in schema if field.name in names and _is_text(field.type)]


def find_columns(schema: pa.Schema, options: Options, where: str) -> Columns:
    """Determines the role of a table's columns; `where` names the table in messages.

    Images are in the column `image` or `img`, or else in the first column of bytes. Otherwise,
    features are in the only column of lists of numbers. Otherwise `file_name` or `path` is the
    image's file. If there is no such column either, every other column is a feature, except `id`,
    the index that pandas adds, and other columns that are named like labels.

    Raises:
      InputError: there are no labels or no samples, or features are not numbers.
    """
    check_columns(schema.names, where)
    kinds = {field.name: field.type for field in schema}
    label = find_label_column(list(kinds), options, where)
    extra = tuple(name for name in (_CLEAN, _SPLIT) if name in kinds and name != label)
    rest = {name: kind for name, kind in kinds.items() if name not in (label, *extra)}
    named = [n for n in _IMAGES if n in rest and (_is_text(rest[n]) or _is_encoded(rest[n]))]
    images = [*named, *(name for name, kind in rest.items() if _is_encoded(kind))]
    files = [name for name in _FILES if name in rest and _is_text(rest[name])]
    lists = [name for name, kind in rest.items() if _is_list(kind)]
    file = files[0] if files else None
    if images:
        return Columns(label, images[0], (), file, extra)
    if lists:
        rule = f"{where} must have one column of lists of numbers."
        check(len(lists) == 1, rule, columns=lists)
        return Columns(label, None, (lists[0],), file, extra)
    if file is not None:
        return Columns(label, file, (), None, extra)
    others = ("id", "__index_level_0__", *LABEL_COLUMNS)
    features = tuple(name for name in rest if name not in others)
    rule = f"{where} must have a column `image`, or features, in addition to {label!r}."
    check(bool(features), rule, columns=list(kinds))
    bad = {name: str(rest[name]) for name in features if not _is_number(rest[name])}
    rule = f"{where}: features must be numbers; encode or drop the other columns."
    check(not bad, rule, columns=dict(list(bad.items())[:10]))
    return Columns(label, None, features, None, extra)


def class_names(schema: pa.Schema, column: str) -> tuple[str, ...]:
    """The class names that Hugging Face's `datasets` stored for a column of numbers, if any."""
    try:
        described = json.loads((schema.metadata or {})[b"huggingface"])
        return tuple(map(str, described["info"]["features"][column]["names"]))
    except (KeyError, TypeError, ValueError):
        return ()


def read_tables(
    tables: Sequence[tuple[pa.Table, bool | None]],
    columns: Columns,
    root: pathlib.Path,
    options: Options,
    where: str,
) -> Source:
    """Reads tables, whose columns that are used and class names must be the same.

    Args:
      tables: each with whether it is for testing; None means according to its column `split`.
      columns: see `find_columns`.
      root: the folder to which paths are relative.
      options: how samples are read.
      where: names the tables in messages.

    Raises:
      InputError: the tables differ, a value is missing or of the wrong kind, or an image is
        unreadable.
    """
    import pyarrow as pa

    names, *others = (class_names(table.schema, columns.label) for table, _ in tables)
    rule = f"{where}: all splits must have the same class names."
    check(all(other == names for other in others), rule, class_names=[names, *others])
    kinds = [{field.name: str(field.type) for field in table.schema} for table, _ in tables]
    used = [{name: kind.get(name) for name in columns.used} for kind in kinds]
    rule = f"{where}: all splits must have the same columns, of the same types."
    check(all(each == used[0] for each in used), rule, columns=used)
    rows = pa.concat_tables([table.select(columns.used) for table, _ in tables])
    check(rows.num_rows > 0, f"{where} must have rows.", rows=0)
    labels, clean = _labels(rows, columns, names, where)
    in_test = _in_test(rows, tables, columns, where)
    places = [f"row {i}" for table, _ in tables for i in range(table.num_rows)]
    if columns.file is not None:
        texts = rows.column(columns.file).to_pylist()
        places = [text or place for text, place in zip(texts, places, strict=True)]
    listing = Listing(places, labels, clean, in_test)
    ordered = names or listing.class_names
    if columns.image is not None:
        _add_images(listing, rows.column(columns.image), where)
        return read_listing(listing, root, options, ordered)
    data = _features(rows, columns, options, where)
    source = labelled_source(data, listing, ordered, options)
    named = columns.features if len(columns.features) == data.shape[1] else ()
    return dataclasses.replace(source, feature_names=named)


def _labels(
    rows: pa.Table, columns: Columns, names: Sequence[str], where: str
) -> tuple[list[str], list[str | None]]:
    """Labels and clean labels by name; None where a clean label is unknown."""
    cells, where = rows.column(columns.label).to_pylist(), f"{where}, row"
    texts = label_texts(cells, columns.label, where)
    labels = [
        _class(cell, text, names, columns.label, f"{where} {row}")
        for row, (cell, text) in enumerate(zip(cells, texts, strict=True))
    ]
    if _CLEAN not in columns.extra:
        return labels, [None] * rows.num_rows
    cells = rows.column(_CLEAN).to_pylist()
    known = clean_label_texts(cells, labels, _CLEAN, where)
    return labels, [
        None if text is None else _class(cell, text, names, _CLEAN, f"{where} {row}")
        for row, (cell, text) in enumerate(zip(cells, known, strict=True))
    ]


def _class(cell: Any, text: str, names: Sequence[str], column: str, where: str) -> str:
    """The class of a label; where the data set has `names`, numbers are positions in them.

    Raises:
      InputError: there is no such class.
    """
    if not names:
        return text
    is_name = isinstance(cell, str)
    fits = text in names if is_name else text.isdecimal() and int(text) < len(names)
    rule = f"{where}: `{column}` must be a class by name, or a number in 0..{len(names) - 1}."
    check(fits, rule, **{column: cell})
    return text if is_name else names[int(text)]


def _in_test(
    rows: pa.Table, tables: Sequence[tuple[pa.Table, bool | None]], columns: Columns, where: str
) -> list[bool]:
    if _SPLIT in columns.extra and all(part is None for _, part in tables):
        cells = enumerate(rows.column(_SPLIT).to_pylist())
        return [is_test_split(cell, f"{where}, row {row}") for row, cell in cells]
    return [bool(part) for table, part in tables for _ in range(table.num_rows)]


def _add_images(listing: Listing, column: pa.ChunkedArray, where: str) -> None:
    """Makes a listing read its images from a column, and name them by their paths."""
    if _is_text(column.type):
        for row, path in enumerate(column.to_pylist()):
            check(bool(path), f"{where}, row {row}: the image must not be empty.", path=path)
            listing.paths[row] = path
        return

    def read(row: int) -> bytes | None:
        value = column[row].as_py()
        return value["bytes"] if isinstance(value, dict) else value

    for row in range(len(column)):
        value = column[row]
        path, empty = None, not value.is_valid
        if not empty and hasattr(value, "keys"):
            path = value["path"].as_py()
            empty = not path and not value["bytes"].is_valid
        check(not empty, f"{where}, row {row}: the image must not be empty.", image=None)
        listing.paths[row] = path or listing.paths[row]
    listing.read = read


def _features(rows: pa.Table, columns: Columns, options: Options, where: str) -> np.ndarray:
    """float32 [n, num_features]."""
    for name in columns.features:
        column = rows.column(name)
        if column.null_count:
            row = int(np.flatnonzero(column.is_null().to_numpy())[0])
            check(False, f"{where}, row {row}: `{name}` must not be empty.", **{name: None})
    if len(columns.features) > 1 or not _is_list(rows.schema.field(columns.features[0]).type):
        check_width(len(columns.features), options, where)
        values = np.stack([rows.column(name).to_numpy() for name in columns.features], axis=1)
        return to_features(values, where, columns.features)
    return _from_lists(rows.column(columns.features[0]), columns.features[0], options, where)


def _from_lists(column: pa.ChunkedArray, name: str, options: Options, where: str) -> np.ndarray:
    import pyarrow.compute as pc

    lengths = pc.list_value_length(column).to_numpy()
    check_width(int(lengths[0]), options, where)
    bad = np.flatnonzero(lengths != lengths[0])
    if bad.size:
        rule = f"{where}, row {bad[0]}: `{name}` must have {lengths[0]} values, as in row 0."
        check(False, rule, values=int(lengths[bad[0]]))
    values = pc.list_flatten(column)
    if values.null_count:
        row = int(np.flatnonzero(values.is_null().to_numpy())[0]) // int(lengths[0])
        check(False, f"{where}, row {row}: `{name}` must not hold nulls.", **{name: None})
    return to_features(values.to_numpy().reshape(len(column), -1), where)
