"""The protocol of sample weightings: a factory, its inputs, and its results.

```python
def small_losses(context, *, threshold=1.0):
    def weigh(batch):
        return tf.cast(batch.losses < threshold, tf.float32)

    return weigh
```

The factory is called once, with a `Context` that describes the training and creates the variables
the weighting needs; the function that it returns is called in every step. The training (the
scripts' step, or `MentoredModel`) saves those variables in its checkpoints.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from mentornet.core import replicas
from mentornet.core.errors import check
from mentornet.label_noise.history import COLUMNS, VALUES, SampleHistory


class Batch(NamedTuple):
    """What is known about a batch or, in a replica of tf.distribute, about its part of the batch.

    To compute something from the global batch, gather it with `mentornet.core.replicas`.

    Attributes:
      losses: float32 [batch, 1], in nats for the cross entropy, without gradient.
      epoch_percentage: int scalar, 0..99, percentage of the planned training.
      global_step: int scalar, the number of updates done.
      logits: float32 [batch, classes], with gradient unless samples are mixed; None in fit() of a
        model that is not a classifier.
      labels: int64 [batch], as given; None in fit() of a model that is not a classifier.
      positions: int64 [batch], the samples' positions in the training split; None if unknown.
    """

    losses: tf.Tensor
    epoch_percentage: tf.Tensor | int
    global_step: tf.Tensor | int
    logits: tf.Tensor | None = None
    labels: tf.Tensor | None = None
    positions: tf.Tensor | None = None


class Weighed(NamedTuple):
    """A weighting's result for a batch.

    Attributes:
      weights: float32 [batch, 1]; no gradient flows through them.
      before_dropout: float32 [batch, 1], the weights before example dropout, which the sample
        history records; None if they are the same.
      added: float32 [batch, 1], a term that each sample adds to the loss, with gradient.
      scalars: for the log, by name; scalars of the global batch, equal in all replicas.
    """

    weights: tf.Tensor
    before_dropout: tf.Tensor | None = None
    added: tf.Tensor | None = None
    scalars: Mapping[str, tf.Tensor] = {}


# A weighting may return just the weights.
Weighting = Callable[[Batch], "Weighed | tf.Tensor"]
# (name, shape, dtype, whether each sample has a row) -> a variable of zeros.
MakeVariable = Callable[[str, tuple[int, ...], str, bool], tf.Variable]


class PerSample:
    """State of each training sample.

    Attributes:
      values: float32 [samples, ...] variable, 0 before the first step.
    """

    def __init__(self, values: tf.Variable) -> None:
        self.values = values

    def read(self, positions: tf.Tensor) -> tf.Tensor:
        """The rows of some samples, float32 [batch, ...]; `positions` are int64 [batch]."""
        return tf.gather(self.values, positions)

    def write(self, positions: tf.Tensor, rows: tf.Tensor) -> None:
        """Replaces the rows of all replicas' samples; if one occurs twice, its last row counts.

        Args:
          positions: int64 [batch], the replica's.
          rows: float32 [batch, ...], the replica's.
        """
        positions, rows = replicas.gather(positions), replicas.gather(tf.stop_gradient(rows))
        self.values.scatter_update(tf.IndexedSlices(rows, positions))


def _plain_variable(name: str, shape: tuple[int, ...], dtype: str, per_sample: bool) -> tf.Variable:
    # All replicas compute the same value, so the first one's is used; each writes its own rows.
    aggregation = tf.VariableAggregation
    return tf.Variable(
        tf.zeros(shape, dtype),
        trainable=False,
        name=name,
        aggregation=aggregation.NONE if per_sample else aggregation.ONLY_FIRST_REPLICA,
    )


class Context:
    """The training as a weighting's factory sees it, and the weighting's state.

    Args:
      seed: of the training; random numbers are functions of it and the step
        (`mentornet.core.seeds`).
      num_examples: size of the training split, if known.
      num_classes: if known.
      make_variable: creates variables.
      first, outer: the weighting of the original samples and its context, if this one is for mixed
        samples.
      last_rise: epoch percentage from which the learning rate no longer rises.

    Attributes:
      seed, num_examples, num_classes, first, last_rise: the arguments.
      state: every variable of the weighting by name, for checkpoints.
      needs_positions: whether it keeps per-sample state.
      needs_classes: whether it depends on the number of classes, or reads the history, which holds
        predicted classes.
      sample_history: the history of all samples, if the weighting reads it; the training keeps it
        up to date.
      remarks: functions that each return a message for the end of the training.
      facts: what a run's config.json records about the weighting: its options with their defaults,
        and what it adds itself; JSON values.
    """

    def __init__(
        self,
        seed: int = 0,
        num_examples: int | None = None,
        num_classes: int | None = None,
        make_variable: MakeVariable = _plain_variable,
        first: Weighting | None = None,
        outer: Context | None = None,
        last_rise: int = 0,
    ) -> None:
        self.seed, self.num_examples, self.num_classes = seed, num_examples, num_classes
        self.first, self._outer, self.last_rise = first, outer, last_rise
        self.state: dict[str, tf.Variable] = {}
        self.needs_positions = self.needs_classes = False
        self.sample_history: SampleHistory | None = None
        self.remarks: list[Callable[[], str]] = []
        self.facts: dict[str, Any] = {}
        self._make_variable = make_variable

    def variable(self, name: str, shape: tuple[int, ...] = (), dtype: str = "float32") -> Any:
        """A variable of zeros, saved in checkpoints; all replicas must assign the same values.

        Raises:
          InputError: the weighting already has a variable of this name.
        """
        return self._make(name, shape, dtype, per_sample=False)

    def per_sample(self, name: str, *shape: int) -> PerSample:
        """Float32 state [num_examples, *shape], initially 0 and saved in checkpoints.

        Raises:
          InputError: the number of samples is not known, or the name is taken.
        """
        size = self._num_examples()
        self.needs_positions = True
        return PerSample(self._make(name, (size, *shape), "float32", per_sample=True))

    def history(self) -> SampleHistory:
        """The statistics of every training sample, kept up to date by the training.

        Raises:
          InputError: the number of samples is not known.
        """
        if self._outer is not None:
            self.needs_positions = True
            return self._outer.history()
        if self.sample_history is None:
            size = self._num_examples()
            self.needs_positions = self.needs_classes = True
            values = self._make_variable(VALUES, (size, len(COLUMNS)), "float32", True)
            self.sample_history = SampleHistory(size, values)
        return self.sample_history

    def _num_examples(self) -> int:
        rule = "`num_examples` must be given: this weighting keeps per-sample state."
        check(self.num_examples is not None, rule, num_examples=self.num_examples)
        assert self.num_examples is not None
        return self.num_examples

    def require_num_classes(self) -> int:
        """The number of classes, for a weighting that depends on it.

        Raises:
          InputError: it is not known.
        """
        rule = "`num_classes` must be given: this weighting depends on it."
        check(self.num_classes is not None, rule, num_classes=self.num_classes)
        assert self.num_classes is not None
        self.needs_classes = True
        return self.num_classes

    def keep(self, variables: Mapping[str, tf.Variable]) -> None:
        """Saves variables that the weighting created itself in checkpoints, by name.

        Raises:
          InputError: the weighting has another variable of one of these names.
        """
        for name, variable in variables.items():
            self.state[self._new_name(name)] = variable

    def for_mixed(self, first: Weighting) -> Context:
        """The context of a second weighting, for mixed samples; its state is named "mixed_...".

        The history is the same: mixed samples are not recorded.
        """
        make = self._make_variable
        known = self.seed, self.num_examples, self.num_classes
        return Context(*known, make, first, self, self.last_rise)

    def _make(self, name: str, shape: tuple[int, ...], dtype: str, per_sample: bool) -> tf.Variable:
        name = self._new_name(name)
        self.state[name] = self._make_variable(name, shape, dtype, per_sample)
        return self.state[name]

    def _new_name(self, name: str) -> str:
        """The name in checkpoints; raises InputError if the weighting has used it already."""
        name = name if self.first is None else f"mixed_{name}"
        rule = "A weighting's variables must have distinct names."
        check(name not in self.state, rule, name=name)
        return name


def as_weighed(result: Weighed | tf.Tensor, batch: Batch) -> Weighed:
    """A weighting's result as `Weighed`, without gradient through the weights.

    Raises:
      InputError: the weights, or the terms that are added to the loss, are not [batch, 1].
    """
    weighed = result if isinstance(result, Weighed) else Weighed(tf.convert_to_tensor(result))
    shape, expected = weighed.weights.shape, batch.losses.shape
    rule = "`weighting` must return one weight per sample, in the shape of losses: [batch, 1]."
    check(shape.rank == 2 and shape.is_compatible_with(expected), rule, shape=tuple(shape))
    prepare = functools.partial(tf.cast, dtype=tf.float32)
    weights = tf.stop_gradient(prepare(weighed.weights))
    before = weighed.before_dropout
    before = weights if before is None else tf.stop_gradient(prepare(before))
    if weighed.added is not None:
        added = tf.convert_to_tensor(weighed.added)
        rule = "`weighting` must add one term per sample, in the shape of losses: [batch, 1]."
        is_one = added.shape.rank == 2 and added.shape.is_compatible_with(expected)
        check(is_one, rule, added=tuple(added.shape))
        weighed = weighed._replace(added=prepare(added))
    return weighed._replace(weights=weights, before_dropout=before)
