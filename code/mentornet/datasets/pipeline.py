"""The input pipeline: from records to batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import tensorflow as tf

from mentornet.core.errors import InputError, check, first_line
from mentornet.core.seeds import Stream, seed_for
from mentornet.datasets.augmentation import Augmentation, Augmenter, standardize
from mentornet.datasets.images import reader, without_autotuning
from mentornet.datasets.records import Examples

Batch = dict[str, tf.Tensor]


class Share(NamedTuple):
    """The part of the global batches that a replica gets: the first of two is (0, 2)."""

    replica: int = 0
    num_replicas: int = 1

    def of(self, rows: tf.Tensor) -> tf.Tensor:
        """The replica's rows of a global batch's rows, [batch, ...]."""
        size = rows.shape[0] // self.num_replicas
        return rows[self.replica * size : (self.replica + 1) * size]


WHOLE = Share()


def sample_indices(
    global_step: tf.Tensor, num_examples: int, batch_size: int, seed: int
) -> tf.Tensor:
    """The positions of the samples in a training step's batch.

    The samples of all steps form an endless sequence of epochs, each a different permutation, so
    that every sample is used once before any is used again. The permutation is computed, not
    stored, so any step can be computed directly.

    Args:
      global_step: int64 scalar.
      num_examples: size of the data set, at least `batch_size`.
      batch_size: samples per step.
      seed: the run's seed.

    Returns:
      int64 [batch_size], in 0..num_examples-1.
    """
    positions = global_step * batch_size + tf.range(batch_size, dtype=tf.int64)
    first_pass = positions[0] // num_examples

    def shuffled(number: tf.Tensor) -> tf.Tensor:
        return tf.random.experimental.index_shuffle(
            positions % num_examples, seed_for(seed, number, Stream.ORDER), num_examples - 1
        )

    # A batch spans at most two epochs.
    in_first = positions // num_examples == first_pass
    return tf.where(in_first, shuffled(first_pass), shuffled(first_pass + 1))


def check_batch_size(batch_size: int, num_examples: int, num_replicas: int) -> None:
    """Raises InputError if a batch is larger than the data set, or replicas cannot share it."""
    rule = f"`batch_size` must not exceed the {num_examples} training samples."
    check(batch_size <= num_examples, rule, batch_size=batch_size)
    rule = f"`batch_size` must be a multiple of the {num_replicas} replicas."
    check(batch_size % num_replicas == 0, rule, batch_size=batch_size)


def _reader(examples: Examples) -> Callable[[tf.Tensor], Batch]:
    """A function from positions int64 [batch] to their images (uint8) and labels."""
    with tf.device("CPU:0"):
        labels = tf.constant(examples.labels)

    read_images = reader(examples.images)

    def read(indices: tf.Tensor) -> Batch:
        images = read_images(indices)
        images = tf.ensure_shape(images, (indices.shape[0], *examples.image_shape))
        return {"images": images, "labels": tf.gather(labels, indices)}

    return read


def training_batches(
    examples: Examples,
    *,
    batch_size: int,
    seed: int,
    first_step: int,
    last_step: int,
    augmentation: Augmentation | None,
    standardization: str,
    steps_per_loop: int = 1,
    share: Share = WHOLE,
) -> tf.data.Dataset:
    """The batches of steps first_step..last_step-1, or one replica's share of them.

    A batch depends only on (seed, step), so a run resumed at any step continues as if it had never
    stopped, without reading the batches before it.

    Args:
      examples: the training split.
      batch_size: samples per step, over all replicas.
      seed: the run's seed.
      first_step: global step of the first batch.
      last_step: global step after the last batch.
      augmentation: random changes of the images; None for none.
      standardization: see `augmentation.standardize`.
      steps_per_loop: if more than 1, this many batches are stacked; a stack ends at a multiple of
        it, so the first and the last stack may be smaller.
      share: the replica's part; `batch_size` must be a multiple of its number of replicas.

    Returns:
      Dataset of dicts: images float32 [batch, height, width, 3] (or rows of features
      [batch, num_features]), and int64 [batch] labels and positions in the split; stacked batches
      have an additional first axis.

    Raises:
      InputError: a batch is larger than the data set or no multiple of the replicas, or the images
        are too small for the crops or the cutout.
    """
    check_batch_size(batch_size, len(examples), share.num_replicas)
    read = _reader(examples)

    augmenter = None
    if augmentation is not None:
        shape = examples.image_shape
        augmenter = Augmenter(augmentation, len(examples), shape, batch_size, seed, share.of)

    @tf.autograph.experimental.do_not_convert
    def batch(step: tf.Tensor) -> Batch:
        everywhere = sample_indices(step, len(examples), batch_size, seed)
        everywhere = tf.ensure_shape(everywhere, [batch_size])
        indices = share.of(everywhere)
        found = read(indices)
        images = found["images"]
        if augmenter is not None:
            images = augmenter.crop_and_flip(images, everywhere, step)
        images = standardize(images, standardization)
        if augmenter is not None:
            images = augmenter.cut_out(images, step)
        return {"images": images, "labels": found["labels"], "positions": indices}

    steps = tf.data.Dataset.range(first_step, last_step)
    batches = steps.map(batch, num_parallel_calls=tf.data.AUTOTUNE)
    if steps_per_loop > 1:
        to_multiple = steps_per_loop - first_step % steps_per_loop
        first = batches.take(to_multiple).batch(to_multiple)
        batches = first.concatenate(batches.skip(to_multiple).batch(steps_per_loop))
    return without_autotuning(batches.prefetch(tf.data.AUTOTUNE))


def in_replicas(
    batches: Callable[[Share], tf.data.Dataset], strategy: tf.distribute.Strategy
) -> Iterable[Batch]:
    """Batches for `strategy.run`: every replica gets its share, every machine reads its own.

    Args:
      batches: one replica's share.
      strategy: with one replica, its batches are returned as they are.
    """
    num_replicas = strategy.num_replicas_in_sync
    if num_replicas == 1:
        return batches(WHOLE)

    def of_worker(context: tf.distribute.InputContext) -> tf.data.Dataset:
        num_local = num_replicas // context.num_input_pipelines
        first = context.input_pipeline_id * num_local
        local = [batches(Share(first + i, num_replicas)) for i in range(num_local)]
        turns = tf.data.Dataset.range(num_local).repeat()
        return tf.data.Dataset.choose_from_datasets(local, turns)

    return strategy.distribute_datasets_from_function(of_worker)


def evaluation_batches(
    examples: Examples, batch_size: int, standardization: str
) -> tf.data.Dataset:
    """Every sample once, in order, without augmentation; the last batch may be smaller."""
    read = _reader(examples)

    @tf.autograph.experimental.do_not_convert
    def batch(indices: tf.Tensor) -> Batch:
        found = read(indices)
        return found | {"images": standardize(found["images"], standardization)}

    indices = tf.data.Dataset.range(len(examples)).batch(batch_size)
    batches = indices.map(batch, num_parallel_calls=tf.data.AUTOTUNE)
    return without_autotuning(batches.prefetch(tf.data.AUTOTUNE))


def reading(batches: Iterable[Batch], rule: str) -> Iterator[Batch]:
    """Yields the batches.

    Raises:
      InputError: a sample cannot be read, as its file was changed; the message begins with `rule`.
    """
    iterator = iter(batches)
    while True:
        try:
            batch = next(iterator, None)
        except (tf.errors.InvalidArgumentError, tf.errors.UnknownError) as error:
            raise InputError(f"{rule}: {first_line(error)}") from None
        if batch is None:
            return
        yield batch
