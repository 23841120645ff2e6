"""Where memorising begins, seen in the training samples alone: `keep_best="label_wave"`."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from mentornet.label_noise import changes
from mentornet.label_noise.history import SampleHistory
from mentornet.runs.writers import Scalars


class LabelWave:
    """The pass at which the fewest predictions change, see `mentornet.label_noise.changes`.

    The counts are saved as state, so that a resumed run, and all workers, find the same pass.

    Args:
      history: of the training samples.
      max_number_of_steps, batch_size: of the training; the batch is that of all replicas.
      first_step: from which passes count; before it the learning rate rises, and makes the
        predictions change more.
    """

    def __init__(
        self,
        history: SampleHistory,
        max_number_of_steps: int,
        batch_size: int,
        first_step: int = 0,
    ) -> None:
        self._values, self._batch_size = history.values, batch_size
        self._first_step = first_step
        self._num_examples = history.values.shape[0]
        # Step, and changes and visits until then, at the end of each pass.
        self._passes = tf.Variable(
            tf.zeros([self._pass_of(max_number_of_steps), 3], tf.int64), trainable=False
        )
        self._scalars: Scalars | None = None  # Those of the last pass, once they were asked for.

    def state(self) -> dict[str, tf.Variable]:
        """The variables to save, by name."""
        return {"label_wave_step_changed_visits": self._passes}

    def record(self, step: int, num_steps: int) -> bool:
        """Records the changes if a pass has just ended.

        Args:
          step: the number of updates done.
          num_steps: how many of them were done in the last call.

        Returns:
          Whether a pass has ended, and its student is the best so far.
        """
        number = self._pass_of(step)
        if number == self._pass_of(step - num_steps):
            return False
        row = tf.concat([[tf.cast(step, tf.int64)], changes.totals(self._values)], axis=0)
        self._passes.scatter_nd_update([[number - 1]], [row])
        self._scalars = None
        shares = self._shares()
        place = changes.first_minimum(shares)[0]
        return bool(shares.size) and place == shares.size - 1  # Without shares, it is -1.

    def scalars(self) -> Scalars:
        """For the log: the share of changes in the last pass, and the step kept so far."""
        if self._scalars is None:
            self._scalars = self._found()
        return self._scalars

    def _found(self) -> Scalars:
        shares = self._shares()
        kept, is_over = changes.first_minimum(shares)
        if kept < 0:
            return {}
        return {
            "label_wave/changed": float(shares[-1]),
            "label_wave/kept_step": float(self._checks()[kept + 1, 0]),
            "label_wave/is_over": float(is_over),
        }

    def remarks(self) -> list[str]:
        """For the end of the log: a message if no checkpoint was kept."""
        if self.scalars():
            return []
        counted = "over the data ended after the learning rate's last rise"
        return [f"label_wave: no checkpoint was kept, as fewer than 3 passes {counted}."]

    def _pass_of(self, step: int) -> int:
        return step * self._batch_size // self._num_examples

    def _checks(self) -> np.ndarray:
        checks = self._passes.numpy()
        # One call of the step may end two passes; then one row stays 0.
        return checks[checks[:, 0] >= max(1, self._first_step)]

    def _shares(self) -> np.ndarray:
        """For each pass but the first, the share of predictions that changed; float64."""
        return changes.changed_shares(self._checks()[:, 1:])
