"""Times of the mentored step and of everything around it, as ratios measured side by side.

    python benchmarks/run.py --output_dir=DIR [--only=PART,...] [--quick]

Steps that are compared take turns in one process; a ratio is that of medians. Prints each row as it
is measured and writes benchmarks.md and benchmarks.json (machine, versions, commit, samples,
ratios). `--quick` only shows that it runs: few steps, small students in place of large ones. With
PyTorch installed (the extra [bench]), the same network is timed there, too.
"""

from __future__ import annotations

import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np
from absl import flags
from arithmetic import step_over_arithmetic
from steps import BATCH, Step, bare_convolutions, stock_step, torch_step, trainer_step

from mentornet.cli import pages, script
from mentornet.core import files
from mentornet.core.errors import check

FLAGS = flags.FLAGS
flags.DEFINE_string("output_dir", "", "Folder of the results.")
flags.DEFINE_list("only", [], "Parts to measure; by default all. See PARTS at the end.")
flags.DEFINE_boolean("quick", False, "Run as few steps as possible, to test the benchmark itself.")

ROOT = pathlib.Path(__file__).resolve().parents[1]
# What is aimed at.
TARGETS = {
    "inception_over_arithmetic": ("at most", 1.05),
    "inception_bfloat16_over_arithmetic": ("at most", 1.05),
    "resnet101_over_arithmetic": ("at most", 1.05),
    "airbench94_bfloat16_over_arithmetic": ("at most", 1.33),
    "mentored_over_unweighted": ("at most", 1.02),
    "mentored_over_stock": ("at most", 0.90),
    "mentored_over_torch": ("at most", 0.67),
    "script_over_bare": ("at least", 0.95),
    "eval_over_forward": ("at least", 0.9),
    "pipeline_images_per_s": ("at least", 20_000),
    "weighting_ms": ("at most", 1.0),
    "history_ms": ("at most", 1.0),
    "help_s": ("at most", 1.0),
    "first_step_s": ("at most", 12.0),
    "resnet101_mentored_over_bare": ("at most", 1.05),
    "recomputed_over_kept": ("at most", 1.4),
    "recomputed_memory_saved": ("at least", 0.4),
    "streamed_over_memory": ("at least", 0.85),
    "streamed_more_mb": ("at most", 300),
}


def take_turns(steps: dict[str, Step], rounds: int) -> dict[str, list[float]]:
    """Seconds of each step in each round, after two rounds that do not count."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds + 2):
        names = list(steps) if number % 2 else list(steps)[::-1]
        for name in names:
            start = time.perf_counter()
            steps[name]()
            if number >= 2:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def median(seconds: list[float]) -> float:
    return float(np.median(seconds))


def step_ratios(quick: bool, samples: dict[str, Any]) -> dict[str, float]:
    """The mentored step of `inception` against the same network in other ways."""
    steps = {
        "mentored": trainer_step("inception", BATCH, True),
        "unweighted": trainer_step("inception", BATCH, False),
        "stock": stock_step(),
    }
    if (step := torch_step()) is not None:
        steps["torch"] = step
    seconds = samples["inception_step_s"] = take_turns(steps, 2 if quick else 20)
    mentored = median(seconds.pop("mentored"))
    return {f"mentored_over_{name}": mentored / median(own) for name, own in seconds.items()}


def resnet_ratio(quick: bool, samples: dict[str, Any]) -> dict[str, float]:
    """The mentored step of a residual network against its convolutions alone, batch 8."""
    name, rounds = ("resnet8", 2) if quick else ("resnet101", 8)
    steps = {"mentored": trainer_step(name, 8, True), "bare": bare_convolutions(name, 8)}
    seconds = samples["resnet101_step_s"] = take_turns(steps, rounds)
    ratio = median(seconds["mentored"]) / median(seconds["bare"])
    return {"resnet101_mentored_over_bare": ratio}


def recomputation(quick: bool, samples: dict[str, Any]) -> dict[str, float]:
    """Time and peak memory with --recompute_gradients against those without."""
    student, size, rounds = ("resnet8", 2, 2) if quick else ("resnet101", 32, 3)
    ways = {"kept": False, "recomputed": True}
    peaks = samples["resnet101_peak_mb"] = {}
    for name, recompute in ways.items():
        code = f"from steps import *; s = trainer_step('{student}', {size}, True, {recompute})"
        peaks[name] = peak_mb([sys.executable, "-c", f"{code}; s(); s()"])
    steps = {name: trainer_step(student, size, True, own) for name, own in ways.items()}
    seconds = samples["recomputation_s"] = take_turns(steps, rounds)
    return {
        "recomputed_over_kept": median(seconds["recomputed"]) / median(seconds["kept"]),
        "recomputed_memory_saved": 1 - peaks["recomputed"] / peaks["kept"],
    }


def peak_mb(command: list[str]) -> float:
    """The most memory that a process held, in MB."""
    here = pathlib.Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": str(here)}
    command = [sys.executable, str(here / "peak.py"), *command]
    return float(subprocess.check_output(command, stderr=subprocess.DEVNULL, env=environment))


def weighting_time(quick: bool, samples: dict[str, Any]) -> dict[str, float]:
    """The weighting of a batch, and remembering it, each in a call of its own."""
    import tensorflow as tf

    from mentornet import SampleWeighting, load_mentornet
    from mentornet.weighting.history import SampleHistory

    weighting = SampleWeighting(load_mentornet("mentornet_pd"))
    losses = tf.random.uniform([BATCH, 1])
    weigh = tf.function(lambda: weighting(losses, epoch_percentage=20, global_step=3))
    history, positions = SampleHistory(50_000), tf.range(BATCH, dtype=tf.int64)
    logits = tf.random.normal([BATCH, 10])
    labels = positions % 10
    remember = tf.function(lambda: history.update(positions, labels, losses, losses, logits))
    steps = {"weighting": lambda: weigh().numpy(), "history": remember}
    seconds = take_turns(steps, 20 if quick else 200)
    samples |= {f"{name}_s": values for name, values in seconds.items()}
    return {f"{name}_ms": 1000 * median(values) for name, values in seconds.items()}


def prepare_data(folder: pathlib.Path, count: int) -> pathlib.Path:
    """Random images as a custom data set; returns the folder of its training records."""
    from mentornet.datasets.prepare import PrepareConfig, prepare

    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (count, 32, 32, 3), np.uint8)
    np.savez(folder / "images.npz", images=images, labels=np.arange(count) % 10)
    config = PrepareConfig("random", str(folder), source=str(folder / "images.npz"))
    prepare(config)
    return config.train_folder


def many_times(data: pathlib.Path, count: int) -> pathlib.Path:
    """The same records again and again, at least 100,000, which are not kept in memory."""
    folder = data.parent / "many"
    folder.mkdir()
    shutil.copy(data / "manifest.json", folder)
    (file,) = data.glob("random_train-*")
    for number in range(max(30, 100_000 // count)):
        os.link(file, folder / f"random_train-{number:05d}")
    return folder


def data_rates(quick: bool, samples: dict[str, Any]) -> dict[str, float]:
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
    }
    batches = iter(pipeline.training_batches(examples, last_step=num_steps, **settings))
    next(batches)
    start = time.perf_counter()
    count = sum(1 for _ in batches)
    rate = count * BATCH / (time.perf_counter() - start)

    predictor = Predictor(build_student("inception", 10))
    images, labels = tf.random.normal([100, 32, 32, 3]), tf.zeros([100], tf.int64)

    def forward() -> None:
        for _ in range(len(examples) // 100):
            predictor.forward(images, labels)[0].numpy()

    steps = {"evaluation": lambda: predictor(examples, 100), "forward": forward}
    seconds = samples["evaluation_s"] = take_turns(steps, 3)
    ratio = median(seconds["forward"]) / median(seconds["evaluation"])
    whole = len(examples) / (len(examples) // 100 * 100)
    return {"pipeline_images_per_s": rate, "eval_over_forward": ratio * whole}


def _script(name: str, *arguments: str) -> list[str]:
    return [sys.executable, str(ROOT / "code" / name), *arguments]


def script_ratios(quick: bool, samples: dict[str, Any]) -> dict[str, float]:
    """The whole training script, with few images and many, and the bare step, in turns; --help."""
    with tempfile.TemporaryDirectory() as folder:
        count = 1_000 if quick else 10_000
        data = prepare_data(pathlib.Path(folder), count)
        many = many_times(data, count)
        return _script_ratios(data, many, *((1, 20) if quick else (2, 60)), samples)


def _script_ratios(
    data: pathlib.Path, many: pathlib.Path, runs: int, steps: int, samples: dict[str, Any]
) -> dict[str, float]:
    bare = trainer_step("inception", BATCH, True)
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
    first = samples["first_step_s"] = [
        _first_step(data, data.parent / f"first{i}") for i in range(min(runs, 2))
    ]
    scripts = ("cifar_train_mentornet.py", "cifar_train_baseline.py", "cifar_eval.py")
    helps = samples["help_s"] = {name: _help(name, runs) for name in scripts}
    return {
        "script_over_bare": median(rates["script"]) / median(rates["bare"]),
        "streamed_over_memory": median(rates["streamed"]) / median(rates["script"]),
        "streamed_more_mb": max(peaks["streamed"]) - min(peaks["script"]),
        "first_step_s": min(first),
        "help_s": max(helps.values()),
    }


def _training(data: pathlib.Path, folder: pathlib.Path, steps: int) -> list[str]:
    arguments = [f"--data_dir={data}", f"--train_log_dir={folder}", "--dataset_name=random"]
    arguments += ["--studentnet=inception", f"--max_number_of_steps={steps}"]
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


def machine() -> dict[str, Any]:
    """Where and with what this was measured."""
    import keras
    import tensorflow as tf

    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    versions = {"python": platform.python_version(), "tensorflow": tf.__version__}
    versions |= {"keras": keras.__version__, "numpy": np.__version__}
    return {
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "devices": [device.name for device in tf.config.list_physical_devices()],
        "versions": versions,
        "commit": commit.stdout.strip(),
    }


def judge(name: str, value: float) -> list[str]:
    """A line of the table: what was aimed at, and whether it was reached."""
    if name not in TARGETS:
        return [name, f"{value:.4g}", "", ""]
    kind, bound = TARGETS[name]
    reached = value >= bound if kind == "at least" else value <= bound
    return [name, f"{value:.4g}", f"{kind} {bound:g}", "yes" if reached else "no"]


PARTS = {
    "arithmetic": step_over_arithmetic,
    "steps": step_ratios,
    "weighting": weighting_time,
    "data": data_rates,
    "scripts": script_ratios,
    "resnet101": resnet_ratio,
    "recomputation": recomputation,
}


def main() -> None:
    check(bool(FLAGS.output_dir), "`output_dir` must name a folder.", output_dir=FLAGS.output_dir)
    unknown = sorted(set(FLAGS.only) - PARTS.keys())
    check(not unknown, f"`only` must be among {', '.join(PARTS)}.", only=unknown)
    script.load_tensorflow()
    samples: dict[str, Any] = {}
    ratios: dict[str, float] = {}
    for part in FLAGS.only or PARTS:
        measured = PARTS[part](FLAGS.quick, samples)
        for row in measured.items():
            print(*judge(*row), flush=True)
        ratios |= measured
    output = pathlib.Path(FLAGS.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    facts = {"machine": machine(), "ratios": ratios, "samples": samples}
    files.write_text(output / "benchmarks.json", json.dumps(facts, indent=1) + "\n")
    table = pages.markdown_table(
        ("what", "measured", "target", "reached"), [judge(*item) for item in ratios.items()]
    )
    files.write_text(output / "benchmarks.md", table)


if __name__ == "__main__":
    script.run(main)
