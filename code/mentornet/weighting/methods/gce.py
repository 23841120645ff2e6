"""Generalised cross entropy: the weight is p ** q, with p the probability of the given label.
Option `q`.
"""

from __future__ import annotations

import tensorflow as tf

from mentornet.core.errors import check
from mentornet.weighting.protocol import Batch, Context, Weighting


def make(context: Context, *, q: float = 0.7) -> Weighting:
    """Weights p ** q, float32 [batch, 1] in 0..1, for the gradient of the loss (1 - p ** q) / q.

    That gradient is p ** q times the cross entropy's. p is exp(-loss), so the loss must be the
    cross entropy of one label. Source: Zhang and Sabuncu 2018, "Generalized Cross Entropy Loss for
    Training Deep Neural Networks with Noisy Labels", equations 6 and 7.

    Args:
      context: of the training.
      q: in 0..1; 0 is cross entropy, 1 the mean absolute error.

    Raises:
      InputError: `q` is outside 0..1.
    """
    del context
    check(0 <= q <= 1, "`q` must lie in 0..1.", q=q)

    def weigh(batch: Batch) -> tf.Tensor:
        return tf.exp(-q * batch.losses)

    return weigh
