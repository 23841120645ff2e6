"""One training step, for every student, under any weighting."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import keras
import tensorflow as tf

from mentornet.config.weighting import MixupConfig
from mentornet.core import replicas
from mentornet.core.seeds import Stream, seed_for
from mentornet.label_noise.history import SampleHistory
from mentornet.runs.checkpoints import joined
from mentornet.training.losses import cross_entropy, layer_loss
from mentornet.training.recompute import Recomputed
from mentornet.training.wrappers import StudentUpdate
from mentornet.weighting.objective import Objective, ObjectiveTerms
from mentornet.weighting.protocol import Context, Weighting

# A sample is used by a step if its weight exceeds this (the release's data utilisation).
_USED = 0.001


class Samples(NamedTuple):
    """The samples of the global batch, before mixup.

    Attributes:
      losses, weights, before_dropout: float32 [batch, 1].
      logits: float32 [batch, classes].
      labels: int64 [batch], as given.
      positions: int64 [batch], positions in the training split; None if they were not given.
    """

    losses: tf.Tensor
    weights: tf.Tensor
    before_dropout: tf.Tensor
    logits: tf.Tensor
    labels: tf.Tensor
    positions: tf.Tensor | None


class StepResult(NamedTuple):
    """What a step returns; for several steps per call, stacked along a new first axis.

    Attributes:
      scalars: for the log, by name; most names are the release's.
      samples: the results for each sample.
    """

    scalars: dict[str, tf.Tensor]
    samples: Samples

    @property
    def total_loss(self) -> tf.Tensor:
        """The loss that was minimised, including weight decay."""
        return self.scalars["mentornet/total_loss"]

    @property
    def num_steps(self) -> int:
        """Number of steps in the result."""
        return self.total_loss.shape.num_elements()  # Without waiting for the values.


class Trainer:
    """A student, its update and its weighting, and the training step that combines them.

    If it is created in the scope of a tf.distribute strategy, it trains in all of its replicas,
    each with a share of the global batch.

    Args:
      student: model from images to logits.
      update: changes the student; the global step is its optimizer's `iterations`.
      weight_decay: factor of half the squared norm of the variables that `decayed` names; scaled by
        the mean weight.
      weighting: of the samples.
      context: the weighting's context, whose state is saved in checkpoints.
      max_number_of_steps: the number of steps to which the epoch percentage refers.
      seed: of the student's dropout and of mixup.
      history: per-sample statistics, if they are recorded.
      mixup: how samples are mixed; None without mixup.
      second: weighting and context for mixed samples, if they are weighted again.
      label_smoothing: of the losses that are minimised; the weighting sees plain losses.
      decayed: a trainable variable's name -> its factor of the weight decay.
      jit_compile: whether XLA compiles the step; it draws different random numbers.
      recompute_gradients: whether to save memory with `recompute.Recomputed`.

    Attributes:
      step: (images, labels, positions) -> StepResult: `_step` in every replica, compiled.
    """

    def __init__(
        self,
        student: keras.Model,
        update: StudentUpdate,
        *,
        weight_decay: float,
        weighting: Weighting,
        context: Context,
        max_number_of_steps: int,
        seed: int = 0,
        history: SampleHistory | None = None,
        mixup: MixupConfig | None = None,
        second: tuple[Weighting, Context] | None = None,
        label_smoothing: float = 0.0,
        decayed: Mapping[str, float] = MappingProxyType({"kernel": 1.0}),
        jit_compile: bool = False,
        recompute_gradients: bool = False,
    ) -> None:
        self._strategy = tf.distribute.get_strategy()
        self.step = tf.function(self._in_replicas, autograph=False, jit_compile=jit_compile)
        self._steps = tf.function(self._map_steps, autograph=False, reduce_retracing=True)
        self.student, self.weighting, self.history = student, weighting, history
        self._update = update
        self._forward = Recomputed(student) if recompute_gradients else student
        smoothed = functools.partial(cross_entropy, smoothing=label_smoothing)
        self._objective = Objective(
            weighting,
            cross_entropy,
            lambda images: self._forward(images, training=True),
            student,
            seed,
            mixup,
            second[0] if second else None,
            smoothed if label_smoothing else None,
            logits_of=lambda logits: tf.cast(logits, tf.float32),
        )
        self._contexts = [context, second[1]] if second else [context]
        self._weight_decay = weight_decay
        self._max_number_of_steps = max_number_of_steps
        self._seed = seed
        self._decayed = [
            (v, decayed[v.name]) for v in student.trainable_variables if v.name in decayed
        ]
        self._seed_states = [v for v in student.variables if v.name == "seed_generator_state"]
        self._num_seen = tf.Variable(0, trainable=False, dtype=tf.int64)
        self._num_used = tf.Variable(0, trainable=False, dtype=tf.int64)

    @property
    def global_step(self) -> tf.Variable:
        """The number of steps done, int64 scalar."""
        return self._update.optimizer.iterations.value

    @property
    def facts(self) -> Mapping[str, object]:
        """What config.json records about the weighting; JSON values."""
        return self._contexts[0].facts

    def remarks(self) -> list[str]:
        """The weighting's messages at the end of the training."""
        return [remark() for remark in self._contexts[0].remarks]

    def state(self) -> dict[str, tf.Variable]:
        """The state to save in addition to the student, by name; includes "global_step"."""
        counters = {"num_seen": self._num_seen, "num_used": self._num_used}
        counters["global_step"] = self.global_step
        history = self.history.state() if self.history is not None else {}
        weightings = [context.state for context in self._contexts]
        return joined(counters, self._update.state(), history, *weightings)

    def _step(
        self, images: tf.Tensor, labels: tf.Tensor, positions: tf.Tensor | None = None
    ) -> StepResult:
        """One update of the student, in one of the replicas.

        Args:
          images: float32 [batch, height, width, channels], the replica's.
          labels: int64 [batch].
          positions: int64 [batch], the samples' positions in the training split; for statistics and
            weightings that keep per-sample state.
        """
        step = self.global_step + 0
        self._reseed_dropout(step)
        # Divided by the global batch size: the optimizer sums the replicas' gradients.
        size = tf.size(labels) * replicas.number()
        size_float = tf.cast(size, tf.float32)
        with tf.GradientTape() as tape:
            logits = self._objective.outputs(images)
            terms = self._objective(
                images,
                labels,
                logits,
                step=step,
                total_steps=self._max_number_of_steps,
                positions=positions,
            )
            sums = self._losses(terms, size_float)
            loss = self._update.scale_loss(sums["mentornet/total_loss"])
        gradients = tape.gradient(loss, self.student.trainable_variables)
        learning_rate = tf.identity(self._update.optimizer.learning_rate)
        self._update.apply(gradients)
        samples = self._gather(terms, tf.cast(logits, tf.float32), labels, positions)
        if self.history is not None:
            self.history.update(
                samples.positions,
                samples.labels,
                samples.losses,
                samples.before_dropout,
                samples.logits,
            )
        sums["data_util/batch_sum_v"] = tf.reduce_sum(terms.weights)
        num_used = tf.cast(tf.math.count_nonzero(terms.weights > _USED), tf.float32)
        *totals, num_used = tf.unstack(replicas.total(tf.stack([*sums.values(), num_used])))
        scalars = dict(zip(sums, totals, strict=True))
        self._num_seen.assign_add(tf.cast(size, tf.int64))
        self._num_used.assign_add(tf.cast(num_used, tf.int64))
        scalars["learning_rate"] = learning_rate
        utilisation = tf.cast(self._num_used / self._num_seen, tf.float32)
        scalars["data_util/data_util"] = utilisation
        return StepResult(scalars | dict(terms.weighed.scalars), samples)

    def _losses(self, terms: ObjectiveTerms, size: tf.Tensor) -> dict[str, tf.Tensor]:
        """The replica's part of each logged sum over the global batch."""
        total = weighted = terms.weighted_loss(size)
        sums = {"mentornet/orig_loss": tf.reduce_sum(terms.losses) / size}
        sums["mentornet/weighted_loss"] = weighted
        added = terms.added_loss(size)
        if added is not None:
            total += added
            sums["mentornet/added_loss"] = added
        of_layers = layer_loss(self.student)
        if of_layers is not None:
            total += of_layers
            sums["mentornet/layer_loss"] = of_layers
        if self._weight_decay and self._decayed:
            norm = tf.add_n([factor * tf.nn.l2_loss(v.value) for v, factor in self._decayed])
            total += self._weight_decay * norm * tf.reduce_sum(terms.weights) / size
        return sums | {"mentornet/total_loss": total}

    def _gather(
        self,
        terms: ObjectiveTerms,
        logits: tf.Tensor,
        labels: tf.Tensor,
        positions: tf.Tensor | None,
    ) -> Samples:
        """The samples of all replicas."""
        weighed = terms.weighed
        columns = [terms.losses, weighed.weights, weighed.before_dropout, logits]
        everywhere = replicas.gather(tf.concat(columns, axis=1))
        labels = replicas.gather(labels)
        positions = None if positions is None else replicas.gather(positions)
        losses, weights, before, logits = tf.split(everywhere, [1, 1, 1, -1], axis=1)
        return Samples(losses, weights, before, logits, labels, positions)

    def steps(self, batches: dict[str, tf.Tensor]) -> StepResult:
        """Several steps in one call: `step` of one batch after the other.

        Args:
          batches: images, labels and positions as for `step`, stacked along a new first axis.

        Returns:
          The steps' results, stacked likewise.
        """
        return self._steps(batches)

    def _in_replicas(
        self, images: tf.Tensor, labels: tf.Tensor, positions: tf.Tensor | None = None
    ) -> StepResult:
        return self._first(self._strategy.run(self._step, (images, labels, positions)))

    def _first(self, result: StepResult) -> StepResult:
        """The first replica's result; the others' are equal."""
        local = self._strategy.experimental_local_results
        return tf.nest.map_structure(lambda value: local(value)[0], result)

    def _map_steps(self, batches: dict[str, tf.Tensor]) -> StepResult:
        def in_replica(number: tf.Tensor, stacked: dict[str, tf.Tensor]) -> StepResult:
            return self._step(**{name: values[number] for name, values in stacked.items()})

        @tf.function(autograph=False)
        def step(number: tf.Tensor) -> StepResult:
            return self._first(self._strategy.run(in_replica, (number, batches)))

        labels = self._strategy.experimental_local_results(batches["labels"])[0]
        outputs = step.get_concrete_function(tf.TensorSpec([], tf.int32)).structured_outputs
        return tf.map_fn(
            step,
            tf.range(tf.shape(labels)[0]),
            fn_output_signature=tf.nest.map_structure(tf.TensorSpec.from_tensor, outputs),
            parallel_iterations=1,
        )

    def _reseed_dropout(self, step: tf.Tensor) -> None:
        """Makes the student's dropout a function of (seed, step); Keras' own state is a counter."""
        seed = seed_for(self._seed, step, Stream.STUDENT_DROPOUT)
        for number, state in enumerate(self._seed_states):
            state.assign(tf.cast(tf.random.fold_in(seed, number), state.dtype))
