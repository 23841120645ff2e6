"""Compares `auto` with fixed percentiles and no weighting, for a student that memorises.

    python benchmarks/automatic.py [--noise=uniform:0.2,uniform:0.4,...] [--seeds=1] [--steps=1100]

This trains a perceptron on the digits under MentorNet PD, from the second percent of the training
on with each fixed percentile, and with `auto`; prints a table of the last accuracies on the clean
test images, means over the seeds (of training and of noise alike).
"""

from __future__ import annotations

import json
import pathlib
import tempfile
from typing import TYPE_CHECKING, Any

import numpy as np
from absl import flags

from mentornet.cli import pages, script
from mentornet.config.evaluation import EvalConfig
from mentornet.config.training import TrainConfig
from mentornet.config.weighting import AUTO, WeightingConfig
from mentornet.datasets.prepare_config import PrepareConfig

if TYPE_CHECKING:
    import keras

FLAGS = flags.FLAGS

_PERCENTILES = (0.1, 0.3, 0.5, 0.7, 0.9)


def build(classes: int) -> keras.Model:
    """Two hidden layers of 256 units on 8 x 8 pixels."""
    from keras import Sequential, layers

    hidden = [layers.Dense(256, activation="relu") for _ in range(2)]
    return Sequential(
        [layers.AveragePooling2D(4), layers.Flatten(), *hidden, layers.Dense(classes)]
    )


def settings() -> dict[str, WeightingConfig | None]:
    """The columns of the table."""
    found: dict[str, WeightingConfig | None] = {"no weighting": None}
    for share in _PERCENTILES:
        found[f"{share:g}"] = WeightingConfig(share, 2, example_dropout_rates="0,100")
    return found | {"auto": WeightingConfig(AUTO, AUTO, example_dropout_rates="0,100")}


def accuracy(data: pathlib.Path, folder: pathlib.Path, seed: int, weighting: Any) -> float:
    """The last accuracy of one run."""
    from mentornet.evaluation import job
    from mentornet.training import loop

    steps = FLAGS.steps
    loop.train(
        TrainConfig(
            str(data),
            str(folder / "train"),
            dataset_name="digits",
            studentnet="automatic:build",
            max_number_of_steps=steps,
            learning_rate_boundaries=(steps // 2, steps * 3 // 4),
            log_every_steps=steps,
            seed=seed,
            weighting=weighting,
            trained_mentornet_dir="mentornet_pd" if weighting else None,
        )
    )
    test = str(data.with_name("val"))
    job.run(EvalConfig(str(folder / "train"), str(folder / "eval"), test, run_once=True))
    return json.loads((folder / "eval" / "summary.json").read_text())["last_accuracy"]


def main() -> None:
    script.load_tensorflow()
    from mentornet.datasets.prepare import prepare

    lines: list[list[Any]] = []
    with tempfile.TemporaryDirectory() as root:
        for noise in FLAGS.noise:
            kind, _, fraction = noise.partition(":")
            found: dict[str, list[float]] = {name: [] for name in settings()}
            for seed in range(FLAGS.seeds):
                folder = pathlib.Path(root, f"{kind}_{fraction}_{seed}")
                prepare(
                    PrepareConfig(
                        "digits",
                        str(folder),
                        noise_type=kind,
                        noise_fraction=float(fraction),
                        seed=seed,
                    )
                )
                (data,) = (p for p in (folder / "digits").iterdir() if p.name != "val")
                for name, weighting in settings().items():
                    found[name].append(accuracy(data, folder / name, seed, weighting))
            lines.append([noise, *(float(np.mean(values)) for values in found.values())])
    print(pages.markdown_table(("noise", *settings()), lines), end="")


if __name__ == "__main__":
    noises = ["uniform:0.2", "uniform:0.4", "uniform:0.8", "pair:0.2"]
    flags.DEFINE_list("noise", noises, "type:fraction of each line.")
    flags.DEFINE_integer("seeds", 1, "Number of seeds.")
    flags.DEFINE_integer("steps", 1100, "Steps of 128; 11 are about an epoch.")
    script.run(main)
