"""Mixes samples according to their weights: MentorMix, or mixup if all weights are equal."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from mentornet.core import replicas
from mentornet.core.errors import check
from mentornet.core.seeds import Stream, seed_for


class Partners(NamedTuple):
    """Each sample's mixing partner, and the share of itself that it keeps.

    `indices` int64 [batch], positions in the global batch; `shares` float32 [batch], in 0..1.
    """

    indices: tf.Tensor
    shares: tf.Tensor

    def of(self, values: tf.Tensor) -> tf.Tensor:
        """The partners' rows of values [batch, ...]."""
        return tf.gather(replicas.gather(values), self.indices)

    def mix(self, values: tf.Tensor) -> tf.Tensor:
        """share * own + (1 - share) * partner's, for float values [batch, ...].

        Raises:
          InputError: the values are integers, which cannot be mixed.
        """
        rule = "Inputs must be floating-point numbers to be mixed."
        check(values.dtype.is_floating, rule, dtype=values.dtype.name)
        shares = tf.reshape(self.shares, [-1] + [1] * (values.shape.rank - 1))
        shares = tf.cast(shares, values.dtype)
        return shares * values + (1 - shares) * self.of(values)

    def mix_losses(self, own: tf.Tensor, partners: tf.Tensor) -> tf.Tensor:
        """The losses for mixed labels, from those for the two labels; exact for cross entropy.

        Args:
          own: float32 [batch, 1], the mixed samples' losses for their own labels.
          partners: float32 [batch, 1], their losses for their partners' labels.

        Returns:
          float32 [batch, 1].
        """
        return self.shares[:, None] * own + (1 - self.shares[:, None]) * partners


def draw_partners(
    weights: tf.Tensor, alpha: float, seed: int, global_step: tf.Tensor | int
) -> Partners:
    """Draws partners as in MentorMix (Jiang et al. 2020, Algorithm 1).

    Partners are drawn with replacement from the softmax of the weights. With m = max(l, 1 - l),
    where l ~ Beta(alpha, alpha) is drawn for each sample, a sample of weight v keeps the share
    v * m + (1 - v) * (1 - m): with a high weight it stays mostly itself, with a low weight it
    becomes mostly its partner. With all weights 1 this is mixup (Zhang et al. 2018). This is the
    paper's formula; the authors' published code rounds v to 0 or 1.

    In a replica of tf.distribute, partners come from the global batch.

    Args:
      weights: float [batch, 1].
      alpha: positive; the larger, the closer the shares are to a half.
      seed: of the run; seed and step determine what is drawn.
      global_step: int scalar.

    Returns:
      The partners of the replica's samples.
    """
    weights = tf.stop_gradient(tf.cast(weights, tf.float32)[:, 0])
    first, own_size = replicas.first_row(tf.size(weights)), tf.size(weights)
    everywhere = replicas.gather(weights)
    size = tf.size(everywhere)
    seed_of = functools.partial(seed_for, seed, global_step)
    indices = tf.random.stateless_categorical(
        everywhere[None], size, seed_of(Stream.MIXUP_PARTNER)
    )[0, first : first + own_size]
    # l = g / (g + h) for two Gamma(alpha), each Gamma(alpha + 1) * uniform ** (1 / alpha),
    # computed with logarithms, since for a small alpha both underflow.
    seeds = tf.random.experimental.stateless_split(seed_of(Stream.MIXUP_SHARE), 2)
    order = tf.constant(alpha + 1, tf.float64)
    gammas = tf.random.stateless_gamma([size, 2], seeds[0], order, dtype=tf.float64)
    uniforms = tf.random.stateless_uniform([size, 2], seeds[1], dtype=tf.float64)
    logarithms = tf.math.log(gammas) + tf.math.log1p(-uniforms) / alpha
    larger = tf.sigmoid(tf.abs(logarithms[:, 0] - logarithms[:, 1]))
    larger = tf.cast(larger[first : first + own_size], tf.float32)
    return Partners(indices, weights * larger + (1 - weights) * (1 - larger))


def forward_without_trace(student: keras.Model, inputs: Any) -> Any:
    """Outputs in training mode, without gradient and without updating moving statistics.

    MentorMix computes the losses of a batch before mixing it. Batch normalisation is then updated
    only by the mixed batch, as in the authors' published code.

    Args:
      student: its variables are unchanged afterwards.
      inputs: of a batch, as the student takes them.

    Returns:
      What the student returns, such as logits [batch, classes].
    """
    variables = [variable.value for variable in student.non_trainable_variables]
    before = [tf.identity(variable) for variable in variables]
    outputs = student(inputs, training=True)
    for variable, value in zip(variables, before, strict=True):
        variable.assign(value)
    return tf.nest.map_structure(tf.stop_gradient, outputs)
