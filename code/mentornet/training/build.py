"""Builds what a configuration describes."""

from __future__ import annotations

import keras

from mentornet.config.training import PRECISIONS, TrainConfig
from mentornet.students import registry
from mentornet.training import recipe
from mentornet.training.optimizers import make_optimizer
from mentornet.training.step import Trainer
from mentornet.training.wrappers import Averaged, LossScaled, OptimizerUpdate, StudentUpdate
from mentornet.weighting import registry as weightings
from mentornet.weighting.history import SampleHistory
from mentornet.weighting.protocol import Context, Weighting


def make_trainer(
    config: TrainConfig,
    num_examples: int,
    num_classes: int,
    image_shape: tuple[int, int, int],
    dropout_rate: float | None = None,
) -> Trainer:
    """Builds student, weighting and optimizer as a configuration says.

    Raises:
      InputError: unknown student or weighting, no readable MentorNet, or labels, features or
        options that do not fit.
    """
    resolved = recipe.resolve(config, recipe.defaults(config.studentnet, augment=False))
    assert resolved.momentum is not None and resolved.weight_decay is not None
    context = Context(config.seed, num_examples, num_classes)
    name, options = config.weighting_name, config.weighting_options
    weighting = weightings.make(name, context, options)
    second: tuple[Weighting, Context] | None = None
    if config.mixup is not None and config.mixup.second_reweight:
        mixed = context.for_mixed(weighting)
        second = weightings.make(name, mixed, options), mixed
    needs_history = config.record_sample_weights or context.needs_history
    student = registry.build_student(
        config.studentnet,
        num_classes,
        config.seed,
        image_shape,
        dropout_rate,
        PRECISIONS[config.mixed_precision],
    )
    if config.sync_batch_norm:
        registry.synchronize_batch_norm(student)
    return Trainer(
        student,
        _make_update(config, student, resolved.momentum, num_examples),
        weight_decay=resolved.weight_decay,
        weighting=weighting,
        context=context,
        max_number_of_steps=config.max_number_of_steps,
        seed=config.seed,
        history=SampleHistory(num_examples) if needs_history else None,
        mixup=config.mixup,
        second=second,
        jit_compile=config.jit_compile,
        recompute_gradients=config.recompute_gradients,
    )


def _make_update(
    config: TrainConfig, student: keras.Model, momentum: float, num_examples: int
) -> StudentUpdate:
    """The optimizer, and what wraps it from the inside out."""
    mentored = config.is_mentored
    schedule = registry.learning_rate_schedule(config, num_examples, mentored=mentored)
    optimizer = make_optimizer(momentum, schedule)
    update: StudentUpdate = OptimizerUpdate(optimizer, student)
    if config.mixed_precision == "mixed_float16":
        update = LossScaled(update)
    if config.ema_decay:
        update = Averaged(update, student, config.ema_decay)
    return update
