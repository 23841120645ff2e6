"""The folder of a training run: its configuration, its logs, and whether it can be continued."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import mentornet
from mentornet.config import options
from mentornet.config.training import TrainConfig
from mentornet.core import files
from mentornet.core.errors import InputError, check
from mentornet.core.schedules import RateSchedule
from mentornet.runs import layout, writers
from mentornet.runs.checkpoints import checkpoint_paths

# Keys in config.json.
SCHEDULE = "learning_rate_schedule"
_VERSION = "mentornet_version"
# What is said of facts that differ; of several, the first.
_FACTS = {
    "images_sha256": "`data_dir` holds other images or features",
    "data_sha256": "`data_dir` holds other labels or ids",
}


def describe(config: TrainConfig, schedule: RateSchedule, **facts: Any) -> dict[str, Any]:
    """Configuration, learning rates, facts about data and networks, and version, as JSON values."""
    values = dataclasses.asdict(config) | {SCHEDULE: dataclasses.asdict(schedule)} | facts
    return json.loads(json.dumps(values | {_VERSION: mentornet.__version__}))


def open_folder(
    config: TrainConfig, description: dict[str, Any], defaults: Mapping[str, Any]
) -> None:
    """Creates train_log_dir and its config.json, or checks that it holds the same run.

    A run that saved nothing is replaced.

    Args:
      config: the run.
      description: of the run, see `describe`.
      defaults: the meaning of a `null` in the config.json of an older version, by field; later
        versions write the resolved value.

    Raises:
      InputError: the folder cannot be written, or holds a run with another configuration and
        `overwrite` is off (the message names what differs), or one that has logged its last step,
        but has no checkpoint.
    """
    folder = pathlib.Path(config.train_log_dir)
    path = folder / layout.CONFIG_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if config.overwrite:
            layout.remove(folder)
        elif path.exists() and has_no_checkpoint(folder):
            print(f"{folder} holds a run that saved nothing; it is replaced.", flush=True)
            layout.remove(folder)
        elif path.exists():
            _check_same(layout.read_config(folder), description, defaults, folder)
            rule = "The run has logged its last step, but has no checkpoint: it was deleted, or "
            rule += "the process was killed before it was saved. Use --overwrite to train again."
            is_whole = bool(checkpoint_paths(str(folder))) or not _was_finished(folder)
            check(is_whole, rule, train_log_dir=str(folder))
        files.write_json(path, description)
    except OSError as error:
        raise InputError(f"`train_log_dir` {folder} cannot be written: {error}") from None


def has_no_checkpoint(folder: str | pathlib.Path) -> bool:
    """Whether a folder holds no run, or one that may be replaced: it never saved a checkpoint.

    Such a run ended early, for example because a loss was not finite. A run that logged its last
    step did save one, even if it has been deleted since.

    Raises:
      InputError: its config.json is not a run's.
    """
    folder = pathlib.Path(folder)
    path = folder / layout.CONFIG_FILE
    if not path.exists():
        return True
    if layout.has_progress(folder):
        return False
    return "max_number_of_steps" in layout.read_config(folder) and not _was_finished(folder)


def _was_finished(folder: pathlib.Path) -> bool:
    """Whether a run has logged its last step."""
    last_step = layout.read_config(folder).get("max_number_of_steps")
    rows = files.read_json_lines(folder / layout.METRICS_FILE)
    return bool(rows) and rows[-1]["step"] == last_step


def _check_same(
    old: dict[str, Any], new: dict[str, Any], defaults: Mapping[str, Any], folder: pathlib.Path
) -> None:
    old = options.filled(TrainConfig, old)
    old |= {name: value for name, value in defaults.items() if old[name] is None}
    old = new | old  # What an older version did not record is taken as equal.
    # Class names may have been unknown.
    ignored = options.may_change(TrainConfig) | {"class_names", _VERSION}
    different = options.differences(old, new, ignored | {SCHEDULE, *_FACTS})
    if not different:  # The schedule follows from other settings.
        different = options.differences(old, new, ignored | {*_FACTS})
    different += [text for name, text in _FACTS.items() if old.get(name) != new.get(name)][:1]
    if different:
        raise InputError(
            f"`train_log_dir` {folder} holds a run with another configuration: "
            f"{'; '.join(different)}. Choose another folder, or --overwrite to start over."
        )


def open_writers(
    config: TrainConfig, first_step: int, last_step: int, label: str
) -> writers.MultiWriter:
    """Writers for console, TensorBoard and metrics.jsonl; rows after `first_step` are replaced."""
    folder = config.train_log_dir
    return writers.MultiWriter(
        writers.JsonLinesWriter(pathlib.Path(folder) / layout.METRICS_FILE, first_step),
        writers.TensorBoardWriter(folder, config.save_summaries_secs),
        writers.ConsoleWriter(first_step, last_step, label),
    )
