#!/usr/bin/env python3
"""Trains a StudentNet under a frozen MentorNet (Jiang et al. 2018, Algorithm 1)."""

from mentornet.cli import script, training_flags, weighting_flags

training_flags.define_training_flags()
weighting_flags.define_weighting_flag("mentornet")
training_flags.define_mentornet_flags()


def main() -> None:
    config = training_flags.train_config(mentored=True)
    script.load_tensorflow()
    from mentornet.training import loop

    relearn = None
    if config.mentornet_update_epochs:
        from mentornet.learning.teaching import relearn
    loop.train(config, relearn)


if __name__ == "__main__":
    script.run(main)
