"""The objective of a step: weighting, mixup, and a second weighting.

It is shared by the scripts' training step and `MentoredModel`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from mentornet.config.weighting import MixupConfig
from mentornet.core import schedules
from mentornet.core.errors import check
from mentornet.weighting.mixup import Partners, draw_partners, forward_without_trace
from mentornet.weighting.protocol import Batch, Weighed, Weighting, as_weighed

# (labels, outputs) -> float32 [batch, 1].
SampleLosses = Callable[[Any, Any], tf.Tensor]


class ObjectiveTerms(NamedTuple):
    """The losses and weights of a batch; arrays are float32 [batch, 1].

    Attributes:
      losses: of the samples before they were mixed.
      weighed: the weighting's result for these.
      learned_losses: the losses to minimise, with gradient.
      weights: of `learned_losses`.
    """

    losses: tf.Tensor
    weighed: Weighed
    learned_losses: tf.Tensor
    weights: tf.Tensor

    def weighted_loss(self, size: tf.Tensor) -> tf.Tensor:
        """Sum of weight times loss, divided by `size`; float32 scalars."""
        return tf.reduce_sum(self.weights * self.learned_losses) / size

    def added_loss(self, size: tf.Tensor) -> tf.Tensor | None:
        """Sum of the weighting's added terms, divided by `size`; None if there are none."""
        if self.weighed.added is None:
            return None
        return tf.reduce_sum(self.weighed.added) / size


@dataclasses.dataclass(frozen=True)
class Objective:
    """Weights a batch and, if configured, mixes it and weights the mixed samples.

    Args:
      weighting: of the original samples.
      sample_losses: the loss of each sample.
      forward: inputs -> outputs in training mode, with gradient.
      student: its outputs determine how samples are mixed.
      seed: of mixup.
      mixup: how samples are mixed; None without mixup.
      second: the weighting of mixed samples; None gives them weight 1.
      learned_losses: the loss of each sample that is minimised, if it differs from
        `sample_losses`: with smoothed labels, for example. MentorNets were learned with plain
        losses, and percentiles and histories refer to these.
      labels_of: labels as the loss takes them -> int64 [batch], or None.
      logits_of: outputs -> float32 [batch, classes], or None.
    """

    weighting: Weighting
    sample_losses: SampleLosses
    forward: Callable[[Any], Any]
    student: keras.Model
    seed: int
    mixup: MixupConfig | None = None
    second: Weighting | None = None
    learned_losses: SampleLosses | None = None
    labels_of: Callable[[Any], tf.Tensor | None] = tf.convert_to_tensor
    logits_of: Callable[[Any], tf.Tensor | None] = tf.convert_to_tensor

    def outputs(self, inputs: Any) -> Any:
        """The outputs from which samples are weighted; without gradient if they will be mixed."""
        if self.mixup is None:
            return self.forward(inputs)
        return forward_without_trace(self.student, inputs)

    def __call__(
        self,
        inputs: Any,
        labels: Any,
        outputs: Any,
        *,
        step: tf.Tensor,
        total_steps: tf.Tensor | int,
        positions: tf.Tensor | None = None,
        given: tf.Tensor | None = None,
    ) -> ObjectiveTerms:
        """Computes the losses and weights of a batch.

        Args:
          inputs: [batch, ...], or a structure of such.
          labels: as `sample_losses` takes them.
          outputs: those of `self.outputs(inputs)`.
          step: int64 scalar, the number of updates done.
          total_steps: of the whole training, to which the epoch percentage refers.
          positions: int64 [batch], the samples' positions in the training split.
          given: float32 [batch, 1], further weights to multiply by the weighting's.

        Raises:
          InputError: the weighting does not return one weight per sample, or adds a term to the
            loss when samples are mixed.
        """
        losses = self.sample_losses(labels, outputs)
        batch = Batch(
            losses=tf.stop_gradient(losses),
            epoch_percentage=tf.minimum(
                schedules.epoch_percentage(step, total_steps), schedules.LAST_EPOCH
            ),
            global_step=step,
            logits=self.logits_of(outputs),
            labels=self.labels_of(labels),
            positions=positions,
        )
        weighed = as_weighed(self.weighting(batch), batch)
        minimised = self.learned_losses or self.sample_losses
        if self.mixup is None:
            learned = losses if self.learned_losses is None else minimised(labels, outputs)
            weights = weighed.weights
        else:
            rule = "`mixup_alpha` cannot be combined with a weighting that adds a term to the loss."
            check(weighed.added is None, rule, mixup_alpha=self.mixup.alpha)
            partners = draw_partners(weighed.weights, self.mixup.alpha, self.seed, step)
            outputs = self.forward(tf.nest.map_structure(partners.mix, inputs))
            others = tf.nest.map_structure(partners.of, labels)
            mixed = functools.partial(_mixed_losses, partners, labels, others, outputs)
            learned = mixed(minimised)
            weights = self._weigh_again(batch, mixed(self.sample_losses), outputs)
            given = None if given is None else partners.mix(given)
        if given is not None:
            weights = weights * given
            if weighed.added is not None:
                weighed = weighed._replace(added=weighed.added * given)
        return ObjectiveTerms(losses, weighed, learned, weights)

    def _weigh_again(self, batch: Batch, losses: tf.Tensor, outputs: Any) -> tf.Tensor:
        if self.second is None:
            return tf.ones_like(losses)
        losses = tf.stop_gradient(losses)
        batch = batch._replace(losses=losses, logits=self.logits_of(outputs))
        return as_weighed(self.second(batch), batch).weights


def _mixed_losses(
    partners: Partners, labels: Any, others: Any, outputs: Any, losses: SampleLosses
) -> tf.Tensor:
    """The losses of mixed samples, from their `outputs`, for their own and the partners' labels."""
    return partners.mix_losses(losses(labels, outputs), losses(others, outputs))
