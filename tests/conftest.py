"""Fixtures that tests share: small data sets and the flags to train on them."""

from __future__ import annotations

import gc
import os
import pathlib
from collections.abc import Callable, Generator

import pytest

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # As `cli.script` does, before TensorFlow.
# Programs, too, find students in `helpers`.
_PATHS = str(pathlib.Path(__file__).parent), os.environ.get("PYTHONPATH")
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, _PATHS))

# The slowest files come first, so that no worker is left with one at the end.
_LONGEST = ("distribution", "miniature", "learning", "benchmarks", "docs", "training", "weightings")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Exempts imported modules, above all TensorFlow's, from garbage collection."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    names = [f"test_{name}.py" for name in _LONGEST]
    items.sort(key=lambda item: names.index(item.path.name) if item.path.name in names else 99)


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder with digits/0.4 (200 training images) and digits/val."""
    from mentornet.datasets.prepare import PrepareConfig, prepare

    folder = tmp_path_factory.mktemp("data")
    prepare(PrepareConfig("digits", str(folder), noise_fraction=0.4, num_train=200))
    return folder / "digits"


@pytest.fixture(scope="session")
def train_flags(digits: pathlib.Path) -> Callable[..., list[str]]:
    """Flags of a training script for the digits; keywords add or override flags."""

    def flags(**values: object) -> list[str]:
        defaults = {
            "dataset_name": "digits",
            "data_dir": digits / "0.4",
            "studentnet": "helpers:small_network",
            "batch_size": 16,
            "max_number_of_steps": 40,
            "log_every_steps": 5,
        }
        return [f"--{name}={value}" for name, value in (defaults | values).items()]

    return flags
