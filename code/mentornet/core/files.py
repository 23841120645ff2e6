"""Files that are complete or absent, and folders that a process locks."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import json
import os
import pathlib
import shutil
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from mentornet.core.errors import InputError, check

LOCK_FILE = ".lock"
_ATTEMPTS = 100  # To lock a folder while others look who holds it.


@contextlib.contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """A path beside `path`; its file is renamed to `path` at the end, or removed after an error.

    Raises:
      OSError: it cannot be renamed.
    """
    path = pathlib.Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes a text file as a whole: readers see the old file or the new one.

    Raises:
      OSError: the folder cannot be written.
    """
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def sha256(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal digits.

    Raises:
      OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: str | os.PathLike[str], value: object) -> None:
    """Writes indented JSON like `write_text`."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def read_json_object(path: str | os.PathLike[str], fault: str) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
      InputError: the file cannot be read, or holds no JSON object; the message is the path, `fault`
        such as "is not a run's configuration", and the reason.
    """
    try:
        found = json.loads(pathlib.Path(path).read_text("utf-8"))
    except (OSError, ValueError) as error:  # ValueError is json's and UTF-8's.
        raise InputError(f"{path} {fault}: {error}") from None
    check(isinstance(found, dict), f"{path} {fault}: it must hold a JSON object.")
    return found


def read_json_lines(path: str | pathlib.Path) -> list[dict[str, Any]]:
    """The rows of a JSON lines file, each of which has a step; empty if there is no file.

    Damaged lines are left out, with a warning unless it is an unfinished last line, which is being
    written or whose writer was killed.

    Raises:
      OSError: the file exists, but cannot be read.
    """
    rows = []
    try:
        text = pathlib.Path(path).read_text("utf-8", errors="replace")
    except FileNotFoundError:
        return []
    for number, line in enumerate(text.split("\n"), start=1):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if isinstance(row, dict) and isinstance(row.get("step"), int):
            rows.append(row)
        elif number <= text.count("\n"):
            _warn_of_line(path, number)
    return rows


@functools.cache  # Programs that wait for new rows read the same lines many times.
def _warn_of_line(path: str | pathlib.Path, number: int) -> None:
    print(f"WARNING: line {number} of {path} is damaged and left out.", flush=True)


@contextlib.contextmanager
def arrays(path: str | os.PathLike[str], fault: str, may_be_single: bool = False) -> Iterator[Any]:
    """The arrays of an .npz file, by name; pickles are not loaded.

    The block reads the arrays that it needs, since each is read when asked for.

    Args:
      path: the file.
      fault: begins the error's message.
      may_be_single: whether an .npy file is accepted, too, for which the block gets its array.

    Raises:
      InputError: the file, or an array of it, cannot be read; the message is `fault` and the
        reason. An InputError of the block stays as it is.
    """
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray) and not may_be_single:
            raise ValueError("it holds a single array")
        with contextlib.nullcontext() if isinstance(loaded, np.ndarray) else loaded:
            yield loaded
    except InputError:
        raise
    except Exception as error:  # zipfile, zlib and NumPy each raise their own errors.
        advice = "; save texts with `.astype(str)`" if "Object arrays" in str(error) else ""
        raise InputError(f"{fault}: {error}{advice}") from None


@contextlib.contextmanager
def whole_folder(folder: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """A new folder that is renamed to `folder` at the end, or removed after an error.

    Args:
      folder: it must not exist yet.

    Raises:
      InputError: the folder cannot be created.
      FileExistsError: it exists at the end, since another process has made it.
    """
    folder = pathlib.Path(folder).absolute()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = pathlib.Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise InputError(f"`output_dir` {folder} cannot be written: {error}") from None
    try:
        yield temporary
        temporary.chmod(0o755)
        try:
            os.replace(temporary, folder)
        except OSError as error:
            if not folder.exists():
                raise
            raise FileExistsError(f"`output_dir` {folder} was made by another process.") from error
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


@contextlib.contextmanager
def held(folder: str | os.PathLike[str], flag: str) -> Iterator[None]:
    """Locks a folder for this process; the lock is released when the process ends in any way.

    Args:
      folder: it is created if necessary.
      flag: the flag that names it, for messages.

    Raises:
      InputError: another process holds the lock (the message names it), or the folder cannot be
        written.
    """
    path = pathlib.Path(folder) / LOCK_FILE
    with contextlib.ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(path.open("a+"))
        except OSError as error:
            raise InputError(f"`{flag}` {folder} cannot be written: {error}") from None
        for attempt in range(_ATTEMPTS):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                process = holder(folder)
                if process is None and attempt + 1 < _ATTEMPTS:  # It only looked for the holder.
                    time.sleep(0.01)
                    continue
                raise InputError(
                    f"`{flag}` must not be used by two processes at once. Received: {folder}, "
                    f"in use by process {process}"
                ) from None
            except OSError:  # A file system without locks.
                break
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def was_held(folder: str | os.PathLike[str]) -> bool:
    """Whether a process has locked a folder (see `held`), and none does any more."""
    return (pathlib.Path(folder) / LOCK_FILE).exists() and holder(folder) is None


def holder(folder: str | os.PathLike[str]) -> int | None:
    """The process that locks a folder (see `held`), or None; 0 if its id is not known yet."""
    try:
        with (pathlib.Path(folder) / LOCK_FILE).open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(file.read() or 0)
    except OSError:  # There is no such file, or locks are not supported.
        pass
    return None
