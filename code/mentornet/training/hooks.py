"""The loop's hooks: stopping, checks, the best checkpoint, logging, saving."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from mentornet.config.training import TrainConfig
from mentornet.core.errors import InputError
from mentornet.datasets.records import Examples
from mentornet.runs import statistics, writers
from mentornet.runs.checkpoints import RunCheckpoint
from mentornet.training.distribution import AnyWorker
from mentornet.training.label_wave import LabelWave
from mentornet.training.step import StepResult


@dataclasses.dataclass
class Moment:
    """The state of the run after a call of the step.

    Attributes:
      step: the global step.
      result: of the step, or the several steps, of the call.
      is_last: whether the run ends here, for whatever reason; a hook may set it, and the hooks
        after it see that.
      scalars: further ones for the log; the hooks before `Log` may add some.
    """

    step: int
    result: StepResult
    is_last: bool
    scalars: writers.Scalars = dataclasses.field(default_factory=dict)


class Hook(Protocol):
    """Called after every call of the step, one hook after the other."""

    def __call__(self, moment: Moment) -> None: ...


class FiniteLosses:
    """Collects the losses; as reading them is slow, they are checked before logs and saves only.

    Args:
      parameters: of the student, which are checked before saves only.
    """

    def __init__(self, parameters: Sequence[tf.Variable]) -> None:
        self._recent: list[tf.Tensor] = []
        self._parameters = parameters

    def __call__(self, moment: Moment) -> None:
        self._recent.append(moment.result.total_loss)

    def check(self, step: int) -> None:
        """Checks all losses since the previous check.

        Raises:
          InputError: one of them is not finite; the message names its step.
        """
        if not self._recent:
            return
        totals = np.concatenate([np.ravel(total) for total in self._recent])
        self._recent.clear()
        bad = np.flatnonzero(~np.isfinite(totals))
        if bad.size:
            number = step - len(totals) + int(bad[0]) + 1
            raise InputError(
                f"The loss of step {number} is {totals[bad[0]]}: this step was not saved; "
                "the last checkpoint is kept. A lower `learning_rate` may help."
            )

    def check_before_save(self, step: int) -> None:
        """Checks the losses, which are computed before each update, and the updated parameters.

        Raises:
          InputError: a loss or a parameter is not finite.
        """
        self.check(step)
        if not all(bool(tf.reduce_all(tf.math.is_finite(v))) for v in self._parameters):
            raise InputError(
                f"The parameters after step {step} are not finite: this step was not saved; the "
                "last checkpoint is kept. A lower `learning_rate` may help."
            )


class Log:
    """Writes a row every `log_every_steps` steps, and at the end of training.

    The row holds the last step's scalars, and statistics of all samples since the previous row, or
    since the run was resumed.
    """

    def __init__(
        self,
        config: TrainConfig,
        writer: writers.MultiWriter,
        examples: Examples,
        finite: FiniteLosses,
    ) -> None:
        self._config, self._writer, self._finite = config, writer, finite
        self._labels, self._clean_labels = examples.labels, examples.clean_labels
        self._recent: list[tuple[tf.Tensor, ...]] = []
        self._logged_at = time.monotonic()

    def __call__(self, moment: Moment) -> None:
        samples = moment.result.samples
        # Not the logits: until the next row, they would take gigabytes.
        predictions = tf.argmax(samples.logits, axis=-1)
        self._recent.append((samples.positions, samples.weights, predictions))
        config, step = self._config, moment.step
        if step % config.log_every_steps and step != config.max_number_of_steps:
            return
        self._finite.check(step)
        row, seconds = self._row(moment), time.monotonic() - self._logged_at
        images = sum(weights.shape.num_elements() for _, weights, _ in self._recent)
        self._writer.write_scalars(step, row | {"images_per_second": images / seconds})
        self._recent.clear()
        self._logged_at = time.monotonic()

    def _row(self, moment: Moment) -> writers.Scalars:
        last = moment.result.scalars
        scalars = {name: float(np.ravel(value)[-1]) for name, value in last.items()}
        columns = zip(*self._recent, strict=True)
        positions, weights, predictions = (
            np.concatenate([np.ravel(np.asarray(part)) for part in parts]) for parts in columns
        )
        labels = self._labels[positions], self._clean_labels[positions]
        scalars |= statistics.prediction_statistics(predictions, *labels)
        scalars |= moment.scalars
        return scalars | statistics.weight_statistics(weights, *labels)


class KeepBest:
    """Sets a checkpoint aside whenever it is the best so far, in place of the previous one.

    Args:
      wave: decides whether it is.
      checkpoint: what to save; None in workers other than the chief, which still check the losses.
      finite: checks losses and parameters before each save.
    """

    def __init__(
        self, wave: LabelWave, checkpoint: RunCheckpoint | None, finite: FiniteLosses
    ) -> None:
        self._wave, self._checkpoint, self._finite = wave, checkpoint, finite

    def __call__(self, moment: Moment) -> None:
        is_best = self._wave.record(moment.step, moment.result.num_steps)
        moment.scalars |= self._wave.scalars()
        if is_best:
            self._finite.check_before_save(moment.step)
            if self._checkpoint is not None:
                self._checkpoint.set_aside()


class Save:
    """Saves a checkpoint as often as the configuration says, and at the end.

    Args:
      config: of the run.
      checkpoint: what to save; None in workers other than the chief, which still check the losses.
      finite: checks losses and parameters before each save.
    """

    def __init__(
        self, config: TrainConfig, checkpoint: RunCheckpoint | None, finite: FiniteLosses
    ) -> None:
        self._config, self._checkpoint, self._finite = config, checkpoint, finite
        self._saved_at = time.monotonic()

    def __call__(self, moment: Moment) -> None:
        if not self._is_due(moment):
            return
        self._finite.check_before_save(moment.step)
        if self._checkpoint is not None:
            self._checkpoint.save()
        self._saved_at = time.monotonic()

    def _is_due(self, moment: Moment) -> bool:
        config = self._config
        late = time.monotonic() - self._saved_at >= config.save_interval_secs
        interval = config.save_interval_steps
        return moment.is_last or late or bool(interval and moment.step % interval == 0)


class Stop:
    """Ends the run early if this or another worker received a signal.

    All workers must call it after the same steps; then all of them end after the same one.

    Args:
      any_worker: whether a condition holds in any worker.

    Attributes:
      reason: what stopped the run, for messages; None if nothing did.
    """

    def __init__(self, any_worker: AnyWorker) -> None:
        self._any_worker = any_worker
        self._received: list[str] = []
        self.reason: str | None = None

    def __call__(self, moment: Moment) -> None:
        if self._any_worker(bool(self._received)):
            self.reason = self._received[0] if self._received else "a signal to another worker"
            moment.is_last = True

    @contextlib.contextmanager
    def on_signals(self) -> Iterator[None]:
        """Records SIGTERM and SIGINT; a second signal has its usual effect.

        In a thread other than the main one it does nothing, since Python has no signals there.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before: dict[int, Any] = {}

        def restore() -> None:
            for number, handler in before.items():
                signal.signal(number, handler)

        def note(number: int, frame: FrameType | None) -> None:
            del frame
            self._received.append(signal.Signals(number).name)
            restore()

        for caught in (signal.SIGTERM, signal.SIGINT):
            before[caught] = signal.signal(caught, note)
        try:
            yield
        finally:
            restore()
