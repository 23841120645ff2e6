"""Learns a MentorNet from the data of data_generator.py.

    python mentornet_learning/train.py --data_path=DIR --train_dir=OUT

This reads DIR/tr.npz and DIR/ts.npz, prints train and test error as it goes, and writes a
checkpoint OUT/mentornet.{index,data-00000-of-00001} that `--trained_mentornet_dir=OUT` takes.
"""

from __future__ import annotations

import pathlib

from absl import flags

from mentornet.cli import script
from mentornet.core.errors import check, check_count
from mentornet.learning import quality, training_rows

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines the flags; called only by the script, so that it can be imported without them."""
    flags.DEFINE_string("train_dir", "", "Folder of the checkpoint.")
    flags.DEFINE_string("data_path", "", "Folder of tr.npz and ts.npz.")
    flags.DEFINE_integer("mini_batch_size", 512, "Rows per step.")
    flags.DEFINE_float("max_step_train", 3000, "Steps, e.g. 3e4.")
    flags.DEFINE_float(
        "learning_rate", 0.05, "Initial learning rate; it decays to 0 along a cosine."
    )
    flags.DEFINE_integer("seed", 0, "Random seed of the initial weights and the batches.")
    flags.DEFINE_string("checkpoint_name", "mentornet", "Name of the checkpoint in train_dir.")


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
    train, test = (
        training_rows.read_rows(folder / "tr.npz"),
        training_rows.read_rows(folder / "ts.npz"),
    )
    script.load_tensorflow()
    from mentornet.learning import teaching
    from mentornet.weighting import mentor_checkpoints

    data_driven, names = training_rows.origin(folder / "tr.npz")
    mentor = (teaching.learn_noisy if data_driven else teaching.learn)(
        train,
        test,
        num_steps=int(steps),
        batch_size=batch_size,
        learning_rate=rate,
        seed=FLAGS.seed,
        features=names,
    )
    prefix = str(pathlib.Path(FLAGS.train_dir) / FLAGS.checkpoint_name)
    mentor_checkpoints.save_mentornet(mentor, prefix)
    print(f"Saved {prefix}")
    if data_driven:
        quality.report(mentor, train, test)


if __name__ == "__main__":
    define_flags()
    script.run(main)
