#!/usr/bin/env python3
"""Writes a data set, known or your own, as TFRecords: noisy training labels, a test split."""

import pathlib

from mentornet.cli import config_flags, script
from mentornet.datasets.catalog import KNOWN
from mentornet.datasets.noise import NOISE_TYPES
from mentornet.datasets.prepare_config import PrepareConfig
from mentornet.datasets.sources import SOURCES

config_flags.define_flags(
    PrepareConfig,
    datasets=", ".join(KNOWN),
    sources=SOURCES.help(),
    noise_types=NOISE_TYPES.help(),
)


def main() -> None:
    config = PrepareConfig(**config_flags.read_flags(PrepareConfig))
    script.load_tensorflow()
    from mentornet.datasets import prepare

    for folder, manifest in prepare.prepare(config).items():
        wrong, known = manifest["share_of_wrong_labels"], manifest.get("num_known_clean_labels")
        size = f"{manifest['num_examples']} images, {manifest['num_classes']} classes"
        share = "clean labels unknown" if wrong is None else f"{wrong:.2%} of the labels wrong"
        if known and known < manifest["num_examples"]:
            share += f" (of the {known} whose clean label is known)"
        print(f"{folder}: {size}, {share}")
        for name in ("unreadable.txt", "conflicts.txt"):
            path = pathlib.Path(folder, name)
            if path.exists():
                lines = path.read_text().splitlines()
                print(f"WARNING: {path} lists {len(lines)}, the first: {lines[0]}")


if __name__ == "__main__":
    script.run(main)
