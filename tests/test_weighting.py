"""Losses to weights, against a NumPy reference written from the release's description."""

import numpy as np
import pytest
import tensorflow as tf
from helpers import MENTORNET

from mentornet import InputError, MentorNet, SampleWeighting, load_mentornet
from mentornet.weighting.features import RELEASE
from mentornet.weighting.percentiles import class_percentiles, nearest_percentile


@pytest.fixture(scope="module")
def mentor():
    return load_mentornet(MENTORNET)


def losses(batch_size=20, seed=0):
    random = np.random.default_rng(seed)
    return tf.constant(random.exponential(2, (batch_size, 1)).astype(np.float32))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def reference(mentor, loss, average, epoch, label=0):
    """The MentorNet's weights in NumPy."""
    v = {n.removeprefix("mentornet/"): x.numpy() for n, x in mentor.tf1_variables.items()}
    x = np.concatenate([loss, loss - average], 1)
    columns = [np.repeat(v["label_embedding"][[label]], len(x), 0)]
    columns.append(np.repeat(v["epoch_embedding"][[min(epoch, 99)]], len(x), 0))
    for way in ("fw", "bw"):
        cell = f"bidirectional_rnn/{way}/basic_lstm_cell"
        gates = np.concatenate([x, 0 * loss], 1) @ v[f"{cell}/kernel"] + v[f"{cell}/bias"]
        i, j, _, _ = np.split(gates, 4, 1)
        columns.append(sigmoid(i) * np.tanh(j))
    hidden = np.tanh(np.concatenate(columns, 1) @ v["Variable"] + v["Variable_1"])
    return sigmoid(hidden @ (v["Variable_2"] + v["Variable_3"]))


@pytest.mark.parametrize("decay", [0.5, 0.9])
def test_against_numpy(mentor, decay):
    weighting = SampleWeighting(
        mentor, 0.7, loss_moving_average_decay=decay, example_dropout_rates="0,100"
    )
    average = 0.0
    for step in range(5):
        loss = losses(seed=step)
        percentile = np.sort(loss.numpy().ravel())[round(0.7 * 19)]
        average = decay * average + (1 - decay) * percentile
        weights = weighting(loss, epoch_percentage=step * 30, global_step=step)
        assert float(weighting.loss_moving_average) == pytest.approx(average, rel=1e-6)
        expected = reference(mentor, loss.numpy(), average, step * 30)
        np.testing.assert_allclose(weights, expected, atol=1e-6)


def test_given_label_reaches_the_mentornet(mentor):
    weighting = SampleWeighting(mentor, 0.7, example_dropout_rates="0,100")
    labels = tf.constant([0, 1] * 10)
    weights = weighting(losses(), epoch_percentage=0, global_step=0, labels=labels)
    average = float(weighting.loss_moving_average)
    for label in (0, 1):
        expected = reference(mentor, losses().numpy(), average, 0, label)
        np.testing.assert_allclose(weights[label::2], expected[label::2], atol=1e-6)


def test_burn_in_ends_one_epoch_early(mentor):
    weighting = SampleWeighting(mentor, burn_in_epoch=18, example_dropout_rates="0,100")
    for epoch, ones in ((0, True), (16, True), (17, False), (18, False)):
        weights = weighting(losses(), epoch_percentage=epoch, global_step=epoch).numpy()
        assert bool((weights == 1).all()) == ones


def test_fixed_epoch_freezes_epoch_and_dropout(mentor):
    weighting = SampleWeighting(
        mentor, burn_in_epoch=10, fixed_epoch_after_burn_in=True, example_dropout_rates="0,11,1,89"
    )
    batch = weighting.weigh(losses(), 60, 0)
    assert int(batch.epoch) == 10
    assert float(batch.dropout_rate) == 0
    assert (batch.weights.numpy() > 0).all()
    early = weighting.weigh(losses(), 5, 0)
    assert int(early.epoch) == 5
    np.testing.assert_array_equal(early.weights, 1)


def test_epochs_are_held_to_the_plan(mentor):
    weighting = SampleWeighting(mentor, example_dropout_rates="0,1,0.5,98,1,1")
    epochs = [-1, 0, 1, 98, 99, 100, 250]
    batches = [weighting.weigh(losses(), epoch, 0) for epoch in epochs]
    assert [int(batch.epoch) for batch in batches] == [0, 0, 1, 98, 99, 99, 99]
    assert [float(batch.dropout_rate) for batch in batches] == [0, 0, 0.5, 0.5, 1, 1, 1]


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.3, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("batch_size", [1, 7, 50, 128])
def test_example_dropout_keeps_an_exact_number(mentor, rate, batch_size):
    weighting = SampleWeighting(mentor, burn_in_epoch=100, example_dropout_rates=f"{rate},100")
    for step in range(3):
        weights = weighting(losses(batch_size), epoch_percentage=0, global_step=step).numpy()
        assert weights.sum() == int(batch_size * (1 - rate))
        assert set(np.unique(weights)) <= {0.0, 1.0}


def test_example_dropout_is_uniform_and_a_function_of_seed_and_step(mentor):
    def kept(seed, step):
        module = SampleWeighting(mentor, 0.7, 100, example_dropout_rates="0.5,100", seed=seed)

        def weights(number):
            return module(losses(10), epoch_percentage=0, global_step=number)[:, 0]

        call = tf.function(lambda steps: tf.map_fn(weights, steps, fn_output_signature=tf.float32))
        return call(tf.constant(np.atleast_1d(step))).numpy()

    counts = kept(0, np.arange(2000)).sum(0)
    assert counts.sum() == 10_000
    assert np.abs(counts - 1000).max() < 5 * np.sqrt(2000 * 0.25)
    np.testing.assert_array_equal(kept(3, 17), kept(3, 17))
    assert (kept(3, np.arange(20)) != kept(4, np.arange(20))).any()
    # The third stream of (seed, step), as in earlier versions, whose runs can be resumed.
    uniforms = tf.random.stateless_uniform([10], tf.random.fold_in([3, 17], 3))
    np.testing.assert_array_equal(kept(3, 17)[0], np.argsort(uniforms) < 5)


def test_what_example_dropout_leaves_out(mentor):
    weighting = SampleWeighting(mentor, example_dropout_rates="0.5,100")
    batch = weighting.weigh(losses(), 0, 0)
    kept = batch.weights.numpy() != 0
    assert kept.sum() == 10
    assert (batch.before_dropout.numpy() > 0).all()
    np.testing.assert_array_equal(batch.weights[kept], batch.before_dropout[kept])


def test_a_second_weighting_has_its_own_average_and_draws(mentor):
    first = SampleWeighting(mentor, 0.6, 100, False, 0.8, "0.5,100", seed=9)
    second = first.second()
    assert (second.config, second.seed, second.mentor) == (first.config, 9, mentor)
    weights = [w(losses(64), epoch_percentage=0, global_step=0).numpy() for w in (first, second)]
    assert weights[0].sum() == weights[1].sum() == 32
    assert (weights[0] != weights[1]).any()
    uniforms = tf.random.stateless_uniform([64], tf.random.fold_in([9, 0], 8))
    np.testing.assert_array_equal(weights[1][:, 0], np.argsort(uniforms) < 32)
    second(losses(), epoch_percentage=0, global_step=0)
    assert float(first.loss_moving_average) != float(second.loss_moving_average)


def test_defaults_are_the_releases(mentor):
    weighting = SampleWeighting(mentor)
    settings = weighting.config
    assert (settings.loss_p_percentile, settings.loss_moving_average_decay) == (0.7, 0.5)
    assert (settings.burn_in_epoch, settings.fixed_epoch_after_burn_in) == (0, False)
    assert settings.example_dropout_rates == "0.5, 17, 0.05, 78, 1.0, 5"
    assert weighting.seed == 0
    assert not weighting.trainable_variables
    assert weighting.loss_moving_average.name.startswith("loss_moving_average")
    once = tf.VariableAggregation.ONLY_FIRST_REPLICA  # All replicas assign the same value.
    assert weighting.loss_moving_average.aggregation == once


def test_no_gradient_flows_through_the_weights(mentor):
    weighting = SampleWeighting(mentor, example_dropout_rates="0,100")
    x = losses()
    with tf.GradientTape() as tape:
        tape.watch(x)
        weights = weighting(x, epoch_percentage=0, global_step=0)
        total = tf.reduce_sum(weights * x)
    np.testing.assert_allclose(tape.gradient(total, x), weights)


@pytest.mark.parametrize("batch_size", [1, 2, 7, 128])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.7, 0.75, 1.0])
def test_percentile_is_the_nearest_element(batch_size, share):
    values = losses(batch_size).numpy()
    # Ties between two ranks go to the even one, counted from the largest.
    rank = round((batch_size - 1) * (1 - share))
    expected = np.sort(values.ravel())[::-1][rank]
    assert float(nearest_percentile(tf.constant(values), share)) == expected


def test_state_stays_float32_under_half_precision(mentor):
    weighting = SampleWeighting(mentor)
    weights = weighting(tf.cast(losses(), tf.float16), epoch_percentage=0, global_step=0)
    assert weights.dtype == tf.float32
    assert weighting.loss_moving_average.dtype == tf.float32


def test_settings_are_checked(mentor):
    with pytest.raises(InputError, match="`loss_p_percentile`"):
        SampleWeighting(mentor, loss_p_percentile=70)


def test_percentiles_of_classes_by_hand():
    """The first and the last class have no sample; the second's only one is its percentile."""
    losses = tf.constant([[5.0], [1.0], [9.0], [3.0], [2.0], [4.0]])
    labels = tf.constant([2, 2, 1, 2, 2, 2])
    found, counts = class_percentiles(losses, labels, tf.constant([0.2, 0.2, 0.75, 0.2]))
    assert found.numpy().tolist() == [0, 9, 4, 0]  # Of 5, 4, 3, 2, 1 the one at place 4 * 0.25.
    assert counts.numpy().tolist() == [0, 1, 5, 0]
    # Of 9, 4, 1 the one at place 2 * 0.8, of 5, 3, 2 the last.
    labels = tf.constant([2, 1, 1, 2, 2, 1])
    found, _ = class_percentiles(losses, labels, tf.constant([0, 0.2, 0]))
    assert found.numpy().tolist() == [0, 1, 2]


def test_mixed_samples_have_no_further_features():
    first = SampleWeighting(MentorNet(features=(*RELEASE, "loss_variance")))
    with pytest.raises(InputError, match="MentorNet without further features. .*loss_variance"):
        first.second()
