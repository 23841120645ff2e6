"""Runs that recorded the history of their samples, and the labels that they were trained on."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mentornet.core.errors import InputError, check
from mentornet.datasets import records
from mentornet.datasets.catalog import DatasetInfo, dataset_info
from mentornet.label_noise import ranking
from mentornet.runs.checkpoints import checkpoint_paths, checkpoint_step, find_latest, read_history
from mentornet.runs.layout import CONFIG_FILE, KEPT_FOLDER, TRAIN_FOLDER, read_config

# The history's columns that scoring needs.
_NEEDED = ("num_seen", "mean_loss", "mean_weight", "prediction")
_MOST = 0.5  # Of the contradicted labels: if more are memorised, an earlier history ranks better.


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
    """The configuration of a run, and its last history's columns by name, float64 [n].

    Raises:
      InputError: the folder holds no run with a history, its configuration or checkpoint is
        damaged, or a required column is missing.
    """
    folder = train_folder(run_dir)
    config = read_config(folder)
    return config, _read_history(find_latest(str(folder), "RUN_DIR"), run_dir)


def ranking_history(
    run_dir: str, config: Mapping[str, Any], last: Mapping[str, np.ndarray]
) -> tuple[Mapping[str, np.ndarray], str]:
    """The history by which a run's labels are ranked best, and a note about it for people.

    That is the history of the checkpoint that --keep_best=label_wave kept, if most of the labels
    that were contradicted then are predicted in the end: what a run says of a label that it has
    memorised is worth less than what it said before. Otherwise it is the last one.

    Args:
      run_dir: the run's folder.
      config, last: what `read_run` returned.

    Returns:
      The history's columns, and the note, which may be empty.
    """
    if ranking.COLUMNS - last.keys():  # The run is of an earlier version.
        return last, ""
    folder = train_folder(run_dir)
    kept = checkpoint_paths(str(folder / KEPT_FOLDER))
    if not kept:
        note = ""
        if _are_memorised(last, last) and not config.get("keep_best"):
            advice = "with --keep_best=label_wave they would be ranked by the history before that."
            note = f"{run_dir}: most contradicted labels were memorised; {advice}"
        return last, note
    try:
        before = _read_history(kept[-1], run_dir)
    except InputError as error:
        return last, f"WARNING: {kept[-1]} is ignored: {error}"
    if ranking.COLUMNS - before.keys():
        return last, ""
    step = checkpoint_step(kept[-1])
    if step < checkpoint_step(find_latest(str(folder))) and _are_memorised(before, last):
        return before, f"{run_dir}: ranked by its history up to step {step}, before memorisation."
    return last, ""


def _are_memorised(before: Mapping[str, np.ndarray], last: Mapping[str, np.ndarray]) -> bool:
    """Whether most contradicted labels of one history are predicted at the end of another."""
    contradicted = ranking.pooled([before]).contradicted
    as_given = last["prediction"] != last["other_class"]
    return bool(contradicted.any()) and as_given[contradicted].mean() > _MOST


def _read_history(prefix: str, run_dir: str) -> dict[str, np.ndarray]:
    found = read_history(prefix, RUN_DIR=run_dir)
    columns = {name: column.astype(np.float64) for name, column in found.items()}
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
    rule = "The records of the run are not there; --data_dir names their folder if they were moved."
    check(bool(data_dir) or pathlib.Path(folder).is_dir(), rule, data_dir=folder)
    info = dataset_info(configs[0]["dataset_name"], folder)
    examples = records.read_examples(folder, info, "train")
    rule = "`data_dir` must hold the records that the runs were trained on."
    # Earlier versions recorded labels only.
    known = {config.get("images_sha256", examples.images_sha256) for config in configs}
    same = examples.fingerprint() in hashes and known == {examples.images_sha256}
    check(same, rule, data_dir=folder)
    return info, examples, folder
