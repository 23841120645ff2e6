"""What a run remembers of each sample."""

from __future__ import annotations

import tensorflow as tf

COLUMNS = (
    "num_seen",
    "mean_loss",
    "loss_variance",
    "mean_weight",
    "prediction",
    "probability",
)
_SMALLEST_RATE = 0.05


class SampleHistory(tf.Module):
    """Decayed statistics of each training sample over the steps that saw it.

    Columns: the number of those steps; mean and variance of the loss in nats, and mean of the
    weight before example drop-out, plain over the first 20 times and from then on with 5 % for the
    newest; the class predicted last, and the probability that the student gave it.

    Args:
      num_examples: size of the training split; a sample's place in it is its position.

    Attributes:
      values: float32 [num_examples, columns] variable, all 0 before the first step.
    """

    def __init__(self, num_examples: int) -> None:
        super().__init__("sample_history")
        self.values = tf.Variable(
            tf.zeros([num_examples, len(COLUMNS)]), trainable=False, name="sample_history"
        )

    def read(self, positions: tf.Tensor) -> dict[str, tf.Tensor]:
        """The columns of some samples, by name.

        Args:
          positions: int64 [batch].

        Returns:
          float32 [batch] each.
        """
        rows = tf.gather(self.values, positions)
        return dict(zip(COLUMNS, tf.unstack(rows, axis=1), strict=True))

    def update(
        self, positions: tf.Tensor, losses: tf.Tensor, weights: tf.Tensor, logits: tf.Tensor
    ) -> None:
        """Takes in one step; of a sample that is twice in a batch, the later place counts.

        Args:
          positions: int64 [batch].
          losses: float32 [batch, 1].
          weights: float32 [batch, 1].
          logits: float32 [batch, classes].
        """
        old = self.read(positions)
        count = old["num_seen"] + 1
        rate = tf.maximum(1 / count, _SMALLEST_RATE)
        deviation = losses[:, 0] - old["mean_loss"]
        variance = (1 - rate) * (old["loss_variance"] + rate * deviation**2)
        mean_weight = old["mean_weight"] + rate * (weights[:, 0] - old["mean_weight"])
        rows = (
            count,
            old["mean_loss"] + rate * deviation,
            variance,
            mean_weight,
            tf.cast(tf.argmax(logits, axis=1), tf.float32),
            tf.reduce_max(tf.nn.softmax(logits), axis=1),
        )
        self.values.scatter_update(tf.IndexedSlices(tf.stack(rows, axis=1), positions))
