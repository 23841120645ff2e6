"""Evaluates the checkpoints of a training run as they appear, alongside the training."""

from __future__ import annotations

import dataclasses

from absl import flags

from mentornet.cli import config_flags, script, training_flags
from mentornet.config.evaluation import EvalConfig
from mentornet.config.options import REQUIRED, at_least, check_fields, fields, not_negative, option
from mentornet.core.errors import check
from mentornet.weighting.features import FURTHER, check_further

FLAGS = flags.FLAGS

_SHARED = ("checkpoint_dir", "data_dir", "split_name", "batch_size")  # With the evaluation.


@dataclasses.dataclass(frozen=True)
class DumpConfig:
    """Which losses are written instead of an evaluation: each field is a flag.

    Raises:
      InputError: a value is outside its range.
    """

    output_csv_file: str = option(
        REQUIRED,
        "Instead of evaluating, write the latest checkpoint's losses, 'sample_id epoch noisy_label "
        "clean_label loss', for the samples whose clean label is known (trusted ones, if any are).",
    )
    num_samples: int | None = option(
        None,
        "With output_csv_file: write a class-balanced subset of this size; by default all.",
        check=at_least(1),
        flag="dump_num_samples",
    )
    seed: int = option(
        0,
        "Random seed of the subset of dump_num_samples.",
        check=not_negative,
        flag="dump_seed",
    )
    features: tuple[str, ...] = option(
        (),
        "With output_csv_file: further features of each sample, from a run with "
        "--record_sample_weights or --keep_best: {features}.",
        check=check_further,
        flag="dump_features",
    )

    def __post_init__(self) -> None:
        check_fields(self)


def define_flags() -> None:
    config_flags.define_flags(EvalConfig)
    config_flags.define_flags(DumpConfig, features=", ".join(FURTHER))
    flags.DEFINE_string("master", "", "Not supported.")
    training_flags.define_device_flag()


def main() -> None:
    check(not FLAGS.master, "--master is not supported.", master=FLAGS.master)
    values = config_flags.read_flags(EvalConfig)
    if FLAGS.output_csv_file:
        rule = "--test_time_augmentation has no effect on --output_csv_file."
        averages = FLAGS.test_time_augmentation
        check(not averages, rule, test_time_augmentation=averages)
        asked = DumpConfig(**config_flags.read_flags(DumpConfig))
        EvalConfig(**values | {"eval_dir": "-"})  # Checks the flags; nothing is written there.
        script.load_tensorflow()
        from mentornet.evaluation import dump

        shared = {name: values[name] for name in _SHARED}
        dump.write_losses(**dataclasses.asdict(asked), **shared)
        return
    for field in fields(DumpConfig):
        given, rule = FLAGS[field.flag], f"--{field.flag} needs --output_csv_file."
        is_free = field.name == "output_csv_file" or not given.present
        check(is_free, rule, **{field.flag: given.value})
    config = EvalConfig(**values)
    script.load_tensorflow()
    from mentornet.evaluation import job

    job.run(config)
