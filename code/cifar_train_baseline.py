#!/usr/bin/env python3
"""Trains a StudentNet on the labels as given: every sample has weight 1."""

from absl import flags

from mentornet import cli

cli.define_training_flags()
flags.adopt_module_key_flags(cli)


def main() -> None:
    config = cli.train_config(mentored=False)
    cli.load_tensorflow()
    from mentornet import training

    training.train(config)


if __name__ == "__main__":
    cli.run(main)
