"""Self-paced learning: 1 if the loss is at most its moving average, else 0. Options: the
settings of Algorithm 1.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from mentornet.weighting.curriculum import make_closed_form
from mentornet.weighting.protocol import Context, Weighting


def make(context: Context, **settings: Any) -> Weighting:
    """Weights of 1 where the loss is at most its moving average, else 0, float32 [batch, 1].

    The shipped curriculum `self_paced` approximates them (Kumar et al. 2010).

    Args:
      context: of the training.
      **settings: see `mentornet.config.weighting.WeightingConfig`.

    Raises:
      InputError: a setting is outside its range.
    """

    def formula(loss: tf.Tensor, difference: tf.Tensor, epoch: tf.Tensor) -> tf.Tensor:
        del loss, epoch
        return tf.cast(difference <= 0, tf.float32)

    return make_closed_form(context, formula, settings)
