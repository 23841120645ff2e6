"""Early-learning regularisation: keeps predictions close to the moving average of earlier ones.
Options `beta`, `lambda`.
"""

from __future__ import annotations

import tensorflow as tf

from mentornet.core.errors import check
from mentornet.weighting.protocol import Batch, Context, Weighed, Weighting

# Keeps the logarithm finite, as in the authors' published code.
_SMALLEST = 1e-4


def make(context: Context, *, beta: float = 0.7, lambda_: float = 3.0) -> Weighting:
    """Weights of 1, float32 [batch, 1], and lambda * log(1 - <p, t>) added to each sample's loss.

    p are the sample's predicted probabilities, clipped to 1e-4..1 - 1e-4, and t the target, which
    each step that sees the sample sets to beta * t + (1 - beta) * p / sum(p), without gradient; it
    is 0 at first. Source: Liu et al. 2020, "Early-Learning Regularization Prevents Memorization of
    Noisy Labels", equations 6 and 9.

    Args:
      context: of the training, whose numbers of samples and classes must be known.
      beta: decay of the targets, in 0..1.
      lambda_: strength of the added term, not negative.

    Raises:
      InputError: an option is outside its range, or the number of samples or classes is unknown.
    """
    check(0 <= beta <= 1, "`beta` must lie in 0..1.", beta=beta)
    check(lambda_ >= 0, "`lambda` must not be negative.", **{"lambda": lambda_})
    targets = context.per_sample("elr_targets", context.require_num_classes())

    def weigh(batch: Batch) -> Weighed:
        has_logits, has_positions = batch.logits is not None, batch.positions is not None
        rule = "`weighting` elr needs logits and positions."
        check(has_logits and has_positions, rule, logits=has_logits, positions=has_positions)
        p = tf.clip_by_value(tf.nn.softmax(batch.logits), _SMALLEST, 1 - _SMALLEST)
        normalised = tf.stop_gradient(p / tf.reduce_sum(p, axis=1, keepdims=True))
        t = beta * targets.read(batch.positions) + (1 - beta) * normalised
        targets.write(batch.positions, t)
        agreement = tf.reduce_sum(p * tf.stop_gradient(t), axis=1, keepdims=True)
        return Weighed(tf.ones_like(batch.losses), added=lambda_ * tf.math.log(1 - agreement))

    return weigh
