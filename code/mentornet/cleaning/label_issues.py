"""`mentornet.find_label_issues`: the wrong labels of arrays, in Python."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import pathlib
import tempfile
from typing import Any

import numpy as np

from mentornet.config.cleaning import CleanConfig
from mentornet.core.errors import InputError, check
from mentornet.datasets.label_texts import label_texts
from mentornet.label_noise.noise_rate import NoiseRate


def find_label_issues(
    samples: Any,
    labels: Any,
    *,
    studentnet: str | None = None,
    num_epochs: int | None = None,
    seed: int = 0,
    verbose: bool = False,
) -> Any:
    """Ranks labels by how likely they are to be wrong, as `mentornet clean` does.

    A student is trained on all samples, in a temporary folder; nothing is held out.

    Example:

        issues = mentornet.find_label_issues(images, labels)
        issues[issues["is_label_issue"]].sort_values("label_score")

    Args:
      samples: images uint8 [n, height, width] or [n, height, width, 1 or 3], or features, numbers
        [n, num_features], which are used as float32; arrays or what becomes one, such as a
        pandas.DataFrame.
      labels: [n], whole numbers from 0 on or strings; at least two different ones.
      studentnet, num_epochs, seed: see `mentornet clean --help`.
      verbose: print the training's progress.

    Returns:
      A pandas.DataFrame if pandas is installed, else a dict of arrays [n], in the order of the
      samples, with the index of `labels` or `samples` if these are pandas' own. Columns: as in
      cleanlab's Datalab `is_label_issue` (bool), `label_score` (float64 in 0..1, low is bad),
      `given_label` and `predicted_label` (values of `labels`); `mean_weight` (float64 in 0..1) and
      `mean_loss` (float64, in nats), decayed means over the visits. `attrs` of the DataFrame holds
      "noise_rate", the estimated share of wrong labels (float), and "noise_rate_range", the lowest
      and the highest of several estimates.

    Raises:
      InputError: the arrays cannot be used, or `studentnet` or `num_epochs` is not valid.
      KeyboardInterrupt: a signal stopped the training.
    """
    config, given = CleanConfig("unused", studentnet, num_epochs, seed), (labels, samples)
    if hasattr(samples, "select_dtypes"):  # A pandas.DataFrame, whose columns may be of many types.
        others = [*samples.select_dtypes(exclude=["number", "bool"]).columns]
        rule = "`samples` must have columns of numbers; encode or drop the others."
        check(not others, rule, columns=others[:10])
        samples = samples.to_numpy(np.float64, na_value=np.nan)
    samples, labels = np.asarray(samples), np.asarray(labels)
    fits = labels.ndim == 1 and labels.shape == samples.shape[:1] and len(labels) >= 2
    rule = "`labels` must be one-dimensional, one per sample, of at least 2 samples."
    check(fits, rule, labels=labels.shape, samples=samples.shape)
    fits = samples.dtype == np.uint8 or (samples.ndim == 2 and samples.dtype.kind in "biuf")
    rule = "`samples` must be images uint8 [n, h, w(, 1 or 3)] or features [n, d] of numbers."
    check(fits, rule, shape=samples.shape, dtype=str(samples.dtype))
    texts = label_texts(labels, "labels", "row")
    with (
        tempfile.TemporaryDirectory(prefix="mentornet-") as folder,
        contextlib.ExitStack() as stack,
    ):
        if not verbose:
            stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        columns, noise = _columns(samples, np.array(texts), pathlib.Path(folder), config)
    # 2.0 is listed as 2, and of several spellings of a class the first is predicted.
    values = dict(zip(texts[::-1], labels[::-1], strict=True))
    columns["given_label"] = labels
    columns["predicted_label"] = np.array([values[text] for text in columns["predicted_label"]])
    try:
        import pandas
    except ImportError:
        return columns
    frames = (each for each in given if isinstance(each, pandas.Series | pandas.DataFrame))
    table = pandas.DataFrame(columns, next((each.index for each in frames), None))
    table.attrs |= {"noise_rate": noise.rate, "noise_rate_range": (noise.low, noise.high)}
    return table


def _columns(
    samples: np.ndarray, labels: np.ndarray, folder: pathlib.Path, config: CleanConfig
) -> tuple[dict[str, np.ndarray], NoiseRate]:
    """The table of a run on the samples in `folder`, and the estimated share of wrong labels."""
    from mentornet.cleaning import label_errors, label_files, planning, stages
    from mentornet.datasets import prepare
    from mentornet.runs import layout

    kind = "features" if samples.ndim == 2 else "images"
    arrays: dict[str, Any] = {kind: samples, "labels": labels}
    # A dummy test split, which is never used, so that all samples are in the training split.
    arrays |= {f"test_{name}": array[:1] for name, array in arrays.items()}
    np.savez(folder / "source.npz", **arrays)
    asked = prepare.PrepareConfig("mine", str(folder), str(folder / "source.npz"), seed=config.seed)
    try:
        prepare.prepare(asked)
    except InputError as error:  # Which names a file that the user does not know.
        raise InputError(str(error).replace(str(asked.source), "the arrays")) from None
    data = planning.Data("mine", asked.train_folder, asked.test_folder)
    run = planning.train_config(data, folder / layout.TRAIN_FOLDER, config)
    # Deterministic operations could not be switched off again in this process.
    stages.train(dataclasses.replace(run, deterministic=False))
    scores = label_errors.score_labels([run.train_log_dir])
    return label_files.table(scores), scores.noise
