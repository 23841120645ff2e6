"""Evaluates the checkpoints of a training run as they appear, alongside the training."""

from absl import flags

from mentornet.cli import config_flags, script, training_flags
from mentornet.config.evaluation import EvalConfig
from mentornet.core.errors import check
from mentornet.weighting.features import FURTHER

FLAGS = flags.FLAGS

_OF_DUMPS = ("dump_num_samples", "dump_seed", "dump_features")


def define_flags() -> None:
    config_flags.define_flags(EvalConfig)
    flags.DEFINE_string(
        "output_csv_file",
        "",
        "Instead of evaluating, write the latest checkpoint's losses, 'sample_id epoch noisy_label "
        "clean_label loss', for the samples whose clean label is known (trusted ones, if any are).",
    )
    flags.DEFINE_integer(
        "dump_num_samples",
        None,
        "With output_csv_file: write a class-balanced subset of this size; by default all.",
    )
    flags.DEFINE_integer("dump_seed", 0, "Random seed of the subset of dump_num_samples.")
    flags.DEFINE_list(
        "dump_features",
        [],
        "With output_csv_file: further features of each sample, from a run with "
        f"--record_sample_weights: {', '.join(FURTHER)}.",
    )
    flags.DEFINE_string("master", "", "Not supported.")
    training_flags.define_device_flag()


def main() -> None:
    check(not FLAGS.master, "--master is not supported.", master=FLAGS.master)
    if FLAGS.output_csv_file:
        script.load_tensorflow()
        from mentornet.evaluation import dump

        names = ("checkpoint_dir", "data_dir", "split_name", "batch_size")
        dump.write_losses(
            FLAGS.output_csv_file,
            num_samples=FLAGS.dump_num_samples,
            seed=FLAGS.dump_seed,
            features=FLAGS.dump_features,
            **{name: FLAGS[name].value for name in names},
        )
        return
    for name in _OF_DUMPS:
        rule = f"--{name} needs --output_csv_file."
        check(not FLAGS[name].present, rule, **{name: FLAGS[name].value})
    config = EvalConfig(**config_flags.read_flags(EvalConfig))
    script.load_tensorflow()
    from mentornet.evaluation import job

    job.run(config)
