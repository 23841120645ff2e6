"""A configuration as the flags that ask for it."""

from __future__ import annotations

import csv
import dataclasses
import io
from typing import Any

from mentornet.config import options


def flag_lines(config: Any) -> list[str]:
    """`--flag=value` for each field, nested ones included, that differs from its default."""
    lines = []
    for field in options.fields(type(config)):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            lines += flag_lines(value)
        elif value is not None and value != field.default:
            if isinstance(value, tuple) and not field.option.repeated:
                value = _csv(value)
            parts = value if field.option.repeated else (value,)
            lines += [f"--{field.flag}={part}" for part in parts]
    return lines


def _csv(values: tuple[Any, ...]) -> str:
    """The values separated by commas, those that hold commas in quotes."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(values)
    return line.getvalue()
