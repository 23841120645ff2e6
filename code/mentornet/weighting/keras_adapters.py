"""Checks what `MentoredModel` is given, and converts the data of fit() for a weighting."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mentornet.config.options import plain
from mentornet.config.weighting import UNIFORM, MixupConfig, WeightingConfig
from mentornet.core import replicas, schedules
from mentornet.core.errors import check
from mentornet.label_noise.history import COLUMNS, SampleHistory
from mentornet.weighting.curriculum import CurriculumWeighting
from mentornet.weighting.keras_losses import class_labels
from mentornet.weighting.mentor import MentorNet
from mentornet.weighting.mentor_checkpoints import load_mentornet
from mentornet.weighting.objective import ObjectiveTerms
from mentornet.weighting.protocol import Weighting

# The parts of an input that includes the positions of its samples.
_INPUTS, _POSITIONS = "inputs", "positions"
_HISTORY_COLUMNS = "history_columns"  # A key in a saved model's configuration.


def split(inputs: Any) -> tuple[Any, Any]:
    """`{"inputs": ..., "positions": ...}` as a pair; for other inputs the positions are None."""
    if isinstance(inputs, Mapping) and set(inputs) == {_INPUTS, _POSITIONS}:
        return inputs[_INPUTS], inputs[_POSITIONS]
    return inputs, None


def check_positions(positions: Any, num_examples: int | None) -> None:
    """Raises InputError if positions, in an array, are not those of `num_examples` samples."""
    if isinstance(positions, np.ndarray) and positions.size:
        least, most = positions.min(), positions.max()
        rule = "Positions must lie in 0..num_examples - 1."
        fits = num_examples is None or (least >= 0 and most < num_examples)
        check(fits, rule, least=int(least), most=int(most), num_examples=num_examples)


def mixup_config(alpha: float | None, second_reweight: bool, weighting: Any) -> MixupConfig | None:
    """How samples are mixed; None if they are not.

    Raises:
      InputError: `alpha` is not positive, or `second_reweight` would have no effect.
    """
    rule = "`second_reweight` needs mixup_alpha, and a weighting other than uniform."
    has_effect = alpha is not None and weighting != UNIFORM
    check(has_effect or not second_reweight, rule, mixup_alpha=alpha, weighting=weighting)
    return None if alpha is None else MixupConfig(alpha, second_reweight)


def mixup_arguments(mixup: MixupConfig) -> dict[str, Any]:
    """The arguments of which `mixup_config` makes it."""
    return {"mixup_alpha": mixup.alpha, "second_reweight": mixup.second_reweight}


def history_columns(history: SampleHistory | None) -> dict[str, Any]:
    """What a saved model records about its history, if it keeps one."""
    return {} if history is None else {_HISTORY_COLUMNS: list(COLUMNS)}


def without_history_columns(config: Mapping[str, Any]) -> dict[str, Any]:
    """A saved model's configuration without what `history_columns` added.

    Raises:
      InputError: the columns are not those of this version of the project.
    """
    expected = list(COLUMNS)
    columns = config.get(_HISTORY_COLUMNS, expected)
    rule = f"The model's history must have the columns {', '.join(expected)}."
    check(columns == expected, rule, columns=columns)
    return {name: value for name, value in config.items() if name != _HISTORY_COLUMNS}


def given_weights(sample_weight: Any) -> tf.Tensor | None:
    """fit()'s `sample_weight` as float32 [batch, 1].

    Raises:
      InputError: there are several for a sample.
    """
    if sample_weight is None:
        return None
    shape = tf.convert_to_tensor(sample_weight).shape
    is_one = shape.rank is None or shape[1:].num_elements() in (None, 1)
    check(is_one, "`sample_weight` must hold one number per sample.", shape=str(shape))
    return tf.reshape(tf.cast(sample_weight, tf.float32), [-1, 1])


def check_settings(weighting: Any, settings: Mapping[str, Any], options: Any) -> None:
    """Raises InputError if settings of a MentorNet, or options of another weighting, do nothing."""
    if weighting is None:
        rule = "`weighting_options` needs `weighting`; a MentorNet has its own arguments."
        check(not options, rule, weighting_options=options)
        return
    changed = [k for k, v in settings.items() if v != getattr(WeightingConfig, k)]
    rule = f"{', '.join(changed)}: only for a MentorNet; others use `weighting_options`."
    check(not changed, rule, weighting=weighting)


def frozen(mentor: MentorNet | str) -> MentorNet:
    """A MentorNet, or what `load_mentornet` finds, that is not trained."""
    found = load_mentornet(mentor) if isinstance(mentor, str) else mentor
    found.trainable = False
    return found


def with_xla(
    jit_compile: bool | str, mixup: MixupConfig | None, weighting: Weighting
) -> bool | str:
    """`jit_compile` of a model, but False instead of "auto" where XLA cannot be used.

    Raises:
      InputError: XLA is asked for and cannot be used.
    """
    if mixup is None and not is_automatic(weighting):
        return jit_compile
    rule = "`jit_compile` cannot be used with mixup_alpha or `auto`."
    check(jit_compile is not True, rule, jit_compile=jit_compile)
    return False


def savable(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings, or options, with which a model can be saved: without NumPy's values."""
    return {name: plain(value) for name, value in settings.items()}


def drops_all(weighting: Weighting) -> bool:
    """Whether example dropout drops all samples at the end of the training."""
    if not isinstance(weighting, CurriculumWeighting):
        return False
    return schedules.dropout_rates(weighting.config.example_dropout_rates)[-1] == 1


def is_automatic(weighting: Weighting) -> bool:
    """Whether a setting of the weighting is determined during the training."""
    return isinstance(weighting, CurriculumWeighting) and weighting.config.is_automatic


def check_loss_weights(loss_weights: Any = None, **others: Any) -> None:
    """Raises InputError if there are any: Keras would apply them in the evaluation only."""
    del others
    rule = "`loss_weights` cannot be used with one loss."
    check(loss_weights is None, rule, loss_weights=loss_weights)


def check_student(student: Any) -> None:
    """Raises InputError if it is no model, such as a student's name."""
    rule = "`student` must be a keras.Model; see `mentornet.build_student`."
    check(isinstance(student, keras.Model), rule, student=student)


def build_student(student: keras.Model, input_shape: Any) -> None:
    """Creates the variables of a student that can do so before its first call."""
    if isinstance(student, keras.Sequential) and not student.built:
        student.build(input_shape)


def check_whole(least: int, **counts: Any) -> None:
    """Raises InputError unless each is None or a whole number of at least `least`."""
    for name, count in counts.items():
        fits = count is None or (isinstance(count, numbers.Integral) and int(count) >= least)
        check(fits, f"`{name}` must be a whole number of at least {least}.", **{name: count})


def num_outputs(student: keras.Model) -> int:
    """The number of classes of a student that is built; 0 if it is not known."""
    shape = getattr(student, "output_shape", None)
    return shape[-1] or 0 if isinstance(shape, tuple) and len(shape) == 2 else 0


def batches_seen(optimizer: keras.Optimizer) -> tf.Tensor:
    """int64 scalar; `optimizer.iterations` counts updates, which may accumulate several batches."""
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # Of a LossScaleOptimizer.
    return tf.cast(optimizer._iterations, tf.int64)


class TotalSteps(keras.callbacks.Callback):
    """Sets the model's number of training steps as training begins; prints remarks at its end.

    Args:
      remarks: functions that each return one.
      first_epoch: of the call of fit().
      drops_all: whether example dropout drops all samples at the end of the training.
    """

    def __init__(
        self,
        remarks: Sequence[Callable[[], str]],
        first_epoch: int = 0,
        drops_all: bool = False,
    ) -> None:
        super().__init__()
        self._remarks, self._steps = remarks, 0
        self._first_epoch, self._drops_all = first_epoch, drops_all

    def added_to(self, callbacks: Any, model: keras.Model) -> Any:
        """The callbacks of a model's fit() with this one."""
        if isinstance(callbacks, keras.callbacks.CallbackList):
            # fit() leaves such a list as it is; one from an earlier call may be there.
            self.set_model(model)
            self.set_params(callbacks.params)
            others = [each for each in callbacks.callbacks if not isinstance(each, TotalSteps)]
            callbacks.callbacks = [self, *others]
            return callbacks
        each = callbacks if isinstance(callbacks, (list, tuple)) else [callbacks]
        return [self, *(callback for callback in each if callback is not None)]

    def on_train_begin(self, logs: Any = None) -> None:
        steps = self.params.get("steps")
        self._steps = self.model.set_total_steps(steps * self.params["epochs"] if steps else None)
        left = (self.params["epochs"] - self._first_epoch) * (steps or 0)
        seen = int(batches_seen(self.model.optimizer))
        rule = "`total_steps` must be given: this fit() would end where all samples are dropped."
        fits = self.model.total_steps or not self._drops_all or seen + left <= self._steps
        check(fits or not left, rule, steps_before=seen, steps=left)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        # Again, as a backup that was restored may have had another number.
        self.model.set_total_steps(self._steps)

    def on_train_end(self, logs: Any = None) -> None:
        is_over = self.model.stop_training or batches_seen(self.model.optimizer) >= self._steps
        for remark in self._remarks if is_over and self.params.get("verbose", 1) else ():
            print(remark(), flush=True)


def record(
    history: SampleHistory,
    terms: ObjectiveTerms,
    positions: Any,
    y: Any,
    logits: tf.Tensor | None,
) -> None:
    """Records a step of fit() in the history.

    Raises:
      InputError: the student does not classify.
    """
    labels = class_labels(y)
    rule = "This weighting needs a student that classifies, and labels that name classes."
    check(labels is not None and logits is not None, rule, labels=type(y).__name__)
    seen = (positions, labels, terms.losses, terms.weighed.before_dropout, logits)
    history.update(*(replicas.gather(tf.stop_gradient(each)) for each in seen))
