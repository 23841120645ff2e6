"""Values that depend on the step or the epoch, as plain functions without TensorFlow."""

from __future__ import annotations

import bisect
import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from mentornet.core.errors import check

NUM_EPOCHS = 100  # The MentorNet's epoch is a percentage of the training: 0..99.
LAST_EPOCH = NUM_EPOCHS - 1


def epoch_percentage(global_step: Any, max_number_of_steps: Any) -> Any:
    """floor(100 * global_step / max_number_of_steps), the epoch that a weighting sees.

    Args:
      global_step: int, or an integer tensor.
      max_number_of_steps: likewise, at least 1.
    """
    return NUM_EPOCHS * global_step // max_number_of_steps


def first_step_of(epoch: int, max_number_of_steps: int) -> int:
    """The first step whose `epoch_percentage` is at least `epoch`."""
    return -(-epoch * max_number_of_steps // NUM_EPOCHS)


def last_rise(schedule: RateSchedule, max_number_of_steps: int) -> int:
    """The epoch percentage from which a learning rate no longer rises; 0 if it never does."""
    rates = [schedule(first_step_of(epoch, max_number_of_steps)) for epoch in range(NUM_EPOCHS)]
    rises = [epoch for epoch in range(1, NUM_EPOCHS) if rates[epoch] > rates[epoch - 1]]
    return max(rises, default=0)


def dropout_rates(spec: str | Sequence[float]) -> list[float]:
    """Expands "rate,epochs,rate,epochs,..." to one example dropout rate per epoch.

    Args:
      spec: e.g. "0.5,17,0.05,78,1.0,5": drop half of the samples in the first 17 epochs, ...; or
        the 100 rates themselves.

    Returns:
      100 rates in 0..1, indexed by the epoch percentage.

    Raises:
      InputError: `spec` is neither pairs of numbers nor 100 rates, a rate is outside 0..1, or the
        epochs do not sum to 100.
    """
    received = {"example_dropout_rates": spec}
    if not isinstance(spec, str):
        rule = f"`example_dropout_rates` must be {NUM_EPOCHS} rates in 0..1, or pairs as text."
        try:
            rates = [float(rate) for rate in spec]
        except (TypeError, ValueError):
            rates = []
        fits = len(rates) == NUM_EPOCHS and all(0 <= rate <= 1 for rate in rates)
        check(fits, rule, **received)
        return rates
    try:
        numbers = [float(item) for item in spec.split(",")]
        pairs = list(zip(numbers[::2], numbers[1::2], strict=True))
    except ValueError:
        pairs = []
    rule = "`example_dropout_rates` must be pairs of numbers 'rate,epochs,rate,epochs,...'."
    check(bool(pairs), rule, **received)
    inside = all(0 <= rate <= 1 for rate, _ in pairs)
    check(inside, "Rates in `example_dropout_rates` must lie in 0..1.", **received)
    whole = all(epochs >= 0 and epochs == int(epochs) for _, epochs in pairs if epochs < math.inf)
    rule = "Epochs in `example_dropout_rates` must be whole numbers, none negative."
    check(whole, rule, **received)
    total = sum(epochs for _, epochs in pairs)
    rule = f"Epochs in `example_dropout_rates` must sum to {NUM_EPOCHS}, not {total:g}."
    check(total == NUM_EPOCHS, rule, **received)
    return [rate for rate, epochs in pairs for _ in range(int(epochs))]


@dataclasses.dataclass(frozen=True)
class PiecewiseConstant:
    """A rate that is values[k] once the step has passed k of the increasing `boundaries`.

    At the boundary itself the old value holds (tf.train.piecewise_constant of the release).
    """

    boundaries: tuple[int, ...]
    values: tuple[float, ...]

    def __call__(self, step: int) -> float:
        return self.values[sum(step > boundary for boundary in self.boundaries)]


@dataclasses.dataclass(frozen=True)
class PiecewiseLinear:
    """A rate that is values[k] at steps[k], linear in between, and constant outside."""

    steps: tuple[int, ...]
    values: tuple[float, ...]

    def __call__(self, step: int) -> float:
        k = bisect.bisect_right(self.steps, step)
        if k == 0:
            return self.values[0]
        if k == len(self.steps):
            return self.values[-1]
        share = (step - self.steps[k - 1]) / (self.steps[k] - self.steps[k - 1])
        return self.values[k - 1] + share * (self.values[k] - self.values[k - 1])


RateSchedule = PiecewiseConstant | PiecewiseLinear


def rate_shape(spec: str) -> tuple[tuple[float, float], ...]:
    """Parses "share:factor,share:factor,...".

    Args:
      spec: e.g. "0:0.2,0.23:1,1:0.07": from 0.2 to 1 of the rate over the first 23 % of the
        steps, then down to 0.07.

    Returns:
      Pairs (share of the steps in 0..1, factor of the learning rate), shares increasing.

    Raises:
      InputError: `spec` is something else.
    """
    try:
        pairs = [tuple(map(float, pair.split(":"))) for pair in spec.split(",")]
        points = tuple((share, factor) for share, factor in pairs)
    except ValueError:
        points = ()
    shares = [share for share, _ in points]
    inside = all(0 <= share <= 1 and 0 <= factor < math.inf for share, factor in points)
    rule = "must be 'share:factor,...', shares increasing in 0..1, no factor negative."
    fits = bool(points) and inside and shares == sorted(set(shares))
    check(fits, f"`learning_rate_shape` {rule}", learning_rate_shape=spec)
    return points


def follow_shape(spec: str, rate: float, num_steps: int) -> PiecewiseLinear:
    """The rate at each step of a training with `num_steps` steps; see `rate_shape`.

    A share means the step int(share * num_steps); if two shares mean the same step, the last
    counts.
    """
    points = {int(share * num_steps): rate * factor for share, factor in rate_shape(spec)}
    return PiecewiseLinear(tuple(points), tuple(points.values()))


def decay_at(boundaries: tuple[int, ...], rate: float, factor: float) -> PiecewiseConstant:
    """`rate`, multiplied by `factor` after each of `boundaries`."""
    values = tuple(rate * factor**k for k in range(len(boundaries) + 1))
    return PiecewiseConstant(boundaries, values)


def staircase(rate: float, factor: float, decay_steps: int, num_steps: int) -> PiecewiseConstant:
    """rate * factor ** floor(step / decay_steps), for steps 0..num_steps."""
    # The new value already applies at step k * decay_steps, hence the -1.
    boundaries = tuple(range(decay_steps - 1, num_steps, decay_steps))
    return decay_at(boundaries, rate, factor)


def steps_per_decay(num_examples: int, batch_size: int, num_epochs_per_decay: float) -> int:
    """Steps between two decays.

    The integer division is Python 2's, kept from the release: 50,000 images, batches of 128 and 50
    epochs give 19,500 steps, not 19,531.
    """
    return max(1, int(num_examples // batch_size * num_epochs_per_decay))
