"""The loss of each sample, and what a network's own layers add to the loss."""

from __future__ import annotations

import keras
import tensorflow as tf

from mentornet.core import replicas
from mentornet.core.errors import check


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


def layer_loss(student: keras.Model) -> tf.Tensor | None:
    """What the network's own layers add to the loss, as in Keras' fit(): float32 scalar, or None.

    These are the regularisers of its variables, and what its layers added in their latest call. In
    a replica it is the replica's share, since gradients are summed.

    Raises:
      InputError: layers add losses in several replicas, whose calls Keras does not keep apart.
    """
    if not student.losses:
        return None
    number = replicas.number()
    rule = "Layers that add losses, such as activity_regularizer, are trained on one device only."
    check(number == 1 or not adds_losses(student, student.losses), rule, devices=number)
    total = tf.add_n([tf.reduce_sum(tf.cast(loss, tf.float32)) for loss in student.losses])
    return total / number


def adds_losses(model: keras.Model, losses: list[tf.Tensor]) -> bool:
    """Whether a model's losses are more than the regularisers of its variables."""
    return len(losses) > sum(v.regularizer is not None for v in model.trainable_variables)
