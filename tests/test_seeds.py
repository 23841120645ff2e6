"""Seeds of stateless random numbers: functions of (seed, counter, stream) and of nothing else."""

import itertools

import numpy as np
import tensorflow as tf

from mentornet.core.seeds import Stream, seed_for


def test_streams_keep_their_numbers():
    """A run of an earlier version continues with the same random numbers."""
    numbers = {stream.name: int(stream) for stream in Stream}
    assert len(set(numbers.values())) == len(Stream.__members__)
    earlier = {
        "CROP": 1,
        "FLIP": 2,
        "EXAMPLE_DROPOUT": 3,
        "STUDENT_DROPOUT": 4,
        "ORDER": 5,
        "MIXUP_PARTNER": 6,
        "MIXUP_SHARE": 7,
        "SECOND_EXAMPLE_DROPOUT": 8,
        "FIRST_FLIP": 9,
        "CUTOUT": 10,
    }
    assert earlier.items() <= numbers.items()


def test_seeds_keep_their_values():
    expected = tf.random.fold_in([7, 11], 5).numpy()
    found = seed_for(7, 11, Stream.ORDER)
    assert found.dtype == tf.int32
    np.testing.assert_array_equal(found, expected)
    # The step is an int64 variable in training.
    np.testing.assert_array_equal(seed_for(7, tf.constant(11, tf.int64), Stream.ORDER), expected)


def test_seeds_differ():
    choices = itertools.product((0, 1, 2), (0, 1, 2), Stream)
    seeds = [tuple(seed_for(*choice).numpy()) for choice in choices]
    assert len(set(seeds)) == len(seeds) == 9 * len(Stream)
