"""Percentile and burn-in determined from the data."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from mentornet import InputError, SampleWeighting
from mentornet.config.training import TrainConfig
from mentornet.config.weighting import NamedWeighting, WeightingConfig
from mentornet.weighting import noise_rate
from mentornet.weighting.automatic import Automatic
from mentornet.weighting.history import COLUMNS
from mentornet.weighting.protocol import Batch, Context
from mentornet.weighting.registry import make

AUTO: dict[str, Any] = {"loss_p_percentile": "auto", "burn_in_epoch": "auto"}
SAMPLES = 400


def history_values(wrong, memorised, seed=0):
    """A history in which a share of the samples was contradicted, and some then memorised."""
    generator = np.random.default_rng(seed)
    is_wrong = np.arange(SAMPLES) < wrong * SAMPLES
    is_fitted = is_wrong & (np.arange(SAMPLES) < memorised * wrong * SAMPLES)
    columns = dict.fromkeys(COLUMNS, np.zeros(SAMPLES))
    columns |= {
        "num_counted": np.full(SAMPLES, 10.0),
        "num_wrong": np.where(is_wrong, 9.0, 1.0),
        "mean_margin": np.where(is_wrong, -2.0, 2.0) + generator.normal(0, 0.5, SAMPLES),
        "other_class": np.full(SAMPLES, 3.0),
        "prediction": np.where(is_wrong & ~is_fitted, 3.0, 1.0),
    }
    return np.stack([columns[name] for name in COLUMNS], axis=1).astype(np.float32)


def made(**settings):
    context = Context(num_examples=SAMPLES)
    automatic = Automatic(context, WeightingConfig(**settings))
    return automatic, context.state["automatic"], context


def look(automatic, passes, epoch, step_in_pass=0):
    step = passes * SAMPLES // 100 + step_in_pass
    automatic.look(tf.constant(step, tf.int64), tf.constant(epoch), tf.constant(100))


def test_the_burn_in_ends_when_a_fifth_of_the_suspects_is_memorised():
    automatic, state, context = made(**AUTO)
    for memorised, epoch in ((0.0, 10), (0.15, 20)):
        context.history().values.assign(history_values(0.3, memorised))
        look(automatic, 3, epoch)
        assert automatic.rules(tf.constant(epoch)).is_burn_in
        np.testing.assert_allclose(state.numpy(), [0, 0, 0, memorised], atol=0.01)
    assert "every weight was 1" in context.remarks[0]()
    context.history().values.assign(history_values(0.3, 0.25))
    look(automatic, 5, 37)
    rules = automatic.rules(tf.constant(37))
    assert not rules.is_burn_in
    assert rules.percentile.numpy() == pytest.approx(0.7, abs=0.02)
    assert rules.fixed_epoch == 37
    assert automatic.rules(tf.constant(90)).fixed_epoch == 37
    assert "weighted from 37 % of the training on" in context.remarks[0]()


def test_it_looks_after_each_pass_from_the_second_on_and_estimates_every_five_percent():
    automatic, state, context = made(**AUTO)
    history = context.history().values
    history.assign(history_values(0.3, 0.5))
    for passes, inside in ((0, 0), (1, 0), (1, 3), (2, 1), (3, 2)):
        look(automatic, passes, 20, inside)
        assert (state.numpy() == 0).all()
    look(automatic, 2, 20)
    assert state.numpy()[0] == pytest.approx(0.7, abs=0.02)
    for epoch, expected in ((24, 0.7), (25, 0.4), (29, 0.4)):
        history.assign(history_values(0.6, 0.5))
        look(automatic, 3, epoch)
        assert state.numpy()[0] == pytest.approx(expected, abs=0.02), epoch
        assert state.numpy()[1] == 21  # It began once.


def test_one_of_the_two():
    automatic, _, context = made(loss_p_percentile="auto", burn_in_epoch=30)
    assert automatic.rules(tf.constant(50)).is_burn_in  # No estimate yet.
    context.history().values.assign(history_values(0.3, 0.0))
    look(automatic, 2, 10)
    for epoch, is_burn_in in ((28, True), (29, False)):  # The release's burn-in, one epoch early.
        assert bool(automatic.rules(tf.constant(epoch)).is_burn_in) == is_burn_in
    assert automatic.rules(tf.constant(50)).fixed_epoch == 30
    automatic, _, context = made(loss_p_percentile=0.55, burn_in_epoch="auto")
    context.history().values.assign(history_values(0.3, 0.5))
    look(automatic, 2, 10)
    rules = automatic.rules(tf.constant(10))
    assert not rules.is_burn_in and rules.percentile == np.float32(0.55)


def test_weights_are_one_and_nothing_is_dropped_until_then():
    context = Context(num_examples=SAMPLES, num_classes=4)
    weighting = make("self_paced", context, AUTO | {"example_dropout_rates": "0.5,100"})
    losses = np.random.default_rng(0).exponential(size=(100, 1)).astype(np.float32)

    def weigh(step):
        return weighting(Batch(tf.constant(losses), epoch_percentage=40, global_step=step))

    weighed = weigh(4)
    assert (weighed.weights.numpy() == 1).all()
    assert weighed.scalars["automatic/burn_in"] == 1
    context.history().values.assign(history_values(0.3, 0.5))
    weighed = weigh(8)
    assert weighed.scalars["automatic/burn_in"] == 0
    share = weighed.scalars["automatic/loss_p_percentile"].numpy()
    visits = noise_rate.pooled(
        [dict(zip(COLUMNS, history_values(0.3, 0.5).astype(np.float64).T, strict=True))]
    )
    assert share == pytest.approx(1 - visits.wrong_probabilities[0].mean())
    average = weighed.scalars["debug/loss_moving_percentile"].numpy()
    kept = losses[:, 0] <= average
    np.testing.assert_array_equal(weighed.before_dropout.numpy()[:, 0], kept)
    assert 0 < kept.sum() < 100
    assert np.count_nonzero(weighed.weights.numpy()) < kept.sum()  # Half of the batch is dropped.


@pytest.mark.parametrize("value", ["automatic", "", "0.5"])
def test_other_words(value):
    with pytest.raises(InputError, match="`loss_p_percentile` must be a number or auto"):
        WeightingConfig(loss_p_percentile=value)


def test_what_it_does_not_go_with():
    with pytest.raises(InputError, match="needs a training that keeps a history"):
        SampleWeighting(None, loss_p_percentile="auto")
    with pytest.raises(InputError, match="`num_examples` must be given"):
        make("self_paced", Context(), AUTO)
    for weighting in (WeightingConfig(**AUTO), NamedWeighting("self_paced", AUTO)):
        with pytest.raises(InputError, match="`jit_compile` needs a fixed"):
            TrainConfig(
                "data",
                "run",
                trained_mentornet_dir="mentornet_pd",
                weighting=weighting,
                jit_compile=True,
                deterministic=False,
            )
