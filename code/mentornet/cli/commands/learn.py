"""Learns a curriculum from a data set's trusted samples, and trains a student under it.

    mentornet learn --dataset_name=cifar10 --studentnet=inception --data_dir=data/cifar10/0.4 \\
        --train_log_dir=runs/dd --max_number_of_steps=39000

The stages are a burn-in on the labels as given, a dump of the trusted samples' losses, learning the
MentorNet, training under it, and evaluation. Each does what the individual script does, and is
skipped if its result already exists. When started again, the command resumes where it stopped; with
--overwrite it starts over. With --mentornet_features and --dump_epochs the MentorNet also
sees each sample's history, and is learned at several points of a longer burn-in.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib

from absl import flags

from mentornet.cli import config_flags, script, training_flags
from mentornet.core.errors import check
from mentornet.training import data_driven
from mentornet.training.data_driven import LearnConfig
from mentornet.weighting.features import FURTHER

FLAGS = flags.FLAGS

# As in the published commands of MentorNet DD.
_DEFAULTS = {
    "burn_in_epoch": 18,
    "fixed_epoch_after_burn_in": True,
    "example_dropout_rates": "0.5,17,0.05,78,0.9,5",
}


def define_flags() -> None:
    """The training flags, with the published defaults of MentorNet DD."""
    training_flags.define_training_flags()
    training_flags.define_weighting_flags()
    for name, value in _DEFAULTS.items():
        FLAGS.set_default(name, value)
    config_flags.define_flags(LearnConfig, features=", ".join(FURTHER))


def eval_records(data_dir: str, eval_data_dir: str) -> str:
    """The folder of the test records: as given, or else `val` next to the training records.

    Raises:
      InputError: what is given is no folder, or none is given and there is no `val`.
    """
    beside = pathlib.Path(data_dir).absolute().parent / "val"
    if not eval_data_dir and data_dir and beside.is_dir():
        return str(beside)
    rule = "`eval_data_dir` must name a folder: there is no `val` next to `data_dir`."
    check(bool(eval_data_dir), rule, eval_data_dir=eval_data_dir)
    is_folder = pathlib.Path(eval_data_dir).is_dir()
    check(is_folder, "`eval_data_dir` must be an existing folder.", eval_data_dir=eval_data_dir)
    return eval_data_dir


def main() -> None:
    found = LearnConfig(**config_flags.read_flags(LearnConfig))
    config = training_flags.train_config()
    path = eval_records(config.data_dir, found.eval_data_dir)
    learning = dataclasses.replace(found, eval_data_dir=path)
    weighting = training_flags.weighting_config()
    data_driven.check_fits(weighting, learning)
    update_epochs = FLAGS.mentornet_update_epochs
    script.load_tensorflow()
    try:
        summary = data_driven.run(config, weighting, learning, update_epochs)
    except data_driven.StoppedError:
        return
    print(json.dumps(summary, indent=1))
