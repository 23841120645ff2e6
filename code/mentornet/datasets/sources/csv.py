"""A .csv file of images with the columns `path` (relative to the file's folder), `label`, `labels`,
`target` or `class` (or `--label_column`), and optionally `clean_label` and `split` (train or test).
"""

from __future__ import annotations

import csv
import pathlib

from mentornet.core.errors import InputError, check
from mentornet.datasets.sources import Options, Reader, Source
from mentornet.datasets.sources._listing import Listing, read_listing
from mentornet.datasets.sources._own import TEST_NAMES, UNKNOWN_CELLS, find_label_column


def _list_csv(path: pathlib.Path, options: Options) -> Listing:
    listing = Listing([], [], [], [])
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            columns = list(rows.fieldnames or ())
            rule = f"{path} must have a column path; cells are separated by commas."
            check("path" in columns, rule, columns=columns[:20])
            label = find_label_column(columns, options, str(path))
            for row in rows:
                number = len(listing.paths) + 2
                rule = f"{path}, line {number}: must have a path and a {label}."
                check(bool(row.get("path")) and bool(row.get(label)), rule, row=dict(row))
                listing.paths.append(row["path"])
                listing.labels.append(row[label])
                clean = row.get("clean_label")
                listing.clean.append(None if clean in UNKNOWN_CELLS else clean)
                listing.is_test.append((row.get("split") or "train").lower() in TEST_NAMES)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"`source` {path} cannot be read: {error}") from None
    check(bool(listing.paths), f"`source` {path} must have rows.", rows=0)
    return listing


def _load(dataset: str, location: str, options: Options) -> Source:
    del dataset
    path = pathlib.Path(location)
    return read_listing(_list_csv(path, options), path.parent, options)


reader = Reader(_load, takes=lambda path: path.suffix.lower() == ".csv")
