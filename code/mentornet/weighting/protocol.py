"""What a sample weighting is: a factory, what it is told of a batch, and what it returns.

```python
def small_losses(context, *, threshold=1.0):
    def weigh(batch):
        return tf.cast(batch.losses < threshold, tf.float32)

    return weigh
```

The factory is called once, with a `Context`, from which it learns about the training and asks for
the variables it needs; what it returns is called in every step. Whatever trains (the scripts'
step, `MentoredModel`) keeps those variables, in its checkpoints, too.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from mentornet.core import replicas
from mentornet.core.errors import check
from mentornet.weighting.history import COLUMNS, VALUES, SampleHistory


class Batch(NamedTuple):
    """What is known of a batch; in replicas of tf.distribute, of the replica's part of it.

    What depends on the whole batch gathers it with `mentornet.core.replicas`.

    Attributes:
      losses: float32 [batch, 1], without gradient.
      epoch_percentage: int scalar, 0..99 within the training that was planned.
      global_step: int scalar, the number of updates done.
      logits: float32 [batch, classes], with gradient where the samples are not mixed; None in a
        fit() whose model does not classify.
      labels: int64 [batch], as given; None in a fit() whose model does not classify.
      positions: int64 [batch], the samples' places in the training split; None if unknown.
      past: float32 [batch] by name, each sample's history before this step
        (`mentornet.weighting.history`); empty unless the weighting asked for it.
    """

    losses: tf.Tensor
    epoch_percentage: tf.Tensor | int
    global_step: tf.Tensor | int
    logits: tf.Tensor | None = None
    labels: tf.Tensor | None = None
    positions: tf.Tensor | None = None
    past: Mapping[str, tf.Tensor] = {}


class Weighed(NamedTuple):
    """What a weighting says of a batch.

    Attributes:
      weights: float32 [batch, 1]; no gradient flows through them.
      before_dropout: float32 [batch, 1], the weights before some were set to 0 at random, which is
        what a sample's history takes in; None if they are the same.
      added: float32 [batch, 1], a term that each sample adds to the loss, with gradient.
      scalars: for the log, by name; scalars of the global batch, alike in all replicas.
    """

    weights: tf.Tensor
    before_dropout: tf.Tensor | None = None
    added: tf.Tensor | None = None
    scalars: Mapping[str, tf.Tensor] = {}


# May return the weights alone.
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
        """The rows of some samples, float32 [batch, ...]."""
        return tf.gather(self.values, positions)

    def write(self, positions: tf.Tensor, rows: tf.Tensor) -> None:
        """Replaces the rows of all replicas' samples; of one that is twice there, the later counts.

        Args:
          positions: int64 [batch], the replica's.
          rows: float32 [batch, ...], the replica's.
        """
        positions, rows = replicas.gather(positions), replicas.gather(tf.stop_gradient(rows))
        self.values.scatter_update(tf.IndexedSlices(rows, positions))


def _plain_variable(name: str, shape: tuple[int, ...], dtype: str, per_sample: bool) -> tf.Variable:
    # Of what all replicas compute alike, one replica's is taken; rows are written by each.
    aggregation = tf.VariableAggregation
    return tf.Variable(
        tf.zeros(shape, dtype),
        trainable=False,
        name=name,
        aggregation=aggregation.NONE if per_sample else aggregation.ONLY_FIRST_REPLICA,
    )


class Context:
    """What a weighting's factory is told of the training, and where it keeps its state.

    Args:
      seed: of the training; random numbers are functions of it and the step
        (`mentornet.core.seeds`).
      num_examples: size of the training split, if known.
      num_classes: if known.
      make_variable: how variables are made.
      first: if given, this weighting is for mixed samples, and `first` weighs them before.

    Attributes:
      state: every variable of the weighting by name, for checkpoints.
      needs_positions: whether it keeps a state of each sample.
      needs_history: whether it reads `Batch.past`.
      sample_history: what it reads all samples' past from, if it does; whatever trains keeps it up
        to date.
      remarks: each returns what is to be said when the training is done.
      facts: what a run's config.json says of the weighting besides its options; JSON values.
    """

    def __init__(
        self,
        seed: int = 0,
        num_examples: int | None = None,
        num_classes: int | None = None,
        make_variable: MakeVariable = _plain_variable,
        first: Weighting | None = None,
    ) -> None:
        self.seed, self.num_examples, self.num_classes = seed, num_examples, num_classes
        self.first = first
        self.state: dict[str, tf.Variable] = {}
        self.needs_positions = self.needs_history = False
        self.sample_history: SampleHistory | None = None
        self.remarks: list[Callable[[], str]] = []
        self.facts: dict[str, Any] = {}
        self._make_variable = make_variable

    def variable(self, name: str, shape: tuple[int, ...] = (), dtype: str = "float32") -> Any:
        """A variable of zeros that checkpoints hold; all replicas must assign the same to it."""
        return self._make(name, shape, dtype, per_sample=False)

    def per_sample(self, name: str, *shape: int) -> PerSample:
        """A float32 array [num_examples, *shape] of zeros that checkpoints hold.

        Raises:
          InputError: the number of samples is not known.
        """
        size = self._num_examples()
        self.needs_positions = True
        return PerSample(self._make(name, (size, *shape), "float32", per_sample=True))

    def history(self) -> SampleHistory:
        """The statistics of every training sample, kept up to date by whatever trains.

        Raises:
          InputError: the number of samples is not known.
        """
        if self.sample_history is None:
            size = self._num_examples()
            self.needs_positions = True
            values = self._make_variable(VALUES, (size, len(COLUMNS)), "float32", True)
            self.sample_history = SampleHistory(size, values)
        return self.sample_history

    def _num_examples(self) -> int:
        rule = "`num_examples` must be given: this weighting keeps per-sample state."
        check(self.num_examples is not None, rule, num_examples=self.num_examples)
        assert self.num_examples is not None
        return self.num_examples

    def classes(self) -> int:
        """The number of classes.

        Raises:
          InputError: it is not known.
        """
        rule = "`num_classes` must be given: this weighting depends on it."
        check(self.num_classes is not None, rule, num_classes=self.num_classes)
        assert self.num_classes is not None
        return self.num_classes

    def keep(self, variables: Mapping[str, tf.Variable]) -> None:
        """Has checkpoints hold variables that the weighting made itself, by name."""
        self.state |= variables

    def for_mixed(self, first: Weighting, make_variable: MakeVariable | None = None) -> Context:
        """The context of a second weighting, for mixed samples; its state is named "mixed_..."."""
        make = self._make_variable if make_variable is None else make_variable
        return Context(self.seed, self.num_examples, self.num_classes, make, first)

    def _make(self, name: str, shape: tuple[int, ...], dtype: str, per_sample: bool) -> tf.Variable:
        name = name if self.first is None else f"mixed_{name}"
        check(
            name not in self.state, "A weighting's variables must have distinct names.", name=name
        )
        self.state[name] = self._make_variable(name, shape, dtype, per_sample)
        return self.state[name]


def as_weighed(result: Weighed | tf.Tensor, batch: Batch) -> Weighed:
    """What a weighting returned, complete and without gradient through the weights.

    Raises:
      InputError: the weights are not [batch, 1].
    """
    weighed = result if isinstance(result, Weighed) else Weighed(tf.convert_to_tensor(result))
    shape, expected = weighed.weights.shape, batch.losses.shape
    rule = "`weighting` must return one weight per sample, in the shape of losses: [batch, 1]."
    check(shape.rank == 2 and shape.is_compatible_with(expected), rule, shape=tuple(shape))
    prepare = functools.partial(tf.cast, dtype=tf.float32)
    weights = tf.stop_gradient(prepare(weighed.weights))
    before = weighed.before_dropout
    before = weights if before is None else tf.stop_gradient(prepare(before))
    return weighed._replace(weights=weights, before_dropout=before)
