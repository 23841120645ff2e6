"""How students are trained, as data: the recipe of each, and the schedules that they share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

from mentornet.config.training import TrainConfig
from mentornet.core import schedules
from mentornet.core.schedules import PiecewiseConstant

if TYPE_CHECKING:
    import keras

Schedule = Callable[[TrainConfig, int], PiecewiseConstant]


def half_and_three_quarters(config: TrainConfig, num_examples: int) -> PiecewiseConstant:
    """Steps 32,000 and 48,000 of 64,000 in He et al. (2015), unless decays are asked for."""
    if config.num_epochs_per_decay is not None:
        return staircase(config, num_examples)
    steps = config.max_number_of_steps
    boundaries = tuple(sorted({max(1, steps // 2), max(1, steps * 3 // 4)}))
    return schedules.decay_at(boundaries, config.learning_rate, config.learning_rate_decay_factor)


def staircase(config: TrainConfig, num_examples: int) -> PiecewiseConstant:
    """A decay every `num_epochs_per_decay` epochs, 50 by default, as in the release."""
    epochs = 50.0 if config.num_epochs_per_decay is None else config.num_epochs_per_decay
    decay_steps = schedules.steps_per_decay(num_examples, config.batch_size, epochs)
    return schedules.staircase(
        config.learning_rate,
        config.learning_rate_decay_factor,
        decay_steps,
        config.max_number_of_steps,
    )


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a student is trained; the defaults are those of He et al. (2015, section 4.2).

    Attributes:
      padding: zero pixels on each side of a training image before the random crop.
      momentum: of the optimizer, as TensorFlow 1 does it; 0 is plain gradient descent.
      weight_decay: factor of half the squared norm of all kernels.
      schedule: (configuration, number of training samples) -> learning rate by step.
      mentored_boundaries: under a MentorNet, steps after which the learning rate is divided by 10,
        whatever the decay flags say; None if the schedule is the same with and without one.
    """

    padding: int = 4
    momentum: float = 0.9
    weight_decay: float = 0.0001
    schedule: Schedule = half_and_three_quarters
    mentored_boundaries: tuple[int, ...] | None = None


@dataclasses.dataclass(frozen=True)
class Student:
    """A StudentNet: the network, its recipe, and its names in the release.

    Attributes:
      build: (num_classes, seed, image_shape, dropout_rate) -> a model from standardised images to
        logits; `dropout_rate` None is the network's own.
      recipe: how it is trained.
      tf1_name: a variable of the model -> its name in the release, None if the release has none;
        itself None if the release does not have the network.
    """

    build: Callable[[int, int, tuple[int, int, int], float | None], keras.Model]
    recipe: Recipe = Recipe()
    tf1_name: Callable[[keras.Variable], str | None] | None = None
