"""Reports all runs below a folder: tables with the published numbers, and learning curves.

    python commands/report.py RUNS_DIR [--output_dir=DIR]

This reads each run's train/config.json, train/metrics.jsonl and eval_val/eval.jsonl, and writes
results.md and a self-contained results.html.
"""

from __future__ import annotations

import collections
import csv
import dataclasses
import functools
import io
import itertools
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mentornet.cli import config_flags, script
from mentornet.config.options import option
from mentornet.core import files, pages
from mentornet.core.errors import InputError
from mentornet.runs.reader import Curve, Result, configurations, read_results

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HERE = pathlib.Path(__file__).resolve().parent
_FULL_SIZE = 50_000  # Training images of CIFAR-10 and CIFAR-100.
# Methods in the tables' order; the colours are those of Okabe and Ito, safe for the colour-blind.
_COLORS = {
    "baseline": "#000000",
    "self_paced": "#e69f00",
    "focal_loss": "#56b4e9",
    "mentornet_pd": "#009e73",
    "mentornet_dd": "#0072b2",
    "mentornet_dd, updated": "#d55e00",
    "mentornet_dd_history": "#f0e442",
    "mixup": "#999999",
}
_OTHER = "#cc79a7"  # Methods of one colour differ in their line styles.
_LINES = ("-", "--", ":", "-.")
_CLEAN, _CORRUPTED = "#0072b2", "#d55e00"


@dataclasses.dataclass(frozen=True)
class ReportConfig:
    """Where the report is written: each field is a flag."""

    output_dir: str = option("", "Folder for results.md and results.html; by default RUNS_DIR.")


def published() -> dict[tuple[str, str, str, str, str], float]:
    """(source, data set, noise, student, method) -> accuracy."""
    with (_HERE / "published_tables.csv").open() as file:
        rows = list(csv.DictReader(file))
    keys = ("source", "dataset", "noise_fraction", "studentnet", "method")
    return {tuple(row[key] for key in keys): float(row["accuracy"]) for row in rows}  # type: ignore[misc]


def published_steps() -> dict[str, int]:
    """Student -> steps of its published runs."""
    with (_HERE / "published_runs.csv").open() as file:
        return {row["studentnet"]: int(row["max_number_of_steps"]) for row in csv.DictReader(file)}


def is_full(result: Result) -> bool:
    """Whether a run has the published number of steps and all images, and is done."""
    _, _, student, size, steps = result.setting
    return result.is_done and size == _FULL_SIZE and steps == published_steps().get(student)


def _mean(values: Iterable[float]) -> str:
    """Mean, and standard deviation if there are several values."""
    array = np.array(list(values))
    return f"{array.mean():.3f}" + (f" ± {array.std(ddof=1):.3f}" if len(array) > 1 else "")


def _accuracy_cells(group: Sequence[Result]) -> list[str]:
    has_five = all(len(result.accuracies) >= 5 for result in group)
    return [
        _mean(result.accuracies[-1] for result in group),
        _mean(result.accuracies.max() for result in group),
        _mean(result.accuracies[-5:].mean() for result in group) if has_five else "",
    ]


def _cost_cells(group: Sequence[Result]) -> list[str]:
    seeds = ", ".join(str(result.config["seed"]) for result in group)
    minutes = np.mean([result.minutes() for result in group])
    rate = np.mean([result.images_per_second() for result in group])
    return [seeds, f"{minutes:.1f}", f"{rate:.0f}"]


Table = tuple[Sequence[str], list[list[Any]]]  # Header and lines.
Groups = dict[tuple[Any, ...], list[Result]]


def group(results: Iterable[Result], key: Callable[[Result], tuple[Any, ...]]) -> Groups:
    """The results by a key, in the order of the methods."""
    rank = {name: place for place, name in enumerate(_COLORS)}
    groups: Groups = collections.defaultdict(list)
    for result in sorted(results, key=lambda r: rank.get(r.method_without_options, len(rank))):
        groups[key(result)].append(result)
    return dict(groups)


_ACCURACY = ("last", "best", "mean of last 5")
_COST = ("seeds", "minutes", "images/s")
_SAMPLES = {  # Column -> entry of the rows; see `Result.last`.
    "corrupted labels predicted as given": "predictions/corrupted_as_given",
    "mean weight, clean": "sample_weights/mean_clean",
    "mean weight, corrupted": "sample_weights/mean_corrupted",
}


def full_table(results: list[Result]) -> Table:
    """Full runs, one row per setting and method, with both published numbers."""
    numbers, lines = published(), []
    for key, runs in group(results, lambda r: (*r.setting, r.method)).items():
        dataset, noise, student, _, _, method = key
        plain = runs[0].plain_method
        line = [dataset, noise, student, method, *_accuracy_cells(runs)]
        last = np.mean([run.accuracies[-1] for run in runs])
        for source in ("release", "paper"):
            number = numbers.get((source, dataset, noise, student, plain))
            line += [number, None if number is None else f"{last - number:+.3f}"]
        lines.append([*line, *_cost_cells(runs)])
    there = ("release", "difference", "paper", "difference")
    return ("data", "noise", "student", "method", *_ACCURACY, *there, *_COST), lines


def comparison_table(results: list[Result]) -> Table:
    """Runs of one setting, one row per method; no published number is comparable."""
    header = ["method", *_ACCURACY, *_SAMPLES, *_COST]
    has_kept = any(result.kept_accuracy is not None for result in results)
    if has_kept:
        header.insert(1 + len(_ACCURACY), "label wave")
    lines = []
    for (method,), runs in group(results, lambda r: (r.method,)).items():
        line = [method, *_accuracy_cells(runs)]
        if has_kept:
            kept = [run.kept_accuracy for run in runs if run.kept_accuracy is not None]
            line.append(_mean(kept) if kept else None)
        for key in _SAMPLES.values():
            last = [value for run in runs if (value := run.last(key)) is not None]
            line.append(_mean(last) if last else None)
        lines.append([*line, *_cost_cells(runs)])
    return header, lines


def unfinished_table(results: list[Result]) -> Table:
    """Runs that stopped before their last step."""
    rows = [
        [r.name, r.last_step, r.config["max_number_of_steps"], float(r.accuracies[-1])]
        for r in results
    ]
    return ("run", "evaluated up to step", "of", "accuracy there"), rows


Panels = dict[str, Callable[["Axes"], None]]


def _draw(panels: Panels) -> bytes:
    """Panels, two per row, as PNG; one legend for all methods."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = -(-len(panels) // 2)
    size = (9.6, 3.6 * rows + 0.4)
    figure, grid = plt.subplots(rows, 2, figsize=size, layout="constrained")
    for axes in np.ravel(grid)[len(panels) :]:
        axes.axis("off")
    for axes, (title, draw) in zip(np.ravel(grid), panels.items(), strict=False):
        draw(axes)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
    handles, names = np.ravel(grid)[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4, fontsize=8)
    file = io.BytesIO()
    figure.savefig(file, dpi=120, format="png")
    plt.close(figure)
    return file.getvalue()


def _mean_curve(runs: Sequence[Result], key: str) -> Curve | None:
    """The mean of the runs' curves at the steps that all of them have."""
    curves = [dict(zip(*map(list, run.curve(key)), strict=True)) for run in runs]
    steps = sorted(set.intersection(*(set(curve) for curve in curves)))
    if not steps:
        return None
    return np.array(steps), np.array([np.mean([c[step] for c in curves]) for step in steps])


def draw_curves(results: list[Result]) -> bytes:
    """Accuracy, memorised share, and weights of clean and corrupted samples, per method."""
    groups = group(results, lambda r: (r.method,))

    def by_method(key: str, axes: Axes) -> None:
        lines: dict[str, Iterator[str]] = collections.defaultdict(lambda: itertools.cycle(_LINES))
        for (method,), runs in groups.items():
            curve = _mean_curve(runs, key)
            if curve is not None:
                color = _COLORS.get(runs[0].method_without_options, _OTHER)
                axes.plot(*curve, next(lines[color]), color=color, label=method, linewidth=1.4)

    def accuracy(axes: Axes) -> None:
        by_method("eval/accuracy", axes)

    def memorised(axes: Axes) -> None:
        by_method("predictions/corrupted_as_given", axes)
        axes.set_ylim(0, 1)

    panels: Panels = {"accuracy on test images": accuracy}
    panels["corrupted labels predicted as given"] = memorised
    for (method,), runs in groups.items():
        curve = _mean_curve(runs, "sample_weights/mean_corrupted")
        if curve is not None and np.any(curve[1] != 1):
            panels[f"mean weight, {method}"] = functools.partial(_draw_weights, runs)
    return _draw(panels)


def _draw_weights(runs: Sequence[Result], axes: Axes) -> None:
    for kind, color in (("clean", _CLEAN), ("corrupted", _CORRUPTED)):
        curve = _mean_curve(runs, f"sample_weights/mean_{kind}")
        if curve is not None:
            axes.plot(*curve, color=color, label=f"{kind} label", linewidth=1.4)
    axes.set_ylim(0, 1.05)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=7.5)


Section = tuple[str, str, Table, bytes | None]


def sections(results: list[Result]) -> list[Section]:
    """(title, note, table, picture) of each part of the report."""
    parts: list[Section] = []
    if full := [r for r in results if is_full(r)]:
        parts.append(("Full runs", "Published steps, all images.", full_table(full), None))
    others = [r for r in results if r.is_done and not is_full(r)]
    for key, runs in group(others, lambda r: r.setting).items():
        dataset, noise, student, size, steps = key
        reduced = "Reduced: " if size < _FULL_SIZE or student in published_steps() else ""
        title = f"{reduced}{dataset}, noise {noise}, {student}, {steps:,} steps"
        augment = {"without" if r.config["augment"] is False else "with" for r in runs}
        batches = sorted({r.config["batch_size"] for r in runs})
        note = f"{size:,} images, batches of {' or '.join(map(str, batches))}, "
        note += f"{' or '.join(sorted(augment))} augmentation. Not the published set-up."
        parts.append((title, note, comparison_table(runs), draw_curves(runs)))
    if unfinished := [r for r in results if not r.is_done]:
        note = "Stopped before the last step; not included in the other tables."
        parts.append(("Unfinished runs", note, unfinished_table(unfinished), None))
    return parts


def write(results: list[Result], output_dir: pathlib.Path) -> None:
    """Writes results.md and results.html."""
    note = "Accuracy on all test images; mean ± standard deviation over seeds."
    markdown, body = [f"# Results\n\n{note}\n"], [f"<p>{pages.text(note)}</p>\n"]
    for title, remark, table, png in sections(results):
        markdown.append(f"## {title}\n\n{remark}\n\n{pages.markdown_table(*table)}")
        body.append(f"<h2>{pages.text(title)}</h2>\n<p>{pages.text(remark)}</p>\n")
        body.append(pages.html_table(*table))
        if png:
            body.append(f"<p>{pages.picture(png, f'Curves over the steps: {title}')}</p>\n")
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        files.write_text(output_dir / "results.md", "\n".join(markdown))
        files.write_text(output_dir / "results.html", pages.page("Results", "".join(body)))
    except OSError as error:
        raise InputError(f"`output_dir` {output_dir} cannot be written: {error}") from None


def define_flags() -> None:
    """Defines the flags; called only by the script, so that it can be imported without them."""
    config_flags.define_flags(ReportConfig)


def main(runs_dir: str) -> None:
    config = ReportConfig(**config_flags.read_flags(ReportConfig))
    results = read_results(pathlib.Path(runs_dir))
    output_dir = pathlib.Path(config.output_dir or runs_dir)
    write(results, output_dir)
    done = sum(result.is_done for result in results)
    missing = len(configurations(pathlib.Path(runs_dir))) - len(results)
    counts = f"{done} runs, {len(results) - done} unfinished, {missing} not evaluated"
    print(f"{output_dir}/results.md and results.html: {counts}")


if __name__ == "__main__":
    define_flags()
    script.run(main, "RUNS_DIR")
