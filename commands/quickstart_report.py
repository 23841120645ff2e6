"""Table and pictures of the quick start."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import TYPE_CHECKING, Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from mentornet.cli import config_flags, script
from mentornet.config.options import option
from mentornet.runs import layout

if TYPE_CHECKING:
    from mentornet.datasets import records

METHODS = {"baseline": "Baseline", "mentornet_pd": "MentorNet PD"}
COLORS = {"baseline": "#d55e00", "mentornet_pd": "#0072b2"}  # Okabe and Ito, colour-blind safe.
CLEAN, CORRUPTED = "#0072b2", "#d55e00"


@dataclasses.dataclass(frozen=True)
class QuickstartConfig:
    """Where the quick start lies: each field is a flag."""

    output_dir: str = option("runs/quickstart", "Output folder of commands/quickstart.sh.")


def mean_weights(rows: list[dict[str, Any]]) -> tuple[float, float]:
    """Mean over the training of the weights of clean and of corrupted samples."""
    keys = ("sample_weights/mean_clean", "sample_weights/mean_corrupted")
    clean, corrupted = (np.mean([row[key] for row in rows if key in row]) for key in keys)
    return float(clean), float(corrupted)


def training_losses(run: pathlib.Path, examples: records.Examples) -> np.ndarray:
    """Loss of each training sample, with the label as given, under the last checkpoint."""
    from mentornet.evaluation.predictor import Predictor
    from mentornet.runs.checkpoints import find_latest
    from mentornet.runs.students import load_student

    predictor = Predictor(load_student(find_latest(str(run / "train"))), "image")
    return predictor(examples, 256).losses


def plot_accuracy(out: pathlib.Path, evaluations: dict[str, list[dict[str, Any]]]) -> None:
    """Draws each method's accuracy over the steps."""
    figure, axes = plt.subplots(figsize=(6.4, 4), layout="constrained")
    for method, rows in evaluations.items():
        steps = [row["step"] for row in rows]
        values = [row["eval/accuracy"] for row in rows]
        axes.plot(steps, values, marker=".", color=COLORS[method], label=METHODS[method])
    axes.set(xlabel="step", ylabel="accuracy on clean test images")
    axes.set_title("Digits, 40 % of the training labels redrawn")
    axes.legend(loc="lower right")
    axes.grid(alpha=0.3)
    figure.savefig(out / "accuracy.png", dpi=150)


def plot_losses(out: pathlib.Path, losses: dict[str, np.ndarray], correct: np.ndarray) -> None:
    """Draws histograms of each method's losses, of samples with right and with wrong labels."""
    figure, rows = plt.subplots(
        1, len(losses), figsize=(9.6, 4), sharex=True, sharey=True, layout="constrained"
    )
    bins = np.linspace(0, max(float(np.max(values)) for values in losses.values()), 41)
    for axes, (method, values) in zip(rows, losses.items(), strict=True):
        axes.hist(values[correct], bins, color=CLEAN, alpha=0.7, label="clean label")
        axes.hist(values[~correct], bins, color=CORRUPTED, alpha=0.7, label="corrupted label")
        axes.set(title=METHODS[method], xlabel="loss with the given label", yscale="log")
        axes.grid(alpha=0.3)
    rows[0].set_ylabel("training samples")
    rows[0].legend(loc="upper right")
    figure.savefig(out / "losses.png", dpi=150)


def define_flags() -> None:
    """Defines the flags; called only by the script, so that it can be imported without them."""
    config_flags.define_flags(QuickstartConfig)


def main() -> None:
    config = QuickstartConfig(**config_flags.read_flags(QuickstartConfig))
    script.load_tensorflow()
    from mentornet.core.files import read_json_lines
    from mentornet.datasets import records
    from mentornet.datasets.catalog import dataset_info

    out = pathlib.Path(config.output_dir)
    data_dir = out / "data" / "digits" / "0.4"
    examples = records.read_examples(str(data_dir), dataset_info("digits", data_dir), "train")
    correct = examples.labels == examples.clean_labels
    evaluations, losses = {}, {}
    header = f"{'method':<14} {'last acc.':>9} {'best acc.':>9} {'weight clean':>13}"
    lines = [f"{header} {'weight corrupted':>17}"]
    for method, name in METHODS.items():
        evaluations[method] = layout.read_evaluations(out / method / "eval")
        accuracy = [row["eval/accuracy"] for row in evaluations[method]]
        rows = read_json_lines(out / method / layout.TRAIN_FOLDER / layout.METRICS_FILE)
        clean, corrupted = mean_weights(rows)
        losses[method] = training_losses(out / method, examples)
        row = f"{name:<14} {accuracy[-1]:>9.3f} {max(accuracy):>9.3f} {clean:>13.3f}"
        lines.append(f"{row} {corrupted:>17.3f}")
    plot_accuracy(out, evaluations)
    plot_losses(out, losses, correct)
    table = "\n".join(lines)
    (out / "table.txt").write_text(table + "\n")
    wrong = f"{1 - correct.mean():.1%} of {len(correct)} training labels are wrong"
    print(f"\nAccuracy on clean test images; {wrong}; weights are means over the training.\n")
    print(f"{table}\n\nPictures: {out / 'accuracy.png'}, {out / 'losses.png'}")


if __name__ == "__main__":
    define_flags()
    script.run(main)
