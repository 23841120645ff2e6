"""The per-sample loss, both for the weighting and for the objective."""

from __future__ import annotations

import tensorflow as tf


def cross_entropy(labels: tf.Tensor, logits: tf.Tensor, smoothing: float = 0.0) -> tf.Tensor:
    """Cross entropy with label smoothing: a share of each label is spread over all classes.

    (1 - smoothing) * -log p(label) + smoothing * mean over the classes of -log p(class)

    Args:
      labels: int64 [batch].
      logits: float [batch, classes].
      smoothing: in 0..1; 0 is the plain cross entropy.

    Returns:
      float32 [batch, 1], in nats.
    """
    logits = tf.cast(logits, tf.float32)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    if smoothing:
        spread = -tf.reduce_mean(tf.nn.log_softmax(logits), axis=1)
        losses = (1 - smoothing) * losses + smoothing * spread
    return losses[:, None]
