"""Learns a MentorNet from the data of data_generator.py.

    python mentornet_learning/train.py --data_path=DIR --train_dir=OUT

reads DIR/tr.npz and DIR/ts.npz, prints train and test error as it goes, and writes a checkpoint
OUT/mentornet.{index,data-00000-of-00001} that `--trained_mentornet_dir=OUT` takes.
"""

from __future__ import annotations

import pathlib
import zipfile
from typing import TYPE_CHECKING

import numpy as np
from absl import flags

from mentornet import cli
from mentornet.config import InputError, check, check_count
from mentornet.features import RELEASE, check_names
from mentornet.schedules import NUM_EPOCHS
from mentornet_learning import data_generator, quality

if TYPE_CHECKING:
    from mentornet.mentor import MentorNet
    from mentornet_learning.learning import Rows

FLAGS = flags.FLAGS


def read_rows(path: pathlib.Path) -> Rows:
    """Reads float32 features [n, 4] (more if the file names more) and targets [n, 1].

    Raises:
      InputError: the file is missing, is no .npz of these arrays, or holds values out of range.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            features, targets = file["features"], file["targets"]
            names = file["feature_names"] if "feature_names" in file.files else RELEASE
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        reason = f"cannot be read as an .npz file with features and targets: {error}"
        raise InputError(f"{path} {reason}") from None
    rule = f"{path} must hold features [n, {len(names)}] and targets [n], n > 0."
    shapes = {"features": features.shape, "targets": targets.shape}
    check(
        targets.ndim == 1 and features.shape == (targets.size, len(names)) and targets.size > 0,
        rule,
        **shapes,
    )
    numbers = np.isfinite(features).all() and np.isfinite(targets).all()
    check(bool(numbers), f"{path} must hold finite numbers only.", **shapes)
    low, high = float(targets.min()), float(targets.max())
    check(
        low >= 0 and high <= 1, f"Targets in {path} must lie in 0..1.", smallest=low, largest=high
    )
    low, high = float(features[:, 2:4].min()), float(features[:, 3].max())
    rule = f"Labels in {path} must not be negative, and epochs must lie in 0..{NUM_EPOCHS - 1}."
    check(low >= 0 and high < NUM_EPOCHS, rule, smallest=low, largest_epoch=high)
    return features.astype(np.float32), targets.astype(np.float32)[:, None]


def origin(path: pathlib.Path) -> tuple[bool, tuple[str, ...]]:
    """Whether data_generator.py made a file from a student's losses, and its features' names."""
    with np.load(path, allow_pickle=False) as file:
        known = dict(file)
    data_driven = str(known.get("vstar_fn", "")) == data_generator.DATA_DRIVEN
    return data_driven, check_names(tuple(map(str, known.get("feature_names", RELEASE))))


def define_flags() -> None:
    """Defines the flags; only the script does, so that both scripts can be imported."""
    flags.DEFINE_string("train_dir", "", "Folder of the checkpoint.")
    flags.DEFINE_string("data_path", "", "Folder of tr.npz and ts.npz.")
    flags.DEFINE_integer("mini_batch_size", 512, "Rows a step.")
    flags.DEFINE_float("max_step_train", 3000, "Steps, e.g. 3e4.")
    flags.DEFINE_float("learning_rate", 0.05, "Initial learning rate; it falls to 0 as a cosine.")
    flags.DEFINE_integer("seed", 0, "Of the initial weights and the batches.")
    flags.DEFINE_string("checkpoint_name", "mentornet", "Name of the checkpoint in train_dir.")


def report(mentor: MentorNet, train: Rows, test: Rows) -> dict[str, quality.Quality]:
    """Prints and returns how well weights tell clean from corrupted held-out samples."""
    import tensorflow as tf

    for name, (_, targets) in (("tr.npz", train), ("ts.npz", test)):
        rule = f"{name} must hold clean and corrupted samples."
        check(0 < targets.sum() < len(targets), rule, clean=int(targets.sum()), rows=len(targets))
    weights = tf.sigmoid(mentor(tf.constant(test[0]))).numpy()[:, 0]
    parts = [(features, targets[:, 0]) for features, targets in (train, test)]
    print(f"On the {len(weights)} held-out rows, clean against corrupted:")
    results = quality.compare(parts[0], parts[1], weights)
    for name, result in results.items():
        print(f"{name:<20} AUC {result.auc:.4f}  log loss {result.log_loss:.4f}")
    return results


def main() -> None:
    for name in ("train_dir", "data_path"):
        check(bool(FLAGS[name].value), f"`{name}` must name a folder.", **{name: FLAGS[name].value})
    steps, batch_size, rate = FLAGS.max_step_train, FLAGS.mini_batch_size, FLAGS.learning_rate
    rule = "`max_step_train` must be a whole number of at least 1 and below 2**31."
    check(1 <= steps < 2**31 and steps == int(steps), rule, max_step_train=steps)
    rule = "`mini_batch_size` must lie in 1..1000000."
    check(1 <= batch_size <= 1_000_000, rule, mini_batch_size=batch_size)
    check_count("seed", FLAGS.seed, 0)
    check(0 < rate < float("inf"), "`learning_rate` must be positive.", learning_rate=rate)
    folder = pathlib.Path(FLAGS.data_path)
    train, test = read_rows(folder / "tr.npz"), read_rows(folder / "ts.npz")
    cli.load_tensorflow()
    from mentornet import tf1_checkpoints
    from mentornet_learning import learning

    data_driven, names = origin(folder / "tr.npz")
    mentor = (learning.learn_noisy if data_driven else learning.learn)(
        train,
        test,
        num_steps=int(steps),
        batch_size=batch_size,
        learning_rate=rate,
        seed=FLAGS.seed,
        features=names,
    )
    prefix = str(pathlib.Path(FLAGS.train_dir) / FLAGS.checkpoint_name)
    tf1_checkpoints.save_mentornet(mentor, prefix)
    print(f"Saved {prefix}")
    if data_driven:
        report(mentor, train, test)


if __name__ == "__main__":
    define_flags()
    cli.run(main)
