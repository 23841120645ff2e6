"""Resolves settings whose default depends on the student or the data set."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from mentornet.config.training import AUTO_PRECISION, TrainConfig
from mentornet.core.processor import bfloat16_instructions
from mentornet.datasets.augmentation import Augmentation
from mentornet.students import registry
from mentornet.students.recipes import Recipe

# Fields whose default is the recipe's of the same name.
_OF_STUDENT = sorted(
    {field.name for field in dataclasses.fields(Recipe)}
    & {field.name for field in dataclasses.fields(TrainConfig)}
)
# Further parts of the recipe, which no flag changes, for config.json.
_FIXED = ("standardization", "decayed", "frozen_after")


def fixed(config: TrainConfig) -> dict[str, Any]:
    """What the training takes from the student's recipe although it is no flag, as JSON values."""
    recipe = registry.find_student(config.studentnet).recipe
    values = {name: getattr(recipe, name) for name in _FIXED}
    return {k: dict(v) if isinstance(v, Mapping) else v for k, v in values.items()}


def defaults(config: TrainConfig, augment: bool) -> dict[str, Any]:
    """Values, by name, for the fields of a configuration whose default None must be resolved.

    Args:
      config: its student, and settings on which others depend, determine the values.
      augment: whether crops and flips are suitable for the data set.

    Raises:
      InputError: there is no such student.
    """
    recipe = registry.find_student(config.studentnet).recipe
    found = {name: getattr(recipe, name) for name in _OF_STUDENT} | {"augment": augment}
    if recipe.rate_follows_batch and config.batch_size is not None:
        found["learning_rate"] *= config.batch_size / recipe.batch_size
    if config.learning_rate_boundaries:
        found["learning_rate_shape"] = None
    # In a training of at most that many steps, the slow parameters would hardly be trained.
    if recipe.lookahead_steps >= config.max_number_of_steps:
        found["lookahead_steps"] = 0
    return found


def resolve(config: TrainConfig, default: dict[str, Any]) -> TrainConfig:
    """The same configuration, with None replaced by the value in `default`."""
    unset = {name: value for name, value in default.items() if getattr(config, name) is None}
    config = dataclasses.replace(config, **unset)
    if config.mixed_precision == AUTO_PRECISION:
        precision = "bfloat16" if bfloat16_instructions() else "float32"
        config = dataclasses.replace(config, mixed_precision=precision)
    return config


AUGMENTATION = ("crop_padding", "crop_mode", "flip", "cutout")  # Fields that describe it.


def augmentation(config: TrainConfig) -> Augmentation | None:
    """The augmentation of a resolved configuration; None without augmentation."""
    if not config.augment:
        return None
    assert config.crop_padding is not None and config.cutout is not None
    assert config.crop_mode is not None and config.flip is not None
    return Augmentation(config.crop_padding, config.crop_mode, config.flip, config.cutout)
