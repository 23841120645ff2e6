"""Resolves settings whose default depends on the student or the data set."""

from __future__ import annotations

import dataclasses
from typing import Any

from mentornet.config.training import AUTO_PRECISION, TrainConfig
from mentornet.core.processor import bfloat16_instructions
from mentornet.datasets.augmentation import Augmentation
from mentornet.students import registry


def defaults(config: TrainConfig, augment: bool) -> dict[str, Any]:
    """Values, by name, for the fields of a configuration whose default None must be resolved.

    Args:
      config: its student, and settings on which others depend, determine the values.
      augment: whether crops and flips are suitable for the data set.

    Raises:
      InputError: there is no such student.
    """
    recipe = registry.find_student(config.studentnet).recipe
    # In a training of at most that many steps, the slow parameters would hardly be trained.
    has_lookahead = recipe.lookahead_steps < config.max_number_of_steps
    rate, batch_size = recipe.learning_rate, recipe.batch_size
    if recipe.rate_follows_batch and config.batch_size is not None:
        rate *= config.batch_size / batch_size
    return {
        "batch_size": batch_size,
        "learning_rate": rate,
        "learning_rate_shape": None if config.learning_rate_boundaries else recipe.rate_shape,
        "momentum": recipe.momentum,
        "nesterov": recipe.nesterov,
        "weight_decay": recipe.weight_decay,
        "shift_rate_factor": recipe.shift_rate_factor,
        "label_smoothing": recipe.label_smoothing,
        "lookahead_steps": recipe.lookahead_steps if has_lookahead else 0,
        "augment": augment,
        "crop_padding": recipe.padding,
        "crop_mode": recipe.crop_mode,
        "flip": recipe.flip,
        "cutout": recipe.cutout,
        "mixed_precision": recipe.mixed_precision,
    }


def resolve(config: TrainConfig, default: dict[str, Any]) -> TrainConfig:
    """The same configuration, with None replaced by the value in `default`."""
    unset = {name: value for name, value in default.items() if getattr(config, name) is None}
    config = dataclasses.replace(config, **unset)
    if config.mixed_precision == AUTO_PRECISION:
        precision = "bfloat16" if bfloat16_instructions() else "float32"
        config = dataclasses.replace(config, mixed_precision=precision)
    return config


def augmentation(config: TrainConfig) -> Augmentation | None:
    """The augmentation of a resolved configuration; None without augmentation."""
    if not config.augment:
        return None
    assert config.crop_padding is not None and config.cutout is not None
    assert config.crop_mode is not None and config.flip is not None
    return Augmentation(config.crop_padding, config.crop_mode, config.flip, config.cutout)
