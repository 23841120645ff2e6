"""StudentNets by name: the networks and what differs in their training."""

from __future__ import annotations

import dataclasses
import functools
import importlib
from collections.abc import Callable

import keras

from mentornet.config.training import TrainConfig
from mentornet.core import schedules
from mentornet.core.errors import InputError, check
from mentornet.core.schedules import PiecewiseConstant
from mentornet.students import cifar_resnet, coteaching, inception, preactivation, resnet

Schedule = Callable[[TrainConfig, int], PiecewiseConstant]


@dataclasses.dataclass(frozen=True)
class Student:
    """A StudentNet and how it is trained.

    Attributes:
      build: (num_classes, seed, image_shape, dropout_rate) -> a model from standardised images to
        logits; `dropout_rate` None is the network's own.
      tf1_name: a variable of the model -> its name in the release, None if the release has none;
        itself None if the release does not have the network.
      padding: zero pixels on each side of a training image before the random crop.
      momentum: of the optimizer, as TensorFlow 1 does it; 0 is plain gradient descent.
      weight_decay: factor of half the squared norm of all kernels.
      mentored_schedule, baseline_schedule: (configuration, number of training samples) ->
        learning rate by step.
      ignores_decay_flags: whether the mentored schedule ignores the two decay flags.
    """

    build: Callable[..., keras.Model]
    tf1_name: Callable[[keras.Variable], str | None] | None
    padding: int
    momentum: float
    weight_decay: float
    mentored_schedule: Schedule
    baseline_schedule: Schedule
    ignores_decay_flags: bool = False


def _staircase(config: TrainConfig, num_examples: int) -> PiecewiseConstant:
    epochs = 50.0 if config.num_epochs_per_decay is None else config.num_epochs_per_decay
    decay_steps = schedules.steps_per_decay(num_examples, config.batch_size, epochs)
    return schedules.staircase(
        config.learning_rate,
        config.learning_rate_decay_factor,
        decay_steps,
        config.max_number_of_steps,
    )


def _resnet_mentored(config: TrainConfig, num_examples: int) -> PiecewiseConstant:
    # Kept from the release: with a MentorNet the two decay flags have no effect.
    del num_examples
    return schedules.decay_at(schedules.RESNET_BOUNDARIES, config.learning_rate, 0.1)


def _half_and_three_quarters(config: TrainConfig, num_examples: int) -> PiecewiseConstant:
    """Steps 32,000 and 48,000 of 64,000 in He et al. (2015), unless decays are asked for."""
    if config.num_epochs_per_decay is not None:
        return _staircase(config, num_examples)
    steps = config.max_number_of_steps
    boundaries = tuple(sorted({max(1, steps // 2), max(1, steps * 3 // 4)}))
    return schedules.decay_at(boundaries, config.learning_rate, config.learning_rate_decay_factor)


def _not_released(build: Callable[..., keras.Model], weight_decay: float = 0.0001) -> Student:
    return Student(
        build=build,
        tf1_name=None,
        padding=4,
        momentum=0.9,
        weight_decay=weight_decay,
        mentored_schedule=_half_and_three_quarters,
        baseline_schedule=_half_and_three_quarters,
    )


def _wide(shape: preactivation.Shape) -> Student:
    return _not_released(functools.partial(preactivation.build, shape), weight_decay=0.0005)


STUDENTS = {
    **{f"resnet{depth}": _not_released(cifar_resnet.builder(depth)) for depth in (8, 14, 20, 32)},
    "preact_resnet18": _wide(preactivation.PREACT_RESNET18),
    "wrn28_10": _wide(preactivation.WRN28_10),
    "coteaching_cnn": _not_released(coteaching.build),
    "resnet101": Student(
        build=resnet.build,
        tf1_name=resnet.tf1_name,
        padding=2,
        momentum=0.9,
        weight_decay=0.0002,
        mentored_schedule=_resnet_mentored,
        # The release builds the piecewise schedule for the baseline too, then overwrites it.
        baseline_schedule=_staircase,
        ignores_decay_flags=True,
    ),
    "inception": Student(
        build=inception.build,
        tf1_name=inception.tf1_name,
        padding=8,
        momentum=0.0,
        weight_decay=0.0,  # Kept from the release: its weight decay never reaches the loss.
        mentored_schedule=_staircase,
        baseline_schedule=_staircase,
    ),
}


def _import(name: str) -> Callable[[int], keras.Model]:
    module, _, function = name.partition(":")
    try:
        return getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise InputError(f"`studentnet` {name} cannot be imported: {error}") from None


def _build_own(
    name: str,
    function: Callable[[int], keras.Model],
    num_classes: int,
    seed: int,
    image_shape: tuple[int, int, int],
    dropout_rate: float | None,
) -> keras.Model:
    """Builds a user's own network on images of this shape; its initial values follow the seed."""
    del dropout_rate
    keras.utils.set_random_seed(seed)
    model = function(num_classes)
    rule = f"`studentnet` {name} must return a keras.Model."
    check(isinstance(model, keras.Model), rule, returned=type(model).__name__)
    try:
        outputs = model(keras.Input(image_shape))
    except ValueError as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"`studentnet` {name} does not take {image_shape}: {reason}") from None
    rule = f"`studentnet` {name} must return {num_classes} logits an image."
    check(tuple(outputs.shape) == (None, num_classes), rule, shape=tuple(outputs.shape))
    return model


def find_student(name: str) -> Student:
    """The registry's entry, or a user's own network as "module:function".

    Raises:
      InputError: the name is unknown, or there is no such module or function.
    """
    if ":" in name:
        return _not_released(functools.partial(_build_own, name, _import(name)))
    rule = f"`studentnet` must be one of {', '.join(sorted(STUDENTS))}, or 'module:function'."
    check(name in STUDENTS, rule, studentnet=name)
    return STUDENTS[name]


def build_student(
    name: str,
    num_classes: int,
    seed: int = 0,
    image_shape: tuple[int, int, int] = (32, 32, 3),
    dropout_rate: float | None = None,
    dtype_policy: str = "float32",
) -> keras.Model:
    """Builds a StudentNet.

    Args:
      name: "resnet101" (84,627,034 trainable parameters at 10 classes), "inception" (1,756,426),
        of He et al. (2015) "resnet8" (75,290), "resnet14", "resnet20", "resnet32" (464,154),
        "preact_resnet18" (11,172,170), "wrn28_10" (36,479,194), "coteaching_cnn" (4,434,570), or
        "module:function", a function from the number of classes to a keras.Model.
      num_classes: number of logits.
      seed: of the initial parameters.
      image_shape: (height, width, channels).
      dropout_rate: of the dropout inside the student; None is the network's own.
      dtype_policy: Keras' name of what the layers compute in, e.g. "mixed_bfloat16".

    Returns:
      A model from float32 [batch, height, width, channels], standardised images, to logits
      [batch, num_classes], float32 unless `dtype_policy` says otherwise.

    Raises:
      InputError: the name is unknown or num_classes is below 2.
    """
    student = find_student(name)
    check(num_classes >= 2, "`num_classes` must be at least 2.", num_classes=num_classes)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(dtype_policy)
    try:
        return student.build(num_classes, seed, image_shape, dropout_rate)
    finally:
        keras.config.set_dtype_policy(before)


def synchronize_batch_norm(student: keras.Model) -> None:
    """Lets replicas normalise with the statistics of the global batch.

    Raises:
      InputError: the student has no batch normalisation.
    """
    layers = [layer for layer in student.layers if hasattr(layer, "synchronized")]
    rule = "`sync_batch_norm` needs a student with batch normalisation."
    check(bool(layers), rule, studentnet=student.name)
    for layer in layers:
        layer.synchronized = True


def ignored_flags(config: TrainConfig) -> list[str]:
    """The learning rate's flags that were set and have no effect, as in the release."""
    names = ("learning_rate_decay_factor", "num_epochs_per_decay")
    default = {field.name: field.default for field in dataclasses.fields(config)}
    changed = [name for name in names if getattr(config, name) != default[name]]
    mentored = config.weighting is not None and not config.learning_rate_boundaries
    return changed if mentored and find_student(config.studentnet).ignores_decay_flags else []


def learning_rate_schedule(config: TrainConfig, num_examples: int) -> PiecewiseConstant:
    """The learning rate of each step of a run; boundaries that were given take precedence."""
    if config.learning_rate_boundaries:
        return schedules.decay_at(
            config.learning_rate_boundaries,
            config.learning_rate,
            config.learning_rate_decay_factor,
        )
    student = find_student(config.studentnet)
    mentored = config.weighting is not None
    schedule = student.mentored_schedule if mentored else student.baseline_schedule
    return schedule(config, num_examples)


def tf1_variables(name: str, model: keras.Model) -> dict[str, keras.Variable]:
    """The variables of the release's evaluation graph: TensorFlow 1 name -> our variable.

    Raises:
      InputError: the release does not have the network.
    """
    tf1_names = {key: s.tf1_name for key, s in STUDENTS.items() if s.tf1_name is not None}
    rule = f"`student` must be one of {', '.join(sorted(tf1_names))}."
    check(name in tf1_names, rule, student=name)
    named = [(tf1_names[name](variable), variable) for variable in model.weights]
    return {tf1_name: variable for tf1_name, variable in named if tf1_name is not None}
