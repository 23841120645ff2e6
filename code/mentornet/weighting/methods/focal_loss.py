"""Focal loss: (1 - p) ** gamma, with p the probability of the given label; favours hard samples.
Option `gamma`, and the settings of Algorithm 1.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from mentornet.core.errors import check
from mentornet.weighting.curriculum import make_closed_form
from mentornet.weighting.protocol import Context, Weighting


def make(context: Context, *, gamma: float = 2.0, **settings: Any) -> Weighting:
    """Weights (1 - exp(-loss)) ** gamma, float32 [batch, 1] in 0..1.

    The shipped curriculum `focal_loss` approximates them (Lin et al. 2017, equation 4, without its
    logarithm, which is the loss). exp(-loss) is the probability of the given label if the loss is
    the cross entropy of one label.

    Args:
      context: of the training.
      gamma: positive.
      **settings: see `mentornet.config.weighting.WeightingConfig`.

    Raises:
      InputError: `gamma` is not positive, or a setting is outside its range.
    """
    check(gamma > 0, "`gamma` must be positive.", gamma=gamma)

    def formula(loss: tf.Tensor, difference: tf.Tensor, epoch: tf.Tensor) -> tf.Tensor:
        del difference, epoch
        return (1 - tf.exp(-loss)) ** gamma

    return make_closed_form(context, formula, settings)
