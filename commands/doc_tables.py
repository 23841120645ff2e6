#!/usr/bin/env python3
"""Writes the tables of students, noise types, weightings, sources and results in the documents.

A table is between `<!-- table: NAME -->` and `<!-- end of table -->` of a page; its rows are the
names and descriptions of a registry, or the accuracies of the runs in results/. A test checks that
the pages are up to date.
"""

import pathlib
import re
from typing import NamedTuple

import numpy as np

from mentornet.core.registry import Registry
from mentornet.datasets.noise import NOISE_TYPES
from mentornet.datasets.sources import SOURCES
from mentornet.runs.reader import Result, read_results
from mentornet.students.networks import STUDENTS
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


# Name of the table -> student whose runs in results/ it shows.
RESULTS = {"fast_runs": "airbench93"}
_METHODS = (  # In this order; others follow by name.
    "baseline",
    "mixup",
    "self_paced",
    "focal_loss",
    "mentornet_pd",
    "mentornet_pd, auto",
    "mentornet_dd",
    "mentormix",
)


def _accuracies(student: str) -> str:
    """A row per setting, a cell per method that was run: last accuracy, number of seeds.

    Options of weightings, precision and other settings are left out; docs/results.md has them.
    """
    results = read_results(ROOT / "results")
    results = [r for r in results if r.is_done and r.setting[2] == student]
    cells: dict[tuple[str, str, str], dict[str, list[Result]]] = {}
    for result in results:
        dataset, noise, _, images, steps = result.setting
        epochs = round(steps * result.config["batch_size"] / images)
        line = cells.setdefault((dataset, noise, str(epochs)), {})
        line.setdefault(result.method_without_options, []).append(result)

    def cell(found: list[Result]) -> str:
        last = [result.accuracies[-1] for result in found]
        seeds = len({result.config["seed"] for result in found})
        return f"{np.mean(last):.3f}" + (f" ({seeds} seeds)" if seeds > 1 else "")

    ran = set[str]().union(*cells.values())
    methods = [*(name for name in _METHODS if name in ran), *sorted(ran - set(_METHODS))]
    head = ("data", "labels", "epochs", *methods)
    lines = ["", " | ".join(head), " | ".join(["---"] * len(head))]
    for setting, found in sorted(cells.items(), key=lambda item: (item[0][:2], int(item[0][2]))):
        row = [cell(found[method]) if method in found else "" for method in methods]
        lines.append(" | ".join([*setting, *row]))
    return "\n".join(f"| {line} |" if line else "" for line in lines)


def pages() -> list[pathlib.Path]:
    """The documents that may contain tables."""
    return [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]


def with_tables(text: str) -> str:
    """A page's text with its tables updated."""

    def table(match: re.Match[str]) -> str:
        if match[2] in RESULTS:
            return f"{match[1]}{_accuracies(RESULTS[match[2]])}\n\n{match[3]}"
        head, registry = TABLES[match[2]]
        return f"{match[1]}\n{head}\n| --- | --- |\n{registry.table()}\n\n{match[3]}"

    return _MARKED.sub(table, text)


if __name__ == "__main__":
    for page in pages():
        page.write_text(with_tables(page.read_text()))
