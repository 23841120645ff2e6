"""Students by name: building them, and the learning rates that their recipes define."""

from __future__ import annotations

from collections.abc import Iterator

import keras

from mentornet.config.training import TrainConfig
from mentornet.core import schedules
from mentornet.core.errors import InputError, check
from mentornet.core.schedules import RateSchedule

# Importing the layers registers them with Keras, which is needed to load saved students.
from mentornet.students import (  # noqa: F401
    batch_normalization,
    dropout,
    gelu,
    local_response_normalization,
)
from mentornet.students.custom import custom_student
from mentornet.students.networks import STUDENTS
from mentornet.students.recipes import Student

IMAGE_SHAPE = (32, 32, 3)  # Of CIFAR, and of all of the release's students.


def find_student(name: str) -> Student:
    """The student of this name, or your own network as "module:function".

    Raises:
      InputError: the name is unknown, or there is no such module or function.
    """
    if ":" in name:
        return custom_student(name)
    STUDENTS.check(name, ", or 'module:function'")
    return STUDENTS.find(name)


def build_student(
    name: str,
    num_classes: int,
    seed: int = 0,
    image_shape: tuple[int, ...] = IMAGE_SHAPE,
    dropout_rate: float | None = None,
    dtype_policy: str = "float32",
) -> keras.Model:
    """Builds a student (the paper's StudentNet).

    Args:
      name: a student of `students.networks`, e.g. "resnet101", "inception" or "resnet32"; or
        "module:function", a function from the number of classes to a keras.Model.
      num_classes: number of logits.
      seed: of the initial parameters.
      image_shape: (height, width, channels); (num_features,) of rows of features.
      dropout_rate: of the dropout inside the student, if it has any; None is the network's default.
      dtype_policy: a Keras dtype policy for the layers, e.g. "mixed_bfloat16".

    Returns:
      A model from standardised images, float32 [batch, height, width, channels], or from raw
      features, float32 [batch, num_features], to logits [batch, num_classes], float32 unless
      `dtype_policy` says otherwise.

    Raises:
      InputError: the name is unknown, num_classes is below 2, or the network takes images only.
    """
    student = find_student(name)
    check(num_classes >= 2, "`num_classes` must be at least 2.", num_classes=num_classes)
    if len(image_shape) != 3 and not student.takes_features:
        takers = ", ".join(each for each in STUDENTS.names() if find_student(each).takes_features)
        rule = f"`studentnet` must be {takers}, or your own, for features."
        raise InputError(f"{rule} Received: studentnet={name!r}")
    replaces = student.has_dropout and dropout_rate is not None
    given = {"dropout_rate": dropout_rate} if replaces else {}
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(dtype_policy)
    try:
        return student.build(num_classes, seed, image_shape, **given)
    finally:
        keras.config.set_dtype_policy(before)


def _layers(model: keras.Model) -> Iterator[keras.Layer]:
    """The layers of a model and of the models inside it."""
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from _layers(layer)


def synchronize_batch_norm(student: keras.Model) -> None:
    """Makes replicas normalise with the statistics of the global batch.

    Raises:
      InputError: the student has no batch normalisation.
    """
    # A frozen layer, such as that which standardises features, has no statistics of the batch.
    found = (layer for layer in _layers(student) if layer.trainable)
    layers = [layer for layer in found if hasattr(layer, "synchronized")]
    rule = "`sync_batch_norm` needs a student with batch normalisation."
    check(bool(layers), rule, studentnet=student.name)
    for layer in layers:
        layer.synchronized = True


def _batch_norms(student: keras.Model) -> list[batch_normalization.BatchNormalization]:
    kind = batch_normalization.BatchNormalization
    return [layer for layer in _layers(student) if isinstance(layer, kind)]


def batch_norm_decays(student: keras.Model) -> list[float]:
    """The decays of this package's batch normalisations in a student, each once, ascending."""
    return sorted({layer.decay for layer in _batch_norms(student)})


def set_batch_norm_decay(student: keras.Model, decay: float) -> None:
    """Sets the decay of the moving averages of batch normalisation.

    Raises:
      InputError: the student has no batch normalisation of this package.
    """
    layers = _batch_norms(student)
    rule = "`batch_norm_decay` needs a student with batch normalisation of this package."
    check(bool(layers), rule, studentnet=student.name)
    for layer in layers:
        layer.decay = decay


def _mentored_boundaries(config: TrainConfig) -> tuple[int, ...]:
    """The student's boundaries under a MentorNet, () under other weightings."""
    recipe = find_student(config.studentnet).recipe
    return recipe.mentored_boundaries if config.is_mentored else ()


def ignored_flags(config: TrainConfig) -> list[str]:
    """The learning-rate flags that were set but have no effect; some have none in the release."""
    recipe = find_student(config.studentnet).recipe
    shape = config.learning_rate_shape or recipe.learning_rate_shape
    names = ["num_epochs_per_decay"]
    if not config.learning_rate_boundaries:
        if shape is None and not _mentored_boundaries(config):
            return []
        names = ["learning_rate_decay_factor", *names]
    return [name for name in names if getattr(config, name) != getattr(TrainConfig, name)]


def learning_rate_schedule(config: TrainConfig, num_examples: int) -> RateSchedule:
    """The learning rate of each step of a run.

    Given boundaries or a given shape replace the student's own schedule.

    Args:
      config: the run's configuration, resolved, see `training.recipe`.
      num_examples: number of training samples.
    """
    assert config.learning_rate is not None
    if config.learning_rate_shape is not None:
        return schedules.follow_shape(
            config.learning_rate_shape, config.learning_rate, config.max_number_of_steps
        )
    if config.learning_rate_boundaries:
        return schedules.decay_at(
            config.learning_rate_boundaries,
            config.learning_rate,
            config.learning_rate_decay_factor,
        )
    if boundaries := _mentored_boundaries(config):
        # Kept from the release: both decay flags are ignored.
        return schedules.decay_at(boundaries, config.learning_rate, 0.1)
    return find_student(config.studentnet).recipe.schedule(config, num_examples)


def tf1_variables(student: keras.Model) -> dict[str, keras.Variable]:
    """The variables of the release's evaluation graph: TensorFlow 1 name -> our variable.

    Raises:
      InputError: the release does not have the network.
    """
    found = {name: STUDENTS.find(name).tf1_name for name in STUDENTS.names()}
    tf1_names = {name: tf1_name for name, tf1_name in found.items() if tf1_name is not None}
    rule = f"`student` must be one of {', '.join(tf1_names)}."
    check(student.name in tf1_names, rule, student=student.name)
    named = {tf1_names[student.name](variable): variable for variable in student.weights}
    return {name: variable for name, variable in named.items() if name is not None}
