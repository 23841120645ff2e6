#!/usr/bin/env python3
"""Trains a student with MentorMix (Jiang et al. 2020, "Beyond Synthetic Noise", Algorithm 1).

The flags are those of cifar_train_mentornet.py; the defaults are those of the code that the authors
of MentorMix published.
"""

from absl import flags

from mentornet.cli import script
from mentornet.cli.commands import train

DEFAULTS = {
    "dataset_name": "cifar100",
    "studentnet": "resnet32",
    "learning_rate_decay_factor": 0.9,
    "num_epochs_per_decay": 3.0,
    "max_number_of_steps": 100000,
    "example_dropout_rates": "0.0,100",
    "mixup_alpha": 8.0,
    "second_reweight": True,
    "ema_decay": 0.9999,
}


def define_flags() -> None:
    """Defines the flags of training under a MentorNet, with MentorMix's defaults."""
    train.define_flags()
    flags.adopt_module_key_flags(train)
    for name, value in DEFAULTS.items():
        flags.FLAGS.set_default(name, value)


if __name__ == "__main__":
    define_flags()
    script.run(train.main)
