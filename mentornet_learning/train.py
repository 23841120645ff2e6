"""Learns a MentorNet from the data of data_generator.py.

    python mentornet_learning/train.py --data_path=DIR --train_dir=OUT

This reads DIR/tr.npz and DIR/ts.npz, prints train and test error as it goes, and writes a
checkpoint OUT/mentornet.{index,data-00000-of-00001} that `--trained_mentornet_dir=OUT` takes.
"""

from __future__ import annotations

import dataclasses
import pathlib

from mentornet.cli import config_flags, script
from mentornet.config.options import (
    REQUIRED,
    at_least,
    check_fields,
    folder,
    option,
    positive,
    within,
)
from mentornet.core.errors import check
from mentornet.learning import quality, training_rows
from mentornet.learning.settings import DEFAULTS


def _whole(name: str, value: float) -> None:
    rule = f"`{name}` must be a whole number of at least 1 and below 2**31."
    check(1 <= value < 2**31 and value == int(value), rule, **{name: value})


def _file_name(name: str, value: str) -> None:
    rule = f"`{name}` must be a file's name, without folders."
    check(value not in ("", "..") and pathlib.PurePath(value).name == value, rule, **{name: value})


@dataclasses.dataclass(frozen=True)
class TeachingConfig:
    """How a MentorNet is learned: each field is a flag.

    Raises:
      InputError: a value is outside its range.
    """

    train_dir: str = option(REQUIRED, "Folder of the checkpoint.", check=folder)
    data_path: str = option(REQUIRED, "Folder of tr.npz and ts.npz.", check=folder)
    mini_batch_size: int = option(
        DEFAULTS["batch_size"], "Rows per step.", check=within(1, 1_000_000)
    )
    max_step_train: float = option(DEFAULTS["num_steps"], "Steps, e.g. 3e4.", check=_whole)
    learning_rate: float = option(
        DEFAULTS["learning_rate"],
        "Initial learning rate; it decays to 0 along a cosine.",
        check=positive,
    )
    seed: int = option(0, "Random seed of the initial weights and the batches.", check=at_least(0))
    checkpoint_name: str = option(
        "mentornet", "Name of the checkpoint in train_dir.", check=_file_name
    )

    def __post_init__(self) -> None:
        check_fields(self)


def define_flags() -> None:
    """Defines the flags; called only by the script, so that it can be imported without them."""
    config_flags.define_flags(TeachingConfig)


def main() -> None:
    config = TeachingConfig(**config_flags.read_flags(TeachingConfig))
    data = pathlib.Path(config.data_path)
    train, test = training_rows.read_rows(data / "tr.npz"), training_rows.read_rows(data / "ts.npz")
    script.load_tensorflow()
    from mentornet.learning import teaching
    from mentornet.weighting import mentor_checkpoints

    data_driven, names = training_rows.origin(data / "tr.npz")
    if data_driven:
        quality.check_rows(train, test)
    mentor = (teaching.learn_noisy if data_driven else teaching.learn)(
        train,
        test,
        num_steps=int(config.max_step_train),
        batch_size=config.mini_batch_size,
        learning_rate=config.learning_rate,
        seed=config.seed,
        features=names,
    )
    prefix = str(pathlib.Path(config.train_dir) / config.checkpoint_name)
    mentor_checkpoints.save_mentornet(mentor, prefix)
    print(f"Saved {prefix}")
    if data_driven:
        quality.report(mentor, train, test)


if __name__ == "__main__":
    define_flags()
    script.run(main)
