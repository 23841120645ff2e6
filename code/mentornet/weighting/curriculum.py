"""Weightings that compute weights from samples' features: MentorNets and closed forms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from mentornet.config.weighting import WeightingConfig
from mentornet.core import replicas
from mentornet.label_noise.history import SampleHistory
from mentornet.weighting import features
from mentornet.weighting.automatic import Automatic, num_classes
from mentornet.weighting.protocol import Batch, Context, Weighed
from mentornet.weighting.sample_weighting import SampleWeighting


class ClosedForm:
    """A curriculum as a formula, instead of a MentorNet that has learned it.

    Args:
      formula: (loss, loss minus its moving average, epoch percentage) -> weights, all float32
        [batch, 1].
    """

    further_features: tuple[str, ...] = ()

    def __init__(self, formula: Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]) -> None:
        self._formula = formula

    def sample_weights(self, inputs: tf.Tensor) -> tf.Tensor:
        """Weights [batch, 1] from the release's four features, float32 [batch, 4]."""
        loss, difference, _, epoch = tf.split(inputs, 4, axis=1)
        return self._formula(loss, difference, epoch)


class CurriculumWeighting:
    """`SampleWeighting` as a weighting of the registry.

    Args:
      sample_weighting: computes the weights.
      label_is_given: whether the MentorNet sees the given label instead of 0.
      automatic: shown each batch before it is weighed.
      history: from which the MentorNet's further features are computed, if it has any.
    """

    def __init__(
        self,
        sample_weighting: SampleWeighting,
        label_is_given: bool,
        automatic: Automatic | None,
        history: SampleHistory | None,
    ) -> None:
        self.sample_weighting = sample_weighting
        self._label_is_given, self._automatic = label_is_given, automatic
        self._history = history

    @property
    def mentor(self) -> Any:
        """The MentorNet or closed form."""
        return self.sample_weighting.mentor

    @property
    def config(self) -> WeightingConfig:
        """The settings of Algorithm 1."""
        return self.sample_weighting.config

    @property
    def loss_moving_average(self) -> tf.Variable:
        """float32 variable, see `SampleWeighting`."""
        return self.sample_weighting.loss_moving_average

    def __call__(self, batch: Batch) -> Weighed:
        """The weights, and the release's scalars for the log."""
        if self._automatic is not None:
            self._automatic.remember_labels(batch.positions, batch.labels)
            epoch = tf.cast(batch.epoch_percentage, tf.int32)
            size = replicas.total(tf.cast(tf.size(batch.losses), tf.float32))
            self._automatic.update(epoch, size)
        past = {} if self._history is None else self._history.read(batch.positions)
        names = self.mentor.further_features
        found = self.sample_weighting.weigh(
            batch.losses,
            batch.epoch_percentage,
            batch.global_step,
            batch.labels if self._label_is_given else None,
            {name: features.FURTHER[name].compute(past) for name in names},
            given=batch.labels,
        )
        scalars = {
            "debug/percentile_loss": found.percentile_loss,
            "debug/dropout_rate": found.dropout_rate,
            "debug/epoch_step": tf.cast(found.epoch, tf.float32),
            "debug/loss_moving_percentile": found.moving_average,
        }
        if found.rules is not None:
            scalars |= found.rules.scalars(self.sample_weighting.config.class_balanced)
        return Weighed(found.weights, found.before_dropout, scalars=scalars)


def make_curriculum(
    context: Context, mentor: Any, label_is_given: bool, settings: dict[str, Any]
) -> CurriculumWeighting:
    """A weighting by a MentorNet or a closed form.

    Args:
      context: of the training; for a second weighting, the first one's settings are used.
      mentor: a MentorNet or a `ClosedForm`.
      label_is_given: whether the MentorNet sees the given label instead of 0.
      settings: see `mentornet.config.weighting.WeightingConfig`.

    Raises:
      InputError: a setting is outside its range.
    """
    config = WeightingConfig(**settings)
    # See `SampleWeighting.loss_moving_average`.
    shape = (2, num_classes(context, config) + 1) if config.is_automatic else ()
    average, automatic = context.variable("loss_moving_average", shape), None
    if isinstance(context.first, CurriculumWeighting):
        made = context.first.sample_weighting.second(average)
    else:
        automatic = Automatic(context, config) if config.is_automatic else None
        made = SampleWeighting(
            mentor,
            **settings,
            seed=context.seed,
            loss_moving_average=average,
            automatic=automatic,
        )
    history = context.history() if mentor.further_features else None
    return CurriculumWeighting(made, label_is_given, automatic, history)


def make_closed_form(
    context: Context,
    formula: Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor],
    settings: dict[str, Any],
) -> CurriculumWeighting:
    """A weighting by a formula; see `ClosedForm` and `make_curriculum`."""
    return make_curriculum(context, ClosedForm(formula), False, settings)
