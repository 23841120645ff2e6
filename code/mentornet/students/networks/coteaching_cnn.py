"""The nine-layer network of Co-teaching (Han et al. 2018, table 2); 4,434,570 parameters."""

from __future__ import annotations

import itertools

import keras
from keras import initializers, layers

from mentornet.core.errors import check
from mentornet.students.batch_normalization import BatchNormalization
from mentornet.students.dropout import Dropout
from mentornet.students.recipes import Student

# Widths of each block's convolutions; every block but the last ends with pooling and dropout.
_BLOCKS = ((128, 128, 128), (256, 256, 256), (512, 256, 128))
_SLOPE = 0.01
_SMALLEST_IMAGE = 28  # Two poolings leave 7 pixels for three convolutions without padding.


def build(
    num_classes: int,
    seed: int,
    image_shape: tuple[int, int, int],
    dropout_rate: float = 0.25,
) -> keras.Model:
    """See `mentornet.build_student`; there is dropout after two blocks.

    Raises:
      InputError: the images are too small.
    """
    least = f"at least {_SMALLEST_IMAGE} pixels per side"
    rule = f"`studentnet` coteaching_cnn needs images of {least}."
    check(min(image_shape[:2]) >= _SMALLEST_IMAGE, rule, image_shape=image_shape)
    seeds = itertools.count(seed * 1000)
    x = inputs = keras.Input(image_shape)
    for number, widths in enumerate(_BLOCKS):
        is_last = number == len(_BLOCKS) - 1
        for width in widths:
            x = layers.Conv2D(
                width,
                3,
                padding="valid" if is_last else "same",
                kernel_initializer=initializers.HeNormal(seed=next(seeds)),
            )(x)
            x = layers.LeakyReLU(negative_slope=_SLOPE)(BatchNormalization()(x))
        if not is_last:
            x = Dropout(dropout_rate, seed=next(seeds))(layers.MaxPooling2D(2)(x))
    x = layers.GlobalAveragePooling2D()(x)
    initializer = initializers.HeNormal(seed=next(seeds))
    outputs = layers.Dense(num_classes, kernel_initializer=initializer)(x)
    return keras.Model(inputs, outputs, name="coteaching_cnn")


student = Student(build, has_dropout=True)
