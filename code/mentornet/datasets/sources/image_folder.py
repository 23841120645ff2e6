"""A folder of images in the layout of Hugging Face's ImageFolder: `metadata.csv`, `.jsonl` or
`.parquet` with the columns `file_name` and `label`, in the folder or in those of its splits.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
from typing import Any

from mentornet.core.errors import InputError, check
from mentornet.datasets.label_texts import clean_label_texts, label_texts
from mentornet.datasets.sources import Options, Reader, Source
from mentornet.datasets.sources._custom import (
    TEST_NAMES,
    find_label_column,
    is_test_split,
    metadata_files,
    read_csv,
)
from mentornet.datasets.sources._listing import Listing, read_listing

_FILE = "file_name"


def _read_csv(path: pathlib.Path) -> list[dict[str, Any]]:
    return [row for _, row in read_csv(path)[1]]


def _read_json_lines(path: pathlib.Path) -> list[dict[str, Any]]:
    # splitlines() would also split at U+2028 and the like, which JSON may contain.
    lines = path.read_text("utf-8-sig").split("\n")
    rows = [json.loads(line) for line in lines if line.strip()]
    for row in rows:
        check(isinstance(row, dict), f"{path}: each line must be a JSON object.", line=row)
    return rows


def _read_parquet(path: pathlib.Path) -> list[dict[str, Any]]:
    from mentornet.datasets.sources.parquet import require_pyarrow

    require_pyarrow()
    import pyarrow as pa
    from pyarrow import parquet

    try:
        return parquet.read_table(path, partitioning=None).to_pylist()
    except pa.ArrowException as error:
        raise ValueError(error) from None


def _read(path: pathlib.Path) -> list[dict[str, Any]]:
    """The rows of a metadata file."""
    readers = {".csv": _read_csv, ".jsonl": _read_json_lines, ".parquet": _read_parquet}
    return readers[path.suffix](path)


def _add(listing: Listing, path: pathlib.Path, root: pathlib.Path, options: Options) -> None:
    """Adds the images that a metadata file lists, by their paths from `root`."""
    try:
        rows = _read(path)
    except InputError:
        raise
    # json's and UTF-8's are ValueErrors; deep JSON, and dates that Python does not know.
    except (OSError, ValueError, RecursionError, OverflowError) as error:
        raise InputError(f"`source` {path} cannot be read: {error}") from None
    columns = list(dict.fromkeys(name for row in rows for name in row))
    check(_FILE in columns, f"{path} must have rows and a column {_FILE}.", columns=columns)
    label = find_label_column(columns, options, str(path))
    labels = label_texts([row.get(label) for row in rows], label, f"{path}, row")
    cells = [row.get("clean_label") for row in rows]
    listing.labels += labels
    listing.clean += clean_label_texts(cells, labels, "clean_label", f"{path}, row")
    folder = path.parent.relative_to(root)
    for number, row in enumerate(rows):
        name, where = row.get(_FILE), f"{path}, row {number}"
        fits = isinstance(name, str | int) and bool(str(name).strip())
        check(fits, f"{where}: `{_FILE}` must name a file.", **{_FILE: name})
        place = folder / str(name).strip()
        listing.paths.append(str(place))
        by_folder = any(part.lower() in TEST_NAMES for part in place.parts[:1])
        listing.is_test.append(is_test_split(row.get("split"), where, by_folder))


def _load(dataset: str, location: str, options: Options) -> Source:
    del dataset
    root = pathlib.Path(location)
    files = metadata_files(root)
    rule = "`source` must be a folder with metadata.csv, .jsonl or .parquet."
    check(bool(files), rule, source=location)
    listing = Listing([], [], [], [])
    for path in files:
        _add(listing, path, root, options)
    return read_listing(listing, root, options, listing.class_names)


def _files(root: pathlib.Path) -> list[pathlib.Path]:
    """The metadata, and the files that they name."""
    metadata, named = metadata_files(root), []
    for path in metadata:
        with contextlib.suppress(OSError, ValueError):  # `_add` says what is wrong.
            named += [path.parent / str(row.get(_FILE)).strip() for row in _read(path)]
    return metadata + named


reader = Reader(
    _load, takes=lambda path: path.is_dir() and bool(metadata_files(path)), files=_files
)
