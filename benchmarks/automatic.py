"""Compares `auto` with fixed percentiles and no weighting, for a student that memorises.

    python benchmarks/automatic.py [--noise=uniform:0.2,...] [--only=auto] [--seeds=1] [...]

This trains a perceptron on the digits under MentorNet PD: with burn_in_epoch=2 and each of five
fixed percentiles, with `auto`, and with `auto` for each class. It prints tables of the last
accuracies on the clean test images, and of those of the worst class, means over the seeds (of
training and of noise alike). Besides the noise types there is "uneven": a label becomes class 0, as
if that were the default value of a form. With --augment little is memorised.

    python benchmarks/automatic.py --label_wave [...]

This trains without weighting and with --keep_best=label_wave, evaluates each epoch, and prints the
accuracy of the kept checkpoint next to the last and the best one, of single epochs and of means of
five epochs. With --ema_decay the checkpoints hold moving averages of the parameters.

With --output_dir what each seed reached is also written to automatic.json, a row per noise and
column, in which the rows of other settings stay.
"""

from __future__ import annotations

import pathlib
import tempfile
from typing import TYPE_CHECKING, Any

import numpy as np
from absl import flags
from measuring import keep_rows, machine

from mentornet.cli import script
from mentornet.config.evaluation import EvalConfig
from mentornet.config.training import TrainConfig
from mentornet.config.weighting import AUTO, WeightingConfig
from mentornet.core import files, pages
from mentornet.core.errors import check
from mentornet.datasets.prepare_config import PrepareConfig
from mentornet.runs import layout

if TYPE_CHECKING:
    import keras

FLAGS = flags.FLAGS

_PASS = 11
_PERCENTILES = (0.1, 0.3, 0.5, 0.7, 0.9)


def build(classes: int) -> keras.Model:
    """Two hidden layers of 256 units on 8 x 8 pixels."""
    from keras import Sequential, layers

    hidden = [layers.Dense(256, activation="relu") for _ in range(2)]
    return Sequential(
        [layers.AveragePooling2D(4), layers.Flatten(), *hidden, layers.Dense(classes)]
    )


def settings() -> dict[str, WeightingConfig | None]:
    """The columns of the tables of weightings."""
    found: dict[str, WeightingConfig | None] = {"no weighting": None}
    for share in _PERCENTILES:
        found[f"{share:g}"] = WeightingConfig(share, 2, example_dropout_rates="0,100")
    for name, balanced in (("auto", False), ("auto by class", True)):
        found[name] = WeightingConfig(
            AUTO, AUTO, example_dropout_rates="0,100", class_balanced=balanced
        )
    return found


def prepared(folder: pathlib.Path, noise: str, seed: int) -> pathlib.Path:
    """The folder of the digits with this noise."""
    from mentornet.datasets import records
    from mentornet.datasets.catalog import dataset_info
    from mentornet.datasets.prepare import prepare

    kind, _, fraction = noise.partition(":")
    values: dict[str, Any] = {"noise_type": kind, "noise_fraction": float(fraction)}
    if kind == "uneven":
        clean = PrepareConfig("digits", str(folder / "clean"))
        prepare(clean)
        path = str(clean.train_folder)
        examples = records.read_examples(path, dataset_info("digits", path), "train")
        labels = examples.labels[np.argsort(examples.ids)]
        chosen = np.random.default_rng(seed).random(len(labels)) < float(fraction)
        folder.mkdir(exist_ok=True)
        np.save(folder / "uneven.npy", np.where(chosen, 0, labels))
        values = {"noise_type": "file", "noise_file": str(folder / "uneven.npy")}
    config = PrepareConfig("digits", str(folder), seed=seed, **values)
    prepare(config)
    return config.train_folder


def run(data: pathlib.Path, folder: pathlib.Path, seed: int, **values: Any) -> dict[str, Any]:
    """What one run reached: its summary, and "rows" of eval.jsonl."""
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
            ema_decay=FLAGS.ema_decay,
            augment=FLAGS.augment,
            trained_mentornet_dir="mentornet_pd" if values.get("weighting") else None,
            **values,
        )
    )
    places = str(folder / "train"), str(folder / "eval"), str(data.with_name("val"))
    summary = job.run(EvalConfig(*places, batch_size=360, run_once=True))
    return summary | {"rows": layout.read_evaluations(folder / "eval")}


def of_weightings(data: pathlib.Path, folder: pathlib.Path, seed: int) -> dict[str, list[float]]:
    """Last accuracy and that of the worst class under each weighting."""
    found: dict[str, list[float]] = {}
    for name, weighting in settings().items():
        if FLAGS.only and name not in FLAGS.only:
            continue
        summary = run(data, folder / name, seed, weighting=weighting)
        worst = min(summary["per_class_accuracy"].values())
        found[name] = [summary["last_accuracy"], worst]
    return found


def of_passes(data: pathlib.Path, folder: pathlib.Path, seed: int) -> dict[str, list[float]]:
    """Accuracy of a pass, and the mean of the five passes around it: last, best and kept."""
    summary = run(
        data,
        folder / "run",
        seed,
        keep_best="label_wave",
        save_interval_steps=_PASS,
        max_to_keep=FLAGS.steps,
    )
    rows = [row for row in summary["rows"] if layout.KEPT not in row]
    steps = np.array([row["step"] for row in rows])
    accuracy = np.array([row["eval/accuracy"] for row in rows])
    around = np.convolve(np.pad(accuracy, 2, "edge"), np.full(5, 0.2), "valid")
    kept = int(np.argmin(np.abs(steps - summary["label_wave_step"])))
    return {
        "last": [accuracy[-1], around[-1]],
        "best": [accuracy.max(), around.max()],
        "label wave": [summary["label_wave_accuracy"], around[kept]],
        "kept pass": [summary["label_wave_step"] / _PASS] * 2,
    }


def write(found: dict[str, list[dict[str, list[float]]]], measures: tuple[str, ...]) -> None:
    """Writes automatic.json: for each noise and column, lists over the seeds."""
    setting = {name: FLAGS[name].value for name in ("augment", "ema_decay", "steps")}
    rows: list[dict[str, Any]] = []
    for noise, seeds in found.items():
        for column in seeds[0]:
            values = [[round(float(v), 4) for v in seed[column]] for seed in seeds]
            reached = dict(zip(measures, map(list, zip(*values, strict=True)), strict=True))
            rows.append({"noise": noise, "column": column, **setting, **reached})
    path = pathlib.Path(FLAGS.output_dir, "automatic.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = keep_rows(path, rows, lambda row: tuple(row[k] for k in ("noise", "column", *setting)))
    files.write_json(path, {"machine": machine(), "rows": rows})


def main() -> None:
    unknown = [name for name in FLAGS.only if name not in settings()]
    check(not unknown, "`only` must be columns of the tables.", only=unknown)
    script.load_tensorflow()
    measure, measures = of_weightings, ("last accuracy", "worst class")
    if FLAGS.label_wave:
        measure, measures = of_passes, ("accuracy", "mean of five passes")
    found: dict[str, list[dict[str, list[float]]]] = {}
    with tempfile.TemporaryDirectory() as root:
        for noise in FLAGS.noise:
            for seed in range(FLAGS.seeds):
                folder = pathlib.Path(root, f"{noise.replace(':', '_')}_{seed}")
                data = prepared(folder, noise, seed)
                found.setdefault(noise, []).append(measure(data, folder, seed))
    if FLAGS.output_dir:
        write(found, measures)
    for place, name in enumerate(measures):
        columns = list(found[FLAGS.noise[0]][0])
        lines: list[list[Any]] = [
            [
                noise,
                *(float(np.mean([seed[column][place] for seed in seeds])) for column in columns),
            ]
            for noise, seeds in found.items()
        ]
        print(pages.markdown_table((name, *columns), lines))


if __name__ == "__main__":
    noises = ["uniform:0.2", "uniform:0.4", "uniform:0.8", "pair:0.2"]
    flags.DEFINE_list("noise", noises, "type:fraction of each line.")
    flags.DEFINE_integer("seeds", 1, "Number of seeds.")
    flags.DEFINE_float("ema_decay", None, "Decay of a moving average of the parameters.")
    flags.DEFINE_boolean("augment", False, "Whether to train with random crops and flips.")
    flags.DEFINE_integer("steps", 1100, f"Steps of 128; {_PASS} are a pass over the data.")
    flags.DEFINE_list("only", [], "Columns of the tables of weightings; by default all.")
    flags.DEFINE_boolean("label_wave", False, "Whether to measure --keep_best=label_wave.")
    flags.DEFINE_string("output_dir", None, "Folder of automatic.json.")
    script.run(main)
