"""TensorFlow 1's momentum against NumPy and a few steps worked by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mentornet.core.schedules import PiecewiseConstant, PiecewiseLinear
from mentornet.training.optimizers import (
    PiecewiseConstantDecay,
    PiecewiseLinearDecay,
    TF1Momentum,
    make_optimizer,
)
from mentornet.training.wrappers import Averaged, LossScaled, OptimizerUpdate


def test_worked_steps_across_a_change_of_the_rate():
    variable = keras.Variable([1.0])
    optimizer = TF1Momentum(PiecewiseConstantDecay((1,), (0.1, 0.01)), 0.9)
    optimizer.build([variable])
    # a = 1, 1.9, 2.71; the rate is 0.1, 0.1, 0.01.
    for expected in (1 - 0.1, 0.9 - 0.19, 0.71 - 0.0271):
        optimizer.apply([tf.constant([1.0])], [variable])
        assert float(variable[0]) == pytest.approx(expected, abs=1e-6)


def test_against_numpy():
    random = np.random.default_rng(0)
    w, a = random.normal(size=(3, 4)).astype(np.float32), np.zeros((3, 4), np.float32)
    variable = keras.Variable(w)
    optimizer = TF1Momentum(0.05, 0.8)
    optimizer.build([variable])
    for _ in range(20):
        g = random.normal(size=(3, 4)).astype(np.float32)
        a = 0.8 * a + g
        w = w - 0.05 * a
        optimizer.apply([tf.constant(g)], [variable])
    np.testing.assert_allclose(variable.numpy(), w, rtol=1e-5, atol=1e-6)


def test_rates_of_the_steps():
    rates = PiecewiseConstantDecay((1, 4, 6), (1.0, 0.5, 0.25, 0.125))
    found = [float(rates(tf.constant(step))) for step in range(8)]
    assert found == [1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.125]


def test_differs_from_keras_sgd_when_the_rate_changes():
    rates = PiecewiseConstantDecay((0,), (0.1, 0.01))
    values = []
    for optimizer in (TF1Momentum(rates, 0.9), keras.optimizers.SGD(rates, momentum=0.9)):
        variable = keras.Variable([0.0])
        optimizer.build([variable])
        for _ in range(2):
            optimizer.apply([tf.constant([1.0])], [variable])
        values.append(float(variable[0]))
    assert values == pytest.approx([-0.119, -0.2], abs=1e-6)


def test_nesterov_rates_and_freezing_against_numpy():
    """torch.optim.SGD(nesterov=True): a = m a + g; w = w - rate (g + m a)."""
    random, schedule = np.random.default_rng(0), PiecewiseLinear((0, 4, 10), (0.02, 0.1, 0.0))
    names, factors = ("kernel", "beta", "bias"), (1.0, 64.0, 1.0)
    values = [random.normal(size=3) for _ in names]
    momenta = [np.zeros(3) for _ in names]
    variables = [
        keras.Variable(w.astype(np.float32), name=name)
        for w, name in zip(values, names, strict=True)
    ]
    frozen = {variables[2].path: 3}
    optimizer = make_optimizer(0.85, schedule, True, {"beta": 64.0}, frozen)
    optimizer.build(variables)
    for step in range(10):
        rate = 0.02 + 0.02 * step if step < 4 else 0.1 * (10 - step) / 6
        gradients = [random.normal(size=3) for _ in names]
        for k, g in enumerate(gradients):
            momenta[k] = 0.85 * momenta[k] + g
            own = 0 if k == 2 and step >= 3 else rate * factors[k]
            values[k] = values[k] - own * (g + 0.85 * momenta[k])
        optimizer.apply([tf.constant(g, tf.float32) for g in gradients])
        for variable, expected in zip(variables, values, strict=True):
            np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_linear_rates_are_those_of_the_plain_schedule():
    schedule = PiecewiseLinear((2, 3, 5, 9), (0.2, 0.6, 1.0, 0.07))
    rates = PiecewiseLinearDecay(schedule.steps, schedule.values)
    assert float(rates(tf.constant(4))) == pytest.approx(0.8)
    for step in range(12):
        assert float(rates(tf.constant(step, tf.int64))) == pytest.approx(schedule(step), abs=1e-6)


def test_momentum_zero_is_plain_gradient_descent():
    optimizer = make_optimizer(0.0, PiecewiseConstant((), (0.1,)))
    assert isinstance(optimizer, keras.optimizers.SGD)
    assert optimizer.momentum == 0
    other = make_optimizer(0.5, PiecewiseConstant((3,), (0.1, 0.01)))
    assert isinstance(other, TF1Momentum)
    assert (other.momentum, other._learning_rate.boundaries) == (0.5, (3,))
    assert not other.nesterov


@pytest.mark.parametrize(
    ("values", "is_plain"),
    [
        ({}, True),
        ({"rate_factors": {"bias": 1}}, True),
        ({"rate_factors": {"bias": 2}}, False),
        ({"frozen_after": {"dense/bias": 3}}, False),
    ],
)
def test_what_plain_gradient_descent_cannot_do(values, is_plain):
    optimizer = make_optimizer(0.0, PiecewiseLinear((0, 2), (1.0, 0.0)), **values)
    assert isinstance(optimizer, keras.optimizers.SGD) == is_plain
    assert float(optimizer._learning_rate(1)) == 0.5
    if not is_plain:
        assert (optimizer.rate_factors, optimizer.frozen_after) == (
            values.get("rate_factors", {}),
            values.get("frozen_after", {}),
        )


def test_defaults():
    optimizer = TF1Momentum()
    assert (float(optimizer.learning_rate), optimizer.momentum) == (pytest.approx(0.1), 0.9)
    assert optimizer.name == "tf1_momentum"
    assert (optimizer.nesterov, optimizer.rate_factors, optimizer.frozen_after) == (False, {}, {})


def test_a_second_build_keeps_the_state():
    variable = keras.Variable([1.0])
    optimizer = TF1Momentum(0.1, 0.5)
    for expected in (0.9, 0.75):
        optimizer.build([variable])
        optimizer.apply([tf.constant([1.0])], [variable])
        assert float(variable[0]) == pytest.approx(expected)


def test_survives_keras_serialisation():
    schedule = PiecewiseConstantDecay((5,), (0.1, 0.01))
    optimizer = TF1Momentum(schedule, 0.7, True, {"beta": 2.0}, {"a/b": 3})
    copy = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert (copy.momentum, copy.nesterov) == (0.7, True)
    assert (copy.rate_factors, copy.frozen_after) == ({"beta": 2.0}, {"a/b": 3})
    assert copy._learning_rate.values == (0.1, 0.01)
    assert copy._learning_rate.boundaries == (5,)


def test_loss_scale():
    """A gradient at half the scale is applied; one that is not finite counts as 0."""
    student = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    before = student.get_weights()
    scale = LossScaled(OptimizerUpdate(keras.optimizers.SGD(0.5), student))
    assert float(scale.scale_loss(tf.constant(2.0))) == 2 * 2**15
    good = [tf.constant([[3.0 * 2**15]]), tf.constant([0.0])]
    bad = [tf.constant([[np.inf]]), tf.constant([1.0])]
    scale.apply(good)
    np.testing.assert_allclose(student.get_weights()[0], before[0] - 1.5, rtol=1e-6)
    scale.apply(bad)
    np.testing.assert_allclose(student.get_weights()[0], before[0] - 1.5, rtol=1e-6)
    assert int(scale.optimizer.iterations) == 2
    assert float(scale.state()["loss_scale"]) == 2**14
    unscale = tf.function(lambda: scale.unscale(good), autograph=False)
    for _ in range(2000):
        unscale()
    assert float(scale.state()["loss_scale"]) == 2**15
    assert int(scale.state()["num_finite"]) == 0


def test_a_moving_average_passes_on_the_scale():
    student = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    scaled = LossScaled(OptimizerUpdate(keras.optimizers.SGD(0.5), student))
    update = Averaged(scaled, student, 0.9)
    assert float(update.scale_loss(tf.constant(2.0))) == 2 * 2**15
    state = update.state()
    assert {"loss_scale", "num_finite"} <= state.keys()
    assert sum(name.startswith("average/") for name in state) == 2


def test_an_overflow_in_another_replica(monkeypatch):
    """It counts here, too; all replicas take the same step."""
    student = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    scale = LossScaled(OptimizerUpdate(keras.optimizers.SGD(0.5), student))
    monkeypatch.setattr("mentornet.core.replicas.total", lambda values: values + 1)
    found = scale.unscale([tf.constant([[4.0]]), tf.constant([2.0])])
    assert [gradient.numpy().ravel().tolist() for gradient in found] == [[0], [0]]
    assert float(scale.state()["loss_scale"]) == 2**14
    assert int(scale.state()["num_finite"]) == 0


def test_linear_rates_survive_keras_serialisation():
    optimizer = TF1Momentum(PiecewiseLinearDecay((2, 5), (0.2, 1.0)))
    copy = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert (copy._learning_rate.steps, copy._learning_rate.values) == ((2, 5), (0.2, 1.0))


def test_a_scaled_loss_that_does_not_depend_on_a_variable():
    student = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    scale = LossScaled(OptimizerUpdate(keras.optimizers.SGD(0.5), student))
    found, missing = scale.unscale([tf.constant([3.0 * 2**15]), None])
    assert found.numpy().tolist() == [3] and missing is None
    found, missing = scale.unscale([tf.constant([np.inf]), None])
    assert found.numpy().tolist() == [0] and missing is None
