"""Makes the data a MentorNet learns from: features and target weights v*.

A predefined curriculum:

    python mentornet_learning/data_generator.py --vstar_fn=mentornet_pd --vstar_gamma=1 \\
        --outdir=DIR

writes DIR/tr.npz (80 %) and DIR/ts.npz (20 %), each with `features` float32 [n, 4] (loss, loss
minus moving average, label, epoch percentage), `feature_names`, and `targets` float32 [n].

A curriculum from data, dumped from a student by cifar_eval.py --output_csv_file:

    python mentornet_learning/data_generator.py --vstar_fn=data_driven \\
        --input_csv_filename=dump.csv --outdir=DIR

writes the same two files into DIR/percentile_40, ..., DIR/percentile_90.
"""

from __future__ import annotations

import os
import pathlib

import numpy as np
from absl import flags

from mentornet import cli
from mentornet.config import InputError, check, check_count
from mentornet.features import RELEASE
from mentornet.schedules import NUM_EPOCHS
from mentornet_learning import curricula

FLAGS = flags.FLAGS

DATA_DRIVEN = "data_driven"
PERCENTILES = (40, 50, 60, 75, 80, 90)

_TRAIN_SHARE = 0.8
_COLUMNS = ("sample_id", "epoch", "noisy_label", "clean_label", "loss")


def generate(
    vstar_fn: str, vstar_gamma: float | None, sample_size: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draws rows of the release's grid and computes their targets.

    Args:
      vstar_fn: name in `curricula.CURRICULA`, or "module:function".
      vstar_gamma: its parameter, None for its own. (The release never passed it on.)
      sample_size: number of rows.
      seed: of the draw.

    Returns:
      float32 features [sample_size, m], m being 4 if the curriculum names no further ones, and
      targets [sample_size].

    Raises:
      InputError: unknown curriculum, gamma not positive, or more rows than the grid has.
    """
    rule = "`vstar_gamma` must be positive."
    check(vstar_gamma is None or vstar_gamma > 0, rule, vstar_gamma=vstar_gamma)
    features = curricula.draw(curricula.feature_names(vstar_fn), sample_size, seed)
    return features, curricula.targets(vstar_fn, features, vstar_gamma).astype(np.float32)


def read_dump(path: str) -> np.ndarray:
    """Reads a student's losses: rows "sample_id epoch noisy_label clean_label loss".

    Space separated, as the release's csv files; columns after the fifth are passed over.

    Args:
      path: the file.

    Returns:
      float64 [n, 5].

    Raises:
      InputError: the file is missing or empty, a row lacks a column or holds no number, an epoch
        lies outside 0..99, a loss is negative, or all labels are right or all wrong; the line is
        named.
    """
    rows = []
    try:
        lines = pathlib.Path(path).read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"`input_csv_filename` {path} cannot be read: {error}") from None
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        rule = f"{path}, line {number}: must hold {' '.join(_COLUMNS)}."
        check(len(fields) >= len(_COLUMNS), rule, line=line)
        try:
            row = [float(field) for field in fields[: len(_COLUMNS)]]
        except ValueError:
            raise InputError(
                f"{path}, line {number}: must hold numbers. Received: {line!r}"
            ) from None
        rule = f"{path}, line {number}: the epoch must lie in 0..{NUM_EPOCHS - 1}."
        check(0 <= row[1] < NUM_EPOCHS, rule, epoch=fields[1])
        rule = f"{path}, line {number}: the loss must be a number of at least 0."
        check(0 <= row[4] < np.inf, rule, loss=fields[4])
        rows.append(row)
    check(bool(rows), f"{path} must not be empty.", lines=len(lines))
    dump = np.array(rows)
    num_clean = int(np.sum(dump[:, 2] == dump[:, 3]))
    rule = f"{path} must hold right and wrong labels, {len(rows)} lines of both."
    check(0 < num_clean < len(rows), rule, right=num_clean, wrong=len(rows) - num_clean)
    return dump


def data_driven(dump: np.ndarray, percentile: float) -> tuple[np.ndarray, np.ndarray]:
    """Features and targets of a dump: 1 where the label is right (paper, section 4.2).

    Args:
      dump: see `read_dump`.
      percentile: 0..100; the difference is the loss minus this percentile of all losses.

    Returns:
      float32 features [n, 4], the label 0 as in training, and targets [n].
    """
    loss, epoch = dump[:, 4], dump[:, 1]
    features = np.stack([loss, loss - np.percentile(loss, percentile), 0 * loss, epoch], axis=1)
    return features.astype(np.float32), (dump[:, 2] == dump[:, 3]).astype(np.float32)


def write(
    features: np.ndarray,
    targets: np.ndarray,
    outdir: str,
    vstar_fn: str,
    names: tuple[str, ...] = RELEASE,
) -> None:
    """Splits the rows, in their order, into tr.npz and ts.npz; every row goes to one of them.

    Raises:
      InputError: the folder cannot be written.
    """
    num_train = int(len(features) * _TRAIN_SHARE)
    folder = pathlib.Path(outdir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, part in (("tr", slice(num_train)), ("ts", slice(num_train, None))):
            temporary = folder / f".{name}.{os.getpid()}.npz"
            np.savez(
                temporary,
                features=features[part],
                targets=targets[part],
                vstar_fn=np.array(vstar_fn),
                feature_names=np.array(names),
            )
            os.replace(temporary, folder / f"{name}.npz")
    except OSError as error:
        raise InputError(f"`outdir` {folder} cannot be written: {error}") from None
    print(f"{folder}: {num_train} rows in tr.npz, {len(features) - num_train} in ts.npz")


def define_flags() -> None:
    """Defines the flags; only the script does, so that both scripts can be imported."""
    known = ", ".join((*curricula.CURRICULA, DATA_DRIVEN))
    flags.DEFINE_string("outdir", "", "Folder of tr.npz and ts.npz.")
    own = "or one of your own, module:function (features [n, 4], gamma) -> weights [n]"
    flags.DEFINE_string("vstar_fn", "", f"One of {known}, {own}.")
    flags.DEFINE_float("vstar_gamma", None, "Parameter of the curriculum; by default its own.")
    flags.DEFINE_integer("sample_size", 100000, "Rows drawn from the grid, without replacement.")
    flags.DEFINE_string("input_csv_filename", "", "For data_driven: a student's dumped losses.")
    flags.DEFINE_integer("seed", 0, "Of the rows drawn, or of the order of the dump's.")


def main() -> None:
    check_count("seed", FLAGS.seed, 0)
    check(bool(FLAGS.outdir), "`outdir` must name a folder.", outdir=FLAGS.outdir)
    source, vstar_fn = FLAGS.input_csv_filename, FLAGS.vstar_fn
    rule = f"`input_csv_filename` goes with vstar_fn={DATA_DRIVEN}, and only with it."
    fits = (vstar_fn == DATA_DRIVEN) == bool(source)
    check(fits, rule, vstar_fn=vstar_fn, input_csv_filename=source)
    if vstar_fn != DATA_DRIVEN:
        rows = generate(vstar_fn, FLAGS.vstar_gamma, FLAGS.sample_size, FLAGS.seed)
        write(*rows, FLAGS.outdir, vstar_fn, curricula.feature_names(vstar_fn))
        return
    dump = np.random.default_rng(FLAGS.seed).permutation(read_dump(source))
    for percentile in PERCENTILES:
        folder = os.path.join(FLAGS.outdir, f"percentile_{percentile}")
        write(*data_driven(dump, percentile), folder, vstar_fn)


if __name__ == "__main__":
    define_flags()
    cli.run(main)
