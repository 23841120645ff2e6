"""Times of the mentored step and of everything around it, as ratios measured side by side.

    python benchmarks/run.py --output_dir=DIR [--only=PART,...] [--quick]

Steps that are compared take turns in one process; a ratio is that of medians. Prints each row as it
is measured and writes benchmarks.md and benchmarks.json (machine, versions, commit, samples,
ratios). `--quick` only shows that it runs: few steps, small students in place of large ones. With
PyTorch installed (the extra [bench]), the same network is timed there, too.
"""

from __future__ import annotations

import pathlib
import sys
from typing import Any

from absl import flags
from arithmetic import step_over_arithmetic
from measuring import machine, median, peak_mb, take_turns
from programs import data_rates, script_ratios
from steps import (
    BATCH,
    STUDENT,
    Measurements,
    bare_convolutions,
    stock_step,
    torch_step,
    trainer_step,
)

from mentornet.cli import script
from mentornet.config import options
from mentornet.core import files, pages
from mentornet.core.errors import check

FLAGS = flags.FLAGS

# What is aimed at.
TARGETS = {
    "inception_over_arithmetic": ("at most", 1.05),
    "inception_bfloat16_over_arithmetic": ("at most", 1.05),
    "resnet101_over_arithmetic": ("at most", 1.05),
    "resnet101_bfloat16_over_arithmetic": ("at most", 1.05),
    "airbench94_over_arithmetic": ("at most", 1.33),
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


def step_ratios(quick: bool, samples: dict[str, Any]) -> Measurements:
    """The mentored step of STUDENT against the same network in other ways."""
    steps = {
        "mentored": trainer_step(STUDENT, BATCH, True),
        "unweighted": trainer_step(STUDENT, BATCH, False),
        "stock": stock_step(),
    }
    if (step := torch_step()) is not None:
        steps["torch"] = step
    seconds = samples["inception_step_s"] = take_turns(steps, 2 if quick else 20)
    medians = {name: median(own) for name, own in seconds.items()}
    mentored = medians.pop("mentored")
    for name, other in medians.items():
        yield f"mentored_over_{name}", mentored / other


def resnet_ratio(quick: bool, samples: dict[str, Any]) -> Measurements:
    """The mentored step of a residual network against its convolutions alone, batch 8."""
    name, rounds = ("resnet8", 2) if quick else ("resnet101", 8)
    steps = {"mentored": trainer_step(name, 8, True), "bare": bare_convolutions(name, 8)}
    seconds = samples["resnet101_step_s"] = take_turns(steps, rounds)
    ratio = median(seconds["mentored"]) / median(seconds["bare"])
    yield "resnet101_mentored_over_bare", ratio


def recomputation(quick: bool, samples: dict[str, Any]) -> Measurements:
    """Time and peak memory with --recompute_gradients against those without."""
    student, size, rounds = ("resnet8", 2, 2) if quick else ("resnet101", 32, 3)
    ways = {"kept": False, "recomputed": True}
    peaks = samples["resnet101_peak_mb"] = {}
    for name, recompute in ways.items():
        code = f"from steps import *; s = trainer_step('{student}', {size}, True, {recompute})"
        peaks[name] = peak_mb([sys.executable, "-c", f"{code}; s(); s()"])
    yield "recomputed_memory_saved", 1 - peaks["recomputed"] / peaks["kept"]
    steps = {name: trainer_step(student, size, True, own) for name, own in ways.items()}
    seconds = samples["recomputation_s"] = take_turns(steps, rounds)
    yield "recomputed_over_kept", median(seconds["recomputed"]) / median(seconds["kept"])


def weighting_time(quick: bool, samples: dict[str, Any]) -> Measurements:
    """The weighting of a batch, and remembering it, each in a call of its own."""
    import tensorflow as tf

    from mentornet import SampleWeighting, load_mentornet
    from mentornet.label_noise.history import SampleHistory

    weighting = SampleWeighting(load_mentornet("mentornet_pd"))
    losses = tf.random.uniform([BATCH, 1])
    weigh = tf.function(lambda: weighting(losses, epoch_percentage=20, global_step=3))
    history, positions = SampleHistory(50_000), tf.range(BATCH, dtype=tf.int64)
    logits = tf.random.normal([BATCH, 10])
    labels = positions % 10
    remember = tf.function(lambda: history.update(positions, labels, losses, losses, logits))
    steps = {"weighting": lambda: weigh().numpy(), "history": remember}
    seconds = take_turns(steps, 2 if quick else 200)
    samples |= {f"{name}_s": values for name, values in seconds.items()}
    for name, values in seconds.items():
        yield f"{name}_ms", 1000 * median(values)


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
    options.folder("output_dir", FLAGS.output_dir)
    unknown = sorted(set(FLAGS.only) - PARTS.keys())
    check(not unknown, f"`only` must be among {', '.join(PARTS)}.", only=unknown)
    script.load_tensorflow()
    samples: dict[str, Any] = {}
    ratios: dict[str, float] = {}
    output = pathlib.Path(FLAGS.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    for part in FLAGS.only or PARTS:
        for name, value in PARTS[part](FLAGS.quick, samples):
            print(*judge(name, value), flush=True)
            ratios[name] = value
    facts = {"machine": machine(), "ratios": ratios, "samples": samples}
    files.write_json(output / "benchmarks.json", facts)
    table = pages.markdown_table(
        ("what", "measured", "target", "reached"), [judge(*item) for item in ratios.items()]
    )
    files.write_text(output / "benchmarks.md", table)


if __name__ == "__main__":
    flags.DEFINE_string("output_dir", "", "Folder of the results.")
    flags.DEFINE_list("only", [], "Parts to measure; by default all. See PARTS.")
    flags.DEFINE_boolean("quick", False, "Run few steps, to test the benchmark itself.")
    script.run(main)
