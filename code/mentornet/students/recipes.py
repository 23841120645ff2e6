"""How students are trained: the `Recipe` of each, and the schedules that they share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from mentornet.config.training import TrainConfig
from mentornet.core import schedules
from mentornet.core.schedules import PiecewiseConstant

if TYPE_CHECKING:
    import keras
    import numpy as np

# The configuration's learning rate and batch size are already resolved, see `training.recipe`.
Schedule = Callable[[TrainConfig, int], PiecewiseConstant]

EPOCHS_PER_DECAY = 50.0  # The release's.


class SliceableSamples(Protocol):
    """Samples of which slices can be read: an array, or rows in files."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> np.ndarray: ...


def half_and_three_quarters(config: TrainConfig, num_examples: int) -> PiecewiseConstant:
    """Decays as at 32,000 and 48,000 of 64,000 steps in He et al. (2015), unless flags set them."""
    assert config.learning_rate is not None
    if config.num_epochs_per_decay is not None:
        return staircase(config, num_examples)
    steps = config.max_number_of_steps
    boundaries = tuple(sorted({max(1, steps // 2), max(1, steps * 3 // 4)}))
    return schedules.decay_at(boundaries, config.learning_rate, config.learning_rate_decay_factor)


def staircase(config: TrainConfig, num_examples: int) -> PiecewiseConstant:
    """A decay every `num_epochs_per_decay` epochs, as in the release."""
    assert config.learning_rate is not None and config.batch_size is not None
    epochs = config.num_epochs_per_decay or EPOCHS_PER_DECAY
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
      crop_padding: pixels added on each side of a training image before the random crop.
      crop_mode, flip, cutout: see `datasets.augmentation.Augmentation`.
      standardization: see `datasets.augmentation.standardize`.
      test_time_augmentation: whether evaluation averages over `datasets.augmentation.views`.
      batch_size: samples per step.
      learning_rate: before decays.
      rate_follows_batch: whether `learning_rate` is for `batch_size` samples, and scaled in
        proportion for other batch sizes; otherwise it holds for every batch size.
      momentum: of the optimizer, as defined by TensorFlow 1; 0 is plain gradient descent.
      nesterov: whether to use Nesterov momentum, see `training.optimizers.TF1Momentum`.
      weight_decay: factor of half the squared norm of the variables that `decayed` names.
      decayed: a trainable variable's name -> its factor of the weight decay.
      shift_rate_factor: of the learning rate for batch normalisation's shifts.
      frozen_after: a variable's path -> the number of epochs after which it is no longer trained.
      label_smoothing: share in 0..1 of each label that is spread over all classes.
      lookahead_steps: see `training.lookahead`; 0 disables it.
      mixed_precision: the student's compute type, see `config.training.PRECISIONS`.
      schedule: (configuration, number of training samples) -> learning rate by step.
      learning_rate_shape: used instead of `schedule` if set, see `core.schedules.rate_shape`.
      mentored_boundaries: with a MentorNet, the steps after which the learning rate is divided by
        10, whatever the decay flags; empty if the schedule does not depend on a MentorNet.
    """

    crop_padding: int = 4
    crop_mode: str = "zero"
    flip: str = "random"
    cutout: int = 0
    standardization: str = "image"
    test_time_augmentation: bool = False
    batch_size: int = 128
    learning_rate: float = 0.1
    rate_follows_batch: bool = False
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 0.0001
    decayed: Mapping[str, float] = dataclasses.field(default_factory=lambda: {"kernel": 1.0})
    shift_rate_factor: float = 1.0
    frozen_after: Mapping[str, float] = dataclasses.field(default_factory=dict)
    label_smoothing: float = 0.0
    lookahead_steps: int = 0
    mixed_precision: str = "float32"
    schedule: Schedule = half_and_three_quarters
    learning_rate_shape: str | None = None
    mentored_boundaries: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Student:
    """A student: the network, its recipe, and its names in the release.

    Attributes:
      build: (num_classes, seed, image_shape) -> a model from standardised images to logits. For
        rows of features the shape is (num_features,).
      recipe: how it is trained.
      adapt: (model, the first training images, standardised, float32 [n, height, width, channels])
        -> None; sets variables that are computed from images before the training. As checkpoints
        hold them, this is done only once. For features, all training rows, which may be more than
        fit into memory, are given as `SliceableSamples`.
      tf1_name: a variable of the model -> its name in the release, None if the release has none;
        None instead of a function if the release does not have the network.
      takes_features: whether samples may be rows of features, float32 [n, num_features].
      has_dropout: whether `build` takes a further argument, `dropout_rate`.
    """

    build: Callable[..., keras.Model]
    recipe: Recipe = Recipe()
    tf1_name: Callable[[keras.Variable], str | None] | None = None
    adapt: Callable[[keras.Model, Any], None] | None = None
    takes_features: bool = False
    has_dropout: bool = False
