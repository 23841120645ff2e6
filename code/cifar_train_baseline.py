#!/usr/bin/env python3
"""Trains a student on the labels as given: every sample has weight 1, or that of --weighting."""

from mentornet.cli import script, training_flags, weighting_flags
from mentornet.cli.commands import train

training_flags.define_training_flags()
weighting_flags.define_weighting_flag("uniform")

if __name__ == "__main__":
    script.run(train.main)
