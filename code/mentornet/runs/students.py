"""Building and restoring the student of a checkpoint, of a run of ours or of the release."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from mentornet.core.errors import check
from mentornet.datasets.catalog import dataset_info
from mentornet.runs.checkpoints import averaged_variables, read_run_config, variables_of
from mentornet.students import registry
from mentornet.students.tf1_checkpoints import restore_tf1_student


def describe_student(
    prefix: str, studentnet: str | None, dataset_name: str | None, data_dir: str | None
) -> dict[str, Any]:
    """What describes the student of a checkpoint, ours or the release's.

    Args:
      prefix: the checkpoint.
      studentnet, dataset_name, data_dir: of the release's, which records none of them.

    Returns:
      The run's configuration; of the release's, the fields that `rebuild_student` reads, and these.

    Raises:
      InputError: it is the release's, and `studentnet` or `dataset_name` is missing.
      One of `READ_ERRORS`: it is missing or damaged.
    """
    try:
        return read_run_config(prefix)
    except KeyError:
        names: dict[str, Any] = {"studentnet": studentnet, "dataset_name": dataset_name}
        rule = f"{prefix} holds no configuration: `studentnet` and `dataset_name` must describe it."
        check(None not in names.values(), rule, **names)
        info = dataset_info(str(dataset_name), data_dir or "")
        release = {"num_classes": info.num_classes, "image_shape": registry.IMAGE_SHAPE}
        return names | release | {"data_dir": ""}


def rebuild_student(run: Mapping[str, Any]) -> keras.Model:
    """Builds the student of a run from what `describe_student` returned, with initial parameters.

    Raises:
      InputError: as `registry.build_student`.
    """
    shape = tuple(run["image_shape"])
    return registry.build_student(run["studentnet"], run["num_classes"], image_shape=shape)


def restore_student(student: keras.Model, prefix: str) -> None:
    """Restores only the student of a checkpoint; its moving average, if there is one.

    Raises:
      InputError: it is the release's, and does not fit.
      One of `READ_ERRORS`: the checkpoint is missing, damaged or of another network.
    """
    try:
        run = read_run_config(prefix)
    except KeyError:
        restore_tf1_student(student, prefix)
        return
    checkpoint = tf.train.Checkpoint(student=variables_of(student))
    checkpoint.restore(prefix).assert_existing_objects_matched().expect_partial()
    if run.get("ema_decay"):
        checkpoint = tf.train.Checkpoint(state=averaged_variables(student))
        checkpoint.restore(prefix).assert_existing_objects_matched().expect_partial()


def load_student(prefix: str, run: Mapping[str, Any] | None = None) -> keras.Model:
    """Builds a checkpoint's student and restores it.

    Args:
      prefix: the checkpoint.
      run: what `describe_student` returned; by default as the checkpoint records it.

    Raises:
      InputError, KeyError, or one of `READ_ERRORS`: as `read_run_config` and `restore_student`.
    """
    student = rebuild_student(run or read_run_config(prefix))
    restore_student(student, prefix)
    return student
