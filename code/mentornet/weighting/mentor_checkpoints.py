"""MentorNet checkpoints with the release's TensorFlow 1 names."""

from __future__ import annotations

import hashlib
import os
import pathlib

import numpy as np
import tensorflow as tf

from mentornet.core.checkpoint_files import (
    assign_all,
    is_prefix,
    open_checkpoint,
    read_tensor,
    write_checkpoint,
)
from mentornet.core.errors import InputError, check
from mentornet.weighting import features
from mentornet.weighting.mentor import VARIABLE_SHAPES, MentorNet
from mentornet.weighting.methods import WEIGHTINGS

# Strings; only in checkpoints of MentorNets with further features.
_FEATURES = "mentornet/features"
# In the repository or, if installed from a wheel, in the package.
_HERE = pathlib.Path(__file__).resolve()
_MODELS = (_HERE.parents[3] / "mentornet_models" / "models", _HERE.parents[1] / "models")


def shipped_mentornets() -> dict[str, str]:
    """The curricula that come with the project: name -> checkpoint prefix.

    A curriculum's name is its checkpoint's, without the suffix "_mentornet".
    """
    prefixes = sorted(path for folder in _MODELS for path in folder.glob("*/*.index"))
    return {path.stem.removesuffix("_mentornet"): str(path.with_suffix("")) for path in prefixes}


def find_mentornet(path: str) -> str:
    """Resolves a checkpoint prefix, a directory (its latest checkpoint) or a shipped name.

    Raises:
      InputError: nothing is found there.
    """
    if is_prefix(path):
        return path
    if os.path.isdir(path):
        try:
            latest = tf.train.latest_checkpoint(path)
        except ValueError:  # Its file `checkpoint` is empty or damaged.
            latest = None
        if latest is None:
            found = sorted(pathlib.Path(path).glob("*.index"))
            latest = str(found[0].with_suffix("")) if len(found) == 1 else None
        if latest is not None and is_prefix(latest):
            return latest
    shipped = shipped_mentornets()
    if path in shipped:
        return shipped[path]
    names = ", ".join(shipped) or "none"
    hint = (
        f" `weighting` takes {path}, which is no MentorNet." if path in WEIGHTINGS.names() else ""
    )
    raise InputError(
        f"No MentorNet checkpoint at {path}: give a checkpoint prefix, a directory that holds one, "
        f"or a shipped curriculum ({names}).{hint}"
    )


def load_mentornet(path: str) -> MentorNet:
    """Loads a frozen MentorNet from a TensorFlow 1 checkpoint, the release's or ours.

    Args:
      path: a checkpoint prefix, a directory (its latest checkpoint), or the name of a shipped
        curriculum, e.g. "mentornet_pd".

    Returns:
      A MentorNet that is not trainable.

    Raises:
      InputError: there is no checkpoint, a variable is missing or has another shape.
    """
    prefix = find_mentornet(path)
    reader = open_checkpoint(prefix)
    shapes = reader.get_variable_to_shape_map()
    missing = ", ".join(name for name in VARIABLE_SHAPES if name not in shapes)
    if missing:
        raise InputError(f"{prefix} is not a MentorNet checkpoint: it lacks {missing}.")
    shape = shapes["mentornet/label_embedding"]
    check(len(shape) == 2, f"{prefix}: the label embedding must be a matrix.", shape=shape)
    names = features.RELEASE
    if _FEATURES in shapes:
        found = np.atleast_1d(read_tensor(reader, prefix, _FEATURES))
        names = tuple(name.decode() for name in found)
    mentor = MentorNet(shape[0], features=names)
    assign_all(mentor.tf1_variables, reader, prefix)
    mentor.trainable = False
    return mentor


def save_mentornet(mentor: MentorNet, prefix: str) -> None:
    """Writes a TensorFlow 1 checkpoint that `load_mentornet` and the 2018 code read.

    (The 2018 code has no features beyond its four.)

    Args:
      mentor: the MentorNet.
      prefix: files `<prefix>.index` and `<prefix>.data-00000-of-00001` are written, and a file
        `checkpoint` that names them as the latest.

    Raises:
      InputError: they cannot be written.
    """
    variables = mentor.tf1_variables
    tensors = {name: tf.convert_to_tensor(variables[name].value) for name in sorted(variables)}
    if mentor.further_features:
        tensors[_FEATURES] = tf.constant(mentor.features)
    write_checkpoint(prefix, tensors)


def mentornet_fingerprint(mentor: MentorNet) -> str:
    """SHA-256 over the variables in the order of their names."""
    variables = mentor.tf1_variables
    parts = [variables[name].numpy().tobytes() for name in sorted(variables)]
    return hashlib.sha256(b"".join(parts)).hexdigest()
