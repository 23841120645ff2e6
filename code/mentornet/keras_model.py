"""A Keras model whose fit() trains a student under a MentorNet or another weighting."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from mentornet.config.weighting import MENTORNET, WeightingConfig
from mentornet.core import replicas
from mentornet.core.errors import check
from mentornet.training.losses import layer_loss
from mentornet.weighting import keras_adapters, keras_losses, registry
from mentornet.weighting.mentor import MentorNet
from mentornet.weighting.objective import Objective
from mentornet.weighting.protocol import Context, Weighting


@keras.saving.register_keras_serializable("mentornet")
class MentoredModel(keras.Model):
    """Wraps a student so that fit() weights each sample's loss.

    ```
    model = mentornet.MentoredModel(student, "mentornet_pd", example_dropout_rates="0,100")
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), ["accuracy"])
    model.fit(images, labels, batch_size=128, epochs=50)
    model.student.save("student.keras")  # An ordinary model.
    ```

    evaluate() and predict() are the student's. The loss that fit() reports is the weighted one, the
    mean over the batch of weight times loss, as in the release; losses added by layers are not
    weighted, and in several replicas only those of regularisers are allowed. Example dropout and
    the epoch that the weighting sees depend on the number of batches that the optimizer has seen.

    A weighting that keeps per-sample state (`elr`, "auto", a MentorNet with further features)
    needs `num_examples` and positions: fit() then takes `{"inputs": x, "positions": positions}`
    instead of x, with positions int [samples] in 0..num_examples - 1 (evaluate() takes either).

    Args:
      student: any keras.Model.
      mentor: a MentorNet, or an argument of `mentornet.load_mentornet`; not used with `weighting`.
      loss_p_percentile, burn_in_epoch, fixed_epoch_after_burn_in, loss_moving_average_decay,
      example_dropout_rates, class_balanced: see `mentornet.config.weighting.WeightingConfig`.
      total_steps: steps of the whole training, to which the epoch percentage refers; None means
        epochs times steps of each fit(). A training of several calls of fit() needs it.
      mixup_alpha: if given, samples are mixed as in MentorMix (Jiang et al. 2020, Algorithm 1);
        metrics are computed on the original samples.
      second_reweight: whether the mixed samples are weighted again.
      seed: of example dropout and mixup.
      weighting: a weighting to use instead of a MentorNet: a name in `mentornet.weighting.methods`,
        "module:factory", or a factory (the model can be saved only if the factory can be imported).
      weighting_options: keyword arguments of its factory.
      num_examples: number of training samples, for weightings that keep per-sample state.
      num_classes: of the labels; None means as many as the student has outputs, if it is built, 0
        that it is not known.
      **kwargs: of keras.Model.

    Attributes:
      weighting: the weighting in use (`mentornet.weighting.protocol.Weighting`).

    Raises:
      InputError: a setting is out of range or has no effect, or `num_examples` is not given.
    """

    def __init__(
        self,
        student: keras.Model,
        mentor: MentorNet | str = "mentornet_pd",
        *,
        loss_p_percentile: float | str = WeightingConfig.loss_p_percentile,
        burn_in_epoch: int | str = WeightingConfig.burn_in_epoch,
        fixed_epoch_after_burn_in: bool = WeightingConfig.fixed_epoch_after_burn_in,
        loss_moving_average_decay: float = WeightingConfig.loss_moving_average_decay,
        example_dropout_rates: str | Sequence[float] = WeightingConfig.example_dropout_rates,
        class_balanced: bool = WeightingConfig.class_balanced,
        total_steps: int | None = None,
        mixup_alpha: float | None = None,
        second_reweight: bool = False,
        seed: int = 0,
        weighting: str | Callable[..., Weighting] | None = None,
        weighting_options: Mapping[str, Any] | None = None,
        num_examples: int | None = None,
        num_classes: int | None = None,
        **kwargs: Any,
    ) -> None:
        # Like a functional student, it does not round inputs to the compute type.
        super().__init__(**({"autocast": False} | kwargs))
        keras_adapters.check_student(student)
        keras_adapters.check_whole(1, total_steps=total_steps, num_examples=num_examples)
        keras_adapters.check_whole(0, num_classes=num_classes)
        self.student = student
        settings = {
            "loss_p_percentile": loss_p_percentile,
            "burn_in_epoch": burn_in_epoch,
            "fixed_epoch_after_burn_in": fixed_epoch_after_burn_in,
            "loss_moving_average_decay": loss_moving_average_decay,
            "example_dropout_rates": example_dropout_rates,
            "class_balanced": class_balanced,
        }
        self._settings = keras_adapters.savable(settings)
        self._other = None if weighting == MENTORNET else weighting
        self._options = keras_adapters.savable(weighting_options or {})
        keras_adapters.check_settings(self._other, self._settings, self._options)
        self.mentor = keras_adapters.frozen(mentor) if self._other is None else None
        self.seed, self.num_examples, self.total_steps = seed, num_examples, total_steps
        known = keras_adapters.num_outputs(student)
        self.num_classes = known if num_classes is None else num_classes
        self.mixup = keras_adapters.mixup_config(mixup_alpha, second_reweight, weighting)
        self._objective = self._make_objective()
        self._loss_of: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] | None = None
        self._from_logits = True
        self.built = student.built

    def _make_objective(self) -> Objective:
        # Keras variables, so that backups and saved models include them.
        classes = self.num_classes or None
        self._context = Context(self.seed, self.num_examples, classes, self._make_variable)
        self.weighting = self._make_weighting(self._context)
        self._steps = self._make_variable("total_steps", (), "int64", False)
        self._steps.assign(self.total_steps or 0)
        second = None
        if self.mixup is not None and self.mixup.second_reweight:
            second = self._make_weighting(self._context.for_mixed(self.weighting))
        return Objective(
            self.weighting,
            lambda y, y_pred: keras_losses.sample_losses(self._loss_of, y, y_pred),
            lambda inputs: self.student(inputs, training=True),
            self.student,
            self.seed,
            self.mixup,
            second,
            labels_of=keras_losses.class_labels,
            logits_of=lambda y: keras_losses.class_logits(y, self._from_logits),
        )

    def _make_weighting(self, context: Context) -> Weighting:
        if self._other is not None:
            return registry.make(self._other, context, self._options)
        return registry.make(MENTORNET, context, {"mentor": self.mentor, **self._settings})

    def _make_variable(
        self, name: str, shape: tuple[int, ...], dtype: str, per_sample: bool
    ) -> tf.Variable:
        return self.add_weight(
            shape=shape,
            initializer="zeros",
            dtype=dtype,
            trainable=False,
            name=name,
            aggregation="none" if per_sample else "only_first_replica",
        ).value

    def build(self, input_shape: Any) -> None:
        keras_adapters.build_student(self.student, self._split(input_shape)[0])
        self.built = True

    def _split(self, inputs: Any) -> tuple[Any, Any]:
        """The student's inputs, and the samples' positions; None if these are not given."""
        return keras_adapters.split(inputs) if self._context.needs_positions else (inputs, None)

    def call(self, inputs: Any, training: bool | None = None) -> tf.Tensor:
        inputs, _ = self._split(inputs)
        if training:  # With mixup, the outputs to learn from are computed in compute_loss().
            return self._objective.outputs(inputs)
        return self.student(inputs, training=training)

    def compile(
        self,
        optimizer: Any = "sgd",
        loss: Any = None,
        metrics: Any = None,
        jit_compile: bool | str = False,
        **kwargs: Any,
    ) -> None:
        """Like keras.Model.compile, but without XLA by default, since it is slower on CPUs.

        Args:
          optimizer, metrics, **kwargs: see keras.Model.compile.
          loss: a keras.losses.Loss, a Keras name, or a function (labels, outputs) -> [batch].
          jit_compile: whether to use XLA.

        Raises:
          InputError: there is not one loss, or it, loss_weights or XLA cannot be used here.
        """
        self._loss_of = keras_losses.without_reduction(loss)
        keras_adapters.check_loss_weights(**kwargs)
        if self._context.needs_classes:
            keras_losses.check_classifies(loss)
        jit_compile = keras_adapters.with_xla(jit_compile, self.mixup, self.weighting)
        self._from_logits = keras_losses.takes_logits(loss)
        super().compile(optimizer, loss, metrics=metrics, jit_compile=jit_compile, **kwargs)

    def fit(self, *args: Any, **kwargs: Any) -> Any:
        """Same as keras.Model.fit; unless `verbose` is 0, it prints what "auto" determined."""
        given = inspect.signature(super().fit).bind(*args, **kwargs).arguments
        keras_adapters.check_positions(self._split(given.get("x"))[1], self.num_examples)
        drops_all = keras_adapters.drops_all(self.weighting)
        first = given.get("initial_epoch", 0)
        counting = keras_adapters.TotalSteps(self._context.remarks, first, drops_all)
        given["callbacks"] = counting.added_to(given.get("callbacks"), self)
        return super().fit(**given)

    def train_on_batch(self, *args: Any, **kwargs: Any) -> Any:
        """Same as keras.Model.train_on_batch.

        Raises:
          InputError: `total_steps` was not given, and no fit() has set it.
        """
        self.set_total_steps(int(self._steps.numpy()))
        return super().train_on_batch(*args, **kwargs)

    def set_total_steps(self, steps: int | None) -> int:
        """Sets and returns the number of steps to which epochs refer; `total_steps` has priority.

        Raises:
          InputError: neither `steps` nor `total_steps` is known.
        """
        steps = self.total_steps or steps or 0
        rule = "`total_steps` must be given: the number of batches in the data is unknown."
        check(steps > 0, rule, total_steps=self.total_steps)
        self._steps.assign(steps)
        return steps

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """The weighted loss in training, float32 scalar; otherwise keras.Model's own loss.

        Args:
          x: inputs [batch, ...], or {"inputs": ..., "positions": int [batch]}.
          y, y_pred, training: as in keras.Model.compute_loss.
          sample_weight: [batch] or [batch, 1], multiplied by the weighting's.

        Raises:
          InputError: the weighting needs positions, and `x` has none; or there are several sample
            weights for a sample.
        """
        if not training:
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        inputs, positions = self._split(x)
        if positions is not None:
            positions = tf.reshape(tf.cast(positions, tf.int64), [-1])
        rule = '`x` must be {"inputs": ..., "positions": ...} with this weighting.'
        check(positions is not None or not self._context.needs_positions, rule, x=type(x).__name__)
        terms = self._objective(
            inputs,
            y,
            y_pred,
            step=keras_adapters.batches_seen(self.optimizer),
            total_steps=tf.maximum(self._steps, 1),
            positions=positions,
            given=keras_adapters.given_weights(sample_weight),
        )
        if (history := self._context.sample_history) is not None:
            logits = keras_losses.class_logits(y_pred, self._from_logits)
            keras_adapters.record(history, terms, positions, y, logits)
        # Divided by the size of the global batch: replicas' gradients are summed.
        size = replicas.total(tf.cast(tf.size(terms.losses), tf.float32))
        parts = [terms.weighted_loss(size), terms.added_loss(size), layer_loss(self)]
        return tf.add_n([part for part in parts if part is not None])

    def export(self, *args: Any, **kwargs: Any) -> Any:
        """Same as keras.Model.export of the student, which is alone in inference."""
        return self.student.export(*args, **kwargs)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles a loaded model as it was when it was saved."""
        given = keras.saving.deserialize_keras_object(config)
        self.compile(**{**given, "loss_weights": None})  # Earlier versions ignored it in training.
        self.optimizer.build(self.trainable_variables)

    def get_config(self) -> dict[str, Any]:
        serialize = keras.saving.serialize_keras_object
        config: dict[str, Any] = {"student": serialize(self.student)}
        names = ("total_steps", "seed", "num_examples", "num_classes")
        config |= {name: getattr(self, name) for name in names}
        if self._other is None:
            config["mentor"] = serialize(self.mentor)
        else:
            config["weighting"] = registry.name_of(self._other)
            config["weighting_options"] = self._options
        if self.mixup is not None:
            config |= keras_adapters.mixup_arguments(self.mixup)
        config |= keras_adapters.history_columns(self._context.sample_history)
        return {**super().get_config(), **config, **self._settings}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> MentoredModel:
        config = keras_adapters.without_history_columns(config)
        for name in {"student", "mentor"} & config.keys():
            config[name] = keras.saving.deserialize_keras_object(config[name], custom_objects)
        return cls(**config)
