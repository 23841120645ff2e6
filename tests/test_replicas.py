"""What replicas exchange, with parts worked by hand; tests of training run real replicas."""

import types

import numpy as np
import pytest
import tensorflow as tf

from mentornet.core import replicas
from mentornet.datasets import pipeline


@pytest.fixture(params=[(1, 2), (0, 3), (2, 3)], ids=str)
def replica(request, monkeypatch):
    """A replica: its place, their number, and a function from the parts of all to its own."""
    place, number = request.param
    parts: list[tf.Tensor] = []

    def take(*values):
        parts[:] = [tf.constant(value) for value in values[:number]]
        return parts[place]

    def everywhere(own):
        return [*parts[:place], own, *parts[place + 1 :]]

    def all_reduce(operation, own):
        assert operation == tf.distribute.ReduceOp.SUM
        return tf.add_n(everywhere(own))

    context = types.SimpleNamespace(
        num_replicas_in_sync=number,
        replica_id_in_sync_group=tf.constant(place, tf.int64),
        all_gather=lambda own, axis: tf.concat(everywhere(own), axis),
        all_reduce=all_reduce,
    )
    monkeypatch.setattr(tf.distribute, "get_replica_context", lambda: context)
    return place, number, take


def test_rows_of_several_replicas(replica):
    place, number, take = replica
    assert (replicas.number(), int(replicas.place())) == (number, place)
    assert replicas.place().dtype == tf.int32
    parts = np.split(np.arange(12.0).reshape(6, 2), [2, 5])
    own, rows = take(*parts), np.concatenate(parts[:number])
    with tf.GradientTape() as tape:
        tape.watch(own)
        gathered = replicas.gather(own)
    np.testing.assert_array_equal(gathered, rows)
    assert tape.gradient(gathered, own) is None
    (size,) = take([2], [3], [1])
    assert int(replicas.first_row(size)) == (0, 2, 5)[place]
    np.testing.assert_array_equal(replicas.own_rows(tf.constant(rows), size), parts[place])


def test_a_sum_over_replicas(replica):
    _, number, take = replica
    own = take(0.5, 2.0, 8.0)
    with tf.GradientTape() as tape:
        tape.watch(own)
        total = replicas.total(own)
    assert float(total) == {2: 2.5, 3: 10.5}[number]
    assert float(tape.gradient(total, own)) == 1


def test_one_device_exchanges_nothing():
    values = tf.constant([3.0, 5.0])
    for strategy in (tf.distribute.get_strategy(), tf.distribute.OneDeviceStrategy("CPU:0")):
        with strategy.scope():  # In the second's there is no replica.
            assert (replicas.number(), int(replicas.place())) == (1, 0)
            assert replicas.gather(values) is replicas.total(values) is values
            assert int(replicas.first_row(tf.constant(2))) == 0
            np.testing.assert_array_equal(replicas.own_rows(values, tf.constant(2)), values)


def test_each_machine_reads_the_shares_of_its_replicas():
    """Two machines of two replicas, which take turns."""

    def batches(share):
        return tf.data.Dataset.from_tensors([share.replica, share.num_replicas]).repeat(2)

    def distribute(of_worker):
        contexts = (tf.distribute.InputContext(2, machine, 4) for machine in range(2))
        return [[each.tolist() for each in of_worker(c).as_numpy_iterator()] for c in contexts]

    strategy = types.SimpleNamespace(
        num_replicas_in_sync=4, distribute_datasets_from_function=distribute
    )
    first, second = pipeline.in_replicas(batches, strategy)
    assert (first, second) == ([[0, 4], [1, 4]] * 2, [[2, 4], [3, 4]] * 2)
    whole = pipeline.in_replicas(lambda share: share, tf.distribute.get_strategy())
    assert whole == pipeline.Share(0, 1)
