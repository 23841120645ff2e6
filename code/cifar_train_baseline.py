#!/usr/bin/env python3
"""Trains a student on the labels as given: every sample has weight 1, or that of --weighting."""

from mentornet.cli import script, training_flags, weighting_flags

training_flags.define_training_flags()
weighting_flags.define_weighting_flag("uniform")


def main() -> None:
    config = training_flags.train_config(mentored=False)
    script.load_tensorflow()
    from mentornet.training import loop

    loop.train(config)


if __name__ == "__main__":
    script.run(main)
