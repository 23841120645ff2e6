"""Makes the data a MentorNet learns from: features and target weights v*.

    python mentornet_learning/data_generator.py --vstar_fn=mentornet_pd --vstar_gamma=1 \\
        --outdir=DIR

writes DIR/tr.npz (80 %) and DIR/ts.npz (20 %), each with `features` float32 [n, 4] (loss, loss
minus moving average, label, epoch percentage) and `targets` float32 [n].
"""

from __future__ import annotations

import os
import pathlib

import numpy as np
from absl import flags

from mentornet import cli
from mentornet.config import InputError, check
from mentornet_learning import curricula

FLAGS = flags.FLAGS

_TRAIN_SHARE = 0.8


def generate(
    vstar_fn: str, vstar_gamma: float | None, sample_size: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draws rows of the release's grid and computes their targets.

    Args:
      vstar_fn: name in `curricula.CURRICULA`.
      vstar_gamma: its parameter, None for its own. (The release never passed it on.)
      sample_size: number of rows.
      seed: of the draw.

    Returns:
      float32 features [sample_size, 4] and targets [sample_size].

    Raises:
      InputError: unknown curriculum, gamma not positive, or more rows than the grid has.
    """
    rule = f"`vstar_fn` must be one of {', '.join(curricula.CURRICULA)}."
    check(vstar_fn in curricula.CURRICULA, rule, vstar_fn=vstar_fn)
    rule = "`vstar_gamma` must be positive."
    check(vstar_gamma is None or vstar_gamma > 0, rule, vstar_gamma=vstar_gamma)
    grid = curricula.grid()
    rule = f"`sample_size` must lie in 10..{len(grid)}, the rows of the grid."
    check(10 <= sample_size <= len(grid), rule, sample_size=sample_size)
    rows = np.random.default_rng(seed).choice(len(grid), sample_size, replace=False)
    features = grid[rows]
    return features, curricula.CURRICULA[vstar_fn](features, vstar_gamma).astype(np.float32)


def write(features: np.ndarray, targets: np.ndarray, outdir: str) -> None:
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
            np.savez(temporary, features=features[part], targets=targets[part])
            os.replace(temporary, folder / f"{name}.npz")
    except OSError as error:
        raise InputError(f"`outdir` {folder} cannot be written: {error}") from None
    print(f"{folder}: {num_train} rows in tr.npz, {len(features) - num_train} in ts.npz")


def define_flags() -> None:
    """Defines the flags; only the script does, so that both scripts can be imported."""
    flags.DEFINE_string("outdir", "", "Folder of tr.npz and ts.npz.")
    flags.DEFINE_string("vstar_fn", "", f"One of {', '.join(curricula.CURRICULA)}.")
    flags.DEFINE_float("vstar_gamma", None, "Parameter of the curriculum; by default its own.")
    flags.DEFINE_integer("sample_size", 100000, "Rows drawn from the grid, without replacement.")
    flags.DEFINE_string("input_csv_filename", "", "Not supported yet (data-driven curricula).")
    flags.DEFINE_integer("seed", 0, "Of the rows drawn.")


def main() -> None:
    check(bool(FLAGS.outdir), "`outdir` must name a folder.", outdir=FLAGS.outdir)
    rule = "Data-driven curricula are not supported yet."
    check(not FLAGS.input_csv_filename, rule, input_csv_filename=FLAGS.input_csv_filename)
    write(*generate(FLAGS.vstar_fn, FLAGS.vstar_gamma, FLAGS.sample_size, FLAGS.seed), FLAGS.outdir)


if __name__ == "__main__":
    define_flags()
    cli.run(main)
