"""Student checkpoints with the release's TensorFlow 1 names."""

from __future__ import annotations

import keras

from mentornet.core.errors import InputError, check
from mentornet.core.tf1_checkpoints import open_checkpoint, read_tensor
from mentornet.students import registry

# What a training checkpoint of the release holds besides the student's own variables.
_TRAINING_ONLY = ("/Momentum", "/ExponentialMovingAverage", "/biased", "/local_step")


def _is_training_only(name: str) -> bool:
    return name == "global_step" or name.startswith("mentornet/") or name.endswith(_TRAINING_ONLY)


def restore_tf1_student(student: keras.Model, prefix: str) -> None:
    """Loads a StudentNet from a checkpoint with the release's TensorFlow 1 names.

    Momentum, moving averages' helpers, the global step and the MentorNet's variables, which a
    training checkpoint holds besides, are passed over.

    Args:
      student: a model of `build_student`.
      prefix: checkpoint prefix.

    Raises:
      InputError: a variable is missing, left over or has another shape, or the student is none of
        the release's.
    """
    variables = registry.tf1_variables(student.name, student)
    reader = open_checkpoint(prefix)
    shapes = reader.get_variable_to_shape_map()
    missing = sorted(variables.keys() - shapes.keys())
    left_over = sorted(n for n in shapes.keys() - variables.keys() if not _is_training_only(n))
    if missing or left_over:
        problems = [f"lacks {', '.join(missing)}"] if missing else []
        problems += [f"has {', '.join(left_over)} left over"] if left_over else []
        raise InputError(
            f"{prefix} is no checkpoint of {student.name}: it {' and '.join(problems)}."
        )
    values = {}
    for name, variable in variables.items():
        rule = f"{prefix}: {name} must have the shape {tuple(variable.shape)}."
        check(tuple(shapes[name]) == tuple(variable.shape), rule, shape=tuple(shapes[name]))
        values[name] = read_tensor(reader, prefix, name)
    for name, variable in variables.items():
        variable.assign(values[name])
