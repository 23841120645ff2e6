"""Files that are whole or absent, and folders that one process holds."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

from mentornet.core.errors import InputError

LOCK_FILE = ".lock"


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes a file under a temporary name beside it, then renames it.

    Raises:
      OSError: the folder cannot be written.
    """
    path = pathlib.Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def read_json_lines(path: str | pathlib.Path) -> list[dict[str, Any]]:
    """The rows of a JSON lines file; empty if there is none. A last line cut short is left out."""
    rows = []
    try:
        lines = pathlib.Path(path).read_text().splitlines()
    except FileNotFoundError:
        return []
    for line in lines:
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


@contextlib.contextmanager
def whole_folder(folder: str | os.PathLike[str], flag: str) -> Iterator[pathlib.Path]:
    """A new folder beside `folder`, which takes its name at the end, or is removed at an error.

    Args:
      folder: it must not exist yet.
      flag: which flag names it, for the messages.

    Raises:
      InputError: the folder cannot be made.
    """
    folder = pathlib.Path(folder).absolute()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = pathlib.Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise InputError(f"`{flag}` {folder} cannot be written: {error}") from None
    try:
        yield temporary
        temporary.chmod(0o755)
        os.replace(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


@contextlib.contextmanager
def held(folder: str | os.PathLike[str], flag: str) -> Iterator[None]:
    """Holds a folder for this process; the hold ends with the process, however that ends.

    Args:
      folder: it is made if need be.
      flag: which flag names it, for the messages.

    Raises:
      InputError: another process holds it, which is named; or it cannot be written.
    """
    path = pathlib.Path(folder) / LOCK_FILE
    with contextlib.ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(path.open("a+"))
        except OSError as error:
            raise InputError(f"`{flag}` {folder} cannot be written: {error}") from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"`{flag}` must not be used by two processes at once. Received: {folder}, "
                f"in use by process {holder(folder)}"
            ) from None
        except OSError:  # A file system without locks.
            pass
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def holder(folder: str | os.PathLike[str]) -> int | None:
    """The process that holds a folder (see `held`), or None; 0 if it has not said yet."""
    try:
        with (pathlib.Path(folder) / LOCK_FILE).open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(file.read() or 0)
    except OSError:  # There is no such file, or no locks.
        pass
    return None
