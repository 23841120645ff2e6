"""One training step, for every student, mentored or not (layer 3)."""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

from mentornet import features, students
from mentornet.checkpoints import MovingAverage
from mentornet.config import PRECISIONS, MixupConfig, TrainConfig, check
from mentornet.history import SampleHistory
from mentornet.mixup import draw_partners, forward_without_trace
from mentornet.optimizers import LossScale, make_optimizer
from mentornet.seeds import Stream, seed_for
from mentornet.tf1_checkpoints import load_mentornet
from mentornet.weighting import SampleWeighting, WeightedBatch

# A sample is used by a step if its weight exceeds this (the release's data utilisation).
_USED = 0.001

Outputs = dict[str, tf.Tensor]
_BATCH = ("images", "labels", "positions")


class Trainer:
    """A student, its optimizer and its weighting, and the step that binds them.

    Args:
      student: model from images to logits.
      optimizer: its `iterations` is the global step.
      weight_decay: factor of half the squared norm of all kernels; scaled by the mean weight.
      weighting: None weighs every sample with 1 (the baseline).
      max_number_of_steps: what the epoch percentage refers to.
      seed: of the student's dropout.
      label_is_given: whether the MentorNet sees the given label instead of 0.
      history: what is remembered of each sample; a MentorNet with further features needs it.
      mixup: how samples are mixed, if they are.
      ema_decay: of the moving average of the student that is kept for evaluation, if there is one.
      scale_loss: whether the gradient is computed of a multiple of the loss, so that float16 can
        hold it: 2**15 at first, half of it after a step whose gradient overflows, which counts with
        a gradient of 0, and twice as much after 2,000 others.
      jit_compile: whether XLA compiles the step; its random numbers are others.

    Attributes:
      step: `_step`, compiled.
    """

    def __init__(
        self,
        student: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        *,
        weight_decay: float,
        weighting: SampleWeighting | None,
        max_number_of_steps: int,
        seed: int = 0,
        label_is_given: bool = False,
        history: SampleHistory | None = None,
        mixup: MixupConfig | None = None,
        ema_decay: float | None = None,
        scale_loss: bool = False,
        jit_compile: bool = False,
    ) -> None:
        self.step = tf.function(self._step, jit_compile=jit_compile)
        self._steps: Callable[..., Outputs] | None = None
        self._loss_scale = LossScale() if scale_loss else None
        self.history = history
        self.student, self.optimizer, self.weighting = student, optimizer, weighting
        self.optimizer.build(student.trainable_variables)
        self._weight_decay = weight_decay
        self._max_number_of_steps = max_number_of_steps
        self._seed = seed
        self._label_is_given = label_is_given
        self._kernels = [v for v in student.trainable_variables if v.name == "kernel"]
        self._seed_states = [v for v in student.variables if v.name == "seed_generator_state"]
        self._mixup, self._second_weighting = mixup, None
        if mixup is not None and mixup.second_reweight:
            assert weighting is not None  # TrainConfig checks it.
            self._second_weighting = weighting.second()
        self._average = ema_decay and MovingAverage(student, ema_decay, self.global_step)
        self._num_seen = tf.Variable(0, trainable=False, dtype=tf.int64)
        self._num_used = tf.Variable(0, trainable=False, dtype=tf.int64)

    @property
    def global_step(self) -> tf.Variable:
        return self.optimizer.iterations.value

    def state(self) -> dict[str, tf.Variable]:
        """What a checkpoint needs besides the student, by name; "global_step" is among it."""
        state = {"num_seen": self._num_seen, "num_used": self._num_used}
        state["global_step"] = self.global_step
        slots = [
            v for v in self.optimizer.variables if v.name not in ("iteration", "learning_rate")
        ]
        state |= {f"optimizer/{number}": slot.value for number, slot in enumerate(slots)}
        if self.weighting is not None:
            state["loss_moving_average"] = self.weighting.loss_moving_average
            # It may be learned again during the run.
            variables = self.weighting.mentor.tf1_variables
            state |= {name: variable.value for name, variable in variables.items()}
        if self._second_weighting is not None:
            state["mixed_loss_moving_average"] = self._second_weighting.loss_moving_average
        if self._average:
            state |= self._average.state()
        if self._loss_scale:
            state |= self._loss_scale.state()
        if self.history is not None:
            state["sample_history"] = self.history.values
        return state

    def _step(
        self, images: tf.Tensor, labels: tf.Tensor, positions: tf.Tensor | None = None
    ) -> Outputs:
        """One update of the student.

        Args:
          images: float32 [batch, height, width, channels].
          labels: int64 [batch].
          positions: int64 [batch], the samples' places in the training split; for the history.

        Returns:
          Scalars under the release's summary names, and `logits` [batch, classes], `losses` and
          `sample_weights` [batch, 1], all float32; where samples are mixed, those three are of the
          samples as they were before.
        """
        step = self.global_step + 0
        self._reseed_dropout(step)
        with tf.GradientTape() as tape:
            if self._mixup is None:
                logits = tf.cast(self.student(images, training=True), tf.float32)
            else:
                logits = tf.cast(forward_without_trace(self.student, images), tf.float32)
            losses = _cross_entropy(labels, logits)
            batch = self._weigh(losses, labels, step, positions)
            learned_losses, weights = losses, batch.weights
            if self._mixup is not None:
                learned_losses, weights = self._mix(images, labels, batch, step)
            weighted_loss = tf.reduce_mean(weights * learned_losses)
            total_loss = weighted_loss
            if self._weight_decay:
                norm = tf.add_n([tf.nn.l2_loss(kernel.value) for kernel in self._kernels])
                total_loss += self._weight_decay * norm * tf.reduce_mean(weights)
            scaled_loss = self._loss_scale(total_loss) if self._loss_scale else total_loss
        gradients = tape.gradient(scaled_loss, self.student.trainable_variables)
        if self._loss_scale:
            gradients = self._loss_scale.unscale(gradients)
        learning_rate = tf.identity(self.optimizer.learning_rate)
        self.optimizer.apply(gradients)
        if self._average:
            self._average.update()
        if self.history is not None:
            self.history.update(positions, losses, batch.before_dropout, logits)
        self._num_seen.assign_add(tf.size(losses, tf.int64))
        self._num_used.assign_add(tf.math.count_nonzero(weights > _USED))
        outputs = {
            "logits": logits,
            "losses": losses,
            "sample_weights": batch.weights,
            "mentornet/orig_loss": tf.reduce_mean(losses),
            "mentornet/weighted_loss": weighted_loss,
            "mentornet/total_loss": total_loss,
            "learning_rate": learning_rate,
            "data_util/data_util": tf.cast(self._num_used / self._num_seen, tf.float32),
            "data_util/batch_sum_v": tf.reduce_sum(weights),
        }
        if self.weighting is not None:
            outputs["debug/percentile_loss"] = batch.percentile_loss
            outputs["debug/dropout_rate"] = batch.dropout_rate
            outputs["debug/epoch_step"] = tf.cast(batch.epoch, tf.float32)
            outputs["debug/loss_moving_percentile"] = tf.identity(
                self.weighting.loss_moving_average
            )
        return outputs

    def _weigh(
        self,
        losses: tf.Tensor,
        labels: tf.Tensor,
        step: tf.Tensor,
        positions: tf.Tensor | None,
    ) -> WeightedBatch:
        losses = tf.stop_gradient(losses)
        if self.weighting is None:
            zero, ones = tf.zeros([]), tf.ones_like(losses)
            return WeightedBatch(ones, ones, tf.size(losses), zero, zero, zero)
        given = labels if self._label_is_given else None
        names = self.weighting.mentor.further_features
        past = self.history.read(positions) if self.history is not None and names else {}
        further = {name: features.FURTHER[name].compute(past) for name in names}
        return self.weighting.weigh(losses, self._epoch(step), step, given, further)

    def steps(self, batches: dict[str, tf.Tensor]) -> Outputs:
        """Several steps in one call: `step` of one batch after the other.

        Args:
          batches: images, labels and positions as for `step`, stacked on a new first axis.

        Returns:
          The steps' outputs, stacked likewise.
        """
        if self._steps is None:
            specs = [tf.TensorSpec.from_tensor(batches[name][0]) for name in _BATCH]
            outputs = tf.nest.map_structure(
                tf.TensorSpec.from_tensor,
                self.step.get_concrete_function(*specs).structured_outputs,
            )

            def run(stacked: dict[str, tf.Tensor]) -> Outputs:
                return tf.map_fn(
                    lambda batch: self.step(*(batch[name] for name in _BATCH)),
                    stacked,
                    fn_output_signature=outputs,
                    parallel_iterations=1,
                )

            self._steps = tf.function(run, reduce_retracing=True)
        return self._steps({name: batches[name] for name in _BATCH})

    def _mix(
        self, images: tf.Tensor, labels: tf.Tensor, batch: WeightedBatch, step: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Losses of the mixed samples, with gradient, and their weights. float32 [batch, 1]."""
        assert self._mixup is not None
        partners = draw_partners(batch.weights, self._mixup.alpha, self._seed, step)
        logits = tf.cast(self.student(partners.mix(images), training=True), tf.float32)
        other_labels = tf.gather(labels, partners.indices)
        losses = partners.mix_losses(
            _cross_entropy(labels, logits), _cross_entropy(other_labels, logits)
        )
        if self._second_weighting is None:
            return losses, tf.ones_like(losses)
        epoch, given = self._epoch(step), labels if self._label_is_given else None
        return losses, self._second_weighting(
            tf.stop_gradient(losses), epoch_percentage=epoch, global_step=step, labels=given
        )

    def _epoch(self, step: tf.Tensor) -> tf.Tensor:
        return 100 * step // self._max_number_of_steps

    def _reseed_dropout(self, step: tf.Tensor) -> None:
        """Makes the student's dropout a function of (seed, step); Keras' own state only counts."""
        seed = seed_for(self._seed, step, Stream.STUDENT_DROPOUT)
        for number, state in enumerate(self._seed_states):
            state.assign(tf.cast(tf.random.fold_in(seed, number), state.dtype))


def _cross_entropy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)[:, None]


def make_trainer(
    config: TrainConfig,
    num_examples: int,
    num_classes: int,
    image_shape: tuple[int, int, int],
    dropout_rate: float | None = None,
) -> Trainer:
    """Builds student, weighting and optimizer as a configuration says.

    Raises:
      InputError: unknown student, no readable MentorNet, or labels or features that do not fit.
    """
    spec = students.find_student(config.studentnet)
    weighting, needs_history = None, config.record_sample_weights
    if config.weighting is not None:
        assert config.trained_mentornet_dir is not None  # TrainConfig checks it.
        mentor = load_mentornet(config.trained_mentornet_dir)
        rule = f"mentornet_label='given' needs a MentorNet with {num_classes} labels."
        known = config.mentornet_label == "zero" or mentor.num_labels >= num_classes
        check(known, rule, labels_in_the_checkpoint=mentor.num_labels)
        further = mentor.further_features
        rule = f"The MentorNet's further features must be among {', '.join(features.FURTHER)}."
        check(set(further) <= features.FURTHER.keys(), rule, features=further)
        needs_history = needs_history or bool(further)
        weighting = SampleWeighting(mentor, **vars(config.weighting), seed=config.seed)
    student = students.build_student(
        config.studentnet,
        num_classes,
        config.seed,
        image_shape,
        dropout_rate,
        PRECISIONS[config.mixed_precision],
    )
    momentum = spec.momentum if config.momentum is None else config.momentum
    return Trainer(
        student,
        make_optimizer(momentum, students.learning_rate_schedule(config, num_examples)),
        weight_decay=spec.weight_decay if config.weight_decay is None else config.weight_decay,
        weighting=weighting,
        max_number_of_steps=config.max_number_of_steps,
        seed=config.seed,
        label_is_given=config.mentornet_label == "given",
        history=SampleHistory(num_examples) if needs_history else None,
        mixup=config.mixup,
        ema_decay=config.ema_decay,
        scale_loss=config.mixed_precision == "mixed_float16",
        jit_compile=config.jit_compile,
    )
