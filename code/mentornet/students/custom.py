"""Your own network as a student: "module:function"."""

from __future__ import annotations

import contextlib
import functools
import random
import re
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from mentornet.core.errors import InputError, check, first_line
from mentornet.core.registry import call_object, import_object
from mentornet.students.recipes import Student

_REASON = re.compile("\x1b\\[1m(.*?)\x1b\\[0m", re.DOTALL)  # Keras makes it bold.


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


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seeds all generators; afterwards, Python's and NumPy's go on as before."""
    before = random.getstate(), np.random.get_state()
    keras.utils.set_random_seed(seed)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])


def _build(
    name: str,
    function: Callable[[int], keras.Model],
    num_classes: int,
    seed: int,
    image_shape: tuple[int, ...],
) -> keras.Model:
    """Builds the network for images, or rows, of this shape; the seed sets its initial values."""
    with _seeded(seed):
        return _checked(name, function, num_classes, image_shape)


def _checked(
    name: str,
    function: Callable[[int], keras.Model],
    num_classes: int,
    image_shape: tuple[int, ...],
) -> keras.Model:
    """The network that the function returns, built by a call."""
    model = call_object("studentnet", name, function, num_classes)
    rule = f"`studentnet` {name} must return a keras.Model."
    check(isinstance(model, keras.Model), rule, returned=type(model).__name__)
    try:
        outputs = model(keras.Input(image_shape))
    except ValueError as error:
        found = _REASON.search(str(error))
        reason = found[1] if found else first_line(error)
        what = f"samples of shape {image_shape}, as the data have"
        raise InputError(f"`studentnet` {name} does not take {what}: {reason}") from None
    rule = f"`studentnet` {name} must return {num_classes} logits per image."
    shape = getattr(outputs, "shape", None)  # Several outputs have none.
    returned = type(outputs).__name__ if shape is None else tuple(shape)
    check(returned == (None, num_classes), rule, returned=returned)
    if _ends_in_softmax(model):
        said = f"`studentnet` {name} ends in a softmax; the loss takes logits"
        print(f"WARNING: {said}.", flush=True)
    return model


def _ends_in_softmax(model: keras.Model) -> bool:
    """Of a functional or Sequential model; what others compute is not known."""
    last: Any = model
    while isinstance(last, keras.Model) and getattr(last, "outputs", None):
        last = last.outputs[0]._keras_history.operation
    is_activation = getattr(last, "activation", None) is keras.activations.softmax
    return is_activation or isinstance(last, keras.layers.Softmax)
