"""Runs that recorded the history of their samples, and the labels that they were trained on."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mentornet.core.errors import check
from mentornet.core.tf1_checkpoints import reading
from mentornet.datasets import records
from mentornet.datasets.catalog import DatasetInfo, dataset_info
from mentornet.label_noise import history
from mentornet.label_noise.noise_rate import pooled
from mentornet.runs.checkpoints import checkpoint_paths, checkpoint_step, find_latest, read_state
from mentornet.runs.layout import CONFIG_FILE, KEPT_FOLDER, TRAIN_FOLDER, read_config

# The history's columns that scoring needs.
_NEEDED = ("num_seen", "mean_loss", "mean_weight", "prediction")
_MOST = 0.5  # Share of the suspects that are predicted as given in the end.


def train_folder(run_dir: str) -> pathlib.Path:
    """The training folder of a run: `run_dir` itself, or `train` below it.

    Raises:
      InputError: neither holds a run.
    """
    folders = [pathlib.Path(run_dir), pathlib.Path(run_dir) / TRAIN_FOLDER]
    found = [folder for folder in folders if (folder / CONFIG_FILE).is_file()]
    check(bool(found), "`RUN_DIR` must hold a training run.", RUN_DIR=run_dir)
    return found[0]


def read_run(run_dir: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The configuration of a run, and its history's columns by name, float64 [n].

    The history is that of the last checkpoint. If most suspects had been memorised by then, and
    --keep_best=label_wave kept a checkpoint from before, it is that one's, which ranks better.

    Raises:
      InputError: the folder holds no run with a history, its configuration or a checkpoint is
        damaged, or a required column is missing.
    """
    folder = train_folder(run_dir)
    columns = _read_history(find_latest(str(folder)), run_dir)
    if _is_memorised(columns):
        kept = checkpoint_paths(str(folder / KEPT_FOLDER))
        if kept:
            columns = _read_history(kept[-1], run_dir)
            found = f"the history up to step {checkpoint_step(kept[-1])} is used"
        else:
            found = "--keep_best=label_wave would have kept the history from before"
        print(f"{run_dir}: most suspects were memorised in the end; {found}.")
    return read_config(folder), columns


def _is_memorised(columns: Mapping[str, np.ndarray]) -> bool:
    """Whether most suspects are predicted as given; earlier versions did not count wrong events."""
    suspects = columns.get("num_wrong", np.zeros(1)) > columns.get("num_counted", np.zeros(1)) / 2
    return bool(suspects.any()) and pooled([columns]).seen.memorised > _MOST


def _read_history(prefix: str, run_dir: str) -> dict[str, np.ndarray]:
    with reading(prefix):
        saved = read_state(prefix, (history.VALUES, history.NAMES))
    rule = "The run must have been trained with --record_sample_weights."
    check(history.VALUES in saved, rule, RUN_DIR=run_dir)
    columns = {name: v.astype(np.float64) for name, v in history.saved_columns(saved).items()}
    missing = [name for name in _NEEDED if name not in columns]
    rule = f"The run's history must have the columns {', '.join(_NEEDED)}."
    check(not missing, rule, RUN_DIR=run_dir, missing=missing)
    return columns


def read_labels(
    configs: Sequence[dict[str, Any]], run_dirs: Sequence[str], data_dir: str | None
) -> tuple[DatasetInfo, records.Examples, str]:
    """The training split of runs on the same labels, and its folder.

    Raises:
      InputError: the runs had different labels, or those of `data_dir` differ from them.
    """
    hashes = {config["data_sha256"] for config in configs}
    check(len(hashes) == 1, "The runs must have been trained on the same labels.", runs=run_dirs)
    folder = data_dir or configs[0]["data_dir"]
    info = dataset_info(configs[0]["dataset_name"], folder)
    examples = records.read_examples(folder, info, "train")
    rule = "`data_dir` must hold the records that the runs were trained on."
    # Earlier versions recorded labels only.
    known = {config.get("images_sha256", examples.images_sha256) for config in configs}
    same = examples.fingerprint() in hashes and known == {examples.images_sha256}
    check(same, rule, data_dir=folder)
    return info, examples, folder
