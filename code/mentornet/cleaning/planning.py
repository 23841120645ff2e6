"""The training that ranks the labels of data: student, batch size, number of steps, weighting."""

from __future__ import annotations

import dataclasses
import math
import pathlib
from collections.abc import Sequence
from typing import Any

from mentornet.config.cleaning import CleanConfig
from mentornet.config.training import TrainConfig
from mentornet.config.weighting import AUTO, WeightingConfig
from mentornet.datasets.catalog import read_manifest
from mentornet.students import registry
from mentornet.students.networks.airbench import SMALLEST_IMAGE

# How samples are weighted, as fields of TrainConfig: nothing is known of the noise here.
WEIGHTING: dict[str, Any] = {
    "trained_mentornet_dir": "mentornet_pd",
    "weighting": WeightingConfig(AUTO, AUTO, example_dropout_rates="0,100"),
}

_NUM_STEPS, _FEWEST_EPOCHS, _MOST_EPOCHS = 500, 10, 60
_STEPS_PER_EPOCH = 20  # Of a data set too small for the student's batches.
_SMALLEST_BATCH = 16


@dataclasses.dataclass(frozen=True)
class Data:
    """Prepared records: the data set's name, and the folders of both splits."""

    name: str
    train: pathlib.Path
    test: pathlib.Path

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest of the training records."""
        return read_manifest(self.train) or {}


def choose_student(image_shape: Sequence[int]) -> str:
    """A student that suits samples of this shape: (num_features,) or (height, width, channels)."""
    if len(image_shape) == 1:
        return "mlp"
    return "inception" if _is_tiny(image_shape) else "airbench93"


def _is_tiny(image_shape: Sequence[int]) -> bool:
    return len(image_shape) == 3 and min(image_shape[:2]) < SMALLEST_IMAGE


def plan(num_examples: int, usual_batch: int, num_epochs: int | None) -> tuple[int, int]:
    """Samples per step, and number of steps.

    Args:
      num_examples: of the training split.
      usual_batch: the student's; small data get smaller ones, so that an epoch has enough steps.
      num_epochs: None is as many as make 500 steps, within 10..60.
    """
    fitting = 2 ** math.floor(math.log2(max(num_examples / _STEPS_PER_EPOCH, 1)))
    batch = min(usual_batch, max(fitting, _SMALLEST_BATCH), num_examples)
    if num_epochs is None:
        num_epochs = math.ceil(_NUM_STEPS * batch / num_examples)
        num_epochs = min(max(num_epochs, _FEWEST_EPOCHS), _MOST_EPOCHS)
    return batch, max(1, round(num_epochs * num_examples / batch))


def train_config(data: Data, folder: pathlib.Path, config: CleanConfig) -> TrainConfig:
    """The run that ranks the labels of `data`."""
    manifest = data.manifest
    shape = manifest["image_shape"]
    student = config.studentnet or choose_student(shape)
    usual = registry.find_student(student).recipe.batch_size
    batch, steps = plan(manifest["num_examples"], usual, config.num_epochs)
    return TrainConfig(
        str(data.train),
        str(folder),
        data.name,
        student,
        batch_size=batch,
        max_number_of_steps=steps,
        augment=False if _is_tiny(shape) else None,  # Crops would leave little of them.
        seed=config.seed,
        record_sample_weights=True,
        save_interval_secs=60,
        max_to_keep=1,
        **WEIGHTING,
    )
