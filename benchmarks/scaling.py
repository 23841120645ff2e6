"""How time and memory grow with batch, classes, images and devices.

    python benchmarks/scaling.py --output_dir=DIR [--quick]

Writes scaling.md and scaling.json. Steps that are compared are interleaved in one process; devices
are logical CPUs of this machine, so that more of them show the cost, not the gain.
"""

from __future__ import annotations

import os
import pathlib
import sys
import tempfile
import time
from typing import Any

import numpy as np
from absl import flags
from measuring import machine, median, output_of, peak_mb, take_turns
from steps import BATCH, STUDENT, trainer_step

from mentornet.cli import script
from mentornet.config import options
from mentornet.core import files, pages

FLAGS = flags.FLAGS
flags.DEFINE_string("output_dir", "", "Folder of the results.")
flags.DEFINE_boolean("quick", False, "Run few steps, to test the benchmark itself.")

_STEP = f"from steps import *; s = trainer_step('{STUDENT}', {{}}, True)"
_DEVICES = """
from measuring import median, take_turns
from steps import STUDENT, trainer_step
from mentornet.training import distribution
with distribution.make_strategy({number}, distribution.Cluster(), 1).scope():
    step = trainer_step(STUDENT, {batch} // {number}, True)
print(median(take_turns({{"step": step}}, {rounds})["step"]))
"""


def by_batch(sizes: list[int], rounds: int) -> list[list[Any]]:
    """Time per image and peak memory of the mentored step of STUDENT."""
    steps = {str(size): trainer_step(STUDENT, size, True) for size in sizes}
    seconds = take_turns(steps, rounds)
    per_image = {size: median(seconds[str(size)]) / size for size in sizes}
    rows = []
    for size in sizes:
        memory = peak_mb([sys.executable, "-c", _STEP.format(size) + "; s(); s()"])
        ratio = per_image[size] / per_image[sizes[0]]
        rows.append([f"batch {size}", f"{ratio:.2f} of the time an image", f"{memory:.0f} MB"])
    return rows


def by_classes(numbers: list[int], rounds: int) -> list[list[Any]]:
    """Time of a step of STUDENT and its parameters."""
    from mentornet import build_student

    steps = {
        str(number): trainer_step(STUDENT, BATCH, True, num_classes=number) for number in numbers
    }
    seconds = take_turns(steps, rounds)
    rows = []
    for number in numbers:
        ratio = median(seconds[str(number)]) / median(seconds[str(numbers[0])])
        parameters = build_student(STUDENT, number).count_params()
        rows.append([f"{number} classes", f"{ratio:.2f} of the time", f"{parameters:,} parameters"])
    return rows


def by_precision(sizes: dict[str, int], rounds: int) -> list[list[Any]]:
    """Time of a step of each student in bfloat16 against float32."""
    rows = []
    for name, size in sizes.items():
        steps = {p: trainer_step(name, size, True, precision=p) for p in ("float32", "bfloat16")}
        seconds = take_turns(steps, rounds)
        ratio = median(seconds["bfloat16"]) / median(seconds["float32"])
        rows.append([f"bfloat16, {name}, batch {size}", f"{ratio:.2f} of float32's", ""])
    return rows


def by_devices(numbers: list[int], rounds: int) -> list[list[Any]]:
    """Time of a step of STUDENT, the whole batch divided among logical CPUs."""
    seconds = {}
    for number in numbers:
        code = _DEVICES.format(number=number, batch=BATCH, rounds=rounds)
        output = output_of(["-c", code])
        seconds[number] = float(output.split()[-1])
    first = seconds[numbers[0]]
    return [[f"{n} devices", f"{seconds[n] / first:.2f} of the time", ""] for n in numbers]


def weighting(sizes: list[int], rounds: int) -> list[list[Any]]:
    """The weighting alone, by batch."""
    import tensorflow as tf

    from mentornet import SampleWeighting, load_mentornet

    mentored = SampleWeighting(load_mentornet("mentornet_pd"))

    def step(size: int) -> Any:
        losses = tf.random.uniform([size, 1])
        weigh = tf.function(lambda: mentored(losses, epoch_percentage=20, global_step=3))
        return lambda: weigh().numpy()

    seconds = take_turns({str(size): step(size) for size in sizes}, 10 * rounds)
    return [
        [f"weighting {n} losses", f"{1000 * median(seconds[str(n)]):.2f} ms", ""] for n in sizes
    ]


def history(sizes: list[int], rounds: int) -> list[list[Any]]:
    """Recording a batch in the sample history, by size of the data set."""
    import tensorflow as tf

    from mentornet.label_noise.history import COLUMNS, SampleHistory

    def step(size: int) -> Any:
        memory, positions = SampleHistory(size), tf.range(BATCH, dtype=tf.int64) * (size // BATCH)
        losses, logits = tf.random.uniform([BATCH, 1]), tf.random.normal([BATCH, 10])
        labels = positions % 10
        remember = tf.function(lambda: memory.update(positions, labels, losses, losses, logits))
        return lambda: remember()

    seconds = take_turns({str(size): step(size) for size in sizes}, 10 * rounds)
    rows = []
    for n in sizes:
        time_ms, memory = 1000 * median(seconds[str(n)]), 4 * n * len(COLUMNS) / 2**20
        rows.append([f"history of {n:,} samples", f"{time_ms:.2f} ms", f"{memory:.0f} MB"])
    return rows


def reading(
    folder: pathlib.Path, pixels: int, count: int, copies: int, steps: int
) -> list[list[Any]]:
    """Start-up and images/s of records that are not kept in memory; photograph-like images."""
    from mentornet.datasets import pipeline, records
    from mentornet.datasets.augmentation import Augmentation
    from mentornet.datasets.catalog import DatasetInfo

    folder = folder / str(pixels)
    folder.mkdir()
    random = np.random.default_rng(0)
    coarse = random.integers(0, 200, (count, pixels // 8, pixels // 8, 3), np.uint8)
    smooth = coarse.repeat(8, axis=1).repeat(8, axis=2)
    images = smooth + random.integers(0, 8, smooth.shape, np.uint8)
    first = folder / "own_train-00000"
    records.write_records(first, images, {"image/class/label": np.arange(count) % 10})
    for number in range(1, copies):
        os.link(first, folder / f"own_train-{number:05d}")
    start = time.perf_counter()
    records.MAX_IN_MEMORY = 0
    examples = records.read_examples(str(folder), DatasetInfo("own", 10), "train")
    seconds = time.perf_counter() - start
    batches = iter(
        pipeline.training_batches(
            examples,
            batch_size=64,
            seed=0,
            first_step=0,
            last_step=steps,
            augmentation=Augmentation(8),
            standardization="image",
        )
    )
    next(batches)
    start = time.perf_counter()
    rate = 64 * sum(1 for _ in batches) / (time.perf_counter() - start)
    what = f"{len(examples):,} PNG of {pixels} x {pixels}"
    size = f"{first.stat().st_size / count / 1024:.1f} KB a record"
    return [
        [f"start-up, {what}", f"{len(examples) / seconds:,.0f} records/s", size],
        [f"streaming, {what}", f"{rate:,.0f} images/s", size],
    ]


def main() -> None:
    options.folder("output_dir", FLAGS.output_dir)
    script.load_tensorflow()
    quick = FLAGS.quick
    rounds = 2 if quick else 20
    rows = by_batch([32] if quick else [32, 64, 128, 256], rounds)
    rows += by_classes([10, 1000], rounds)
    rows += by_devices([1, 2] if quick else [1, 2, 4], rounds)
    students = {STUDENT: 8} if quick else {STUDENT: BATCH, "resnet8": BATCH, "resnet101": 8}
    rows += by_precision(students, rounds)
    rows += weighting([128] if quick else [128, 1024, 8192], rounds)
    rows += history([50_000] if quick else [50_000, 500_000, 2_400_000], rounds)
    with tempfile.TemporaryDirectory() as folder:
        for pixels, count, copies in ((32, 10_000, 30), (256, 200, 50)):
            place = pathlib.Path(tempfile.mkdtemp(dir=folder))
            rows += reading(place, pixels, 100 if quick else count, copies, 5 if quick else 60)
    output = pathlib.Path(FLAGS.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    facts = {"machine": machine(), "rows": rows}
    files.write_json(output / "scaling.json", facts)
    table = pages.markdown_table(("what", "time", "size"), rows)
    files.write_text(output / "scaling.md", table)
    print(table, end="")


if __name__ == "__main__":
    script.run(main)
