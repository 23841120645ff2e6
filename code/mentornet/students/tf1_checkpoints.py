"""Student checkpoints with the release's TensorFlow 1 names."""

from __future__ import annotations

import re
from collections.abc import Iterable

import keras
import tensorflow as tf

from mentornet.core.checkpoint_files import assign_all, open_checkpoint, write_checkpoint
from mentornet.core.errors import InputError
from mentornet.students import registry

_GLOBAL_STEP = "global_step"


def _namespace(name: str) -> str:
    """The outermost scope without its numbers: all units of a residual network share one."""
    return re.sub(r"[0-9]+", "", name.partition("/")[0])


def _left_over(names: Iterable[str], own: Iterable[str]) -> list[str]:
    """The names that belong to a student of the same kind, but not to this one.

    The other variables of a training checkpoint are outside the student's scopes (the MentorNet,
    its inputs, counters) or below one of its variables: `<variable>/Momentum` or, for the
    zero-debiased moving mean, `<scope>/<variable>/biased`.
    """
    own = set(own)
    scopes = {_namespace(name) for name in own}

    def is_helper(name: str) -> bool:
        parent = name.rpartition("/")[0]
        return any(parent == variable or parent.endswith(f"/{variable}") for variable in own)

    foreign = (n for n in names if n not in own and _namespace(n) in scopes)
    return sorted(name for name in foreign if not is_helper(name))


def restore_tf1_student(student: keras.Model, prefix: str) -> None:
    """Loads a student from a checkpoint with the release's TensorFlow 1 names.

    Everything else that a training checkpoint of the release holds (the MentorNet and its inputs,
    momentum, moving averages, counters) is ignored.

    Args:
      student: a model of `build_student`.
      prefix: checkpoint prefix.

    Raises:
      InputError: a variable of the student is missing, unexpected or has another shape, or the
        release does not have the student.
    """
    variables = registry.tf1_variables(student)
    reader = open_checkpoint(prefix)
    shapes = reader.get_variable_to_shape_map()
    missing = sorted(variables.keys() - shapes.keys())
    left_over = _left_over(shapes, variables)
    if missing or left_over:
        problems = [f"lacks {', '.join(missing)}"] if missing else []
        problems += [f"has unexpected {', '.join(left_over)}"] if left_over else []
        raise InputError(
            f"{prefix} is not a checkpoint of {student.name}: it {' and '.join(problems)}."
        )
    assign_all(variables, reader, prefix)


def save_tf1_student(student: keras.Model, prefix: str, global_step: int) -> None:
    """Writes a checkpoint that the release's cifar_eval.py restores.

    It holds what that script restores: the variables of the evaluation graph and the global step.

    Args:
      student: a model of `build_student`.
      prefix: checkpoint prefix; the release finds steps in names like `model.ckpt-<step>`.
      global_step: number of updates that the student has seen.

    Raises:
      InputError: the release does not have the student, or the folder cannot be written.
    """
    variables = registry.tf1_variables(student)
    tensors = {name: tf.convert_to_tensor(variable.value) for name, variable in variables.items()}
    write_checkpoint(prefix, tensors | {_GLOBAL_STEP: tf.constant(global_step, tf.int64)})
