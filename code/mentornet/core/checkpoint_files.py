"""The files of checkpoints: how they are read, and written under TensorFlow 1's names."""

from __future__ import annotations

import contextlib
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mentornet.core import files
from mentornet.core.errors import InputError, check, first_line

# Errors that TensorFlow raises for a checkpoint that is missing, damaged or of another model.
READ_ERRORS = (
    tf.errors.OpError,
    AssertionError,
    IndexError,
    KeyError,
    OSError,
    RuntimeError,
    ValueError,
)


@contextlib.contextmanager
def reading(prefix: str) -> Iterator[None]:
    """Raises InputError, which names the checkpoint, for one of `READ_ERRORS`."""
    try:
        yield
    except InputError:
        raise
    except READ_ERRORS as error:
        reason = first_line(error)
        raise InputError(f"Checkpoint {prefix} cannot be read: {reason}") from None


def open_checkpoint(prefix: str) -> Any:
    """A reader of a checkpoint; raises InputError if it cannot be read."""
    with reading(prefix):
        return tf.train.load_checkpoint(prefix)


def read_tensor(reader: Any, prefix: str, name: str) -> np.ndarray:
    """The value of a variable; raises InputError if it cannot be read."""
    try:
        return reader.get_tensor(name)
    except READ_ERRORS as error:
        reason = first_line(error)
        raise InputError(f"Checkpoint {prefix}: {name} cannot be read: {reason}") from None


def assign_all(variables: Mapping[str, keras.Variable], reader: Any, prefix: str) -> None:
    """Sets variables to their values in a checkpoint that holds all of their names.

    Raises:
      InputError: one has another shape there or cannot be read; then no variable was changed.
    """
    shapes, values = reader.get_variable_to_shape_map(), {}
    for name, variable in variables.items():
        rule = f"{prefix}: {name} must have the shape {tuple(variable.shape)}."
        check(tuple(shapes[name]) == tuple(variable.shape), rule, shape=tuple(shapes[name]))
        values[name] = read_tensor(reader, prefix, name)
    for name, variable in variables.items():
        variable.assign(values[name])


def is_prefix(path: str | pathlib.Path) -> bool:
    """Whether a path is the prefix of a checkpoint."""
    return os.path.isfile(f"{path}.index")


def write_checkpoint(prefix: str | pathlib.Path, tensors: dict[str, tf.Tensor]) -> None:
    """Writes a TensorFlow 1 checkpoint, and a file `checkpoint` that names it as the latest.

    Args:
      prefix: files `<prefix>.index` and `<prefix>.data-00000-of-00001` are written.
      tensors: name -> value.

    Raises:
      InputError: the folder cannot be written.
    """
    path = pathlib.Path(prefix).absolute()  # TensorFlow joins a bare file name wrongly.
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        tf.raw_ops.SaveV2(
            prefix=str(path),
            tensor_names=list(tensors),
            shape_and_slices=[""] * len(tensors),
            tensors=list(tensors.values()),
        )
        state = f'model_checkpoint_path: "{path.name}"\nall_model_checkpoint_paths: "{path.name}"\n'
        files.write_text(path.with_name("checkpoint"), state)
    except (OSError, tf.errors.OpError) as error:
        reason = first_line(error)
        raise InputError(f"Checkpoint {prefix} cannot be written: {reason}") from None
