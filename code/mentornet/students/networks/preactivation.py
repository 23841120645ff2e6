"""Pre-activation residual networks (He et al. 2016).

Not in the release; common baselines in this field. The wide network is that of Zagoruyko and
Komodakis (2016). The shortcut is a 1x1 convolution where width or stride changes.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator

import keras
from keras import initializers, layers

from mentornet.students.batch_normalization import BatchNormalization
from mentornet.students.recipes import Recipe, Student

NAMES = {
    "preact_resnet18": "Pre-activation network of He et al. (2016); 11,172,170 parameters.",
    "wrn28_10": "Wide residual network of Zagoruyko and Komodakis (2016); 36,479,194 parameters.",
}


def _conv(
    x: keras.KerasTensor, width: int, size: int, stride: int, seeds: Iterator[int]
) -> keras.KerasTensor:
    return layers.Conv2D(
        width,
        size,
        strides=stride,
        padding="same",
        use_bias=False,
        kernel_initializer=initializers.HeNormal(seed=next(seeds)),
    )(x)


def _activate(x: keras.KerasTensor) -> keras.KerasTensor:
    return layers.ReLU()(BatchNormalization()(x))


def _unit(x: keras.KerasTensor, width: int, stride: int, seeds: Iterator[int]) -> keras.KerasTensor:
    activated = _activate(x)
    changes = stride != 1 or x.shape[-1] != width
    shortcut = _conv(activated, width, 1, stride, seeds) if changes else x
    residual = _activate(_conv(activated, width, 3, stride, seeds))
    return layers.Add()([_conv(residual, width, 3, 1, seeds), shortcut])


def _build(
    name: str,
    first: int,
    widths: tuple[int, ...],
    units: int,
    num_classes: int,
    seed: int,
    image_shape: tuple[int, int, int],
) -> keras.Model:
    """Builds the network.

    Args:
      name: of the model.
      first: width of the first convolution.
      widths: of the stages; each stage but the first halves the image.
      units: number of units per stage.
      num_classes, seed, image_shape: see `mentornet.build_student`.
    """
    seeds = itertools.count(seed * 1000)
    inputs = keras.Input(image_shape)
    x = _conv(inputs, first, 3, 1, seeds)
    for stage, width in enumerate(widths):
        for number in range(units):
            x = _unit(x, width, 2 if stage and not number else 1, seeds)
    x = layers.GlobalAveragePooling2D()(_activate(x))
    initializer = initializers.HeNormal(seed=next(seeds))
    outputs = layers.Dense(num_classes, kernel_initializer=initializer)(x)
    return keras.Model(inputs, outputs, name=name)


def _student(name: str, first: int, widths: tuple[int, ...], units: int) -> Student:
    build = functools.partial(_build, name, first, widths, units)
    return Student(build, Recipe(weight_decay=0.0005))


student = {
    "preact_resnet18": _student("preact_resnet18", 64, (64, 128, 256, 512), 2),
    "wrn28_10": _student("wrn28_10", 16, (160, 320, 640), 4),
}
