"""The names of a run's files; every one that the project writes there stands here."""

from __future__ import annotations

import pathlib

# In train_log_dir.
CONFIG_FILE = "config.json"
METRICS_FILE = "metrics.jsonl"
CHECKPOINT_NAME = "model.ckpt"  # <name>-<step>.index, <name>-<step>.data-...
CHECKPOINT_LIST = "checkpoint"
KEPT_FOLDER = "label_wave"  # With the one checkpoint that --keep_best=label_wave sets aside.
_EVENTS = "events.out.tfevents.*"
_MENTORNET_FOLDER, _MENTORNET_NAME = "mentornet", "mentornet"

# In the output folder of label_report.py, by default train_log_dir or the folder above it.
LABELS_FILE = "labels.csv"
LABELS_PAGE = "labels.html"

# In the folder of a run that the launcher started: where training and evaluation write.
TRAIN_FOLDER = "train"
EVAL_FOLDER = "eval_val"

# In eval_dir.
EVALUATIONS_FILE = "eval.jsonl"
SUMMARY_FILE = "summary.json"


def checkpoint_prefix(folder: str | pathlib.Path, step: int) -> pathlib.Path:
    """The checkpoint of a step, without the endings of its files."""
    return pathlib.Path(folder) / f"{CHECKPOINT_NAME}-{step}"


def mentornet_prefix(folder: str | pathlib.Path, step: int) -> pathlib.Path:
    """The MentorNet that the update after a step made, without the endings of its files."""
    return pathlib.Path(folder) / _MENTORNET_FOLDER / f"{_MENTORNET_NAME}-{step}"


# What a training run, and what reads it, writes below train_log_dir.
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


def remove(folder: str | pathlib.Path) -> None:
    """Removes a run from its train_log_dir; files of other names stay.

    Raises:
      OSError: a file cannot be removed.
    """
    folder = pathlib.Path(folder)
    for pattern in _WRITTEN:
        for file in folder.glob(pattern):
            file.unlink()
    for inner in (folder / _MENTORNET_FOLDER, folder / KEPT_FOLDER):
        if inner.is_dir() and not any(inner.iterdir()):
            inner.rmdir()
