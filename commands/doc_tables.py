#!/usr/bin/env python3
"""Writes the tables of students, noise types, weightings, sources and results in the documents.

A table is between `<!-- table: NAME -->` and `<!-- end of table -->` of a page; its rows are the
names and descriptions of a registry, the students' recipes, or what results/ holds of runs. A test
checks that the pages are up to date.
"""

import functools
import itertools
import json
import pathlib
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from mentornet.core import pages as markup
from mentornet.core.registry import Registry
from mentornet.datasets.noise import NOISE_TYPES
from mentornet.datasets.sources import SOURCES
from mentornet.runs.reader import Result, read_results
from mentornet.students.networks import STUDENTS
from mentornet.students.recipes import (
    EPOCHS_PER_DECAY,
    Recipe,
    Schedule,
    half_and_three_quarters,
    staircase,
)
from mentornet.weighting.methods import WEIGHTINGS

ROOT = pathlib.Path(__file__).resolve().parents[1]
_MARKED = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end of table -->)", re.S)


class _Table(NamedTuple):
    head: str
    registry: Registry


TABLES = {
    "students": _Table("| `--studentnet` | network; parameters for 10 classes |", STUDENTS),
    "noise_types": _Table("| `--noise_type` | with probability `--noise_fraction` |", NOISE_TYPES),
    "weightings": _Table("| `--weighting` | what it is |", WEIGHTINGS),
    "sources": _Table("| `--source` | what it is |", SOURCES),
}


_GRID = "grid/"  # Below results/: runs that differ from others in one setting only.
_OTHER_RATE = "_rate_"  # In the name of such a run.
# Of results/label_scores.md: without weighting, under MentorNet PD and with auto.
_RANKED = re.compile(r"\| cifar\S+/(baseline|mentornet_pd)(_auto)?(_1465)?_[01] \|")

_METHODS = (  # In this order; others follow by name.
    "baseline",
    "mixup",
    "self_paced",
    "focal_loss",
    "mentornet_pd",
    "mentornet_pd, auto",
    "mentornet_dd",
    "mentornet_dd, updated",
    "mentormix",
)


def _table(head: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown, with an empty line before it."""
    return "\n" + markup.markdown_table(tuple(head), list(rows)).rstrip("\n")


def _recipes() -> str:
    """A row per student: the defaults of the flags whose help says "by default the student's"."""
    courses: dict[Schedule, str] = {half_and_three_quarters: "falls at 1/2 and 3/4 of the steps"}
    courses[staircase] = f"falls every {EPOCHS_PER_DECAY:g} epochs"

    def row(name: str) -> list[str]:
        recipe: Recipe = STUDENTS.find(name).recipe
        rate = f"{recipe.learning_rate:.3g}"
        if recipe.rate_follows_batch:
            rate += f" per {recipe.batch_size:,} samples"
        course = courses.get(recipe.schedule, "its own")
        if recipe.learning_rate_shape:
            course = f"`{recipe.learning_rate_shape}`"
        if recipe.mentored_boundaries:
            steps = ", ".join(f"{step:,}" for step in recipe.mentored_boundaries)
            course += f"; with a MentorNet at steps {steps}"
        momentum = f"{recipe.momentum:g}" + (" (Nesterov)" if recipe.nesterov else "")
        padding = f"{recipe.crop_padding} ({recipe.crop_mode})"
        decay = f"{recipe.weight_decay:.2g}"
        parts = (f"{recipe.batch_size:,}", rate, course, momentum, decay, padding)
        return [f"`{name}`", *parts, recipe.mixed_precision]

    head = "batch size", "learning rate", "schedule", "momentum", "weight decay", "crop padding"
    return _table(("`--studentnet`", *head, "precision"), map(row, STUDENTS.names()))


def _accuracies(student: str) -> str:
    """A row per setting, a cell per method that was run: last accuracy, number of seeds.

    Options of weightings, precision and other settings are left out; docs/results.md has them.
    """
    results = [r for r in read_results(ROOT / "results") if not r.name.startswith(_GRID)]
    results = [r for r in results if r.is_done and r.setting[2] == student]
    cells: dict[tuple[str, str, str], dict[str, list[Result]]] = {}
    for result in results:
        dataset, noise, *_ = result.setting
        line = cells.setdefault((dataset, noise, str(result.epochs)), {})
        line.setdefault(result.method_without_options, []).append(result)

    def cell(found: list[Result]) -> str:
        last = [result.accuracies[-1] for result in found]
        seeds = len({result.config["seed"] for result in found})
        return f"{np.mean(last):.3f}" + (f" ({seeds} seeds)" if seeds > 1 else "")

    ran = set[str]().union(*cells.values())
    methods = [*(name for name in _METHODS if name in ran), *sorted(ran - set(_METHODS))]
    rows = []
    for setting, found in sorted(cells.items(), key=lambda item: (item[0][:2], int(item[0][2]))):
        row = [cell(found[method]) if method in found else "" for method in methods]
        rows.append([*setting, *row])
    return _table(("data", "labels", "epochs", *methods), rows)


def _percentiles() -> str:
    """A row per kind of labels: last accuracies of MentorNet PD by percentile, and without it.

    Of the runs in results/grid and of those with seed 0 on the same data, of as many steps, at the
    student's own learning rate.
    """
    results = [
        result
        for result in read_results(ROOT / "results")
        if result.is_done and result.config["seed"] == 0 and _OTHER_RATE not in result.name
    ]
    settings = {result.setting for result in results if result.name.startswith(_GRID)}
    rows: dict[tuple[str, int], dict[str, str]] = {}
    for result in results:
        name, weighting = result.method_without_options, result.config["weighting"]
        if result.setting in settings and name in ("baseline", "mentornet_pd"):
            column = f"{weighting['loss_p_percentile']}" if weighting else "no weighting"
            row = rows.setdefault((result.setting[1], result.epochs), {})
            row[column] = f"{result.accuracies[-1]:.3f}"
    head = sorted(set[str]().union(*rows.values()) - {"no weighting"})
    lines = [
        [*map(str, key), *(rows[key].get(c, "") for c in ("no weighting", *head))]
        for key in sorted(rows)
    ]
    return _table(("labels", "epochs", "no weighting", *head), lines)


def _cleanlab() -> str:
    """A row per run in results/label_errors.json, beside cleanlab's folds of as many steps."""
    facts = json.loads((ROOT / "results" / "label_errors.json").read_text())
    # Draws of the same noise differ in the share of wrong labels.
    keys = ("data", "wrong", "steps", "scores")
    found: dict[tuple[Any, ...], dict[str, Any]] = {
        tuple(row[key] for key in keys): row for row in facts["rows"]
    }
    methods = ("self_confidence", "normalized_margin")

    def cell(row: dict[str, Any]) -> str:
        return f"{row['AUC']:.3f} / {row['average precision']:.3f}"

    lines = []
    for (data, wrong, steps, scores), row in found.items():
        if scores.startswith("cleanlab"):
            continue
        equal = steps // facts["folds"] * facts["folds"]
        others = [found.get((data, wrong, equal, f"cleanlab, {method}")) for method in methods]
        cells = (cell(each) if each else "" for each in (row, *others))
        lines.append([data, wrong, f"{steps:,}", *cells])
    head = ("data", "wrong", "steps", "`label_report.py`")
    return _table((*head, *(f"cleanlab, {method}" for method in methods)), lines)


def _label_scores(measure: str) -> str:
    """The table of results/label_scores.md whose first heading is this, of some of its runs."""
    lines = (ROOT / "results" / "label_scores.md").read_text().splitlines()
    lines = lines[[line.startswith(f"| {measure} |") for line in lines].index(True) :]
    rows = itertools.takewhile(bool, lines[2:])
    return "\n" + "\n".join([*lines[:2], *filter(_RANKED.match, rows)])


def _settings() -> str:
    """A row per setting in results/settings.json, two columns per kind of labels."""
    rows = json.loads((ROOT / "results" / "settings.json").read_text())["rows"]
    kinds = list(dict.fromkeys(labels for labels, *_ in rows))
    shares: dict[str, dict[str, tuple[str, str]]] = {}
    for labels, name, right, as_given, _ in rows:
        shares.setdefault(name, {})[labels] = f"{right:.1%}", f"{as_given:.1%}"
    head = [f"{labels}: {what}" for labels in kinds for what in ("right", "as given")]
    lines = [
        [name, *(share for labels in kinds for share in found.get(labels, ("", "")))]
        for name, found in shares.items()
    ]
    return _table(("setting", *head), lines)


def _automatic(measure: str, *, augment: bool = False, uneven: bool = False) -> str:
    """A row per noise in results/automatic.json, means over the seeds."""
    found: dict[str, dict[str, str]] = {}
    for row in json.loads((ROOT / "results" / "automatic.json").read_text())["rows"]:
        is_uneven = row["noise"].startswith("uneven")
        if measure in row and (row["augment"], is_uneven) == (augment, uneven):
            mean = f"{np.mean(row[measure]):.3f}"
            found.setdefault(row["noise"], {})[row["column"]] = mean
    head = list(dict.fromkeys(column for line in found.values() for column in line))
    return _table((measure, *head), [[noise, *line.values()] for noise, line in found.items()])


def _benchmarks() -> str:
    """What benchmarks/run.py has measured."""
    return "\n" + (ROOT / "results" / "benchmarks.md").read_text().rstrip("\n")


# Tables of other kinds: name -> its maker.
MADE: dict[str, Callable[[], str]] = {
    "recipes": _recipes,
    "fast_runs": functools.partial(_accuracies, "airbench93"),
    "percentiles": _percentiles,
    "cleanlab": _cleanlab,
    "label_scores": functools.partial(_label_scores, "AUC"),
    "noise_rates": functools.partial(_label_scores, "share of wrong labels"),
    "settings": _settings,
    **{
        f"auto{name}_{measure.replace(' ', '_')}": functools.partial(_automatic, measure, **which)
        for name, which in (("", {}), ("_crops", {"augment": True}), ("_uneven", {"uneven": True}))
        for measure in ("last accuracy", "worst class")
    },
    "benchmarks": _benchmarks,
}


def pages() -> list[pathlib.Path]:
    """The documents that may contain tables."""
    return [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]


def with_tables(text: str) -> str:
    """A page's text with its tables updated."""

    def table(match: re.Match[str]) -> str:
        if match[2] in MADE:
            return f"{match[1]}{MADE[match[2]]()}\n\n{match[3]}"
        head, registry = TABLES[match[2]]
        return f"{match[1]}\n{head}\n| --- | --- |\n{registry.table()}\n\n{match[3]}"

    return _MARKED.sub(table, text)


if __name__ == "__main__":
    for page in pages():
        page.write_text(with_tables(page.read_text()))
