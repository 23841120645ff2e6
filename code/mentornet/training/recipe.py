"""What a run's open settings become: those of its student and its data set."""

from __future__ import annotations

import dataclasses
from typing import Any

from mentornet.config.training import TrainConfig
from mentornet.students import registry


def defaults(studentnet: str, augment: bool) -> dict[str, Any]:
    """What the fields of `TrainConfig` stand for that are None by default.

    Args:
      studentnet: see `TrainConfig`.
      augment: whether crops and flips suit the data set.

    Raises:
      InputError: there is no such student.
    """
    recipe = registry.find_student(studentnet).recipe
    return {
        "momentum": recipe.momentum,
        "weight_decay": recipe.weight_decay,
        "augment": augment,
    }


def resolve(config: TrainConfig, default: dict[str, Any]) -> TrainConfig:
    """The same run, with nothing left open that `defaults` knows."""
    unset = {name: value for name, value in default.items() if getattr(config, name) is None}
    return dataclasses.replace(config, **unset)
