"""Percentiles of losses: of a batch, as the release computes them, and of its classes."""

from __future__ import annotations

import tensorflow as tf


def nearest_percentile(losses: tf.Tensor, share: tf.Tensor | float) -> tf.Tensor:
    """The percentile of a batch's losses, always an element of the batch.

    As in tf.contrib.distributions.percentile(..., interpolation="nearest") of TensorFlow 1, the
    rank is counted from the largest loss and rounded half to even in double precision.

    Args:
      losses: float32 [batch, 1].
      share: float32 scalar 0..1; 0.7 is the 70th percentile.

    Returns:
      float32 scalar.
    """
    rank = _rank(tf.size(losses), share)
    return tf.sort(tf.reshape(losses, [-1]), direction="DESCENDING")[rank]


def class_percentiles(
    losses: tf.Tensor, labels: tf.Tensor, shares: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """`nearest_percentile` of the losses of each class.

    Args:
      losses: float32 [batch, 1].
      labels: int32 [batch].
      shares: float32 [classes], each 0..1.

    Returns:
      float32 [classes], of a class without samples 0, and int32 [classes], its samples.
    """
    losses, classes = tf.reshape(losses, [-1]), tf.size(shares)
    counts = tf.reduce_sum(tf.one_hot(labels, classes, dtype=tf.int32), axis=0)
    descending = tf.argsort(losses, direction="DESCENDING", stable=True)
    by_class = tf.gather(descending, tf.argsort(tf.gather(labels, descending), stable=True))
    place = tf.cumsum(counts, exclusive=True) + _rank(tf.maximum(counts, 1), shares)
    found = tf.gather(tf.gather(losses, by_class), tf.minimum(place, tf.size(losses) - 1))
    return tf.where(counts > 0, found, 0.0), counts


def _rank(count: tf.Tensor, share: tf.Tensor | float) -> tf.Tensor:
    """The place of a percentile among as many losses, from the largest down; int32."""
    from_largest = 1 - tf.cast(tf.cast(share, tf.float32) * 100, tf.float64) / 100
    return tf.cast(tf.round(tf.cast(count - 1, tf.float64) * from_largest), tf.int32)
