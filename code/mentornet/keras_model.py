"""A Keras model that trains a student under a MentorNet in fit()."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from mentornet.config.weighting import MixupConfig, WeightingConfig
from mentornet.core import replicas
from mentornet.core.errors import check
from mentornet.weighting.mentor import MentorNet
from mentornet.weighting.mentor_checkpoints import load_mentornet
from mentornet.weighting.mixup import Partners, draw_partners, forward_without_trace
from mentornet.weighting.sample_weighting import SampleWeighting

_DEFAULTS = WeightingConfig()


@keras.saving.register_keras_serializable("mentornet")
class MentoredModel(keras.Model):
    """Wraps a student so that compile() and fit() weigh each sample's loss by a MentorNet.

    ```
    model = mentornet.MentoredModel(student, "mentornet_pd", loss_p_percentile=0.75)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), ["accuracy"])
    model.fit(images, labels, batch_size=128, epochs=50)
    model.student.save("student.keras")  # An ordinary model.
    ```

    evaluate() and predict() are the student's. The loss that fit() reports is the weighted one,
    the mean over the batch of weight times loss, as in the release; losses that layers add are
    added as they are. Example drop-out and what the MentorNet sees as epoch depend on the
    optimizer's iterations.

    Args:
      student: any keras.Model.
      mentor: a MentorNet, or what `mentornet.load_mentornet` takes.
      loss_p_percentile: share in 0..1; this percentile of a batch's losses is averaged.
      burn_in_epoch: epoch percentage before which every weight is 1.
      fixed_epoch_after_burn_in: whether the MentorNet sees at most `burn_in_epoch` as epoch.
      loss_moving_average_decay: in 0..1.
      example_dropout_rates: "rate,epochs,rate,epochs,...", the epochs sum to 100; or 100 rates.
      total_steps: steps of the whole training, to which the epoch percentage refers; None takes
        epochs times steps of each fit(). Give it where several calls make one training.
      mixup_alpha: if given, samples are mixed as by MentorMix (Jiang et al. 2020, Algorithm 1);
        metrics are those of the samples as they were.
      second_reweight: whether the mixed samples are weighted again.
      seed: of the example drop-out, and of what is mixed.
      **kwargs: of keras.Model.

    Raises:
      InputError: a setting lies outside its range, or the MentorNet has further features, which a
        training in fit() does not know.
    """

    def __init__(
        self,
        student: keras.Model,
        mentor: MentorNet | str = "mentornet_pd",
        *,
        loss_p_percentile: float = _DEFAULTS.loss_p_percentile,
        burn_in_epoch: int = _DEFAULTS.burn_in_epoch,
        fixed_epoch_after_burn_in: bool = _DEFAULTS.fixed_epoch_after_burn_in,
        loss_moving_average_decay: float = _DEFAULTS.loss_moving_average_decay,
        example_dropout_rates: str | Sequence[float] = _DEFAULTS.example_dropout_rates,
        total_steps: int | None = None,
        mixup_alpha: float | None = None,
        second_reweight: bool = False,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        rule = "`total_steps` must be at least 1."
        check(total_steps is None or total_steps >= 1, rule, total_steps=total_steps)
        self.student = student
        self.mentor = load_mentornet(mentor) if isinstance(mentor, str) else mentor
        self.mentor.trainable = False
        rule = "`mentor` must be a MentorNet without further features."
        further = self.mentor.further_features
        check(not further, rule, further_features=further)
        self._settings: dict[str, Any] = {
            "loss_p_percentile": loss_p_percentile,
            "burn_in_epoch": burn_in_epoch,
            "fixed_epoch_after_burn_in": fixed_epoch_after_burn_in,
            "loss_moving_average_decay": loss_moving_average_decay,
            "example_dropout_rates": example_dropout_rates,
            "seed": seed,
        }
        self.total_steps = total_steps
        self.mixup = None if mixup_alpha is None else MixupConfig(mixup_alpha, second_reweight)
        # Keras' own variables, so that backups and saved models hold them.
        average = self._scalar("loss_moving_average", "float32")
        self._steps = self._scalar("total_steps", "int64")
        self.weighting = SampleWeighting(
            self.mentor, loss_moving_average=average.value, **self._settings
        )
        self._second_weighting = None
        if self.mixup is not None and second_reweight:
            average = self._scalar("mixed_loss_moving_average", "float32")
            self._second_weighting = self.weighting.second(average.value)
        self._sample_losses: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] | None = None
        self.built = student.built

    def _scalar(self, name: str, dtype: str) -> keras.Variable:
        return self.add_weight(
            shape=(),
            initializer="zeros",
            dtype=dtype,
            trainable=False,
            name=name,
            aggregation="only_first_replica",
        )

    def build(self, input_shape: Any) -> None:
        if not self.student.built:
            self.student.build(input_shape)
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> tf.Tensor:
        if training and self.mixup is not None:  # What is learned comes in compute_loss().
            return forward_without_trace(self.student, inputs)
        return self.student(inputs, training=training)

    def compile(
        self,
        optimizer: Any = "sgd",
        loss: Any = None,
        metrics: Any = None,
        jit_compile: bool = False,
        **kwargs: Any,
    ) -> None:
        """As keras.Model's; XLA is off unless asked for, since it is slower on CPUs.

        Args:
          optimizer: see keras.Model.compile, as for what is not listed here.
          metrics: likewise.
          jit_compile: whether to use XLA.
          loss: a keras.losses.Loss, a Keras name, or a function (labels, outputs) -> [batch].

        Raises:
          InputError: there is no loss, or more than one.
        """
        is_one = loss is not None and not isinstance(loss, (dict, list, tuple))
        check(is_one, "`loss` must be one loss.", loss=loss)
        self._sample_losses = _without_reduction(loss)
        super().compile(optimizer, loss, metrics=metrics, jit_compile=jit_compile, **kwargs)

    def fit(self, *args: Any, callbacks: Any = None, **kwargs: Any) -> Any:
        """As keras.Model's."""
        own = _TotalSteps()
        if isinstance(callbacks, keras.callbacks.CallbackList):
            callbacks.append(own)
        else:
            given = callbacks if isinstance(callbacks, (list, tuple)) else [callbacks]
            callbacks = [own, *(callback for callback in given if callback is not None)]
        return super().fit(*args, callbacks=callbacks, **kwargs)

    def set_total_steps(self, steps: int | None) -> None:
        """What the epoch percentage refers to, unless `total_steps` was given.

        Raises:
          InputError: neither is known.
        """
        steps = self.total_steps or steps
        rule = "`total_steps` must be given: the data do not say how many batches they have."
        check(bool(steps), rule, total_steps=self.total_steps)
        self._steps.assign(steps)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """The weighted loss in training; else keras.Model's own."""
        if not training:
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        losses = self._sample_loss(y, y_pred)
        step = tf.cast(self.optimizer.iterations, tf.int64)
        epoch = 100 * step // tf.maximum(self._steps.value, 1)
        batch = self.weighting.weigh(tf.stop_gradient(losses), epoch, step)
        weights = batch.weights
        given = tf.ones_like(weights)
        if sample_weight is not None:
            given = tf.reshape(tf.cast(sample_weight, tf.float32), [-1, 1])
        if self.mixup is not None:
            partners = draw_partners(weights, self.mixup.alpha, self.weighting.seed, step)
            losses, weights = self._mix(x, y, partners, epoch, step)
            given = partners.mix(given)
        weights *= given
        # Divided by the size of the global batch: replicas' gradients are summed.
        loss = tf.reduce_sum(weights * losses) / tf.cast(batch.global_size, tf.float32)
        extra = (tf.cast(loss, tf.float32) / replicas.number() for loss in self.losses)
        return tf.add_n([loss, *extra])

    def _sample_loss(self, y: Any, y_pred: Any) -> tf.Tensor:
        """The loss of each sample. float32 [batch, 1]."""
        assert self._sample_losses is not None  # compile() sets it.
        losses = tf.cast(self._sample_losses(y, y_pred), tf.float32)
        return tf.reduce_mean(tf.reshape(losses, [tf.shape(losses)[0], -1]), axis=1)[:, None]

    def _mix(
        self, x: Any, y: Any, partners: Partners, epoch: tf.Tensor, step: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Losses of the mixed samples, with gradient, and their weights. float32 [batch, 1]."""
        outputs = self.student(tf.nest.map_structure(partners.mix, x), training=True)
        other = tf.nest.map_structure(partners.of, y)
        losses = partners.mix_losses(
            self._sample_loss(y, outputs), self._sample_loss(other, outputs)
        )
        if self._second_weighting is None:
            return losses, tf.ones_like(losses)
        return losses, self._second_weighting(
            tf.stop_gradient(losses), epoch_percentage=epoch, global_step=step
        )

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles a loaded model as it was."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    def get_config(self) -> dict[str, Any]:
        serialize = keras.saving.serialize_keras_object
        own = {"student": serialize(self.student), "mentor": serialize(self.mentor)}
        own["total_steps"] = self.total_steps
        if self.mixup is not None:
            own["mixup_alpha"] = self.mixup.alpha
            own["second_reweight"] = self.mixup.second_reweight
        return {**super().get_config(), **own, **self._settings}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> MentoredModel:
        config = dict(config)
        for name in ("student", "mentor"):
            config[name] = keras.saving.deserialize_keras_object(config[name], custom_objects)
        return cls(**config)


class _TotalSteps(keras.callbacks.Callback):
    """Tells the model, when training begins, how many steps it will have."""

    def on_train_begin(self, logs: Any = None) -> None:
        steps = self.params.get("steps")
        self.model.set_total_steps(steps * self.params["epochs"] if steps else None)


def _without_reduction(loss: Any) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """A loss that returns one value a sample."""
    loss = keras.losses.get(loss)
    if isinstance(loss, keras.losses.Loss):
        return type(loss).from_config({**loss.get_config(), "reduction": None})
    return loss
