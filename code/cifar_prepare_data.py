#!/usr/bin/env python3
"""Writes a data set, known or your own, as TFRecords: noisy training labels, a test split.

With --records and --corrections it makes corrected records of those that are there already.
"""

import pathlib
from typing import Any

from absl import flags

from mentornet.cli import config_flags, script
from mentornet.config import options
from mentornet.core.errors import check
from mentornet.datasets.catalog import KNOWN
from mentornet.datasets.corrected import FLAGS_GROUP, CorrectConfig
from mentornet.datasets.noise import NOISE_TYPES
from mentornet.datasets.prepare_config import PrepareConfig
from mentornet.datasets.sources import SOURCES

FLAGS = flags.FLAGS
config_flags.define_flags(
    PrepareConfig,
    datasets=", ".join(KNOWN),
    sources=SOURCES.help(),
    noise_types=NOISE_TYPES.help(),
)
config_flags.define_flags(CorrectConfig, FLAGS_GROUP)


def correct() -> None:
    """Corrected records in `output_dir`."""
    values = config_flags.read_flags(CorrectConfig)
    rule = "`records` and `corrections` go together, and need an `output_dir`."
    given = {name: values[name] for name in ("records", "corrections")}
    check(all(given.values()) and FLAGS["output_dir"].present, rule, **given)
    for field in options.fields(PrepareConfig):
        rule = f"`{field.flag}` cannot be combined with `records`, which keep their settings."
        alien = FLAGS[field.flag].present and field.name not in values
        check(not alien, rule, **{field.flag: FLAGS[field.flag].value})
    config = CorrectConfig(**values)
    script.load_tensorflow()
    from mentornet.datasets import corrected

    manifest = corrected.correct(config)
    describe(config.output_dir, manifest)
    facts = manifest["corrections"]
    counts = "{kept} kept, {replaced} replaced, {left_out} left out, {undecided} undecided"
    before = facts["share_of_wrong_labels_before"]
    share = "" if before is None else f"; {before:.2%} of the labels were wrong before"
    print(counts.format(**facts) + share)


def describe(folder: str, manifest: dict[str, Any]) -> None:
    """Prints what a folder holds, on one line."""
    wrong, known = manifest["share_of_wrong_labels"], manifest.get("num_known_clean_labels")
    kind = "rows" if len(manifest.get("image_shape", ())) == 1 else "images"
    size = f"{manifest['num_examples']} {kind}, {manifest['num_classes']} classes"
    share = "clean labels unknown" if wrong is None else f"{wrong:.2%} of the labels wrong"
    if known and known < manifest["num_examples"]:
        share += f" (of the {known} whose clean label is known)"
    print(f"{folder}: {size}, {share}")


def main() -> None:
    if FLAGS.records or FLAGS.corrections or FLAGS.accept_above is not None:
        correct()
        return
    config = PrepareConfig(**config_flags.read_flags(PrepareConfig))
    script.load_tensorflow()
    from mentornet.datasets import prepare

    for folder, manifest in prepare.prepare(config).items():
        describe(folder, manifest)
        for name in ("unreadable.txt", "conflicts.txt"):
            path = pathlib.Path(folder, name)
            if path.exists():
                lines = path.read_text().splitlines()
                print(f"WARNING: {path} lists {len(lines)}, the first: {lines[0]}")


if __name__ == "__main__":
    script.run(main)
