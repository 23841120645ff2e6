"""The rows from which a MentorNet is learned: drawn from a grid, or read from a dump."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping

import numpy as np

from mentornet.core import files
from mentornet.core.errors import InputError, check
from mentornet.core.schedules import LAST_EPOCH
from mentornet.learning import curricula
from mentornet.weighting.features import RELEASE, check_further, check_names

DATA_DRIVEN = "data_driven"
PERCENTILES = (40, 50, 60, 75, 80, 90)

MIN_NOISY_ROWS = 5  # To learn from rows that must not be memorised: a fifth is held back.
_TRAIN_SHARE = 0.8
_MOST_ORDERS = 100  # Of a dump, until each part holds clean and corrupted samples.
COLUMNS = ("sample_id", "epoch", "noisy_label", "clean_label", "loss")


# float32 features [n, 4 + further features] (loss, difference, label, epoch, then the further ones)
# and targets [n, 1] in 0..1.
Rows = tuple[np.ndarray, np.ndarray]


def generate(
    vstar_fn: str, vstar_gamma: float | None, sample_size: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draws rows of the release's grid and computes their targets.

    Args:
      vstar_fn: name in `curricula.CURRICULA`, or "module:function".
      vstar_gamma: its parameter; None means its default. (The release ignored this flag.)
      sample_size: number of rows.
      seed: of the draw.

    Returns:
      float32 features [sample_size, m], with m = 4 unless the curriculum names additional ones, and
      targets [sample_size].

    Raises:
      InputError: the curriculum is unknown, gamma is not positive, or `sample_size` is below 10 or
        exceeds the grid's number of rows.
    """
    features = curricula.draw(curricula.feature_names(vstar_fn), sample_size, seed)
    return features, curricula.targets(vstar_fn, features, vstar_gamma).astype(np.float32)


def _lines(path: str) -> list[str]:
    try:
        return pathlib.Path(path).read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"`input_csv_filename` {path} cannot be read: {error}") from None


def read_dump(path: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Reads a student's losses: rows "sample_id epoch noisy_label clean_label loss".

    Columns are separated by spaces, as in the release's csv files; those after the fifth are read
    if the first line names them ("# sample_id ... loss NAME"), and otherwise ignored.

    Args:
      path: the file.

    Returns:
      float64 [n, 5 + further features], and the names of all features, the release's first.

    Raises:
      InputError: the file is missing or empty, the first line names an unknown feature, a row lacks
        a column or holds no number, an epoch is outside 0..99, a loss is negative, or all labels
        are right or all wrong; the message names the line.
    """
    rows, lines = [], _lines(path)
    is_named = bool(lines) and lines[0].startswith("#")
    further = tuple(lines[0][1:].split()[len(COLUMNS) :]) if is_named else ()
    check_further(f"{path}, line 1: further columns", further)
    columns = (*COLUMNS, *further)
    for number, line in enumerate(lines, start=1):
        if line.startswith("#"):  # Of several dumps, one after the other.
            rule = f"{path}, line {number}: must name the same columns as the first line."
            check(line == lines[0], rule, line=line)
            continue
        fields = line.split()
        rule = f"{path}, line {number}: must hold {' '.join(columns)}."
        check(len(fields) >= len(columns), rule, line=line)
        try:
            row = [float(field) for field in fields[: len(columns)]]
        except ValueError:
            row = [np.nan]
        rule = f"{path}, line {number}: must hold finite numbers."
        check(bool(np.isfinite(row).all()), rule, line=line)
        rule = f"{path}, line {number}: the epoch must lie in 0..{LAST_EPOCH}."
        check(0 <= row[1] <= LAST_EPOCH, rule, epoch=fields[1])
        check(row[4] >= 0, f"{path}, line {number}: the loss must be at least 0.", loss=fields[4])
        rows.append(row)
    check(bool(rows), f"{path} must not be empty.", lines=len(lines))
    dump = np.array(rows)
    num_clean = int(np.sum(dump[:, 2] == dump[:, 3]))
    rule = f"{path} must hold both correct and wrong labels."
    check(0 < num_clean < len(rows), rule, correct=num_clean, wrong=len(rows) - num_clean)
    return dump, (*RELEASE, *further)


def data_driven(
    dump: np.ndarray, percentile: float, epoch: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Features and targets of a dump: 1 where the label is right (paper, section 4.2).

    Args:
      dump: see `read_dump`.
      percentile: 0..100; the difference is the loss minus this percentile of all losses, or of
        those of its epoch if the dump has further features.
      epoch: what the MentorNet sees as epoch, by default the dump's own.

    Returns:
      float32 features [n, 4 + further], the label 0 as in training, and targets [n].
    """
    loss, epochs = dump[:, 4], dump[:, 1]
    of_percentile = np.full(len(loss), np.percentile(loss, percentile))
    if dump.shape[1] > len(COLUMNS):
        # As in training; the release, whose dumps have no further columns, takes one of all.
        for each in np.unique(epochs):
            of_percentile[epochs == each] = np.percentile(loss[epochs == each], percentile)
    seen = epochs if epoch is None else np.full(len(loss), epoch)
    release = np.stack([loss, loss - of_percentile, 0 * loss, seen], axis=1)
    features = np.hstack([release, dump[:, len(COLUMNS) :]])
    return features.astype(np.float32), (dump[:, 2] == dump[:, 3]).astype(np.float32)


def shuffled(dump: np.ndarray, seed: int) -> np.ndarray:
    """A dump in random order, the rows of each sample one after the other.

    So if the dump holds several epochs, at most one sample at a boundary of parts is in both. There
    are three: what `teaching.learn_noisy` sets aside, what it learns from, and what `write` holds
    out. Of up to 100 random orders, the first that leaves clean and corrupted samples in each part
    is taken, or else, as with few samples, the best: the part that is learned from matters most,
    then the one set aside.

    Args:
      dump: see `read_dump`.
      seed: of the orders.
    """
    _, first, sample = np.unique(dump[:, 0], return_index=True, return_inverse=True)
    generator, num_train = np.random.default_rng(seed), int(len(dump) * _TRAIN_SHARE)

    def drawn() -> np.ndarray:
        place = np.argsort(np.argsort(first)[generator.permutation(len(first))])  # Of each sample.
        return dump[np.argsort(place[sample], kind="stable")]

    def holds_both(rows: np.ndarray) -> tuple[bool, ...]:
        right = rows[:, 2] == rows[:, 3]
        set_aside, learned, held_out = np.split(right, [num_set_aside(num_train), num_train])
        return tuple(bool(0 < p.sum() < len(p)) for p in (learned, set_aside, held_out))

    best = drawn()
    for _ in range(_MOST_ORDERS - 1):
        if all(holds_both(best)):
            break
        best = max(best, drawn(), key=holds_both)  # The first of equals.
    return best


def num_set_aside(count: int) -> int:
    """How many of the rows, the first, are not learned from but choose the weights."""
    return count // MIN_NOISY_ROWS


def dump_folder(csv: str, percentile: int) -> str:
    """The folder of a dump's rows, `<csv's name>_percentile_<p>`, as in the release."""
    return f"{pathlib.Path(csv).stem}_percentile_{percentile}"


def write(
    features: np.ndarray,
    targets: np.ndarray,
    outdir: str,
    vstar_fn: str,
    names: tuple[str, ...] = RELEASE,
) -> None:
    """Splits the rows, in their order, into tr.npz and ts.npz; every row goes to one of them.

    Args:
      features: float32 [n, m].
      targets: float32 [n], in 0..1.
      outdir: the folder of both files.
      vstar_fn: the curriculum that gave the targets, or `DATA_DRIVEN`.
      names: of the m features.

    Raises:
      InputError: the folder cannot be written.
    """
    num_train = int(len(features) * _TRAIN_SHARE)
    folder = pathlib.Path(outdir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, part in (("tr", slice(num_train)), ("ts", slice(num_train, None))):
            with files.whole_file(folder / f"{name}.npz") as path, path.open("wb") as file:
                np.savez(
                    file,
                    features=features[part],
                    targets=targets[part],
                    vstar_fn=np.array(vstar_fn),
                    feature_names=np.array(names),
                )
    except OSError as error:
        raise InputError(f"`outdir` {folder} cannot be written: {error}") from None
    print(f"{folder}: {num_train} rows in tr.npz, {len(features) - num_train} in ts.npz")


def read_rows(path: pathlib.Path) -> Rows:
    """Reads float32 features [n, 4] (more if the file names more) and targets [n, 1].

    Raises:
      InputError: the file is missing, is not an .npz file of these arrays, or has invalid values
        or names that are none of features.
    """
    fault = f"{path} cannot be read as an .npz file with features and targets"
    with files.arrays(path, fault) as file:
        features, targets = np.asarray(file["features"]), np.asarray(file["targets"])
        num_features = len(_names(file))
    rule = f"{path} must hold features [n, {num_features}] and targets [n], n > 0."
    shapes = {"features": features.shape, "targets": targets.shape}
    check(
        targets.ndim == 1 and features.shape == (targets.size, num_features) and targets.size > 0,
        rule,
        **shapes,
    )
    are_numbers = features.dtype.kind in "biuf" and targets.dtype.kind in "biuf"
    are_finite = are_numbers and np.isfinite(features).all() and np.isfinite(targets).all()
    check(bool(are_finite), f"{path} must hold finite numbers only.", **shapes)
    low, high = float(targets.min()), float(targets.max())
    check(
        low >= 0 and high <= 1, f"Targets in {path} must lie in 0..1.", smallest=low, largest=high
    )
    low, high = float(features[:, 2:4].min()), float(features[:, 3].max())
    rule = f"Labels in {path} must not be negative, and epochs must lie in 0..{LAST_EPOCH}."
    check(low >= 0 and high <= LAST_EPOCH, rule, smallest=low, largest_epoch=high)
    return features.astype(np.float32), targets.astype(np.float32)[:, None]


def origin(path: pathlib.Path) -> tuple[bool, tuple[str, ...]]:
    """Whether data_generator.py made a file from a student's losses; names of its features.

    Raises:
      InputError: the file cannot be read, or the names are none of features.
    """
    with files.arrays(path, f"{path} cannot be read as an .npz file") as file:
        data_driven = "vstar_fn" in file and str(file["vstar_fn"]) == DATA_DRIVEN
        return data_driven, _names(file)


def _names(file: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    names = file.get("feature_names", RELEASE)
    return check_names(tuple(map(str, np.atleast_1d(names))))
