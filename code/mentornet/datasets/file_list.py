"""The list of the files that records were made from: the id and the path of each sample."""

from __future__ import annotations

import csv
import pathlib
from collections.abc import Mapping

import numpy as np

from mentornet.core.errors import InputError, check
from mentornet.core.safe_csv import quoted

NAME = "files.csv"


def write_paths(folder: pathlib.Path, paths: Mapping[int, str]) -> None:
    """Writes id -> file of records into their folder."""
    lines = ["id,path", *(f"{number},{quoted(path)}" for number, path in paths.items())]
    (folder / NAME).write_text("\n".join(lines) + "\n", encoding="utf-8", newline="")


def read_paths(folder: str | pathlib.Path, ids: np.ndarray) -> dict[int, str]:
    """Id -> file of the records in a folder; empty if they were not made from files.

    Args:
      folder: of the records.
      ids: int64 [n], of the records.

    Raises:
      InputError: the list of files cannot be read, or lacks a record.
    """
    path = pathlib.Path(folder) / NAME
    if not path.is_file():
        return {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            paths = {int(row["id"]): row["path"] for row in csv.DictReader(file)}
    except (csv.Error, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} must have the columns `id`, a number, and `path`: {error!r}."
        ) from None
    missing = [number for number in ids.tolist() if paths.get(number) is None]
    check(not missing, f"{path} must name the file of each record.", missing=missing[:10])
    return paths
