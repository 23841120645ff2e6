"""Your own network as a student: "module:function"."""

from __future__ import annotations

import functools
from collections.abc import Callable

import keras

from mentornet.core.errors import InputError, check, first_line
from mentornet.core.registry import call_object, import_object
from mentornet.students.recipes import Student


def custom_student(name: str) -> Student:
    """The student built by a function from the number of classes to a keras.Model.

    Args:
      name: "module:function".

    Raises:
      InputError: there is no such module or function; or, when the student is built, the function
        does not take a number, or returns no model, or one that does not fit the images or classes.
    """
    build = functools.partial(_build, name, import_object("studentnet", name))
    return Student(build, takes_features=True)


def _build(
    name: str,
    function: Callable[[int], keras.Model],
    num_classes: int,
    seed: int,
    image_shape: tuple[int, ...],
) -> keras.Model:
    """Builds the network for images, or rows, of this shape; the seed sets its initial values."""
    keras.utils.set_random_seed(seed)
    model = call_object("studentnet", name, function, num_classes)
    rule = f"`studentnet` {name} must return a keras.Model."
    check(isinstance(model, keras.Model), rule, returned=type(model).__name__)
    try:
        outputs = model(keras.Input(image_shape))
    except ValueError as error:
        reason = first_line(error)
        raise InputError(f"`studentnet` {name} does not take {image_shape}: {reason}") from None
    rule = f"`studentnet` {name} must return {num_classes} logits per image."
    shape = getattr(outputs, "shape", None)  # Several outputs have none.
    returned = type(outputs).__name__ if shape is None else tuple(shape)
    check(returned == (None, num_classes), rule, returned=returned)
    return model
