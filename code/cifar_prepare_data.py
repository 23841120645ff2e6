#!/usr/bin/env python3
"""Writes a data set, known or your own, as TFRecords: noisy training labels, a test split."""

import pathlib

from absl import flags

from mentornet.cli import script
from mentornet.datasets.noise import NOISE_TYPES
from mentornet.datasets.prepare import PrepareConfig
from mentornet.datasets.sources import SOURCES

FLAGS = flags.FLAGS

flags.DEFINE_string("dataset_name", "cifar10", "cifar10, cifar100, digits, or a name of your own.")
flags.DEFINE_string(
    "source",
    None,
    "A path, read as one of the following, or the name of one, a colon and what it reads; the "
    f"digits need none.\n{SOURCES.help()}",
)
flags.DEFINE_string(
    "noise_type",
    "uniform",
    f"What happens to a label, with probability noise_fraction.\n{NOISE_TYPES.help()}",
)
flags.DEFINE_float("noise_fraction", 0.0, "Probability 0..1 that a label is replaced.")
flags.DEFINE_string("noise_file", None, "For noise_type=file: .npy or .npz of training labels.")
flags.DEFINE_string("noise_key", None, "The array's name in an .npz file.")
flags.DEFINE_integer("num_train", None, "Keep a random subset of so many training images.")
flags.DEFINE_integer("num_trusted", 0, "Mark so many training images, at random, as trusted.")
flags.DEFINE_integer("image_size", None, "Your own images: pixels a side, 32 by default.")
flags.DEFINE_float("test_share", 0.2, "Your own data: share set aside if there is no test split.")
flags.DEFINE_boolean("skip_bad", False, "Your own images: leave out (and list) unreadable ones.")
flags.DEFINE_integer("seed", 0, "Of the noise, the subset, the test split, the trusted images.")
flags.DEFINE_string(
    "output_dir", "data", "Folder under which <dataset>/<noise> and <dataset>/val go."
)


def main() -> None:
    config = PrepareConfig(**{name: FLAGS[name].value for name in PrepareConfig.__annotations__})
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
