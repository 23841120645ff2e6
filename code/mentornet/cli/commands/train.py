"""Trains a student under a frozen MentorNet, or another --weighting.

Jiang et al. 2018, Algorithm 1. --weighting=uniform is the baseline; --mixup_alpha mixes
the samples; --second_reweight also weights the mixtures, as MentorMix does.
"""

from mentornet.cli import script, training_flags, weighting_flags


def define_flags() -> None:
    training_flags.define_training_flags()
    weighting_flags.define_weighting_flag("mentornet")
    training_flags.define_mentornet_flags()


def main() -> None:
    config = training_flags.train_config()
    script.load_tensorflow()
    from mentornet.training import loop

    loop.train(config)
