"""Imports a package's names on first use, so that flags are parsed before TensorFlow loads."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any


def exports(package: str, modules: dict[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a package whose public names are defined in its modules.

    Args:
      package: its `__name__`.
      modules: public name -> module below the package.

    Raises:
      AttributeError: (raised by the returned function) the package has no such name.
    """

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{modules[name]}"), name)

    return get
