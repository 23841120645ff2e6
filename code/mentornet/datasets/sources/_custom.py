"""Shared by sources of your own data: sizes, columns, class names, and the test split."""

from __future__ import annotations

import collections
import csv
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from mentornet.core.errors import InputError, check
from mentornet.core.safe_csv import check_columns
from mentornet.datasets.sources import UNKNOWN, Options, Source, Split

IMAGE_SIZE = 32
TEST_NAMES = ("test", "val", "valid", "validation")
LABEL_COLUMNS = ("label", "labels", "target", "class")
MAX_FEATURES = 2**16  # With more columns, a small network would have gigabytes of weights.
_MISSING = ("nan", "n/a", "na", "null", "none", "?")
_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")


def metadata_files(root: pathlib.Path) -> list[pathlib.Path]:
    """The metadata files of a folder of images, in itself and in its folders of splits."""
    folders = [root, *(root / name for name in ("train", *TEST_NAMES))]
    return [folder / name for folder in folders for name in _METADATA if (folder / name).is_file()]


def read_csv(path: pathlib.Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """The columns of a .csv file, and the number and cells of each line; missing cells are empty.

    People write such files, not this package, so apostrophes stay, unlike in `safe_csv.read_table`.

    Raises:
      InputError: it cannot be read, two columns have the same name, or a line has more cells.
    """
    found = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = csv.reader(file)
            columns = next(lines, [])
            check_columns(columns, str(path))
            for cells in filter(None, lines):
                rule = f"{path}, line {lines.line_num}: must have {len(columns)} cells."
                check(not any(cells[len(columns) :]), rule, cells=len(cells))
                cells += [""] * (len(columns) - len(cells))
                found.append((lines.line_num, dict(zip(columns, cells, strict=False))))
    except UnicodeDecodeError:
        rule = "must be UTF-8 (in a spreadsheet, save as CSV UTF-8)"
        raise InputError(f"`source` {path} {rule}.") from None
    except (OSError, csv.Error) as error:
        raise InputError(f"`source` {path} cannot be read: {error}") from None
    return columns, found


def find_label_column(columns: Sequence[str], options: Options, where: str) -> str:
    """The label column among a table's columns; `where` names the table in messages.

    Raises:
      InputError: there is none, or more than one.
    """
    wanted = LABEL_COLUMNS if options.label_column is None else (options.label_column,)
    found = [name for name in wanted if name in columns]
    rule = f"{where} must have one column {' or '.join(wanted)}, or `label_column` must name it."
    shown = [*columns[:20], *(["..."] if len(columns) > 20 else [])]
    check(len(found) == 1, rule, columns=shown)
    return found[0]


def check_no_table(options: Options) -> None:
    """Raises InputError if a column is named, where there is no table."""
    rule = "`label_column` is for tables."
    check(options.label_column is None, rule, label_column=options.label_column)


def is_test_split(split: Any, where: str, otherwise: bool = False) -> bool:
    """Whether a cell of a column `split` stands for the test split; `otherwise` if it is empty.

    Raises:
      InputError: it is neither empty nor the name of a split.
    """
    name = "" if split is None or split != split else str(split).strip().lower()
    rule = f"{where}: `split` must be train, {', '.join(TEST_NAMES)} or empty."
    check(name in ("", "train", *TEST_NAMES), rule, split=split)
    return name in TEST_NAMES if name else otherwise


def check_width(num_features: int, options: Options, where: str) -> None:
    """Raises InputError if rows have too many features, or an option applies to images only."""
    rule = f"{where} must have 1 to {MAX_FEATURES} features per row."
    check(1 <= num_features <= MAX_FEATURES, rule, features=num_features)
    rule = "`image_size` is for images, not for features."
    check(options.image_size is None, rule, image_size=options.image_size)


def to_features(values: np.ndarray, where: str, names: Sequence[str] = ()) -> np.ndarray:
    """Numbers [n, num_features] as float32.

    Raises:
      InputError: a value is not a finite float32; the message names row and column.
    """
    rule = f"{where}: features must be numbers."
    check(values.dtype.kind in "biuf", rule, dtype=str(values.dtype))
    with np.errstate(over="ignore"):
        rows = values.astype(np.float32)
    bad = np.argwhere(~np.isfinite(rows))
    if bad.size:
        row, column = bad[0].tolist()
        named = f"column {names[column] if names else column!r}"
        rule = f"{where}, row {row}, {named}: features must be finite float32 numbers."
        check(False, rule, value=values[row, column].item())
    return rows


def check_file_names(paths: Iterable[str]) -> None:
    """Raises InputError if a file's name is not UTF-8, as names of records are."""
    for path in paths:
        is_utf8 = path.encode(errors="replace").decode() == path
        check(is_utf8, "File names must be UTF-8.", name=ascii(path))


def fit_image(image: Any, size: int) -> np.ndarray:
    """A PIL image as uint8 [size, size, 3]; what is transparent becomes white."""
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(ImageOps.fit(image.convert("RGB"), (size, size), Image.Resampling.BILINEAR))


def label_numbers(labels: Iterable[str | None], names: Sequence[str]) -> np.ndarray:
    """int64 positions of labels in `names`; None becomes UNKNOWN."""
    number = {name: i for i, name in enumerate(names)}
    return np.array([UNKNOWN if label is None else number[label] for label in labels], np.int64)


def _warn_of_names(names: Sequence[str]) -> None:
    """Warns of classes that may be one, or none."""
    alike = collections.defaultdict(list)
    for name in names:
        alike[name.casefold()].append(name)
    for each in (each for each in alike.values() if len(each) > 1):
        print(f"WARNING: classes that differ only in case: {', '.join(each)}", flush=True)
    if missing := [name for name in names if name.casefold() in _MISSING]:
        print(f"WARNING: a class by the name of a missing label: {', '.join(missing)}", flush=True)


def split_samples(
    images: np.ndarray,
    labels: np.ndarray,
    clean: np.ndarray,
    is_test: np.ndarray,
    names: Sequence[str],
    options: Options,
    paths: np.ndarray | None = None,
) -> Source:
    """Splits samples; without a test split, a random share of each class is set aside.

    Args:
      images: uint8 [n, height, width, channels], or features float32 [n, features].
      labels, clean: int64 [n], as given and true; -1 in `clean` where that is not known.
      is_test: bool [n]; it is filled in if no element is true.
      names: of the classes.
      options: `test_share` and `seed` count here.
      paths: strings [n] that name the samples; by default "row N".

    Raises:
      InputError: a split would be empty, or would lack a class that it needs.
    """
    check_file_names(() if paths is None else paths.tolist())
    present = [names[label] for label in np.unique(labels)]
    check(len(present) >= 2, "`source` must have samples of at least 2 classes.", classes=present)
    if not is_test.any():
        counts = np.bincount(labels)
        few = [names[label] for label in np.flatnonzero(counts == 1).tolist()]
        rule = "Each class of `source` must have at least 2 samples, one of them to be held out: "
        rule += "remove or relabel single samples."
        check(not few, rule, classes_of_one=few[:20])
        generator = np.random.default_rng([options.seed, 3])
        for label in np.unique(labels):
            members = generator.permutation(np.flatnonzero(labels == label))
            count = min(max(1, round(len(members) * options.test_share)), len(members) - 1)
            is_test[members[:count]] = True
    check(not is_test.all(), "`source` must have training samples.", test=int(is_test.sum()))
    present = [names[label] for label in np.unique(labels[~is_test])]
    rule = "`source` must have training samples of at least 2 classes."
    check(len(present) >= 2, rule, classes=present)
    _warn_of_names(names)
    if paths is None:  # Sample ids are numbered within their split, so rows need a name.
        paths = np.array([f"row {i}" for i in range(len(labels))])
    train, test = (
        Split(
            images[chosen],
            labels[chosen],
            clean_labels=clean[chosen],
            paths=paths[chosen],
        )
        for chosen in (~is_test, is_test)
    )
    return Source(train, test, tuple(names))
