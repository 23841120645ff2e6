"""Builds the trainer that a configuration describes."""

from __future__ import annotations

import dataclasses
import math

import keras
import numpy as np
import tensorflow as tf

from mentornet.config.training import PRECISIONS, TrainConfig
from mentornet.core import schedules
from mentornet.core.errors import check
from mentornet.datasets.augmentation import standardize
from mentornet.datasets.records import Examples
from mentornet.label_noise.history import SampleHistory
from mentornet.students import registry
from mentornet.training import recipe
from mentornet.training.lookahead import Lookahead
from mentornet.training.optimizers import make_optimizer
from mentornet.training.step import Trainer
from mentornet.training.wrappers import Averaged, LossScaled, OptimizerUpdate, StudentUpdate
from mentornet.weighting import registry as weightings
from mentornet.weighting.protocol import Context, Weighting

_NUM_ADAPTED = 5000  # Images given to a student's `adapt` before the training.


def _check_fits(config: TrainConfig, image_shape: tuple[int, ...]) -> None:
    """Raises InputError if features are to be augmented, or replicas compiled."""
    is_alone = tf.distribute.get_strategy().num_replicas_in_sync == 1
    rule = "`jit_compile` needs one device, of one machine: XLA cannot gather."
    check(is_alone or not config.jit_compile, rule, jit_compile=config.jit_compile)
    rule = "`augment` must be off for features."
    check(len(image_shape) == 3 or not config.augment, rule, augment=config.augment)


def make_trainer(
    config: TrainConfig,
    num_examples: int,
    num_classes: int,
    image_shape: tuple[int, ...],
    dropout_rate: float | None = None,
    examples: Examples | None = None,
) -> Trainer:
    """Builds student, weighting and optimizer from a configuration.

    Args:
      config: of the run; None stands for the student's default.
      num_examples: size of the training split.
      num_classes: of the labels.
      image_shape: (height, width, channels), or (num_features,).
      dropout_rate: replaces the student's own.
      examples: the training split, for a student that has `adapt`; without it, it is not called.

    Returns:
      The trainer; in the scope of a tf.distribute strategy, it trains in all of its replicas.

    Raises:
      InputError: the student or weighting is unknown, the MentorNet cannot be read, labels,
        features or options do not fit, features are to be augmented, or XLA is to compile a step
        of several replicas.
    """
    config = recipe.resolve(config, recipe.defaults(config, augment=False))
    assert config.mixed_precision is not None and config.weight_decay is not None
    assert config.label_smoothing is not None
    _check_fits(config, image_shape)
    schedule = registry.learning_rate_schedule(config, num_examples)
    last_rise = schedules.last_rise(schedule, config.max_number_of_steps)
    context = Context(config.seed, num_examples, num_classes, last_rise=last_rise)
    name, options = config.named_weighting
    weighting = weightings.make(name, context, options)
    second: tuple[Weighting, Context] | None = None
    if config.mixup is not None and config.mixup.second_reweight:
        mixed = context.for_mixed(weighting)
        second = weightings.make(name, mixed, options), mixed
    history = context.sample_history
    if history is None and (config.record_sample_weights or config.keep_best):
        history = SampleHistory(num_examples)
    student = registry.build_student(
        config.studentnet,
        num_classes,
        config.seed,
        image_shape,
        dropout_rate,
        PRECISIONS[config.mixed_precision],
    )
    if examples is not None:
        _adapt(student, config.studentnet, examples)
    if config.sync_batch_norm:
        registry.synchronize_batch_norm(student)
    if config.batch_norm_decay is not None:
        registry.set_batch_norm_decay(student, config.batch_norm_decay)
    return Trainer(
        student,
        _make_update(config, student, schedule, num_examples),
        weight_decay=config.weight_decay,
        decayed=registry.find_student(config.studentnet).recipe.decayed,
        label_smoothing=config.label_smoothing,
        weighting=weighting,
        context=context,
        max_number_of_steps=config.max_number_of_steps,
        seed=config.seed,
        history=history,
        mixup=config.mixup,
        second=second,
        jit_compile=config.jit_compile,
        recompute_gradients=config.recompute_gradients,
    )


@dataclasses.dataclass(frozen=True)
class _Standardised:
    """The standardised training samples, read when a slice is asked for."""

    examples: Examples
    standardization: str

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, part: slice, /) -> np.ndarray:
        indices = tf.range(len(self), dtype=tf.int64)[part]
        return standardize(self.examples.read(indices), self.standardization).numpy()


def _adapt(student: keras.Model, name: str, examples: Examples) -> None:
    """Calls the student's `adapt`, if it has one, with at most 5,000 of the training images.

    They are evenly spaced, since the data may be sorted by class. Of features it gets all rows.
    """
    entry = registry.find_student(name)
    if entry.adapt is None:
        return
    samples = _Standardised(examples, entry.recipe.standardization)
    step = -(-len(examples) // _NUM_ADAPTED)
    entry.adapt(student, samples if examples.are_features else samples[::step])


def _make_optimizer(
    config: TrainConfig, schedule: schedules.RateSchedule, num_examples: int
) -> keras.optimizers.Optimizer:
    """The optimizer of a resolved configuration."""
    assert config.momentum is not None and config.nesterov is not None
    assert config.shift_rate_factor is not None and config.batch_size is not None
    steps_per_epoch = num_examples / config.batch_size
    frozen_after = registry.find_student(config.studentnet).recipe.frozen_after
    return make_optimizer(
        config.momentum,
        schedule,
        config.nesterov,
        {"beta": config.shift_rate_factor},
        {path: math.ceil(epochs * steps_per_epoch) for path, epochs in frozen_after.items()},
    )


def _make_update(
    config: TrainConfig, student: keras.Model, schedule: schedules.RateSchedule, num_examples: int
) -> StudentUpdate:
    """The optimizer and its wrappers, from the inside out."""
    update: StudentUpdate = OptimizerUpdate(
        _make_optimizer(config, schedule, num_examples), student
    )
    if config.mixed_precision == "mixed_float16":
        update = LossScaled(update)
    if config.lookahead_steps:
        update = Lookahead(update, student, config.lookahead_steps, config.max_number_of_steps)
    if config.ema_decay:
        update = Averaged(update, student, config.ema_decay)
    return update
