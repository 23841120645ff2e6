"""Helpers of the tests: golden files, small data sets, scripts run as processes."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
from collections.abc import Callable

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
GOLDEN = pathlib.Path(__file__).resolve().parent / "golden"
MENTORNET = str(GOLDEN / "mentornet_random")


def start(script: str, *flags: str) -> subprocess.Popen[str]:
    """Starts a script of the repository as a user would, from its top level."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / script), *flags],
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(script: str, *flags: str) -> tuple[int, str]:
    """Exit status and output (standard error included) of a script."""
    process = start(script, *flags)
    output, _ = process.communicate(timeout=300)
    return process.returncode, output


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder with digits/0.4 (200 training images) and digits/val."""
    from mentornet.datasets.prepare import PrepareConfig, prepare

    folder = tmp_path_factory.mktemp("data")
    prepare(PrepareConfig("digits", str(folder), noise_fraction=0.4, num_train=200))
    return folder / "digits"


@pytest.fixture(scope="session")
def train_flags(digits: pathlib.Path) -> Callable[..., list[str]]:
    """Flags of a training script on the digits; keywords are added or take precedence."""

    def flags(**values: object) -> list[str]:
        defaults = {
            "dataset_name": "digits",
            "data_dir": digits / "0.4",
            "studentnet": "inception",
            "batch_size": 16,
            "max_number_of_steps": 40,
            "log_every_steps": 5,
        }
        return [f"--{name}={value}" for name, value in (defaults | values).items()]

    return flags
