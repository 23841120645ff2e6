"""Networks that learn CIFAR-10 in minutes (Jordan 2024, arXiv 2404.00498).

Not in the release. The networks have a whitening convolution computed from the images and three
groups of convolutions that are initialised to the identity; unnecessary passes over the data are
avoided.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterator
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import initializers, layers

from mentornet.core.errors import check
from mentornet.students.batch_normalization import BatchNormalization
from mentornet.students.gelu import Gelu
from mentornet.students.recipes import Recipe, Student

NAMES = {
    "airbench93": "93 % on CIFAR-10 in 11 epochs, as published; 568,728 parameters.",
    "airbench94": "94 % on CIFAR-10 in 10 epochs, as published; 1,971,352 parameters.",
    "airbench96": "96 % on CIFAR-10 in 37 epochs, as published; 9,915,416 parameters.",
}
_WHITENING_SIZE = 2
_WHITENING_EPSILON = 5e-4
_LOGIT_SCALE = 1 / 9
# Pixels per side. The whitening removes one pixel, and three groups halve the rest.
SMALLEST_IMAGE = 9


class Shape(NamedTuple):
    """Channels of the three groups, convolutions per group, and decay of the moving averages.

    With three convolutions, the third one's normalised output is added to the second one's input.
    """

    widths: tuple[int, int, int]
    depth: int = 2
    decay: float = 0.6


@keras.saving.register_keras_serializable("mentornet")
class Whitening(layers.Layer):
    """A convolution whose kernel is computed from images, not trained; only its bias is trained.

    Until `adapt` is called or a checkpoint is read, the kernel is 0. Inputs [batch, height, width,
    channels]; the outputs are smaller by a pixel, with twice as many channels as a patch of 2 x 2
    pixels has values, in the layer's compute dtype.
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        channels = input_shape[-1]
        assert channels is not None
        size, width = _WHITENING_SIZE, 2 * _WHITENING_SIZE**2 * channels
        self.kernel = self.add_weight(
            name="kernel",
            shape=(size, size, channels, width),
            initializer="zeros",
            trainable=False,
        )
        self.bias = self.add_weight(name="bias", shape=(width,), initializer="zeros")

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        outputs = tf.nn.conv2d(inputs, tf.convert_to_tensor(self.kernel), 1, "VALID")
        return tf.nn.bias_add(outputs, tf.convert_to_tensor(self.bias))

    def stock(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        """See `students.stock`."""
        size, width = _WHITENING_SIZE, self.bias.shape[0]
        layer = layers.Conv2D(width, size, name=f"{self.name}_stock")
        outputs = layer(inputs)
        layer.set_weights([self.kernel.numpy(), self.bias.numpy()])
        return outputs


def whitening_kernel(images: np.ndarray) -> np.ndarray:
    """The convolution that decorrelates 2 x 2 patches: both signs of scaled eigenvectors.

    Each eigenvector of the patches' second moment X^T X / n (about 0, not about their mean) is
    divided by sqrt(eigenvalue + 5e-4).

    Args:
      images: float32 [n, height, width, channels], standardised.

    Returns:
      float32 [2, 2, channels, 8 * channels], the largest eigenvalue first.
    """
    size, channels = _WHITENING_SIZE, images.shape[-1]
    windows = np.lib.stride_tricks.sliding_window_view(images, (size, size), axis=(1, 2))
    moment = np.zeros([size * size * channels] * 2)
    for start in range(0, len(windows), 100):  # In parts, to use less memory.
        patches = windows[start : start + 100].transpose(0, 1, 2, 4, 5, 3)
        patches = patches.reshape(-1, len(moment)).astype(np.float64)
        moment += patches.T @ patches
    moment /= np.prod(windows.shape[:3])
    values, vectors = np.linalg.eigh(moment)
    scaled = (vectors / np.sqrt(values + _WHITENING_EPSILON))[:, ::-1]
    kernel = np.concatenate([scaled, -scaled], axis=1)
    return kernel.reshape(size, size, channels, -1).astype(np.float32)


def begin_as_identity(kernel: np.ndarray) -> np.ndarray:
    """A kernel [height, width, in, out] whose first filters each copy one input channel."""
    kernel, count = kernel.copy(), min(kernel.shape[2:])
    kernel[..., :count] = 0
    kernel[kernel.shape[0] // 2, kernel.shape[1] // 2, range(count), range(count)] = 1
    return kernel


def _normalized(x: keras.KerasTensor, shape: Shape, name: str) -> keras.KerasTensor:
    return BatchNormalization(
        decay=shape.decay, epsilon=1e-12, scale=False, debias=False, name=f"{name}.norm"
    )(x)


def _conv(x: keras.KerasTensor, width: int, name: str, seeds: Iterator[int]) -> keras.KerasTensor:
    """A 3 x 3 convolution: identity for the first filters, others uniform +-1 / sqrt(fan in)."""
    limit = 1 / np.sqrt(9 * x.shape[-1])
    uniform = initializers.RandomUniform(-limit, limit, seed=next(seeds))
    layer = layers.Conv2D(
        width, 3, padding="same", use_bias=False, kernel_initializer=uniform, name=f"{name}.conv"
    )
    outputs = layer(x)
    layer.kernel.assign(begin_as_identity(layer.kernel.numpy()))
    return outputs


def _group(
    x: keras.KerasTensor, shape: Shape, number: int, seeds: Iterator[int]
) -> keras.KerasTensor:
    width = shape.widths[number]
    x = _conv(x, width, f"group_{number}.1", seeds)
    x = layers.MaxPooling2D(2)(x)
    x = second_input = Gelu()(_normalized(x, shape, f"group_{number}.1"))
    for place in range(2, shape.depth + 1):
        name = f"group_{number}.{place}"
        x = _normalized(_conv(x, width, name, seeds), shape, name)
        if place == 3:
            x = layers.Add()([x, second_input])
        x = Gelu()(x)
    return x


def build(
    shape: Shape, num_classes: int, seed: int, image_shape: tuple[int, int, int]
) -> keras.Model:
    """Builds a network of the family; logits are float32 whatever the layers' compute type.

    Raises:
      InputError: the images are smaller than 9 x 9.
    """
    rule = f"The airbench students need images of at least {SMALLEST_IMAGE} pixels per side."
    check(min(image_shape[:2]) >= SMALLEST_IMAGE, rule, image_shape=image_shape)
    seeds = itertools.count(seed * 1000)
    inputs = keras.Input(image_shape)
    x = Gelu()(Whitening(name="whitening")(inputs))
    for number in range(3):
        x = _group(x, shape, number, seeds)
    x = layers.GlobalMaxPooling2D()(x)  # Over 3 x 3 values for images of 32 x 32.
    limit = 1 / np.sqrt(shape.widths[-1])
    uniform = initializers.RandomUniform(-limit, limit, seed=next(seeds))
    x = layers.Dense(
        num_classes, use_bias=False, kernel_initializer=uniform, dtype="float32", name="logits"
    )(x)
    return keras.Model(inputs, layers.Rescaling(_LOGIT_SCALE, dtype="float32")(x), name="airbench")


def adapt(model: keras.Model, images: np.ndarray) -> None:
    """Sets the model's whitening kernel from these images; see `whitening_kernel`."""
    kernel = model.get_layer("whitening").kernel
    kernel.assign(whitening_kernel(images))


# Rates and decay are for the mean loss. The published ones are for the summed loss of 1,024
# samples, divided by 1 + 1 / (1 - momentum): 11.5 / 7.67 = 1.5; the decay is 0.0153 / 11.5.
_RECIPE = Recipe(
    crop_padding=2,
    crop_mode="reflect",
    flip="alternating",
    standardization="channel",
    test_time_augmentation=True,
    batch_size=1024,
    learning_rate=1.5,
    rate_follows_batch=True,
    momentum=0.85,
    nesterov=True,
    weight_decay=0.0153 / 11.5,
    decayed={"kernel": 1.0, "bias": 1.0, "beta": 1 / 64},
    shift_rate_factor=64.0,
    frozen_after={"whitening/bias": 3.0},
    label_smoothing=0.2,
    lookahead_steps=5,
    mixed_precision="auto",
    learning_rate_shape="0:0.2,0.23:1,1:0.07",
)

_RECIPE_96 = dataclasses.replace(
    _RECIPE,
    crop_padding=4,
    cutout=12,
    learning_rate=1.5 * 9 / 11.5,
    weight_decay=0.012 / 9,
    learning_rate_shape="0:0.2,0.1:1,1:0",
)


def make_student(shape: Shape, recipe: Recipe = _RECIPE) -> Student:
    """A student of the family with these channels and convolutions."""
    return Student(functools.partial(build, shape), recipe, adapt=adapt)


student = {
    "airbench93": make_student(Shape((64, 128, 128))),
    "airbench94": make_student(Shape((64, 256, 256))),
    "airbench96": make_student(Shape((128, 384, 512), depth=3, decay=0.9), _RECIPE_96),
}
