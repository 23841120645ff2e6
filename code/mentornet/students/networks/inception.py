"""The small network of the 2018 release, CifarNet of TF-Slim; 1,756,426 parameters.

Two convolutions and three dense layers.
"""

from __future__ import annotations

import itertools

import keras
from keras import initializers, layers

from mentornet.core.errors import check
from mentornet.students.dropout import Dropout
from mentornet.students.local_response_normalization import LocalResponseNormalization
from mentornet.students.recipes import Recipe, Student, staircase

_SMALLEST_IMAGE = 4  # Two poolings halve it.
_SUFFIX = {"kernel": "weights", "bias": "biases"}


def tf1_name(variable: keras.Variable) -> str:
    """CifarNet/<layer>/{weights,biases}."""
    layer, kind = variable.path.split("/")[-2:]
    return f"CifarNet/{layer}/{_SUFFIX[kind]}"


def build(
    num_classes: int,
    seed: int,
    image_shape: tuple[int, int, int],
    dropout_rate: float = 0.2,
) -> keras.Model:
    """See `mentornet.build_student`; there is dropout between dense layers.

    Raises:
      InputError: the images are too small.
    """
    rule = f"`studentnet` inception needs images of at least {_SMALLEST_IMAGE} pixels per side."
    check(min(image_shape[:2]) >= _SMALLEST_IMAGE, rule, image_shape=image_shape)
    seeds = itertools.count(seed * 1000)

    def normal(stddev: float) -> initializers.Initializer:
        return initializers.TruncatedNormal(stddev=stddev, seed=next(seeds))

    def conv(name: str) -> layers.Layer:
        return layers.Conv2D(
            64, 5, padding="same", activation="relu", kernel_initializer=normal(0.05), name=name
        )

    def dense(units: int, name: str) -> layers.Layer:
        return layers.Dense(
            units,
            activation="relu",
            kernel_initializer=normal(0.04),
            bias_initializer=initializers.Constant(0.1),
            name=name,
        )

    inputs = keras.Input(image_shape)
    x = conv("conv1")(inputs)
    x = layers.MaxPooling2D(2)(x)
    x = LocalResponseNormalization()(x)
    x = conv("conv2")(x)
    x = LocalResponseNormalization()(x)
    x = layers.MaxPooling2D(2)(x)
    x = layers.Flatten()(x)
    x = dense(384, "fc3")(x)
    x = Dropout(dropout_rate, seed=next(seeds))(x)
    x = dense(192, "fc4")(x)
    outputs = layers.Dense(num_classes, kernel_initializer=normal(1 / 192), name="logits")(x)
    return keras.Model(inputs, outputs, name="inception")


student = Student(
    build,
    Recipe(
        crop_padding=8,
        momentum=0.0,
        weight_decay=0.0,  # Kept from the release: its weight decay never reaches the loss.
        schedule=staircase,
    ),
    tf1_name,
    has_dropout=True,
)
