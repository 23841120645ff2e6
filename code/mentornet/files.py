"""Files that appear under their names only when they are complete (layer 0)."""

from __future__ import annotations

import os
import pathlib


def write_text(path: str | pathlib.Path, text: str) -> None:
    """Writes a file under a temporary name beside it, then renames it.

    Raises:
      OSError: the folder cannot be written.
    """
    path = pathlib.Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text)
    os.replace(temporary, path)
