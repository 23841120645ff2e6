"""The folder of a training run: its configuration, logs, and what may be continued."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Any

from mentornet.config.training import TrainConfig
from mentornet.core import files
from mentornet.core.errors import InputError, check
from mentornet.runs import writers
from mentornet.runs.checkpoints import CHECKPOINT_NAME

CONFIG_FILE = "config.json"
METRICS_FILE = "metrics.jsonl"
# What a run writes, and `overwrite` removes.
_OWN_FILES = (
    CONFIG_FILE,
    METRICS_FILE,
    "checkpoint",
    f"{CHECKPOINT_NAME}-*",
    "events.out.tfevents.*",
)


def describe(config: TrainConfig, **facts: Any) -> dict[str, Any]:
    """The configuration and facts about data and MentorNet, as JSON values."""
    return json.loads(json.dumps(dataclasses.asdict(config) | facts))


def open_folder(config: TrainConfig, description: dict[str, Any]) -> None:
    """Makes train_log_dir and its config.json, or checks that the run in it is this one.

    Raises:
      InputError: the folder cannot be written, or holds a run with another configuration and
        `overwrite` is off; the message names what differs.
    """
    folder = pathlib.Path(config.train_log_dir)
    path = folder / CONFIG_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if config.overwrite:
            for pattern in _OWN_FILES:
                for file in folder.glob(pattern):
                    file.unlink()
        elif path.exists():
            _check_same(_read_config(path), description, config, folder)
        files.write_text(path, json.dumps(description, indent=1) + "\n")
    except OSError as error:
        raise InputError(f"`train_log_dir` {folder} cannot be written: {error}") from None


def _read_config(path: pathlib.Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text())
    except ValueError:
        config = None
    check(
        isinstance(config, dict),
        f"{path} is not a run's configuration.",
        train_log_dir=str(path.parent),
    )
    return config


def _check_same(
    old: dict[str, Any], new: dict[str, Any], config: TrainConfig, folder: pathlib.Path
) -> None:
    # A setting that is younger than the run had its default's effect.
    old = {field.name: field.default for field in dataclasses.fields(config)} | old
    compared = [key for key in new if key not in config.operational]
    different = [f"{k} was {old.get(k)!r}, is {new[k]!r}" for k in compared if old.get(k) != new[k]]
    if different:
        raise InputError(
            f"`train_log_dir` {folder} holds a run with another configuration: "
            f"{'; '.join(different)}. Choose another folder, or --overwrite to start anew."
        )


def open_writers(
    config: TrainConfig, first_step: int, last_step: int, label: str
) -> writers.MultiWriter:
    """Console, TensorBoard and metrics.jsonl; rows after `first_step` are written anew."""
    folder = config.train_log_dir
    return writers.MultiWriter(
        writers.JsonLinesWriter(pathlib.Path(folder) / METRICS_FILE, first_step),
        writers.TensorBoardWriter(folder, config.save_summaries_secs),
        writers.ConsoleWriter(first_step, last_step, label),
    )
