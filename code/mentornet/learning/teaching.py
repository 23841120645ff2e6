"""Trains a MentorNet on its targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mentornet.core.errors import check
from mentornet.learning import training_rows
from mentornet.learning.settings import DEFAULTS
from mentornet.learning.training_rows import Rows
from mentornet.weighting.features import RELEASE
from mentornet.weighting.mentor import OUTPUT_NAMES, MentorNet

_STEPS_PER_REPORT = 500
_STEPS_PER_CHOICE = 25
_MAX_GRADIENT_NORM = 5.0
_WEIGHT_DECAY = 0.1  # In learn_noisy: makes weights learned from 100 rows rank like the losses.
_FACTORS = np.geomspace(1, 1000, 300)  # Of an updated MentorNet's logits, see `harden`.


def initial_mentornet(num_labels: int, seed: int, features: tuple[str, ...] = RELEASE) -> MentorNet:
    """A MentorNet with initial values from which learning succeeds whatever the seed.

    One LSTM cell starts with the difference as its input, the other with difference and loss, both
    with an open input gate whose kernel is 0. Training keeps that kernel at 0, so that a cell state
    is a monotone function of a linear combination of (loss, difference) and stays flat outside the
    data, where a trained gate could bend it back.
    """
    mentor = MentorNet(num_labels, seed, features)
    for way, column, bias in (("fw", (0.0, 1.0), 0.0), ("bw", (0.1, -1.0), 0.5)):
        scope = f"mentornet/bidirectional_rnn/{way}/basic_lstm_cell"
        kernel = np.zeros((3, 4), np.float32)
        kernel[:2, 1] = column
        mentor.tf1_variables[f"{scope}/kernel"].assign(kernel)
        mentor.tf1_variables[f"{scope}/bias"].assign([2.0, bias, 0.0, 0.0])
    return mentor


class Learner:
    """Trains a MentorNet with Adam, with the norm of the gradient clipped at 5.

    The loss is cross entropy if all targets are 0 or 1, else squared error (as in the release).
    Unlike in the release, the epoch embedding is trained and the learning rate follows a cosine to
    0; with the release's staircase some runs end with a dead network.

    Args:
      rows: the training rows, see `Rows`.
      num_steps: total number of updates.
      batch_size: rows per update, drawn with replacement.
      learning_rate: the initial one.
      seed: of the initial weights and of the batches.
      num_labels: rows of the label embedding.
      features: names of the columns of the rows' features.
      weight_decay: decoupled from the gradient, times the learning rate.
      start: continue from a copy of this MentorNet instead of from initial values.
    """

    def __init__(
        self,
        rows: Rows,
        *,
        num_steps: int,
        batch_size: int,
        learning_rate: float,
        seed: int,
        num_labels: int = 2,
        features: tuple[str, ...] = RELEASE,
        start: MentorNet | None = None,
        weight_decay: float = 0.0,
    ) -> None:
        self.mentor = initial_mentornet(start.num_labels if start else num_labels, seed, features)
        if start:
            self.mentor.set_weights(start.get_weights())
        schedule = keras.optimizers.schedules.CosineDecay(learning_rate, num_steps)
        self._optimizer = keras.optimizers.Adam(
            schedule, global_clipnorm=_MAX_GRADIENT_NORM, weight_decay=weight_decay or None
        )
        # All parameters in one variable: updating ten small ones takes longer than the gradient.
        self._variables = self.mentor.trainable_variables
        self._parameters = keras.Variable(self._joined(self._variables))
        # The input gate's column of a cell's kernel stays 0 (see initial_mentornet).
        is_trained = [np.ones(variable.shape, np.float32) for variable in self._variables]
        for variable, mask in zip(self._variables, is_trained, strict=True):
            if variable.name.endswith(".kernel"):
                mask[:, 0] = 0
        self._is_trained = tf.constant(self._joined(is_trained))
        self._optimizer.build([self._parameters])
        self._rows = tuple(tf.constant(array) for array in rows)
        self._batch_size, self._seed = batch_size, seed
        self._binary = bool(np.isin(rows[1], (0, 1)).all())
        self._run = tf.function(self._steps, autograph=False)
        self.loss = tf.function(self._loss, autograph=False, reduce_retracing=True)
        self.squared_error = tf.function(
            self._squared_error, autograph=False, reduce_retracing=True
        )

    def run(self, count: int) -> int:
        """Makes `count` updates and returns the number of all updates so far.

        Raises:
          InputError: the loss is not finite.
        """
        loss = float(self._run(tf.constant(count)))
        step = int(self._optimizer.iterations)
        check(bool(np.isfinite(loss)), f"The loss before step {step} must be finite.", loss=loss)
        return step

    def _steps(self, count: tf.Tensor) -> tf.Tensor:
        """Makes `count` updates and returns the loss before the last one."""

        def body(number: tf.Tensor, _: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return number + 1, self._step()

        start = tf.constant(0), tf.constant(0.0)
        loss = tf.while_loop(lambda number, _: number < count, body, start)[1]
        for variable, values in zip(self._variables, self._parts(), strict=True):
            variable.assign(values)
        return loss

    def _step(self) -> tf.Tensor:
        features, targets = self._rows
        draw = tf.stack([self._seed, tf.cast(self._optimizer.iterations.value, tf.int32)])
        shape = [self._batch_size]
        rows = tf.random.stateless_uniform(shape, draw, 0, len(features), tf.int32)
        with tf.GradientTape() as tape:
            values = zip(self._variables, self._parts(), strict=True)
            with keras.StatelessScope(list(values)):
                loss = self._loss(tf.gather(features, rows), tf.gather(targets, rows))
        gradient = tape.gradient(loss, self._parameters.value)
        self._optimizer.apply([gradient * self._is_trained])
        return loss

    @staticmethod
    def _joined(arrays: Sequence[Any]) -> np.ndarray:
        return np.concatenate([np.ravel(array) for array in arrays])

    def _parts(self) -> list[tf.Tensor]:
        """The parameters in the shapes of the MentorNet's variables."""
        sizes = [int(np.prod(variable.shape)) for variable in self._variables]
        parts = tf.split(self._parameters.value, sizes)
        return [
            tf.reshape(part, variable.shape)
            for part, variable in zip(parts, self._variables, strict=True)
        ]

    def _loss(self, features: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        if not self._binary:
            return self._squared_error(features, targets)
        logits = self.mentor(features)
        return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(targets, logits))

    def _squared_error(self, features: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        weights = self.mentor.sample_weights(features)
        return tf.reduce_mean(tf.math.squared_difference(weights, targets))


def learn(train: Rows, test: Rows, *, num_steps: int, **settings: Any) -> MentorNet:
    """Learns exact targets, such as a predefined curriculum's.

    Args:
      train, test: see `Rows`; the test rows are for the errors that are printed.
      num_steps, **settings: see `Learner`.

    Returns:
      The MentorNet after the last step.

    Raises:
      InputError: the loss is not finite.
    """
    learner = Learner(train, num_steps=num_steps, num_labels=_num_labels(train, test), **settings)
    step = 0
    while step < num_steps:
        step = learner.run(min(_STEPS_PER_REPORT, num_steps - step))
        print(f"step {step}/{num_steps} squared error: {_errors(learner, train=train, test=test)}")
    return learner.mentor


def learn_noisy(
    train: Rows, test: Rows | None = None, *, num_steps: int, **settings: Any
) -> MentorNet:
    """Learns targets that the features determine only in part, such as a dump's.

    A few hundred trusted samples would be memorised within a few hundred steps. Weight decay
    prevents that, as does keeping the weights that are best on a fifth of the training rows, which
    is set aside; the weights of `start` are a candidate as well.

    Args and returns: see `learn`.

    Raises:
      InputError: there are fewer than 5 training rows, or the loss is not finite.
    """
    least, count = training_rows.MIN_NOISY_ROWS, len(train[0])
    rule = f"A MentorNet needs at least {least} rows (trusted samples, or of a csv) to learn from."
    check(count >= least, rule, rows=count)
    number = training_rows.num_set_aside(count)
    held_back = train[0][:number], train[1][:number]
    rows = train[0][number:], train[1][number:]
    num_labels = _num_labels(train, *([] if test is None else [test]))
    settings = {"weight_decay": _WEIGHT_DECAY, **settings}
    learner = Learner(rows, num_steps=num_steps, num_labels=num_labels, **settings)
    best, best_weights, best_step, step = np.inf, learner.mentor.get_weights(), 0, 0
    if settings.get("start"):  # Which is kept if nothing better is learned.
        best = float(learner.loss(*held_back))
    while step < num_steps:
        step = learner.run(min(_STEPS_PER_CHOICE, num_steps - step))
        loss = float(learner.loss(*held_back))
        if loss < best:
            best, best_weights, best_step = loss, learner.mentor.get_weights(), step
        if step % _STEPS_PER_REPORT == 0 or step == num_steps:
            error = _errors(learner, train=train, test=test)
            print(f"step {step}/{num_steps} squared error: {error}, best so far at {best_step}")
    learner.mentor.set_weights(best_weights)
    return learner.mentor


def _errors(learner: Learner, **parts: Rows | None) -> str:
    """The squared error on each part that there is, after its name."""
    errors = {name: learner.squared_error(*rows) for name, rows in parts.items() if rows}
    return " ".join(f"{name} {float(error):.2e}" for name, error in errors.items())


def relearn(mentor: MentorNet, dump: np.ndarray, percentile: float, seed: int) -> MentorNet:
    """Trains a MentorNet further on a dump; see `training.mentor_updates.MentorUpdates`.

    Args:
      mentor: the MentorNet to start from; it is not changed.
      dump: float64 [n, 5 + further features], see `training_rows.read_dump`.
      percentile: 0..100, see `training_rows.data_driven`.
      seed: of the order of the rows and of the batches.

    Returns:
      The new MentorNet, see `harden`.
    """
    rows = training_rows.shuffled(dump, seed)
    features, targets = training_rows.data_driven(rows, percentile)
    parts = features, targets[:, None]
    names = mentor.features
    learned = learn_noisy(parts, start=mentor, seed=seed, features=names, **DEFAULTS)
    harden(learned, mentor, features)
    return learned


def harden(learned: MentorNet, before: MentorNet, features: np.ndarray) -> None:
    """Scales the logits of `learned` until its weights are no softer than those of `before`.

    A student that memorises learns every label whose weight is above 0, only later if it is small.
    The targets of a dump make weights probabilities, which are soft where the features tell little;
    a MentorNet that had excluded samples would let them in again, and they would be memorised. The
    order of the weights, and which of them are above 0.5, do not change. Not in the paper.

    Args:
      learned: is changed.
      before: the MentorNet that it replaces.
      features: float32 [n, features]; softness is the mean of w (1 - w) over these rows.
    """
    from scipy.special import expit

    def softness(logits: np.ndarray) -> float:
        return float(np.mean(expit(logits) * expit(-logits)))

    old, new = (m(tf.constant(features)).numpy().astype(np.float64) for m in (before, learned))
    most = softness(old)
    factor = next((f for f in _FACTORS if softness(f * new) <= most), _FACTORS[-1])
    for name in OUTPUT_NAMES:
        variable = learned.tf1_variables[name]
        variable.assign(variable * float(factor))


def _num_labels(*parts: Rows) -> int:
    return max(2, *(int(features[:, 2].max()) + 1 for features, _ in parts))
