"""Writes scalars to the console, TensorBoard and JSON lines."""

from __future__ import annotations

import json
import pathlib
import sys
import time
from typing import Any, Protocol

import numpy as np
import tensorflow as tf
import tqdm

from mentornet.core import files

Scalars = dict[str, float]


class ScalarWriter(Protocol):
    """Takes the scalars of a step."""

    def write_scalars(self, step: int, scalars: Scalars) -> None: ...

    def close(self) -> None: ...


class MultiWriter:
    """Forwards each call to all of `writers`."""

    def __init__(self, *writers: ScalarWriter) -> None:
        self._writers = writers

    def write_scalars(self, step: int, scalars: Scalars) -> None:
        for writer in self._writers:
            writer.write_scalars(step, scalars)

    def close(self) -> None:
        for writer in self._writers:
            writer.close()


class TensorBoardWriter:
    """Event files in `folder`, flushed every `flush_secs`."""

    def __init__(self, folder: str, flush_secs: float) -> None:
        self._writer = tf.summary.create_file_writer(folder, flush_millis=int(flush_secs * 1000))

    def write_scalars(self, step: int, scalars: Scalars) -> None:
        with self._writer.as_default(step):
            for name, value in scalars.items():
                tf.summary.scalar(name, value)

    def close(self) -> None:
        self._writer.close()


class JsonLinesWriter:
    """One JSON object per call, with its "step".

    Rows after `last_step` are removed first, since a run resumed from an older checkpoint writes
    them again, as are damaged lines.
    """

    def __init__(self, path: str | pathlib.Path, last_step: int | None = None) -> None:
        path = pathlib.Path(path)
        rows = files.read_json_lines(path)
        if last_step is not None:
            rows = [row for row in rows if row["step"] <= last_step]
        files.write_text(path, "".join(json.dumps(row) + "\n" for row in rows))
        self._path = path

    def write_scalars(self, step: int, scalars: dict[str, Any]) -> None:
        # JSON has no NaN: a mean over no samples becomes null.
        row = {
            k: None if isinstance(v, float) and not np.isfinite(v) else v
            for k, v in scalars.items()
        }
        # Reopened each time: otherwise rows written into a deleted folder would be lost silently.
        with self._path.open("a") as file:
            file.write(json.dumps({"step": step, **row}) + "\n")

    def close(self) -> None:
        """Does nothing: no file is kept open."""


class ConsoleWriter:
    """A progress bar if both outputs are terminals; otherwise a line every ten seconds."""

    _SHOWN = {
        "loss": "mentornet/weighted_loss",  # Without weight decay, which may be large.
        "lr": "learning_rate",
        "util": "data_util/data_util",
        "img/s": "images_per_second",
    }
    _SECONDS_BETWEEN_LINES = 10.0

    def __init__(self, first_step: int, last_step: int, label: str) -> None:
        self._last_step, self._label = last_step, label
        self._bar = tqdm.tqdm(
            total=last_step,
            initial=first_step,
            desc=label,
            unit="step",
            disable=not (sys.stderr.isatty() and sys.stdout.isatty()),
            dynamic_ncols=True,
        )
        self._line_at = time.monotonic()
        self._line_step = self._shown_step = first_step

    def write_scalars(self, step: int, scalars: Scalars) -> None:
        shown = {name: f"{scalars[key]:.4g}" for name, key in self._SHOWN.items() if key in scalars}
        if not self._bar.disable:
            self._bar.set_postfix(shown, refresh=False)
            self._bar.update(step - self._shown_step)
        self._shown_step = step
        now = time.monotonic()
        due = now - self._line_at >= self._SECONDS_BETWEEN_LINES or step == self._last_step
        if self._bar.disable and due:
            # At the present speed: other work may have come or gone since the start.
            left = (now - self._line_at) / (step - self._line_step) * (self._last_step - step)
            self._line_at, self._line_step = now, step
            values = " ".join(f"{name}={value}" for name, value in shown.items())
            print(f"{self._label} {step}/{self._last_step} {values} left={left:.0f}s", flush=True)

    def close(self) -> None:
        self._bar.close()
