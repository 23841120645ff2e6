"""The input pipeline, the evaluation and the scripts as a whole, against what they are made of."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np
from measuring import ROOT, median, peak_mb, take_turns
from steps import BATCH, STUDENT, Measurements, trainer_step

from mentornet.core import files
from mentornet.core.errors import check


def prepare_data(folder: pathlib.Path, count: int) -> pathlib.Path:
    """Random images as a custom data set; returns the folder of its training records."""
    from mentornet.datasets.prepare import PrepareConfig, prepare

    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (count, 32, 32, 3), np.uint8)
    np.savez(folder / "images.npz", images=images, labels=np.arange(count) % 10)
    config = PrepareConfig("random", str(folder), source=str(folder / "images.npz"))
    prepare(config)
    return config.train_folder


def many_times(data: pathlib.Path, copies: int) -> pathlib.Path:
    """Links to the same records: 30 of 10,000 images are more than is kept in memory."""
    folder = data.parent / "many"
    folder.mkdir()
    shutil.copy(data / "manifest.json", folder)
    (file,) = data.glob("random_train-*")
    for number in range(copies):
        os.link(file, folder / f"random_train-{number:05d}")
    return folder


def data_rates(quick: bool, samples: dict[str, Any]) -> Measurements:
    """The input pipeline alone, and evaluation against bare forward passes."""
    import tensorflow as tf

    from mentornet import build_student
    from mentornet.datasets import pipeline, records
    from mentornet.datasets.augmentation import Augmentation
    from mentornet.datasets.catalog import dataset_info
    from mentornet.evaluation.predictor import Predictor

    with tempfile.TemporaryDirectory() as folder:
        data = prepare_data(pathlib.Path(folder), 1_000 if quick else 10_000)
        examples = records.read_examples(str(data), dataset_info("random", data), "train")
    num_steps = 40 if quick else 400
    settings: dict[str, Any] = {
        "batch_size": BATCH,
        "seed": 0,
        "first_step": 0,
        "augmentation": Augmentation(8),
        "standardization": "image",
    }
    batches = iter(pipeline.training_batches(examples, last_step=num_steps, **settings))
    next(batches)
    start = time.perf_counter()
    count = sum(1 for _ in batches)
    yield "pipeline_images_per_s", count * BATCH / (time.perf_counter() - start)

    predictor = Predictor(build_student(STUDENT, 10), "image")
    images, labels = tf.random.normal([100, 32, 32, 3]), tf.zeros([100], tf.int64)

    def forward() -> None:
        for _ in range(len(examples) // 100):
            predictor.forward(images, labels)[0].numpy()

    steps = {"evaluation": lambda: predictor(examples, 100), "forward": forward}
    seconds = samples["evaluation_s"] = take_turns(steps, 3)
    ratio = median(seconds["forward"]) / median(seconds["evaluation"])
    whole = len(examples) / (len(examples) // 100 * 100)
    yield "eval_over_forward", ratio * whole


def _script(name: str, *arguments: str) -> list[str]:
    return [sys.executable, str(ROOT / "code" / name), *arguments]


def script_ratios(quick: bool, samples: dict[str, Any]) -> Measurements:
    """The whole training script, with few images and many, and the bare step, in turns; --help."""
    with tempfile.TemporaryDirectory() as folder:
        count = 1_000 if quick else 10_000
        data = prepare_data(pathlib.Path(folder), count)
        many = many_times(data, 3 if quick else 30)
        yield from _script_ratios(data, many, *((1, 20) if quick else (2, 60)), samples)


def _script_ratios(
    data: pathlib.Path, many: pathlib.Path, runs: int, steps: int, samples: dict[str, Any]
) -> Measurements:
    bare = trainer_step(STUDENT, BATCH, True)
    rates: dict[str, list[float]] = {"script": [], "streamed": [], "bare": []}
    peaks: dict[str, list[float]] = {"script": [], "streamed": []}
    for number in range(runs):
        for name, records in (("script", data), ("streamed", many)):
            folder = data.parent / f"{name}{number}"
            peaks[name].append(peak_mb(_training(records, folder, steps)))
            rows = files.read_json_lines(folder / "metrics.jsonl")
            rates[name].append(median([row["images_per_second"] for row in rows[1:]]))
        seconds = take_turns({"bare": bare}, steps // 2)["bare"]
        rates["bare"].append(BATCH / median(seconds))
    samples |= {"images_per_s": rates, "peak_mb": peaks}
    yield "script_over_bare", median(rates["script"]) / median(rates["bare"])
    yield "streamed_over_memory", median(rates["streamed"]) / median(rates["script"])
    yield "streamed_more_mb", max(peaks["streamed"]) - min(peaks["script"])
    first = samples["first_step_s"] = [
        _first_step(data, data.parent / f"first{i}") for i in range(min(runs, 2))
    ]
    yield "first_step_s", min(first)
    scripts = ("cifar_train_mentornet.py", "cifar_train_baseline.py", "cifar_eval.py")
    helps = samples["help_s"] = {name: _help(name, runs) for name in scripts}
    yield "help_s", max(helps.values())


def _training(data: pathlib.Path, folder: pathlib.Path, steps: int) -> list[str]:
    arguments = [f"--data_dir={data}", f"--train_log_dir={folder}", "--dataset_name=random"]
    arguments += [f"--studentnet={STUDENT}", f"--max_number_of_steps={steps}"]
    arguments.append(f"--batch_size={BATCH}")
    mentor = "--trained_mentornet_dir=mentornet_pd"
    return _script("cifar_train_mentornet.py", *arguments, mentor)


def _first_step(data: pathlib.Path, folder: pathlib.Path) -> float:
    """Seconds from the start of the script until step 1 is in its log."""
    start = time.perf_counter()
    command = [*_training(data, folder, 2), "--log_every_steps=1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not files.read_json_lines(folder / "metrics.jsonl"):
        check(process.poll() in (None, 0), "The training script must run.", status=process.poll())
        time.sleep(0.02)
    seconds = time.perf_counter() - start
    process.wait()
    return seconds


def _help(name: str, runs: int) -> float:
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        subprocess.run(_script(name, "--help"), capture_output=True, check=False)
        times.append(time.perf_counter() - start)
    return min(times)
