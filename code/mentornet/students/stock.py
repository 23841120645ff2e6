"""Rebuilds a network from built-in Keras layers, for programs that do not have this package."""

from __future__ import annotations

from typing import Any

import keras

from mentornet.core.errors import check


def _has_own(layer: keras.Layer) -> bool:
    """Whether a layer is one of this package, or holds one."""
    return hasattr(layer, "stock") or any(map(_has_own, getattr(layer, "layers", ())))


def stock_model(student: keras.Model) -> keras.Model:
    """A network that computes the same in evaluation mode, without layers of this package.

    Each layer of this package has a method `stock` from its input to its output that builds the
    same computation, including values, from built-in Keras layers. Other layers are copied; a
    network without layers of this package is returned unchanged.

    Args:
      student: a functional or sequential model.

    Raises:
      InputError: it is of another kind, and has layers of this package.
    """
    if not _has_own(student):
        return student
    rule = "A student with layers of this package must be functional or Sequential to be exported."
    check(bool(getattr(student, "inputs", None)), rule, studentnet=student.name)

    def call(layer: keras.Layer, *args: Any, **kwargs: Any) -> Any:
        return layer.stock(*args) if hasattr(layer, "stock") else layer(*args, **kwargs)

    def clone(layer: keras.Layer) -> keras.Layer:
        if isinstance(layer, keras.Model) and _has_own(layer):
            return stock_model(layer)
        return layer if hasattr(layer, "stock") else type(layer).from_config(layer.get_config())

    is_chain = isinstance(student, keras.Sequential)  # Its `input` is known only after a call.
    ends = (student.inputs[0], student.outputs[0]) if is_chain else (student.input, student.output)
    functional = keras.Model(*ends, name=student.name)
    model = keras.models.clone_model(functional, clone_function=clone, call_function=call)
    values = {e.name: e.get_weights() for e in functional.layers if not _has_own(e)}
    for layer in model.layers:
        if layer.name in values:
            layer.set_weights(values[layer.name])
    return model
