"""Linear self-paced learning: 1 minus (loss - its moving average) / gamma, clipped to 0..1.
Option `gamma`, and the settings of Algorithm 1.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from mentornet.core.errors import check
from mentornet.weighting.curriculum import make_closed_form
from mentornet.weighting.protocol import Context, Weighting


def make(context: Context, *, gamma: float = 1.0, **settings: Any) -> Weighting:
    """Weights 1 - difference / gamma, clipped to 0..1, float32 [batch, 1].

    The difference is that of the loss to its moving average. The shipped curriculum `spcl_linear`
    approximates them (Jiang et al. 2015, linear soft weighting).

    Args:
      context: of the training.
      gamma: positive.
      **settings: see `mentornet.config.weighting.WeightingConfig`.

    Raises:
      InputError: `gamma` is not positive, or a setting is outside its range.
    """
    check(gamma > 0, "`gamma` must be positive.", gamma=gamma)

    def formula(loss: tf.Tensor, difference: tf.Tensor, epoch: tf.Tensor) -> tf.Tensor:
        del loss, epoch
        return tf.clip_by_value(1 - difference / gamma, 0, 1)

    return make_closed_form(context, formula, settings)
