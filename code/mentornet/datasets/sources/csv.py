"""A .csv file of images with the columns `path` (relative to the file's folder), `label`, `labels`,
`target` or `class` (or `--label_column`), and optionally `clean_label` and `split` (train or
empty for training; test, val, valid or validation for testing).
"""

from __future__ import annotations

import pathlib

from mentornet.core.errors import check
from mentornet.datasets.sources import Options, Reader, Source
from mentornet.datasets.sources._listing import Listing, read_listing
from mentornet.datasets.sources._own import (
    clean_labels,
    find_label_column,
    is_test_split,
    read_csv,
)


def _list_csv(path: pathlib.Path, options: Options) -> Listing:
    columns, lines = read_csv(path)
    rule = f"{path} must have a column path; cells are separated by commas."
    check("path" in columns, rule, columns=columns[:20])
    label = find_label_column(columns, options, str(path))
    check(bool(lines), f"`source` {path} must have rows.", rows=0)
    listing, cleans = Listing([], [], [], []), []
    for number, row in lines:
        where = f"{path}, line {number}"
        text = row[label].strip()
        check(bool(row["path"] and text), f"{where}: must have a path and a {label}.", row=row)
        listing.paths.append(row["path"])
        listing.labels.append(text)
        listing.is_test.append(is_test_split(row.get("split"), where))
        cleans.append(row.get("clean_label"))
    listing.clean += clean_labels(cleans, listing.labels)
    return listing


def _load(dataset: str, location: str, options: Options) -> Source:
    del dataset
    path = pathlib.Path(location)
    return read_listing(_list_csv(path, options), path.parent, options)


reader = Reader(_load, takes=lambda path: path.suffix.lower() == ".csv")
