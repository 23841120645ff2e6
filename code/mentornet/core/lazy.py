"""Names of a package that are imported on first use, so that flags are parsed before TensorFlow."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any


def exports(package: str, modules: dict[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a package whose public names live in its modules.

    Args:
      package: its `__name__`.
      modules: public name -> module below the package.

    Raises:
      AttributeError: (by the function returned) the package has no such name.
    """

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{modules[name]}"), name)

    return get
