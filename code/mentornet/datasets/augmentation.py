"""Preprocessing of images for students: crops, flips, standardisation, cutout.

All randomness is a function of the seed and of the global step, epoch or sample; nothing is stored.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import tensorflow as tf

from mentornet.core.errors import check
from mentornet.core.seeds import Stream, seed_for

# Mean and standard deviation of CIFAR-10's training images by channel, in 0..1.
CHANNEL_MEAN = (0.4914, 0.4822, 0.4465)
CHANNEL_DEVIATION = (0.2470, 0.2435, 0.2616)


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """How training images are changed at random.

    Attributes:
      crop_padding: pixels added on each side before the random crop to the original size.
      crop_mode: "zero" pads with black pixels, "reflect" with the image's own.
      flip: "random" mirrors each image with probability 1/2 each time. "alternating" does so in the
        first epoch; afterwards an image is mirrored in every other epoch, so that any two
        consecutive epochs show both orientations (Jordan 2024, section 3.6).
      cutout: side in pixels of a square that is set to 0 after standardisation; 0 for none.
    """

    crop_padding: int = 4
    crop_mode: str = "zero"
    flip: str = "random"
    cutout: int = 0


class Augmenter:
    """Draws random numbers for the whole global batch, and changes the images of a part of it.

    Args:
      augmentation: the augmentation.
      num_examples: size of the training split.
      image_shape: (height, width, channels).
      batch_size: of the global batch.
      seed: the run's seed.
      part: rows of the global batch, [batch_size, ...] -> rows of this part.

    Raises:
      InputError: the images are too small for the augmentation.
    """

    def __init__(
        self,
        augmentation: Augmentation,
        num_examples: int,
        image_shape: tuple[int, ...],
        batch_size: int,
        seed: int,
        part: Callable[[tf.Tensor], tf.Tensor] = lambda rows: rows,
    ) -> None:
        side, padding = min(image_shape[:2]), augmentation.crop_padding
        rule = f"`cutout` must be less than {side} pixels, the side of the images."
        check(augmentation.cutout < side, rule, cutout=augmentation.cutout)
        rule = f"`crop_padding` must be less than {side} pixels, the side of the images."
        fits = padding < side or augmentation.crop_mode != "reflect"
        check(fits, rule, crop_padding=padding)
        self._asked, self._image_shape = augmentation, image_shape
        self._batch_size, self._seed, self._part = batch_size, seed, part
        self._first = None
        if augmentation.flip == "alternating":
            with tf.device("CPU:0"):
                self._first = first_flips(num_examples, seed)

    def crop_and_flip(
        self, images: tf.Tensor, indices: tf.Tensor, global_step: tf.Tensor
    ) -> tf.Tensor:
        """Crops and mirrors images.

        Args:
          images: uint8 [part, height, width, channels].
          indices: int64 [batch_size], positions of the global batch's samples in the split.
          global_step: int64 scalar.
        """
        size, padding = self._batch_size, self._asked.crop_padding
        offsets = draw_offsets(size, padding, self._seed, global_step)
        if self._first is None:
            mirrored = draw_flips(size, self._seed, global_step)
        else:
            mirrored = alternating_flips(self._first, indices, global_step)
        drawn = self._part(offsets), self._part(mirrored)
        return crop_and_flip(images, *drawn, padding, self._asked.crop_mode)

    def cut_out(self, images: tf.Tensor, global_step: tf.Tensor) -> tf.Tensor:
        """Applies cutout, if any, to images float32 [part, height, width, channels]."""
        side = self._asked.cutout
        if not side:
            return images
        corners = draw_corners(self._image_shape, self._batch_size, side, self._seed, global_step)
        return cut_out(images, self._part(corners), side)


def crop_and_flip(
    images: tf.Tensor, offsets: tf.Tensor, mirrored: tf.Tensor, padding: int, mode: str = "zero"
) -> tf.Tensor:
    """Pads images, crops them to their original size, and mirrors some.

    Args:
      images: uint8 [batch, height, width, channels].
      offsets: int32 [batch, 2], the crop's first row and column in the padded image, in
        0..2 * padding.
      mirrored: bool [batch].
      padding: pixels added on each of the four sides.
      mode: "zero" or "reflect"; reflection does not repeat the border pixels.

    Returns:
      uint8 [batch, height, width, channels].
    """
    _, height, width, _ = images.shape
    rows = offsets[:, :1] + tf.range(height)
    columns = tf.range(width)
    columns = tf.where(mirrored[:, None], tf.reverse(columns, [0]), columns) + offsets[:, 1:]
    pads = [[0, 0], [padding, padding], [padding, padding], [0, 0]]
    padded = tf.pad(images, pads, "REFLECT" if mode == "reflect" else "CONSTANT")
    cropped = tf.gather(padded, rows, axis=1, batch_dims=1)
    return tf.gather(cropped, columns, axis=2, batch_dims=1)


def draw_offsets(size: int, padding: int, seed: int, global_step: tf.Tensor) -> tf.Tensor:
    """Random offsets of a batch's crops: int32 [size, 2], see `crop_and_flip`."""
    seeds = seed_for(seed, global_step, Stream.CROP)
    return tf.random.stateless_uniform([size, 2], seeds, 0, 2 * padding + 1, tf.int32)


def draw_flips(size: int, seed: int, global_step: tf.Tensor) -> tf.Tensor:
    """Which images of a batch are mirrored by `flip="random"`: bool [size]."""
    seeds = seed_for(seed, global_step, Stream.FLIP)
    return tf.random.stateless_uniform([size, 1], seeds, 0, 2, tf.int32)[:, 0] == 1


def first_flips(num_examples: int, seed: int) -> tf.Tensor:
    """Which images `flip="alternating"` mirrors in the first epoch: bool [num_examples]."""
    seeds = seed_for(seed, 0, Stream.FIRST_FLIP)
    return tf.random.stateless_uniform([num_examples], seeds, 0, 2, tf.int32) == 1


def alternating_flips(first: tf.Tensor, indices: tf.Tensor, global_step: tf.Tensor) -> tf.Tensor:
    """Which images of a batch are mirrored by `flip="alternating"`.

    Args:
      first: see `first_flips`.
      indices: int64 [batch], positions of the global batch's samples in the split. Sample k of the
        batch belongs to epoch (global_step * batch + k) // num_examples, so a batch may contain the
        end of an epoch and the beginning of the next.
      global_step: int64 scalar.

    Returns:
      bool [batch].
    """
    size, num_examples = indices.shape[0], first.shape[0]
    passes = (global_step * size + tf.range(size, dtype=tf.int64)) // num_examples
    return tf.gather(first, indices) != (passes % 2 == 1)


def cut_out(images: tf.Tensor, corners: tf.Tensor, side: int) -> tf.Tensor:
    """Sets a square in each image to 0 (DeVries & Taylor 2017); it is always within the image.

    Args:
      images: float32 [batch, height, width, channels], standardised.
      corners: int32 [batch, 2], first row and column of the square.
      side: its side in pixels.
    """
    _, height, width, _ = images.shape
    rows = tf.range(height) - corners[:, :1]
    columns = tf.range(width) - corners[:, 1:]
    inside_rows = (rows >= 0) & (rows < side)
    inside_columns = (columns >= 0) & (columns < side)
    inside = inside_rows[:, :, None, None] & inside_columns[:, None, :, None]
    return tf.where(inside, tf.zeros_like(images), images)


def draw_corners(
    image_shape: tuple[int, ...], size: int, side: int, seed: int, global_step: tf.Tensor
) -> tf.Tensor:
    """Random corners of a batch's squares: int32 [size, 2], uniform within the image."""
    seeds = seed_for(seed, global_step, Stream.CUTOUT)
    bounds = tf.constant([extent - side + 1 for extent in image_shape[:2]])
    uniform = tf.random.stateless_uniform([size, 2], seeds)
    # Rounding can give the bound itself.
    return tf.minimum(tf.cast(uniform * tf.cast(bounds, tf.float32), tf.int32), bounds - 1)


def standardize(images: tf.Tensor, standardization: str) -> tf.Tensor:
    """Standardises a batch of images; features are unchanged, as the student standardises them.

    Args:
      images: uint8 [batch, height, width, channels], or float32 [batch, num_features].
      standardization: "image" as in tf.image.per_image_standardization: mean 0 and standard
        deviation 1 per image; the divisor is at least 1 / sqrt(number of values), so that a uniform
        image becomes 0. "channel": with the mean and standard deviation of CIFAR-10's 3 channels,
        whatever the data set.

    Returns:
      float32 of the same shape.
    """
    if images.shape.rank == 2:
        return images
    if standardization == "image":
        return tf.image.per_image_standardization(tf.cast(images, tf.float32))
    factors = [1 / (255 * deviation) for deviation in CHANNEL_DEVIATION]
    pairs = zip(CHANNEL_MEAN, CHANNEL_DEVIATION, strict=True)
    shifts = [mean / deviation for mean, deviation in pairs]
    return tf.cast(images, tf.float32) * tf.constant(factors) - tf.constant(shifts)


def views(images: tf.Tensor) -> list[tuple[float, tf.Tensor]]:
    """The views of each image for test-time augmentation, and the weight of each view's logits.

    The image and its mirror image have weight 1/4 each; the image shifted by one pixel up and
    left, and down and right, and the mirror images of both, 1/8 each (Jordan 2024, section 3.5).
    New pixels are reflected at the border.

    Args:
      images: float32 [batch, height, width, channels].

    Returns:
      Six pairs of a weight and a view of all images, in their shape.
    """
    padded = tf.pad(images, [[0, 0], [1, 1], [1, 1], [0, 0]], "REFLECT")
    shown = [(0.25, images), (0.125, padded[:, 2:, 2:]), (0.125, padded[:, :-2, :-2])]
    return [pair for w, view in shown for pair in ((w, view), (w, tf.reverse(view, [2])))]
