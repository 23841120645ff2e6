"""The names of the files of a training and of its evaluations."""

from __future__ import annotations

import operator
import pathlib
import shutil
from typing import Any

from mentornet.core import files

# In train_log_dir.
CONFIG_FILE = "config.json"
METRICS_FILE = "metrics.jsonl"
CHECKPOINT_NAME = "model.ckpt"  # <name>-<step>.index, <name>-<step>.data-...
CHECKPOINT_LIST = "checkpoint"
KEPT_FOLDER = "label_wave"  # With the one checkpoint that --keep_best=label_wave sets aside.
_UNFINISHED = "_temp"  # Suffix of the folder in which TensorFlow writes a checkpoint.
_EVENTS = "events.out.tfevents.*"
_MENTORNET_FOLDER, _MENTORNET_NAME = "mentornet", "mentornet"

# In the output folder of label_report.py, by default train_log_dir or the folder above it.
LABELS_FILE = "labels.csv"
LABELS_PAGE = "labels.html"

# In the folder of a run of the launcher, of learn_curriculum.py or of `mentornet clean`.
TRAIN_FOLDER = "train"
BURN_IN_FOLDER = "burn_in"  # Of learn_curriculum.py: the training before `train`.
EVAL_FOLDER = "eval_val"  # Of learn_curriculum.py: `eval`.

# In eval_dir.
EVALUATIONS_FILE = "eval.jsonl"
SUMMARY_FILE = "summary.json"  # learn_curriculum.py writes one of its own, in train_log_dir.
KEPT = "kept"  # Key of the rows of checkpoints from KEPT_FOLDER.


def checkpoint_prefix(folder: str | pathlib.Path, step: int) -> pathlib.Path:
    """The prefix of the checkpoint of a step."""
    return pathlib.Path(folder) / f"{CHECKPOINT_NAME}-{step}"


def checkpoint_steps(folder: str | pathlib.Path) -> list[int]:
    """The steps of the checkpoints in a folder, in increasing order."""
    names = (path.stem for path in pathlib.Path(folder).glob(f"{CHECKPOINT_NAME}-*.index"))
    steps = (name.rpartition("-")[2] for name in names)
    return sorted(int(step) for step in steps if step.isdecimal())


def mentornet_prefix(folder: str | pathlib.Path, step: int) -> pathlib.Path:
    """The checkpoint prefix of the MentorNet from the update after a step."""
    return pathlib.Path(folder) / _MENTORNET_FOLDER / f"{_MENTORNET_NAME}-{step}"


def read_config(train_log_dir: str | pathlib.Path) -> dict[str, Any]:
    """The configuration of the run in a folder, as JSON values.

    Raises:
      InputError: config.json cannot be read, or is not a run's.
    """
    return files.read_json_object(
        pathlib.Path(train_log_dir) / CONFIG_FILE, "is not a run's configuration"
    )


def read_evaluations(eval_dir: str | pathlib.Path) -> list[dict[str, Any]]:
    """The rows of an evaluation by step; one without an accuracy is left out, as if damaged.

    Raises:
      OSError: the file exists, but cannot be read.
    """
    rows = files.read_json_lines(pathlib.Path(eval_dir) / EVALUATIONS_FILE)
    whole = (row for row in rows if "eval/accuracy" in row)
    return sorted(whole, key=operator.itemgetter("step"))


# Files that training, and programs that read the run, write below train_log_dir.
_WRITTEN = (
    CONFIG_FILE,
    METRICS_FILE,
    CHECKPOINT_LIST,
    f"{CHECKPOINT_NAME}-*",
    f"{KEPT_FOLDER}/{CHECKPOINT_LIST}",
    f"{KEPT_FOLDER}/{CHECKPOINT_NAME}-*",
    _EVENTS,
    f"{_MENTORNET_FOLDER}/{CHECKPOINT_LIST}",
    f"{_MENTORNET_FOLDER}/{_MENTORNET_NAME}-*",
    LABELS_FILE,
    LABELS_PAGE,
    EVALUATIONS_FILE,
    SUMMARY_FILE,
)


def has_progress(folder: str | pathlib.Path) -> bool:
    """Whether a folder holds a checkpoint of a run, or anything that is written after the first."""
    first = (CONFIG_FILE, METRICS_FILE, _EVENTS)
    later = [pattern for pattern in _WRITTEN if pattern not in first]
    return any(file.is_file() for pattern in later for file in pathlib.Path(folder).glob(pattern))


def remove(folder: str | pathlib.Path) -> None:
    """Deletes a run from its train_log_dir; other files and folders are kept.

    The configuration goes last: what is left if a file cannot be removed still belongs to it.

    Raises:
      OSError: a file cannot be removed.
    """
    folder = pathlib.Path(folder)
    for pattern in reversed(_WRITTEN):
        for path in folder.glob(pattern):
            if path.is_symlink() or not path.is_dir():
                path.unlink()
            elif path.name.endswith(_UNFINISHED):
                shutil.rmtree(path)
    for inner in (folder / _MENTORNET_FOLDER, folder / KEPT_FOLDER):
        if inner.is_dir() and not any(inner.iterdir()):
            inner.rmdir()
