"""One training step, for every student, mentored or not."""

from __future__ import annotations

import keras
import tensorflow as tf

from mentornet.config.weighting import MixupConfig
from mentornet.core import replicas
from mentornet.core.seeds import Stream, seed_for
from mentornet.runs.checkpoints import MovingAverage
from mentornet.training.optimizers import LossScale
from mentornet.training.recompute import Recomputed
from mentornet.weighting import features
from mentornet.weighting.history import SampleHistory
from mentornet.weighting.mixup import draw_partners, forward_without_trace
from mentornet.weighting.sample_weighting import SampleWeighting, WeightedBatch

# A sample is used by a step if its weight exceeds this (the release's data utilisation).
_USED = 0.001

Outputs = dict[str, tf.Tensor]
_BATCH = ("images", "labels", "positions")


class Trainer:
    """A student, its optimizer and its weighting, and the step that binds them.

    Made in the scope of a strategy of tf.distribute, it trains in all of its replicas, each with a
    share of the global batch.

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
      recompute_gradients: whether memory is spared (see `recompute.Recomputed`).

    Attributes:
      step: `_step` in every replica, compiled; returns the outputs, which are alike in all.
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
        recompute_gradients: bool = False,
    ) -> None:
        self._strategy = tf.distribute.get_strategy()
        self.step = tf.function(self._in_replicas, jit_compile=jit_compile)
        self._steps = tf.function(self._map_steps, reduce_retracing=True)
        self._loss_scale = LossScale() if scale_loss else None
        self.history = history
        self.student, self.optimizer, self.weighting = student, optimizer, weighting
        self._forward = Recomputed(student) if recompute_gradients else student
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
        self._stop = tf.Variable(0.0, trainable=False)

    @property
    def global_step(self) -> tf.Variable:
        return self.optimizer.iterations.value

    def stop(self) -> None:
        """Tells all workers of the strategy, in the `stop` of the next step's outputs."""
        self._stop.assign(1.0)

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
        """One update of the student, in one of the replicas.

        Args:
          images: float32 [batch, height, width, channels], the replica's.
          labels: int64 [batch].
          positions: int64 [batch], the samples' places in the training split; for the history.

        Returns:
          Scalars under the release's summary names; `logits` [batch, classes], `losses` and
          `sample_weights` [batch, 1], all float32, and `positions`. All are those of the global
          batch; where samples are mixed, the arrays are of the samples as they were before.
          `stop` is positive once a worker was told to stop.
        """
        step = self.global_step + 0
        self._reseed_dropout(step)
        with tf.GradientTape() as tape:
            if self._mixup is None:
                logits = tf.cast(self._forward(images, training=True), tf.float32)
            else:
                logits = tf.cast(forward_without_trace(self.student, images), tf.float32)
            losses = _cross_entropy(labels, logits)
            batch = self._weigh(losses, labels, step, positions)
            learned_losses, weights = losses, batch.weights
            if self._mixup is not None:
                learned_losses, weights = self._mix(images, labels, batch, step)
            # Shares of what the global batch has: the optimizer sums the replicas' gradients.
            size = tf.cast(batch.global_size, tf.float32)
            weighted_loss = tf.reduce_sum(weights * learned_losses) / size
            total_loss = weighted_loss
            if self._weight_decay:
                norm = tf.add_n([tf.nn.l2_loss(kernel.value) for kernel in self._kernels])
                total_loss += self._weight_decay * norm * tf.reduce_sum(weights) / size
            scaled_loss = self._loss_scale(total_loss) if self._loss_scale else total_loss
        gradients = tape.gradient(scaled_loss, self.student.trainable_variables)
        if self._loss_scale:
            gradients = self._loss_scale.unscale(gradients)
        learning_rate = tf.identity(self.optimizer.learning_rate)
        self.optimizer.apply(gradients)
        if self._average:
            self._average.update()
        outputs = self._remember(positions, losses, batch, logits)
        num_used = tf.cast(tf.math.count_nonzero(weights > _USED), tf.float32)
        orig_loss, sum_v = tf.reduce_sum(losses) / size, tf.reduce_sum(weights)
        totals = [orig_loss, weighted_loss, total_loss, sum_v, num_used, self._stop + 0]
        totals = tf.unstack(replicas.total(tf.stack(totals)))
        orig_loss, weighted_loss, total_loss, sum_v, num_used, stop = totals
        self._num_seen.assign_add(tf.cast(batch.global_size, tf.int64))
        self._num_used.assign_add(tf.cast(num_used, tf.int64))
        outputs |= {
            "mentornet/orig_loss": orig_loss,
            "mentornet/weighted_loss": weighted_loss,
            "mentornet/total_loss": total_loss,
            "learning_rate": learning_rate,
            "data_util/data_util": tf.cast(self._num_used / self._num_seen, tf.float32),
            "data_util/batch_sum_v": sum_v,
            "stop": stop,
        }
        return outputs

    def _remember(
        self,
        positions: tf.Tensor | None,
        losses: tf.Tensor,
        batch: WeightedBatch,
        logits: tf.Tensor,
    ) -> Outputs:
        """What the step says of samples and weights; the history takes it in."""
        columns = tf.concat([losses, batch.weights, batch.before_dropout, logits], axis=1)
        columns = replicas.gather(columns)
        losses, weights, before_dropout, logits = tf.split(columns, [1, 1, 1, -1], axis=1)
        outputs = {"logits": logits, "losses": losses, "sample_weights": weights}
        if positions is not None:
            outputs["positions"] = replicas.gather(positions)
        if self.history is not None:
            self.history.update(outputs["positions"], losses, before_dropout, logits)
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
            size = tf.size(losses) * replicas.number()
            return WeightedBatch(ones, ones, size, zero, zero, zero)
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
        return self._steps({name: batches[name] for name in _BATCH})

    def _in_replicas(
        self, images: tf.Tensor, labels: tf.Tensor, positions: tf.Tensor | None = None
    ) -> Outputs:
        return self._first(self._strategy.run(self._step, (images, labels, positions)))

    def _first(self, outputs: Outputs) -> Outputs:
        """The first replica's of the outputs."""
        local = self._strategy.experimental_local_results
        return {name: local(value)[0] for name, value in outputs.items()}

    def _map_steps(self, batches: dict[str, tf.Tensor]) -> Outputs:
        def in_replica(number: tf.Tensor, stacked: dict[str, tf.Tensor]) -> Outputs:
            return self._step(**{name: values[number] for name, values in stacked.items()})

        @tf.function
        def step(number: tf.Tensor) -> Outputs:
            return self._first(self._strategy.run(in_replica, (number, batches)))

        labels = self._strategy.experimental_local_results(batches["labels"])[0]
        outputs = step.get_concrete_function(tf.TensorSpec([], tf.int32)).structured_outputs
        return tf.map_fn(
            step,
            tf.range(tf.shape(labels)[0]),
            fn_output_signature=tf.nest.map_structure(tf.TensorSpec.from_tensor, outputs),
            parallel_iterations=1,
        )

    def _mix(
        self, images: tf.Tensor, labels: tf.Tensor, batch: WeightedBatch, step: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Losses of the mixed samples, with gradient, and their weights. float32 [batch, 1]."""
        assert self._mixup is not None
        partners = draw_partners(batch.weights, self._mixup.alpha, self._seed, step)
        logits = tf.cast(self._forward(partners.mix(images), training=True), tf.float32)
        other_labels = partners.of(labels)
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
