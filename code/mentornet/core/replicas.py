"""Operations over the global batch, across the replicas of tf.distribute.

The functions are called in a replica, and do nothing if there is only one. The first replica has
the first samples of the global batch, and so on.
"""

from __future__ import annotations

import tensorflow as tf


def number() -> int:
    """Number of replicas."""
    context = tf.distribute.get_replica_context()
    return 1 if context is None else context.num_replicas_in_sync


def place() -> tf.Tensor:
    """Index of this replica, int32 scalar in 0..number()-1."""
    if number() == 1:
        return tf.constant(0)
    return tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.int32)


def gather(values: tf.Tensor) -> tf.Tensor:
    """The rows of all replicas, concatenated in the order of the replicas; without gradient.

    Args:
      values: any dtype, [rows, ...]; the number of rows may differ.
    """
    if number() == 1:
        return values
    return tf.distribute.get_replica_context().all_gather(tf.stop_gradient(values), axis=0)


def first_row(num_rows: tf.Tensor) -> tf.Tensor:
    """Index of this replica's first row among the rows of all, int32 scalar.

    Args:
      num_rows: int32 scalar, this replica's number of rows.
    """
    if number() == 1:
        return tf.constant(0)
    return tf.reduce_sum(gather(num_rows[None])[: place()])


def own_rows(everywhere: tf.Tensor, num_rows: tf.Tensor) -> tf.Tensor:
    """This replica's rows of a tensor computed for all replicas: the reverse of `gather`.

    Args:
      everywhere: any dtype, [rows of all replicas, ...].
      num_rows: int32 scalar, this replica's number of rows.
    """
    first = first_row(num_rows)
    return everywhere[first : first + num_rows]


def total(values: tf.Tensor) -> tf.Tensor:
    """The sum over the replicas, with gradient; float of any shape."""
    if number() == 1:
        return values
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, values)
