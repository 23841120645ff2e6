"""MentorMix against its Algorithm 1 in NumPy, and what it must not change."""

import dataclasses
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import MENTORNET, assert_same_state, latest_state, run
from scipy.special import softmax

from mentornet import InputError, MentoredModel, load_mentornet
from mentornet.config.training import TrainConfig
from mentornet.config.weighting import MixupConfig, WeightingConfig
from mentornet.core.files import read_json_lines
from mentornet.label_noise.history import SampleHistory
from mentornet.runs.checkpoints import variables_of
from mentornet.runs.students import load_student
from mentornet.training.build import make_trainer
from mentornet.training.optimizers import TF1Momentum
from mentornet.training.step import Trainer
from mentornet.training.wrappers import Averaged, OptimizerUpdate
from mentornet.weighting import registry as weightings
from mentornet.weighting.mixup import Partners, draw_partners, forward_without_trace
from mentornet.weighting.protocol import Context

BATCH, CLASSES, FEATURES = 12, 4, 6
ALPHA, RATE = 2.0, 0.1


def linear_student(seed=0):
    keras.utils.set_random_seed(seed)
    layer = keras.layers.Dense(CLASSES, use_bias=False, name="dense")
    return keras.Sequential([keras.Input((FEATURES,)), layer])


def batches(count):
    generator = np.random.default_rng(3)
    for _ in range(count):
        images = generator.normal(size=(BATCH, FEATURES)).astype(np.float32)
        yield images, generator.integers(0, CLASSES, BATCH)


def reference_weights(mentor, losses, average, percentile, epoch):
    """Weights and the new moving average (Jiang et al. 2018), without dropout."""
    losses = losses.astype(np.float32)[:, None]
    # The rank is counted from the largest loss.
    nearest = np.sort(losses.ravel())[::-1][round((len(losses) - 1) * (1 - percentile))]
    average = 0.5 * average + 0.5 * float(nearest)
    columns = [losses, losses - np.float32(average), 0 * losses, 0 * losses + epoch]
    return tf.sigmoid(mentor(np.concatenate(columns, axis=1))).numpy()[:, 0], average


def reference(kernel, steps, second, draws, mentored=True):
    """Algorithm 1 of MentorMix for a linear student: its kernel after each step of SGD.

    `draws` gives partners and the shares of the Beta distribution, l, of each step. Without a
    MentorNet all weights are 1, which is mixup.
    """
    mentor, averages = load_mentornet(MENTORNET), [0.0, 0.0]
    for step, (images, labels) in enumerate(batches(steps)):
        epoch = 100 * step // steps
        one_hot = np.eye(CLASSES)[labels]
        losses = -np.log(np.sum(softmax(images @ kernel, axis=1) * one_hot, axis=1))
        v = np.ones(BATCH)
        if mentored:
            v, averages[0] = reference_weights(mentor, losses, averages[0], 0.7, epoch)
        partners, drawn = draws(v, step)
        share = v * np.maximum(drawn, 1 - drawn) + (1 - v) * np.minimum(drawn, 1 - drawn)
        share = share[:, None]
        mixed = share * images + (1 - share) * images[partners]
        mixed_labels = share * one_hot + (1 - share) * one_hot[partners]
        probabilities = softmax(mixed @ kernel, axis=1)
        losses = -np.sum(mixed_labels * np.log(probabilities), axis=1)
        weights = np.ones(BATCH)
        if second:
            weights, averages[1] = reference_weights(mentor, losses, averages[1], 0.7, epoch)
        gradient = mixed.T @ (weights[:, None] * (probabilities - mixed_labels)) / BATCH
        kernel = kernel - RATE * gradient
    return kernel, averages


@pytest.mark.parametrize("mixup", [None, MixupConfig(ALPHA)], ids=["plain", "mixed"])
def test_a_history_sees_the_samples_before_they_are_mixed(mixup):
    student, history = linear_student(), SampleHistory(BATCH)
    kernel, context = student.get_weights()[0], Context(seed=5)
    trainer = Trainer(
        student,
        OptimizerUpdate(keras.optimizers.SGD(RATE), student),
        weight_decay=0,
        weighting=weightings.make("uniform", context, {}),
        context=context,
        max_number_of_steps=1,
        history=history,
        mixup=mixup,
    )
    images, labels = next(iter(batches(1)))
    trainer.step(images, labels, tf.range(BATCH, dtype=tf.int64))
    logits, rows = images @ kernel, np.arange(BATCH)
    others = logits.copy()
    others[rows, labels] = -np.inf
    seen = history.read(tf.range(BATCH))
    np.testing.assert_allclose(seen["mean_given"], softmax(logits, axis=1)[rows, labels], rtol=1e-5)
    margins = logits[rows, labels] - others.max(axis=1)
    np.testing.assert_allclose(seen["mean_margin"], margins, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(seen["num_wrong"], margins < 0)


def recorded_draws(v, step):
    """The partners that the package draws, and l, which is the share of samples of weight 1.

    What it makes of l for the weights of the batch is not asked for.
    """
    indices = draw_partners(v[:, None], ALPHA, 5, step).indices.numpy()
    return indices, draw_partners(np.ones((len(v), 1)), ALPHA, 5, step).shares.numpy()


@pytest.mark.parametrize("second", [False, True])
def test_steps_are_those_of_algorithm_1(second):
    steps, student = 5, linear_student()
    kernel = student.get_weights()[0]
    expected, averages = reference(kernel, steps, second, recorded_draws)
    context, options = Context(seed=5), {"mentor": MENTORNET, "example_dropout_rates": "0,100"}
    weighting = weightings.make("mentornet", context, options)
    mixed = context.for_mixed(weighting)
    trainer = Trainer(
        student,
        OptimizerUpdate(keras.optimizers.SGD(RATE), student),
        weight_decay=0,
        weighting=weighting,
        context=context,
        max_number_of_steps=steps,
        seed=5,
        mixup=MixupConfig(ALPHA, second),
        second=(weightings.make("mentornet", mixed, options), mixed) if second else None,
    )
    for images, labels in batches(steps):
        trainer.step(images, labels)
    np.testing.assert_allclose(student.get_weights()[0], expected, atol=1e-6)
    state = trainer.state()
    np.testing.assert_allclose(state["loss_moving_average"], averages[0], rtol=1e-5)
    assert ("mixed_loss_moving_average" in state) == second
    if second:
        np.testing.assert_allclose(state["mixed_loss_moving_average"], averages[1], rtol=1e-5)


def test_plain_mixup_equals_numpy():
    steps, student, context = 5, linear_student(), Context(seed=5)
    expected, _ = reference(student.get_weights()[0], steps, False, recorded_draws, mentored=False)
    trainer = Trainer(
        student,
        OptimizerUpdate(keras.optimizers.SGD(RATE), student),
        weight_decay=0,
        weighting=weightings.make("uniform", context, {}),
        context=context,
        max_number_of_steps=steps,
        seed=5,
        mixup=MixupConfig(ALPHA),
    )
    for images, labels in batches(steps):
        weights = trainer.step(images, labels).samples.weights
        assert (weights.numpy() == 1).all()
    np.testing.assert_allclose(student.get_weights()[0], expected, atol=1e-6)


@pytest.mark.parametrize("second", [False, True])
def test_fit_takes_the_same_steps(second):
    steps, student = 5, linear_student()
    expected, averages = reference(student.get_weights()[0], steps, second, recorded_draws)
    model = MentoredModel(
        student,
        MENTORNET,
        example_dropout_rates="0,100",
        mixup_alpha=ALPHA,
        second_reweight=second,
        seed=5,
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(RATE), loss, metrics=["accuracy"])
    images, labels = (np.concatenate(parts) for parts in zip(*batches(steps), strict=True))
    model.fit(images, labels, batch_size=BATCH, shuffle=False, verbose=0)
    np.testing.assert_allclose(student.get_weights()[0], expected, atol=1e-6)
    copy = MentoredModel.from_config(model.get_config())
    assert copy.mixup == MixupConfig(ALPHA, second)


def test_partners_and_shares_are_distributed_as_in_the_paper():
    n = 40_000
    weights = np.linspace(0, 1, n, dtype=np.float32)[:, None]
    partners = draw_partners(weights, 0.5, 0, 7)
    indices = partners.indices.numpy()
    expected = np.exp(weights[:, 0])
    expected /= expected.sum()
    # Cumulative frequencies of four quarters of the batch.
    bounds = np.arange(1, 5) * n // 4
    seen = [np.mean(indices < bound) for bound in bounds]
    np.testing.assert_allclose(seen, np.cumsum(expected)[bounds - 1], atol=0.01)
    mostly_own = draw_partners(np.ones((n, 1)), 0.5, 0, 7).shares.numpy()
    mostly_other = draw_partners(np.zeros((n, 1)), 0.5, 0, 7).shares.numpy()
    np.testing.assert_allclose(mostly_own, 1 - mostly_other, atol=1e-6)
    drawn = np.random.default_rng(0).beta(0.5, 0.5, n)
    larger = np.maximum(drawn, 1 - drawn)
    quantiles = np.linspace(0, 1, 11)[1:-1]
    np.testing.assert_allclose(
        np.quantile(mostly_own, quantiles), np.quantile(larger, quantiles), atol=0.01
    )
    again = draw_partners(weights, 0.5, 0, 7)
    np.testing.assert_array_equal(again.indices, indices)
    assert not np.array_equal(draw_partners(weights, 0.5, 0, 8).indices, indices)


def test_draws_keep_their_values():
    """A run of version 0.1.0 continues with the same partners and shares."""
    partners = draw_partners(np.linspace(0, 1, 6)[:, None], 0.75, seed=3, global_step=11)
    assert partners.indices.numpy().tolist() == [1, 4, 4, 4, 5, 4]
    expected = [0.3297625, 0.2000458, 0.4913465, 0.5222705, 0.7895613, 0.5641052]
    np.testing.assert_allclose(partners.shares, expected, atol=2e-7)


def test_mixing_images_and_losses():
    partners = Partners(tf.constant([1, 0]), tf.constant([0.75, 1.0]))
    images = np.arange(2 * 2 * 2 * 3, dtype=np.float32).reshape(2, 2, 2, 3)
    mixed = partners.mix(tf.constant(images)).numpy()
    np.testing.assert_allclose(mixed[0], 0.75 * images[0] + 0.25 * images[1])
    np.testing.assert_array_equal(mixed[1], images[1])
    assert partners.mix(tf.constant([[1.0], [2.0]], tf.float16)).dtype == tf.float16
    own, others = tf.constant([[1.0], [2.0]]), tf.constant([[5.0], [7.0]])
    np.testing.assert_allclose(partners.mix_losses(own, others), [[2.0], [2.0]])
    np.testing.assert_array_equal(partners.of(tf.constant([3, 4])), [4, 3])


def test_integers_are_not_mixed():
    partners = Partners(tf.constant([1, 0], tf.int64), tf.constant([0.7, 0.9]))
    with pytest.raises(InputError, match="must be floating-point .*uint8"):
        partners.mix(tf.constant([[100], [200]], tf.uint8))


def test_no_gradient_flows_through_the_shares():
    weights = tf.constant([[0.3], [0.6]])
    with tf.GradientTape() as tape:
        tape.watch(weights)
        shares = draw_partners(weights, 1.0, 0, 0).shares
    assert tape.gradient(shares, weights) is None


@pytest.mark.parametrize("alpha", [1e-4, 1e-2, 1e4])
def test_shares_are_finite_for_extreme_alpha(alpha):
    shares = draw_partners(np.ones((5000, 1)), alpha, 0, 0).shares.numpy()
    assert np.all((shares >= 0.5) & (shares <= 1))
    assert shares.mean() == pytest.approx(1 if alpha < 1 else 0.5, abs=0.01)


def test_looking_at_a_batch_leaves_no_trace():
    layers = [keras.layers.BatchNormalization(), keras.layers.Dropout(0.5), keras.layers.Dense(3)]
    student = keras.Sequential([keras.Input((FEATURES,)), *layers])
    before = [v.numpy() for v in student.non_trainable_variables]
    images = tf.constant(next(batches(1))[0])
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(forward_without_trace(student, images))
    assert tape.gradient(total, student.trainable_variables) == [None] * 4
    for old, new in zip(before, student.non_trainable_variables, strict=True):
        np.testing.assert_array_equal(old, new)
    student(images, training=True)
    assert not np.array_equal(before[0], student.non_trainable_variables[0])


def test_moving_average_of_the_parameters():
    """Against a worked average: decay min(0.25, (1 + n) / (10 + n)) after the n-th update."""
    student = linear_student()
    context = Context()
    trainer = Trainer(
        student,
        Averaged(OptimizerUpdate(TF1Momentum(RATE), student), student, 0.25),
        weight_decay=0,
        weighting=weightings.make("uniform", context, {}),
        context=context,
        max_number_of_steps=4,
    )
    average = student.get_weights()[0]
    for n, (images, labels) in enumerate(batches(4), 1):
        trainer.step(images, labels)
        decay = min(0.25, (1 + n) / (10 + n))
        average = decay * average + (1 - decay) * student.get_weights()[0]
    np.testing.assert_allclose(
        trainer.state()["average/sequential/dense/kernel"], average, rtol=1e-5
    )


STUDENT = "helpers:normalized_network"
MIX = {"mixup_alpha": 2, "ema_decay": 0.9, "studentnet": STUDENT, "max_number_of_steps": 6}
SCRIPT = "code/cifar_train_mentormix.py"


@pytest.fixture(scope="module")
def mixed_run(tmp_path_factory, train_flags):
    folder = tmp_path_factory.mktemp("mixed") / "train"
    flags = train_flags(train_log_dir=folder, trained_mentornet_dir=MENTORNET, **MIX)
    status, output = run(SCRIPT, *flags)
    assert status == 0, output
    return folder


def test_a_run_resumed_ends_with_the_same_state(mixed_run, tmp_path, train_flags):
    flags = train_flags(train_log_dir=tmp_path, trained_mentornet_dir=MENTORNET, **MIX)
    for more in (["--stop_after_step=2"], []):
        status, output = run(SCRIPT, *flags, *more)
        assert status == 0, output
    assert_same_state(mixed_run, tmp_path)


def test_the_average_is_what_is_evaluated(mixed_run):
    student = load_student(tf.train.latest_checkpoint(str(mixed_run)))
    state = latest_state(mixed_run)
    averages = {k: v for k, v in state.items() if k.startswith("state/average")}
    kernels = variables_of(student)
    assert len(averages) == len(kernels) > 10
    for name, variable in kernels.items():
        key = name.replace(".", "..").replace("/", ".S")  # As TensorFlow escapes it.
        saved = averages[f"state/average.S{key}/.ATTRIBUTES/VARIABLE_VALUE"]
        np.testing.assert_array_equal(variable, saved)
        now = state[f"student/{key}/.ATTRIBUTES/VARIABLE_VALUE"]
        assert now.shape == saved.shape and not np.array_equal(now, saved), name


def test_plain_mixup_runs_under_the_baseline(tmp_path, train_flags):
    """It learns from other samples than the plain baseline, all with weight 1."""
    for name, values in (("mixed", MIX), ("plain", MIX | {"mixup_alpha": ""})):
        values = {key: value for key, value in values.items() if value != ""}
        flags = train_flags(train_log_dir=tmp_path / name, **(values | {"max_number_of_steps": 2}))
        status, output = run("code/cifar_train_baseline.py", *flags, "--log_every_steps=1")
        assert status == 0, output
        rows = read_json_lines(tmp_path / name / "metrics.jsonl")
        assert [row["data_util/batch_sum_v"] for row in rows] == [16, 16]
        # Plain samples learn from the loss that they had; the mixed ones' is another.
        plain, learned = rows[0]["mentornet/orig_loss"], rows[0]["mentornet/weighted_loss"]
        assert (learned == pytest.approx(plain, rel=1e-6)) == (name == "plain")


def test_settings_that_contradict():
    good: dict[str, Any] = {"data_dir": "d", "train_log_dir": "t"}
    with pytest.raises(InputError, match="`mixup_alpha` must be a positive"):
        MixupConfig(0.0)
    with pytest.raises(InputError, match="`second_reweight` needs a MentorNet"):
        TrainConfig(**good, mixup=MixupConfig(1.0, second_reweight=True))
    with pytest.raises(InputError, match="`ema_decay` must be at least 0 and below 1"):
        TrainConfig(**good, ema_decay=1.0)
    config = TrainConfig(
        **good, mixup=MixupConfig(1.0, True), weighting=WeightingConfig(), trained_mentornet_dir="m"
    )
    assert dataclasses.asdict(config)["mixup"] == {"alpha": 1.0, "second_reweight": True}


@pytest.mark.parametrize("second", [False, True])
def test_mixed_samples_are_weighted_again_if_asked(second):
    asked = TrainConfig(
        *("-", "-"),
        studentnet="helpers:small_network",
        mixup=MixupConfig(ALPHA, second),
        weighting=WeightingConfig(),
        trained_mentornet_dir=MENTORNET,
    )
    state = make_trainer(asked, 200, 10, (32, 32, 3)).state()
    assert ("mixed_loss_moving_average" in state) == second
