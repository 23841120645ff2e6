"""The residual networks for small images of He et al. (2015, section 4.2).

Not in the release. These are small students with batch normalisation that memorise wrong labels in
a time that is feasible on a CPU.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator

import keras
from keras import initializers, layers

from mentornet.students.batch_normalization import BatchNormalization
from mentornet.students.recipes import Student

NAMES = {
    "resnet8": "Residual network of He et al. (2015); 75,290 parameters.",
    "resnet14": "Residual network of He et al. (2015); 172,506 parameters.",
    "resnet20": "Residual network of He et al. (2015); 269,722 parameters.",
    "resnet32": "Residual network of He et al. (2015); 464,154 parameters.",
}
_STAGES = ((16, 1), (32, 2), (64, 2))  # Width, and stride of the first unit.


def _conv(x: keras.KerasTensor, width: int, stride: int, name: str, seed: int) -> keras.KerasTensor:
    x = layers.Conv2D(
        width,
        3,
        strides=stride,
        padding="same",
        use_bias=False,
        kernel_initializer=initializers.HeNormal(seed=seed),
        name=f"{name}.conv",
    )(x)
    return BatchNormalization(name=f"{name}.norm")(x)


def _unit(
    x: keras.KerasTensor, width: int, stride: int, name: str, seeds: Iterator[int]
) -> keras.KerasTensor:
    """Two convolutions with a shortcut that has no parameters (option A of the paper)."""
    shortcut = x
    x = layers.ReLU()(_conv(x, width, stride, f"{name}.1", next(seeds)))
    x = _conv(x, width, 1, f"{name}.2", next(seeds))
    extra = width - shortcut.shape[-1]
    if extra:
        shortcut = shortcut[:, ::stride, ::stride]
        shortcut = keras.ops.pad(shortcut, [[0, 0]] * 3 + [[extra // 2, extra // 2]])
    return layers.ReLU()(layers.Add()([x, shortcut]))


def _build(
    depth: int, num_classes: int, seed: int, image_shape: tuple[int, int, int]
) -> keras.Model:
    """The network of `depth` = 6 n + 2 layers."""
    seeds = itertools.count(seed * 1000)
    inputs = keras.Input(image_shape)
    x = layers.ReLU()(_conv(inputs, 16, 1, "initial", next(seeds)))
    for stage, (width, stride) in enumerate(_STAGES, start=1):
        for number in range((depth - 2) // 6):
            name = f"unit_{stage}_{number}"
            x = _unit(x, width, stride if number == 0 else 1, name, seeds)
    x = layers.GlobalAveragePooling2D()(x)
    outputs = layers.Dense(
        num_classes, kernel_initializer=initializers.HeNormal(seed=next(seeds)), name="logits"
    )(x)
    return keras.Model(inputs, outputs, name=f"resnet{depth}")


student = {f"resnet{depth}": Student(functools.partial(_build, depth)) for depth in (8, 14, 20, 32)}
