#!/usr/bin/env python3
"""Evaluates the checkpoints of a training run as they appear; runs beside it."""

from absl import flags

from mentornet.cli import script, training_flags
from mentornet.config.evaluation import EvalConfig
from mentornet.core.errors import check

FLAGS = flags.FLAGS

flags.DEFINE_string("checkpoint_dir", "", "The training job's train_log_dir.")
flags.DEFINE_string("eval_dir", "", "Folder of the results.")
flags.DEFINE_string("data_dir", "", "Folder of the records, e.g. data/cifar10/val.")
flags.DEFINE_string("dataset_name", None, "By default the checkpoint's.")
flags.DEFINE_string("studentnet", None, "By default the checkpoint's.")
flags.DEFINE_string("split_name", "test", "Which records: <dataset_name>_<split_name>-*.")
flags.DEFINE_integer("batch_size", 25, "Images a forward pass; does not change the results.")
flags.DEFINE_float("eval_interval_secs", 600, "Seconds between two looks for checkpoints.")
flags.DEFINE_float("timeout_secs", None, "Stop after so long without a new checkpoint.")
flags.DEFINE_boolean("run_once", False, "Evaluate the checkpoints that are there, then stop.")
flags.DEFINE_string(
    "output_csv_file",
    "",
    "Do not watch, but write the losses of the latest checkpoint, 'sample_id epoch noisy_label "
    "clean_label loss', for the samples whose clean label is known (trusted ones, if any are).",
)
flags.DEFINE_integer("dump_num_samples", None, "A class-balanced subset of so many samples.")
flags.DEFINE_integer("dump_seed", 0, "Of that subset.")
flags.DEFINE_string("master", "", "Not supported.")
training_flags.define_device_flag()
flags.adopt_module_key_flags(training_flags)


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
            **{name: FLAGS[name].value for name in names},
        )
        return
    config = EvalConfig(**{name: FLAGS[name].value for name in EvalConfig.__annotations__})
    script.load_tensorflow()
    from mentornet.evaluation import job

    job.run(config)


if __name__ == "__main__":
    script.run(main)
