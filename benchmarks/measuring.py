"""Steps in turns, peak memory, and where it was measured: what the benchmarks share."""

from __future__ import annotations

import json
import os
import pathlib
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Hashable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from steps import Step

from mentornet.core.errors import check

if TYPE_CHECKING:
    from mentornet.datasets.records import Examples

ROOT = pathlib.Path(__file__).resolve().parents[1]


def take_turns(steps: dict[str, Step], rounds: int) -> dict[str, list[float]]:
    """Seconds of each step in each round, after two rounds that do not count."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds + 2):
        names = list(steps) if number % 2 else list(steps)[::-1]
        for name in names:
            start = time.perf_counter()
            steps[name]()
            if number >= 2:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def median(seconds: list[float]) -> float:
    return float(np.median(seconds))


def setting(config: dict[str, Any]) -> str:
    """A run's data set, student and noise, as "cifar10/airbench93/0.4"."""
    data = pathlib.PurePath(config["data_dir"])
    return "/".join((data.parent.name, config["studentnet"], data.name))


def keep_rows(path: pathlib.Path, rows: Iterable[Any], key: Callable[[Any], Hashable]) -> list[Any]:
    """The "rows" of a JSON file, if it exists, and new ones, which replace those with their key."""
    earlier = json.loads(path.read_text())["rows"] if path.is_file() else []
    return list({key(row): row for row in [*earlier, *rows]}.values())


def wrong_labels(examples: Examples, run_dir: str) -> np.ndarray:
    """Which labels of a run's data are wrong, bool [n].

    Raises:
      InputError: a clean label is unknown.
    """
    known = bool((examples.clean_labels >= 0).all())
    check(known, "The clean label of every sample must be known.", run=run_dir)
    return examples.labels != examples.clean_labels


def peak_mb(command: list[str]) -> float:
    """The most memory that a process held, in MB."""
    return float(output_of([str(pathlib.Path(__file__).with_name("peak.py")), *command]))


def output_of(arguments: list[str]) -> bytes:
    """What `python ARGUMENT ...` prints; it can import what is in this folder."""
    paths = [str(pathlib.Path(__file__).parent), os.environ.get("PYTHONPATH")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    command = [sys.executable, *arguments]
    return subprocess.check_output(command, stderr=subprocess.DEVNULL, env=environment)


def machine() -> dict[str, Any]:
    """Where and with what this was measured."""
    import keras
    import tensorflow as tf

    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    versions = {"python": platform.python_version(), "tensorflow": tf.__version__}
    versions |= {"keras": keras.__version__, "numpy": np.__version__}
    return {
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "devices": [device.name for device in tf.config.list_physical_devices()],
        "versions": versions,
        "commit": commit.stdout.strip(),
    }
