"""Trains a StudentNet under a frozen MentorNet (Jiang et al. 2018, Algorithm 1)."""

from absl import flags

from mentornet import cli

cli.define_training_flags()
cli.define_mentornet_flags()
flags.adopt_module_key_flags(cli)


def main() -> None:
    config = cli.train_config(mentored=True)
    cli.load_tensorflow()
    from mentornet import training

    training.train(config)


if __name__ == "__main__":
    cli.run(main)
