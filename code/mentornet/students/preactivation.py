"""Pre-activation residual networks (He et al. 2016): `preact_resnet18` and `wrn28_10`.

Not in the release; the networks with which this field compares itself. The wide one is that of
Zagoruyko and Komodakis (2016). A shortcut is a 1x1 convolution where width or stride changes.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator

import keras
from keras import initializers, layers

from mentornet.students.batch_normalization import BatchNormalization


@dataclasses.dataclass(frozen=True)
class Shape:
    """Width of the first convolution, widths of the stages (each but the first halves the image),
    and units a stage."""

    name: str
    first: int
    widths: tuple[int, ...]
    units: int


PREACT_RESNET18 = Shape("preact_resnet18", 64, (64, 128, 256, 512), 2)
WRN28_10 = Shape("wrn28_10", 16, (160, 320, 640), 4)


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


def build(
    shape: Shape,
    num_classes: int,
    seed: int,
    image_shape: tuple[int, int, int],
    dropout_rate: float | None,
) -> keras.Model:
    """See `mentornet.build_student`; there is no dropout, so the rate has no effect."""
    del dropout_rate
    seeds = itertools.count(seed * 1000)
    inputs = keras.Input(image_shape)
    x = _conv(inputs, shape.first, 3, 1, seeds)
    for stage, width in enumerate(shape.widths):
        for number in range(shape.units):
            x = _unit(x, width, 2 if stage and not number else 1, seeds)
    x = layers.GlobalAveragePooling2D()(_activate(x))
    initializer = initializers.HeNormal(seed=next(seeds))
    outputs = layers.Dense(num_classes, kernel_initializer=initializer)(x)
    return keras.Model(inputs, outputs, name=shape.name)
