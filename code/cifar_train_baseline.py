#!/usr/bin/env python3
"""Trains a StudentNet on the labels as given: every sample has weight 1."""

from absl import flags

from mentornet import cli, training_flags

training_flags.define_training_flags()
flags.adopt_module_key_flags(training_flags)


def main() -> None:
    config = training_flags.train_config(mentored=False)
    cli.load_tensorflow()
    from mentornet import training

    training.train(config)


if __name__ == "__main__":
    cli.run(main)
