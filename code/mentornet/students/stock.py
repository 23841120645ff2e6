"""Rebuilds a network from built-in Keras layers, for programs that do not have this package."""

from __future__ import annotations

from typing import Any

import keras


def stock_model(student: keras.Model) -> keras.Model:
    """A network that computes the same in evaluation mode, without layers of this package.

    Each layer of this package has a method `stock` from its input to its output that builds the
    same computation, including values, from built-in Keras layers. Other layers are copied; a
    network without layers of this package is returned unchanged.

    Args:
      student: a functional or sequential model.
    """
    if not any(hasattr(layer, "stock") for layer in student.layers):
        return student

    def call(layer: keras.Layer, *args: Any, **kwargs: Any) -> Any:
        return layer.stock(*args) if hasattr(layer, "stock") else layer(*args, **kwargs)

    def clone(layer: keras.Layer) -> keras.Layer:
        return layer if hasattr(layer, "stock") else type(layer).from_config(layer.get_config())

    functional = keras.Model(student.input, student.output, name=student.name)
    model = keras.models.clone_model(functional, clone_function=clone, call_function=call)
    values = {layer.name: layer.get_weights() for layer in functional.layers}
    for layer in model.layers:
        if layer.name in values:
            layer.set_weights(values[layer.name])
    return model
