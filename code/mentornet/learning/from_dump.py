"""Learns a MentorNet from a dump of trusted samples' losses, and judges it."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

from mentornet.core import files
from mentornet.learning import training_rows
from mentornet.learning.settings import DEFAULTS

QUALITY_FILE = "quality.json"


def name(features: Sequence[str]) -> str:
    """Name of the MentorNet's folder, by which reports tell runs apart.

    Args:
      features: those that it sees in addition to the release's.
    """
    return "mentornet_dd_history" if features else "mentornet_dd"


def learn(
    csv: str, percentile: float, seed: int, folder: pathlib.Path, epoch: int | None = None
) -> dict[str, Any]:
    """Learns a MentorNet unless `folder` holds the quality of one.

    Args:
      csv: file of a dump, see `training_rows.read_dump`.
      percentile: 0..100, see `training_rows.data_driven`.
      seed: of the order of the rows, the initial weights and the batches.
      folder: where the training rows, the MentorNet and its quality are written.
      epoch: the epoch percentage that the MentorNet will see, if it will always see the same.

    Returns:
      AUC and log loss on held-out rows, by method, see `quality.Quality`.

    Raises:
      InputError: the dump cannot be read, has too few rows, or almost none that are clean or
        corrupted.
    """
    from mentornet.learning import quality, teaching
    from mentornet.weighting import mentor_checkpoints

    path = folder / QUALITY_FILE
    if path.exists():
        return files.read_json_object(path, "does not hold a MentorNet's quality")
    dump, names = training_rows.read_dump(csv)
    found = training_rows.data_driven(training_rows.shuffled(dump, seed), percentile, epoch)
    training_rows.write(*found, str(folder), training_rows.DATA_DRIVEN, names)
    rows = training_rows.read_rows(folder / "tr.npz"), training_rows.read_rows(folder / "ts.npz")
    quality.check_rows(*rows)
    mentor = teaching.learn_noisy(*rows, seed=seed, features=names, **DEFAULTS)
    judged = quality.report(mentor, *rows)
    mentor_checkpoints.save_mentornet(mentor, str(folder / name(mentor.further_features)))
    results = {method: dataclasses.asdict(result) for method, result in judged.items()}
    files.write_json(path, results)
    return results
