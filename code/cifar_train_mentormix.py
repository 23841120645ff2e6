#!/usr/bin/env python3
"""Trains a StudentNet with MentorMix (Jiang et al. 2020, "Beyond Synthetic Noise", Algorithm 1).

The flags are those of cifar_train_mentornet.py; the defaults are those of the code that the authors
of MentorMix published.
"""

from absl import flags

import cifar_train_mentornet
from mentornet.cli import script

flags.adopt_module_key_flags(cifar_train_mentornet)
for name, value in {
    "dataset_name": "cifar100",
    "studentnet": "resnet32",
    "learning_rate_decay_factor": 0.9,
    "num_epochs_per_decay": 3.0,
    "max_number_of_steps": 100000,
    "example_dropout_rates": "0.0,100",
    "mixup_alpha": 8.0,
    "second_reweight": True,
    "ema_decay": 0.9999,
}.items():
    flags.FLAGS.set_default(name, value)

if __name__ == "__main__":
    script.run(cifar_train_mentornet.main)
