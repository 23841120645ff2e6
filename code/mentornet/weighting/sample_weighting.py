"""Sample weights from losses: the paper's Algorithm 1 with a MentorNet."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from mentornet.config.weighting import WeightingConfig
from mentornet.core import replicas, schedules
from mentornet.core.errors import check
from mentornet.core.schedules import LAST_EPOCH
from mentornet.core.seeds import Stream, seed_for
from mentornet.weighting.automatic import Automatic, Rules
from mentornet.weighting.mentor import MentorNet
from mentornet.weighting.percentiles import class_percentiles, nearest_percentile


class WeightedBatch(NamedTuple):
    """The results of one step of the weighting.

    Attributes:
      weights: float32 [batch, 1].
      before_dropout: the weights before example dropout, float32 [batch, 1].
      percentile_loss, moving_average, dropout_rate: float32 scalars.
      epoch: int32 scalar in 0..99, as the MentorNet sees it.
      rules: the automatically determined settings, if there are any.
    """

    weights: tf.Tensor
    before_dropout: tf.Tensor
    percentile_loss: tf.Tensor
    moving_average: tf.Tensor
    dropout_rate: tf.Tensor
    epoch: tf.Tensor
    rules: Rules | None


class SampleWeighting(tf.Module):
    """Turns a batch's losses into sample weights ("v" in the paper, Algorithm 1).

    ```
    weighting = SampleWeighting(load_mentornet("mentornet_pd"), example_dropout_rates="0,100")
    weights = weighting(losses, epoch_percentage=17, global_step=step)  # [batch, 1]
    loss = tf.reduce_mean(weights * losses)
    ```

    Args:
      mentor: the MentorNet (or a `mentornet.weighting.curriculum.ClosedForm`).
      loss_p_percentile, burn_in_epoch, fixed_epoch_after_burn_in, loss_moving_average_decay,
      example_dropout_rates, class_balanced: see `mentornet.config.weighting.WeightingConfig`.
      seed: of the example dropout; which samples a step drops depends on (seed, global_step).
      loss_moving_average: the variable to use, by default a new one.
      dropout_stream: of the example dropout's random numbers.
      automatic: determines the settings that are "auto".

    Attributes:
      mentor: the MentorNet.
      loss_moving_average: float32 variable, 0 before the first call: a scalar, or with "auto"
        [2, classes + 1], sums of percentiles and of their weights: of each class, and of all.

    Raises:
      InputError: a setting is outside its range.
    """

    def __init__(
        self,
        mentor: MentorNet | Any,
        loss_p_percentile: float | str = WeightingConfig.loss_p_percentile,
        burn_in_epoch: int | str = WeightingConfig.burn_in_epoch,
        fixed_epoch_after_burn_in: bool = WeightingConfig.fixed_epoch_after_burn_in,
        loss_moving_average_decay: float = WeightingConfig.loss_moving_average_decay,
        example_dropout_rates: str | Sequence[float] = WeightingConfig.example_dropout_rates,
        seed: int = 0,
        loss_moving_average: tf.Variable | None = None,
        dropout_stream: Stream = Stream.EXAMPLE_DROPOUT,
        automatic: Automatic | None = None,
        class_balanced: bool = WeightingConfig.class_balanced,
    ) -> None:
        super().__init__("sample_weighting")
        self.config = WeightingConfig(
            loss_p_percentile=loss_p_percentile,
            burn_in_epoch=burn_in_epoch,
            fixed_epoch_after_burn_in=fixed_epoch_after_burn_in,
            loss_moving_average_decay=loss_moving_average_decay,
            example_dropout_rates=example_dropout_rates,
            class_balanced=class_balanced,
        )
        rule = "`auto` needs a training that keeps a history: the scripts' or MentoredModel's."
        known = automatic is not None or not self.config.is_automatic
        check(known, rule, loss_p_percentile=loss_p_percentile, burn_in_epoch=burn_in_epoch)
        self._automatic = automatic
        self.mentor: Any = mentor
        self.seed = seed
        self._stream = dropout_stream
        self._dropout_rates = schedules.dropout_rates(example_dropout_rates)
        if loss_moving_average is None:
            loss_moving_average = tf.Variable(
                0.0,
                trainable=False,
                dtype=tf.float32,
                name="loss_moving_average",
                aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,  # All are equal.
            )
        self.loss_moving_average = loss_moving_average

    def second(self, loss_moving_average: tf.Variable | None = None) -> SampleWeighting:
        """A weighting of mixed samples: same settings and MentorNet, separate moving average.

        Raises:
          InputError: the MentorNet has further features, which mixed samples do not have.
        """
        further = self.mentor.further_features
        rule = "`second_reweight` needs a MentorNet without further features."
        check(not further, rule, further_features=further)
        return SampleWeighting(
            self.mentor,
            **dataclasses.asdict(self.config),
            seed=self.seed,
            loss_moving_average=loss_moving_average,
            dropout_stream=Stream.SECOND_EXAMPLE_DROPOUT,
            automatic=self._automatic,
        )

    def __call__(
        self,
        losses: tf.Tensor,
        *,
        epoch_percentage: tf.Tensor | int,
        global_step: tf.Tensor | int,
        labels: tf.Tensor | None = None,
        further: Mapping[str, tf.Tensor] | None = None,
    ) -> tf.Tensor:
        """Updates the moving average and computes the weights.

        Args:
          losses: float [batch, 1], the loss of each sample.
          epoch_percentage: int scalar, floor(100 * global_step / max_number_of_steps).
          global_step: int scalar; seed and step determine which samples are dropped.
          labels: int [batch], the labels that the MentorNet sees; None means 0, as in the release.
          further: float [batch] by name, the features, beyond the release's, that the MentorNet was
            learned with.

        Returns:
          float32 [batch, 1], without gradient.

        Raises:
          InputError: `losses` have another shape, or a feature that the MentorNet needs is missing.
        """
        return self.weigh(losses, epoch_percentage, global_step, labels, further).weights

    def weigh(
        self,
        losses: tf.Tensor,
        epoch_percentage: tf.Tensor | int,
        global_step: tf.Tensor | int,
        labels: tf.Tensor | None = None,
        further: Mapping[str, tf.Tensor] | None = None,
        given: tf.Tensor | None = None,
    ) -> WeightedBatch:
        """Like a call, but also returns intermediate results.

        In a replica of tf.distribute, percentile, moving average and example dropout are those of
        the global batch, which is the replicas' samples in the order of the replicas.

        Args:
          losses, epoch_percentage, global_step, labels, further: see `__call__`; the labels are
            only shown to the MentorNet.
          given: the samples' own labels, int [batch], for the percentiles of their classes.

        Raises:
          InputError: `losses` have another shape, a feature that the MentorNet needs is missing, or
            "auto" needs `given`.
        """
        config = self.config
        losses = tf.cast(losses, tf.float32)
        fits = losses.shape.is_compatible_with([None, 1])
        check(fits, "`losses` must be of shape [batch, 1].", shape=str(losses.shape))
        epoch = tf.clip_by_value(tf.cast(epoch_percentage, tf.int32), 0, LAST_EPOCH)
        global_losses = replicas.gather(losses)
        rules, percentile, fixed_epoch = None, config.loss_p_percentile, config.burn_in_epoch
        if self._automatic is not None:
            rules = self._automatic.rules(epoch)
            percentile, fixed_epoch = rules.percentile, rules.fixed_epoch
        if config.fixed_epoch_after_burn_in:
            # Kept from the release: this freezes the dropout rate, too.
            epoch = tf.minimum(epoch, fixed_epoch)
        percentile_loss = nearest_percentile(global_losses, percentile)
        if rules is None:
            decay = config.loss_moving_average_decay
            average = moving = decay * self.loss_moving_average + (1 - decay) * percentile_loss
            self.loss_moving_average.assign(average)
        else:
            average, moving = self._automatic_average(global_losses, given, percentile_loss, rules)
        zeros = tf.zeros_like(losses)
        label_column = zeros if labels is None else tf.cast(labels, tf.float32)[:, None]
        epoch_column = zeros + tf.cast(epoch, tf.float32)
        columns = [losses, losses - average, label_column, epoch_column]
        columns += self._further_columns(further or {})
        weights = self.mentor.sample_weights(tf.concat(columns, axis=1))
        rate = tf.gather(tf.constant(self._dropout_rates, tf.float64), epoch)
        if rules is None:
            is_burn_in = config.is_burn_in(epoch)
        else:
            is_burn_in = rules.is_burn_in
            rate = tf.where(is_burn_in, tf.zeros_like(rate), rate)  # No sample is dropped.
        weights = tf.where(is_burn_in, tf.ones_like(weights), weights)
        weights = tf.stop_gradient(weights)
        kept = self._kept(tf.size(global_losses), rate, global_step)
        kept = replicas.own_rows(kept, tf.size(losses))
        rate = tf.cast(rate, tf.float32)
        return WeightedBatch(weights * kept, weights, percentile_loss, moving, rate, epoch, rules)

    def _automatic_average(
        self, losses: tf.Tensor, given: tf.Tensor | None, percentile_loss: tf.Tensor, rules: Rules
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Updates the moving averages of the percentiles, of each class and of all samples.

        Args:
          losses: float32 [global batch, 1].
          given: int [batch], the labels of the replica's samples.
          percentile_loss: float32 scalar, the percentile of all `losses`.
          rules: the settings of this step.

        Returns:
          The average that each of the replica's samples is compared with, its class's (float32
          [batch, 1]) or that of all samples (scalar); and that of all samples.
        """
        percentiles, shares = percentile_loss[None], tf.ones([1])
        if num_classes := rules.by_class.shape[0]:
            check(given is not None, "`auto` needs labels that name classes.", labels=given)
            all_given = replicas.gather(tf.cast(given, tf.int32))
            found, counts = class_percentiles(losses, all_given, rules.by_class)
            of_classes = tf.cast(counts, tf.float32) / tf.cast(tf.size(all_given), tf.float32)
            percentiles = tf.concat([found, percentiles], axis=0)
            shares = tf.concat([of_classes, shares], axis=0)
        # A class's average decays at the same rate per sample as the common one: that of a class
        # with a tenth of the samples is over ten times as many batches.
        decay = tf.cast(self.config.loss_moving_average_decay, tf.float32) ** shares
        latest = tf.stack([percentiles, tf.ones_like(percentiles)])
        sums = decay * self.loss_moving_average + (1 - decay) * latest
        # They begin with the weighting and are divided by the sum of their weights: from 0, where
        # the release begins, a slow average would take long to arrive.
        self.loss_moving_average.assign(tf.where(rules.is_burn_in, tf.zeros_like(sums), sums))
        averages = tf.math.divide_no_nan(sums[0], sums[1])
        if not num_classes:
            return averages[0], averages[0]
        ruling = tf.where(rules.is_by_class, tf.cast(given, tf.int32), num_classes)
        return tf.gather(averages, ruling)[:, None], averages[-1]

    def _further_columns(self, further: Mapping[str, tf.Tensor]) -> list[tf.Tensor]:
        names = self.mentor.further_features
        missing = [name for name in names if name not in further]
        rule = f"`further` must give {', '.join(missing)}, which the MentorNet was trained with."
        check(not missing, rule, further=sorted(further))
        return [tf.cast(further[name], tf.float32)[:, None] for name in names]

    def _kept(self, batch_size: tf.Tensor, rate: tf.Tensor, global_step: tf.Tensor) -> tf.Tensor:
        """1 for the samples that example dropout keeps, else 0; float32 [batch, 1]."""
        num_kept = tf.cast(tf.cast(batch_size, tf.float64) * (1 - rate), tf.int32)
        seed = seed_for(self.seed, global_step, self._stream)
        permutation = tf.argsort(tf.random.stateless_uniform([batch_size], seed))
        return tf.cast(permutation < num_kept, tf.float32)[:, None]
