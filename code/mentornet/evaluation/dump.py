"""Losses of samples with known clean labels: the data from which a MentorNet is learned."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from mentornet.core import files, schedules
from mentornet.core.checkpoint_files import reading
from mentornet.core.errors import InputError, check
from mentornet.datasets import records
from mentornet.datasets.catalog import dataset_info
from mentornet.evaluation.predictor import Predictor, check_fits
from mentornet.runs.checkpoints import checkpoint_step, find_latest, read_history, read_run_config
from mentornet.runs.students import load_student
from mentornet.students import registry
from mentornet.weighting.features import FURTHER, check_further


def choose(examples: records.Examples, num_samples: int | None, seed: int) -> np.ndarray:
    """Selects the samples to dump.

    If any sample is marked as trusted, the clean labels of all others are not read; otherwise every
    sample whose clean label is recorded can be selected.

    Args:
      examples: a split.
      num_samples: size of a random subset, in which given labels are as balanced as possible;
        None selects all.
      seed: of the subset.

    Returns:
      Increasing positions, int [m].

    Raises:
      InputError: there are no such samples, or fewer than `num_samples`.
    """
    known = examples.trusted if examples.trusted.any() else examples.clean_labels >= 0
    candidates = np.flatnonzero(known)
    check(candidates.size > 0, "Some samples must have a known clean label.", samples=len(examples))
    if num_samples is None:
        return candidates
    rule = f"`dump_num_samples` must lie in 1..{len(candidates)}, the samples with a clean label."
    check(1 <= num_samples <= len(candidates), rule, dump_num_samples=num_samples)
    shuffled = np.random.default_rng(seed).permutation(candidates)
    labels = examples.labels[shuffled]
    turn = np.zeros(len(shuffled), np.int64)  # A sample's number among those of its label.
    for label in np.unique(labels):
        turn[labels == label] = np.arange(np.sum(labels == label))
    return np.sort(shuffled[np.argsort(turn, kind="stable")[:num_samples]])


def write_losses(
    output_csv_file: str,
    *,
    checkpoint_dir: str,
    data_dir: str,
    split_name: str = "train",
    batch_size: int = 100,
    num_samples: int | None = None,
    seed: int = 0,
    features: Sequence[str] = (),
) -> None:
    """Writes rows "sample_id epoch noisy_label clean_label loss", as in the release's csv files.

    Features are appended as further columns, and a first line, "# sample_id ...", then names all
    columns. The student of the latest checkpoint runs in evaluation mode, and images are not
    augmented. (The release's function for this was never published.)

    Args:
      output_csv_file: the file to write; it appears only when complete.
      checkpoint_dir: a training job's train_log_dir.
      data_dir, split_name: the records.
      batch_size: images per forward pass; does not change the result.
      num_samples, seed: see `choose`.
      features: names in `mentornet.weighting.features.FURTHER`, for which the run must have
        recorded its samples.

    Raises:
      InputError: there is no checkpoint, or it is damaged or of the release; the features need a
        history, and it is missing or of other samples; the records do not match the student's shape
        or classes; no sample has a clean label; or the file cannot be written.
    """
    check(batch_size >= 1, "`batch_size` must be at least 1.", batch_size=batch_size)
    check_further("dump_features", features)
    prefix = find_latest(checkpoint_dir, "checkpoint_dir")
    run = _read_run(prefix)
    info = dataset_info(run["dataset_name"], data_dir)
    examples = records.read_examples(data_dir, info, split_name)
    check_fits(run, info, examples, data_dir)
    # The history is of the samples that were trained on.
    same = not features or examples.fingerprint() == run["data_sha256"]
    rule = "`dump_features` needs the records that the run was trained on (--split_name=train)."
    check(same, rule, data_dir=data_dir, split_name=split_name)
    positions = choose(examples, num_samples, seed)
    chosen = examples.take(positions)
    standardization = registry.find_student(run["studentnet"]).recipe.standardization
    with reading(prefix):
        student = load_student(prefix, run)
    losses = Predictor(student, standardization)(chosen, batch_size).losses
    values = np.stack([losses, *_further(prefix, positions, features)], axis=1)
    step = checkpoint_step(prefix)
    epoch = min(schedules.epoch_percentage(step, run["max_number_of_steps"]), schedules.LAST_EPOCH)
    header = " ".join(("# sample_id epoch noisy_label clean_label loss", *features)) + "\n"
    columns = zip(chosen.ids, chosen.labels, chosen.clean_labels, values, strict=True)
    rows = [
        f"{i} {epoch} {noisy} {clean} {' '.join(f'{value:.6f}' for value in row)}\n"
        for i, noisy, clean, row in columns
    ]
    path = pathlib.Path(output_csv_file)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(path, "".join([header] * bool(features) + rows))
    except OSError as error:
        raise InputError(f"`output_csv_file` {path} cannot be written: {error}") from None
    wrong = float(np.mean(chosen.labels != chosen.clean_labels))
    print(f"{path}: losses of {len(rows)} samples at step {step}, {wrong:.1%} of the labels wrong")


def _read_run(prefix: str) -> dict[str, Any]:
    """The configuration of the run that wrote a checkpoint.

    Raises:
      InputError: it cannot be read, or holds none (the release's checkpoints do not).
    """
    with reading(prefix):
        try:
            return read_run_config(prefix)
        except KeyError:
            rule = "`checkpoint_dir` must hold a run of this project"
            raise InputError(f"{rule}: {prefix} holds no configuration.") from None


def _further(prefix: str, positions: np.ndarray, names: Sequence[str]) -> list[np.ndarray]:
    """Further features of some samples from a checkpoint, float32 [m] each.

    Raises:
      InputError: it cannot be read, or lacks what they are computed from.
    """
    if not names:
        return []
    past = {
        name: column[positions]
        for name, column in read_history(prefix, checkpoint_dir=prefix).items()
    }
    try:
        return [FURTHER[name].compute(past) for name in names]
    except KeyError as error:
        rule = f"`checkpoint_dir` must hold a history with the column {error.args[0]}."
        raise InputError(f"{rule} Received: columns={list(past)}") from None
