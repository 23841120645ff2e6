"""Stateless seeds: every random number is a function of (seed, global_step)."""

from __future__ import annotations

import enum

import tensorflow as tf


class Stream(enum.IntEnum):
    """The purpose of random numbers; different streams are independent in each step."""

    CROP = 1
    FLIP = 2
    EXAMPLE_DROPOUT = 3
    STUDENT_DROPOUT = 4
    ORDER = 5
    MIXUP_PARTNER = 6
    MIXUP_SHARE = 7
    SECOND_EXAMPLE_DROPOUT = 8
    FIRST_FLIP = 9
    CUTOUT = 10


def seed_for(seed: int, counter: tf.Tensor | int, stream: Stream) -> tf.Tensor:
    """A seed for TensorFlow's stateless operations.

    Args:
      seed: the run's seed.
      counter: int scalar, the global step (or, for the order of samples, the epoch).
      stream: what the numbers are for.

    Returns:
      int32 [2].
    """
    counter = tf.cast(counter, tf.int32)
    return tf.random.fold_in(tf.stack([tf.constant(seed, tf.int32), counter]), int(stream))
