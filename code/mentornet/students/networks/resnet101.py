"""The wide residual network of the 2018 release; 84,627,034 parameters.

Pre-activation, 3 x 9 units. A path through it has 56 layers with parameters, not 101; the name is
the release's.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import keras
from keras import initializers, layers

from mentornet.students.batch_normalization import BatchNormalization
from mentornet.students.recipes import Recipe, Student, staircase

_UNITS_PER_STAGE = 9
_STAGES = ((160, 1), (320, 2), (640, 2))  # Width, and stride of the first unit.
_SUFFIX = {"kernel": "DW", "bias": "biases"}


def tf1_name(variable: keras.Variable) -> str | None:
    """E.g. unit_2_0/sub1/conv1/DW; None for the debiasing counter."""
    layer, kind = variable.path.split("/")[-2:]
    if kind == "num_updates":
        return None
    return f"{layer.replace('.', '/')}/{_SUFFIX.get(kind, kind)}"


def _conv(x: keras.KerasTensor, width: int, stride: int, name: str, seed: int) -> keras.KerasTensor:
    stddev = math.sqrt(2 / (3 * 3 * width))
    return layers.Conv2D(
        width,
        3,
        strides=stride,
        padding="same",
        use_bias=False,
        kernel_initializer=initializers.RandomNormal(stddev=stddev, seed=seed),
        name=name,
    )(x)


def _activate(x: keras.KerasTensor) -> keras.KerasTensor:
    return layers.LeakyReLU(negative_slope=0.1)(x)


def _norm(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return BatchNormalization(name=name)(x)


def _unit(
    x: keras.KerasTensor, width: int, stride: int, name: str, seeds: Iterator[int]
) -> keras.KerasTensor:
    shortcut = x
    if name == "unit_1_0":
        # Kept from the release: activation before the norm, and the shortcut after both.
        x = shortcut = _norm(_activate(x), f"{name}.shared_activation.init_bn")
    else:
        x = _activate(_norm(x, f"{name}.residual_only_activation.init_bn"))
    x = _conv(x, width, stride, f"{name}.sub1.conv1", next(seeds))
    x = _activate(_norm(x, f"{name}.sub2.bn2"))
    x = _conv(x, width, 1, f"{name}.sub2.conv2", next(seeds))
    extra = width - shortcut.shape[-1]
    if extra:
        # "same" rather than the release's "valid", for images of odd sizes.
        shortcut = layers.AveragePooling2D(stride, padding="same")(shortcut)
        shortcut = keras.ops.pad(shortcut, [[0, 0]] * 3 + [[extra // 2, extra // 2]])
    return layers.Add()([x, shortcut])


def build(num_classes: int, seed: int, image_shape: tuple[int, int, int]) -> keras.Model:
    """See `mentornet.build_student`."""
    seeds = itertools.count(seed * 1000)
    inputs = keras.Input(image_shape)
    x = _conv(inputs, 16, 1, "init.init_conv", next(seeds))
    for stage, (width, stride) in enumerate(_STAGES, start=1):
        for number in range(_UNITS_PER_STAGE):
            name = f"unit_{stage}_{number}"
            x = _unit(x, width, stride if number == 0 else 1, name, seeds)
    x = _activate(_norm(x, "unit_last.final_bn"))
    x = layers.GlobalAveragePooling2D()(x)
    limit = math.sqrt(3 / x.shape[-1])
    outputs = layers.Dense(
        num_classes,
        kernel_initializer=initializers.RandomUniform(-limit, limit, seed=next(seeds)),
        name="logit",
    )(x)
    return keras.Model(inputs, outputs, name="resnet101")


student = Student(
    build,
    Recipe(
        crop_padding=2,
        weight_decay=0.0002,
        # The release builds the piecewise schedule for the baseline too, then overwrites it.
        schedule=staircase,
        mentored_boundaries=(19531, 25000, 30000),  # Of 39,000 steps, as in the release.
    ),
    tf1_name,
)
