"""Writes a data set, known or your own, as TFRecords: noisy training labels, a test split.

With --records and --corrections it makes corrected records from existing ones.
"""

from absl import flags

from mentornet.cli import config_flags, script
from mentornet.cli.commands import correct
from mentornet.config import options
from mentornet.core.errors import check
from mentornet.datasets import summaries
from mentornet.datasets.catalog import KNOWN
from mentornet.datasets.correct import FLAGS_GROUP, CorrectConfig
from mentornet.datasets.noise import NOISE_TYPES
from mentornet.datasets.prepare_config import PrepareConfig
from mentornet.datasets.sources import SOURCES

FLAGS = flags.FLAGS


def define_flags() -> None:
    config_flags.define_flags(
        PrepareConfig,
        datasets=", ".join(KNOWN),
        sources=SOURCES.help(),
        noise_types=NOISE_TYPES.help(),
    )
    config_flags.define_flags(CorrectConfig, FLAGS_GROUP)


def main() -> None:
    if FLAGS.records or FLAGS.corrections or FLAGS.accept_above is not None:
        _check_alone()
        correct.main()
        return
    config = PrepareConfig(**config_flags.read_flags(PrepareConfig))
    script.load_tensorflow()
    from mentornet.datasets import prepare

    summaries.print_manifests(prepare.prepare(config))


def _check_alone() -> None:
    """Rejects other settings, since corrected records keep those of the original ones."""
    values = config_flags.read_flags(CorrectConfig)
    for field in options.fields(PrepareConfig):
        rule = f"`{field.flag}` cannot be combined with `records`, which keep their settings."
        alien = FLAGS[field.flag].present and field.name not in values
        check(not alien, rule, **{field.flag: FLAGS[field.flag].value})
