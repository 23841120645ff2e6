"""Gradient checkpointing: saves memory by computing parts of a student twice."""

from __future__ import annotations

import math

import keras
import tensorflow as tf

from mentornet.core.errors import check
from mentornet.training.losses import adds_losses


class Recomputed:
    """Calls a student, and keeps only the activations between its parts for the gradient.

    With n operations in total, each part has about sqrt(n) of them (Chen et al. 2016, "Training
    Deep Nets with Sublinear Memory Cost"). When the gradient reaches a part, it is computed a
    second time, from the same inputs, random numbers and moving averages.

    Args:
      student: a functional model with one input and one output that uses each layer once.

    Raises:
      InputError: the student is of another kind, or, when it is called, its layers add losses.
    """

    def __init__(self, student: keras.Model) -> None:
        rule = "`recompute_gradients` needs a functional keras.Model that uses each layer once."
        check(_is_known(student), rule, studentnet=type(student).__name__)
        self._parts = _split(student)

    def __call__(self, inputs: tf.Tensor, training: bool) -> tf.Tensor:
        """The student's outputs."""
        for part in self._parts:
            inputs = _call(part, inputs, training)
        return inputs


def _call(part: keras.Model, inputs: tf.Tensor, training: bool) -> tf.Tensor:
    states = part.non_trainable_variables
    before = [tf.convert_to_tensor(state) for state in states]

    @tf.recompute_grad
    def pure(x: tf.Tensor, *parameters: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        outputs, after, losses = part.stateless_call(
            parameters, before, x, training=training, return_losses=True
        )
        rule = "`recompute_gradients` needs a network whose layers add no losses."
        check(not adds_losses(part, losses), rule, losses=len(losses))
        return outputs, after

    outputs, after = pure(inputs, *map(tf.convert_to_tensor, part.trainable_variables))
    for state, value in zip(states, after, strict=True):
        state.assign(value)
    return outputs


def _is_known(student: keras.Model) -> bool:
    """Whether each operation has a single output, used only where the model says so."""
    if not hasattr(student, "operations"):
        return False
    produced = {id(operation.output) for operation in student.operations}
    used = keras.tree.flatten([student.output, *(op.input for op in student.operations)])
    return all(id(tensor) in produced for tensor in used)


def _split(student: keras.Model) -> list[keras.Model]:
    """Models that, called one after the other, compute the student; they share its layers."""
    operations = [op for op in student.operations if not isinstance(op, keras.layers.InputLayer)]
    last_use: dict[int, int] = {}
    for number, operation in enumerate(operations):
        last_use |= {id(tensor): number for tensor in keras.tree.flatten(operation.input)}
    parts, start, begin = [], student.input, 0
    alive_until = last_use.get(id(student.input), -1)
    for number, operation in enumerate(operations):
        final = number == len(operations) - 1
        is_cut = alive_until <= number  # No earlier output is used later.
        if final or (is_cut and number - begin >= math.isqrt(len(operations))):
            parts.append(keras.Model(start, operation.output))
            start, begin = operation.output, number
        alive_until = max(alive_until, last_use.get(id(operation.output), -1))
    return parts
