"""The order in which people expect names with numbers."""

from __future__ import annotations

import re


def natural_order(name: str) -> list[tuple[str, int]]:
    """Sort key that places resnet8 before resnet14."""
    return [(text, int(digits or 0)) for text, digits in re.findall(r"(\D*)(\d*)", name)]
