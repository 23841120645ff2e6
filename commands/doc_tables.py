#!/usr/bin/env python3
"""Writes the tables of the documents that list students, noise types, weightings
and sources.

A table stands in a page between `<!-- table: NAME -->` and `<!-- end of table -->`; its rows are
the names and descriptions of a registry. A test compares pages and registries.
"""

import pathlib
import re
from typing import NamedTuple

from mentornet.core.registry import Registry
from mentornet.datasets.noise import NOISE_TYPES
from mentornet.datasets.sources import SOURCES
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


def pages() -> list[pathlib.Path]:
    """The documents in which tables may stand."""
    return [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]


def with_tables(text: str) -> str:
    """A page's text with its tables as the registries have them."""

    def table(match: re.Match[str]) -> str:
        head, registry = TABLES[match[2]]
        return f"{match[1]}\n{head}\n| --- | --- |\n{registry.table()}\n\n{match[3]}"

    return _MARKED.sub(table, text)


if __name__ == "__main__":
    for page in pages():
        page.write_text(with_tables(page.read_text()))
