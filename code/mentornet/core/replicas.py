"""The global batch: what the replicas of tf.distribute compute together.

Each function is for a replica's code, and does nothing where there is one replica only. Of a global
batch the first replica has the first samples, and so on.
"""

from __future__ import annotations

import tensorflow as tf


def number() -> int:
    """How many replicas there are."""
    context = tf.distribute.get_replica_context()
    return 1 if context is None else context.num_replicas_in_sync


def place() -> tf.Tensor:
    """Which of the replicas this one is, int32 scalar in 0..number()-1."""
    if number() == 1:
        return tf.constant(0)
    return tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.int32)


def gather(values: tf.Tensor) -> tf.Tensor:
    """The rows of all replicas, one replica's after the other's; without gradient.

    Args:
      values: any dtype, [rows, ...]; the number of rows may differ.
    """
    if number() == 1:
        return values
    return tf.distribute.get_replica_context().all_gather(tf.stop_gradient(values), axis=0)


def first_row(num_rows: tf.Tensor) -> tf.Tensor:
    """Where the rows of this replica begin among those of all, int32 scalar.

    Args:
      num_rows: int32 scalar, how many this replica has.
    """
    if number() == 1:
        return tf.constant(0)
    return tf.reduce_sum(gather(num_rows[None])[: place()])


def own_rows(everywhere: tf.Tensor, num_rows: tf.Tensor) -> tf.Tensor:
    """This replica's rows of what was computed for all: the way back from `gather`.

    Args:
      everywhere: any dtype, [rows of all replicas, ...].
      num_rows: int32 scalar, how many this replica has.
    """
    first = first_row(num_rows)
    return everywhere[first : first + num_rows]


def total(values: tf.Tensor) -> tf.Tensor:
    """The sum over the replicas, with gradient; float of any shape."""
    if number() == 1:
        return values
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, values)
