"""Reading checkpoints with TensorFlow 1 names."""

from __future__ import annotations

import os
import pathlib
from typing import Any

import numpy as np
import tensorflow as tf

from mentornet.core.errors import InputError

# What TensorFlow raises for a checkpoint that is gone, damaged or another's.
READ_ERRORS = (
    tf.errors.OpError,
    AssertionError,
    IndexError,
    KeyError,
    OSError,
    RuntimeError,
    ValueError,
)


def open_checkpoint(prefix: str) -> Any:
    try:
        return tf.train.load_checkpoint(prefix)
    except READ_ERRORS as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"Checkpoint {prefix} cannot be read: {reason}") from None


def read_tensor(reader: Any, prefix: str, name: str) -> np.ndarray:
    try:
        return reader.get_tensor(name)
    except READ_ERRORS as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"Checkpoint {prefix}: {name} cannot be read: {reason}") from None


def is_prefix(path: str | pathlib.Path) -> bool:
    return os.path.isfile(f"{path}.index")
