"""Plain functions of the step, against numbers worked by hand."""

from typing import Any

import pytest

from mentornet.config.training import TrainConfig
from mentornet.config.weighting import NamedWeighting, WeightingConfig
from mentornet.core import schedules
from mentornet.core.errors import InputError
from mentornet.students import registry
from mentornet.training import recipe


def make_config(**values):
    config = TrainConfig(data_dir="-", train_log_dir="-", **values)
    return recipe.resolve(config, recipe.defaults(config, augment=True))


def under_mentornet(mentored, **values):
    mentor = {"trained_mentornet_dir": "x", "weighting": WeightingConfig()}
    return make_config(**(mentor if mentored else {}), **values)


def schedule(mentored, **values):
    """The learning rate of each step with 50,000 samples."""
    return registry.learning_rate_schedule(under_mentornet(mentored, **values), 50000)


def ignored(mentored=True, **values):
    return registry.ignored_flags(under_mentornet(mentored, **values))


@pytest.mark.parametrize(
    ("step", "rate"),
    [
        (0, 0.1),
        (19531, 0.1),
        (19532, 0.01),
        (25000, 0.01),
        (25001, 0.001),
        (30000, 0.001),
        (30001, 0.0001),
    ],
)
def test_mentored_resnet_changes_after_the_boundary_and_ignores_the_decay_flags(step, rate):
    for values in ({}, {"learning_rate_decay_factor": 0.5, "num_epochs_per_decay": 1}):
        assert schedule(True, **values)(step) == pytest.approx(rate)


@pytest.mark.parametrize(
    ("epoch", "num_steps", "step"),
    [(18, 39000, 7020), (18, 3001, 541), (1, 3, 1), (99, 3, 3), (0, 50, 0), (100, 7, 7)],
)
def test_the_first_step_of_an_epoch(epoch, num_steps, step):
    assert schedules.first_step_of(epoch, num_steps) == step
    assert schedules.epoch_percentage(step, num_steps) >= epoch
    assert schedules.epoch_percentage(step - 1, num_steps) < epoch


def test_flags_without_effect_are_named():
    assert ignored(num_epochs_per_decay=7) == ["num_epochs_per_decay"]
    assert ignored(learning_rate_decay_factor=0.5) == ["learning_rate_decay_factor"]
    assert ignored() == []
    assert ignored(mentored=False, num_epochs_per_decay=7) == []
    assert ignored(num_epochs_per_decay=7, studentnet="inception") == []
    given = {"num_epochs_per_decay": 7, "learning_rate_decay_factor": 0.5}
    assert ignored(mentored=False, **given, learning_rate_shape="0:1,1:0") == sorted(given)
    assert ignored(mentored=False, **given, studentnet="airbench93") == sorted(given)
    for mentored in (False, True):
        found = ignored(mentored, **given, learning_rate_boundaries=(9,))
        assert found == ["num_epochs_per_decay"]


@pytest.mark.parametrize("mentored", [False, True])
def test_given_boundaries_and_shapes_replace_the_students_schedule(mentored):
    values = {"learning_rate": 0.2, "max_number_of_steps": 40000}
    rates = schedule(mentored, learning_rate_shape="0:0,1:1", **values)
    assert [rates(step) for step in (10000, 30000)] == pytest.approx([0.05, 0.15])
    rates = schedule(mentored, learning_rate_boundaries=(9,), **values)
    assert [rates(step) for step in (9, 10, 39999)] == pytest.approx([0.2, 0.02, 0.02])


def test_only_a_mentornet_changes_the_schedule():
    """Only a MentorNet has this schedule, not any weighting."""
    config = make_config(weighting=NamedWeighting("self_paced"))
    rates = registry.learning_rate_schedule(config, 50000)
    assert rates == schedule(False) != schedule(True)


@pytest.mark.parametrize(("step", "rate"), [(19499, 0.1), (19500, 0.01), (39000, 0.001)])
def test_baseline_resnet_decays_every_19500_steps_as_python_2_divides(step, rate):
    assert schedule(False)(step) == pytest.approx(rate)


@pytest.mark.parametrize(("step", "rate"), [(19499, 0.1), (19500, 0.01), (39000, 0.001)])
def test_inception_decays_every_50_epochs_by_default(step, rate):
    values = {"max_number_of_steps": 39001, "studentnet": "inception"}
    assert schedule(False, **values)(step) == pytest.approx(rate)


@pytest.mark.parametrize(("step", "rate"), [(77999, 0.1), (78000, 0.01), (119999, 0.01)])
def test_inception_decays_at_78000_as_published(step, rate):
    values = {"num_epochs_per_decay": 200, "max_number_of_steps": 120000, "studentnet": "inception"}
    for mentored in (False, True):
        assert schedule(mentored, **values)(step) == pytest.approx(rate)


def test_other_resnets_decay_after_a_half_and_three_quarters_of_the_steps():
    """Also under a MentorNet; but every so many epochs if a flag says how many."""
    values = {"studentnet": "resnet8", "max_number_of_steps": 64}
    for mentored in (False, True):
        rates = schedule(mentored, **values)
        assert [rates(step) for step in (32, 33, 48, 49)] == pytest.approx([0.1, 0.01, 0.01, 0.001])
    for steps, boundaries in ((1, [1]), (2, [1]), (3, [1, 2]), (5, [2, 3])):
        rates = schedule(False, **(values | {"max_number_of_steps": steps}))
        assert [s for s in range(steps + 1) if rates(s) > rates(s + 1)] == boundaries
    rates = schedule(False, **values, num_epochs_per_decay=0.1)
    assert [rates(step) for step in (38, 39, 64)] == pytest.approx([0.1, 0.01, 0.01])


def test_boundaries_that_were_given_take_precedence():
    rates = schedule(True, learning_rate_boundaries=(10, 20), learning_rate_decay_factor=0.5)
    assert [rates(step) for step in (10, 11, 20, 21)] == pytest.approx([0.1, 0.05, 0.05, 0.025])


def test_the_last_rise_of_the_learning_rate():
    shapes = {"0:0.2,0.23:1,1:0.07": 23, "0:1,0.5:1,1:0": 0, "0:1,0.4:0.1,0.6:0.2,1:0": 60}
    shapes |= {"0:0.5,0.01:1,1:1": 1, "0:0,1:1": 99}
    for shape, epoch in shapes.items():
        schedule = schedules.follow_shape(shape, 1.5, 1465)
        assert schedules.last_rise(schedule, 1465) == epoch
    assert schedules.last_rise(schedules.decay_at((30, 60), 0.1, 0.1), 90) == 0


def test_epoch_percentage():
    steps = (0, 389, 390, 38999)
    assert [schedules.epoch_percentage(s, 39000) for s in steps] == [0, 0, 1, 99]


def test_dropout_rates():
    rates = schedules.dropout_rates("0.5, 17, 0.05, 78, 1.0, 5")
    assert len(rates) == 100
    assert [rates[i] for i in (0, 16, 17, 94, 95, 99)] == [0.5, 0.5, 0.05, 0.05, 1.0, 1.0]


def test_dropout_rates_one_by_one():
    """A list of rates, including the bounds 0 and 1, is used unchanged."""
    rates = [0.0, 1.0, *(0.01 * k for k in range(98))]
    assert schedules.dropout_rates(rates) == rates
    for wrong in (rates[:99], [*rates, 0.5], [*rates[:99], 1.01], [-0.01, *rates[1:]]):
        with pytest.raises(InputError, match="must be 100 rates in 0..1"):
            schedules.dropout_rates(wrong)
    odd: Any
    for odd in (0.1, ["x"] * 100, [None] * 100):
        with pytest.raises(InputError, match="must be 100 rates in 0..1"):
            schedules.dropout_rates(odd)
    assert schedules.dropout_rates("1,0,0,100") == [0.0] * 100
    assert schedules.dropout_rates("1,100") == [1.0] * 100
    wrong_texts = ("", "0.5,50,1.01,50", "0.5,50.5,0.5,50", "0.5,-1,0.5,100,0.5,1", "0.5,100,0.5")
    for text in (*wrong_texts, "-0.5,100"):
        with pytest.raises(InputError, match=f"Received: example_dropout_rates='{text}'"):
            schedules.dropout_rates(text)


def test_decays_of_small_data():
    """The batch is larger than the data: a decay at each step, not division by zero."""
    assert schedules.steps_per_decay(100, 128, 50) == 1
    assert schedules.steps_per_decay(256, 128, 0.5) == 1
    assert schedules.steps_per_decay(256, 128, 1.5) == 3
    rates = schedules.staircase(1.0, 0.5, 2, 6)
    assert rates.boundaries == (1, 3, 5)
    assert rates.values == (1, 0.5, 0.25, 0.125)
    assert [rates(step) for step in range(7)] == [1, 1, 0.5, 0.5, 0.25, 0.25, 0.125]
    assert schedules.staircase(1.0, 0.5, 2, 5).boundaries == (1, 3)


def test_piecewise_linear():
    rates = schedules.PiecewiseLinear((2, 4, 8), (1.0, 3.0, 2.0))
    expected = [1, 1, 1, 2, 3, 2.75, 2.5, 2.25, 2, 2]
    assert [rates(step) for step in range(10)] == expected
    assert schedules.PiecewiseLinear((3,), (0.5,))(0) == 0.5


def test_shapes_of_the_learning_rate():
    assert schedules.rate_shape("0:0.2,0.23:1,1:0") == ((0, 0.2), (0.23, 1), (1, 0))
    rates = schedules.follow_shape("0:0.5,0.25:1,1:0", rate=2.0, num_steps=10)
    assert (rates.steps, rates.values) == ((0, 2, 10), (1.0, 2.0, 0.0))  # 0.25 is step 2.
    assert schedules.follow_shape("0:1,0.01:3", 1.0, 10).values == (3.0,)
    for wrong in (
        "",
        "0:1,0:2",
        "0.5:1,0.2:1",
        "-0.1:1",
        "0:1,1.1:1",
        "0:-1",
        "0:inf",
        "0",
        "0:1:2",
    ):
        with pytest.raises(InputError, match=f"Received: learning_rate_shape='{wrong}'"):
            schedules.rate_shape(wrong)


@pytest.mark.parametrize(
    ("values", "part"),
    [
        ({"loss_p_percentile": 1.5}, "`loss_p_percentile` must lie in 0..1."),
        ({"loss_p_percentile": float("nan")}, "`loss_p_percentile`"),
        ({"burn_in_epoch": 101}, "`burn_in_epoch` must lie in 0..100."),
        ({"loss_moving_average_decay": -0.1}, "`loss_moving_average_decay`"),
        ({"example_dropout_rates": "0.5,17,0.05,78"}, "must sum to 100, not 95"),
        ({"example_dropout_rates": "1.5,100"}, "must lie in 0..1"),
        ({"example_dropout_rates": "0.5,50.5,0.5,49.5"}, "whole numbers"),
        ({"example_dropout_rates": "0.5,-1,0.5,101"}, "whole numbers"),
        ({"example_dropout_rates": "0.5,inf"}, "must sum to 100"),
        ({"example_dropout_rates": "0.5"}, "must be pairs"),
        ({"example_dropout_rates": "a,100"}, "must be pairs"),
    ],
)
def test_weighting_config_rejects(values, part):
    with pytest.raises(InputError, match=part.replace("(", r"\(")) as caught:
        WeightingConfig(**values)
    assert str(next(iter(values.values()))) in str(caught.value)


@pytest.mark.parametrize(
    "values",
    [
        {"batch_size": 0},
        {"max_number_of_steps": 0},
        {"learning_rate": 0.0},
        {"learning_rate": float("inf")},
        {"seed": -1},
        {"seed": 2**31},
        {"learning_rate_boundaries": (5, 5)},
        {"mentornet_label": "other"},
        {"weighting": WeightingConfig()},
        {"jit_compile": True},
        {"steps_per_loop": 5, "save_interval_steps": 7},
        {
            "jit_compile": True,
            "deterministic": False,
            "weighting": NamedWeighting("self_paced", {"burn_in_epoch": "auto"}),
        },
        *({name: 1.0} for name in ("momentum", "batch_norm_decay", "label_smoothing")),
        *({name: -1} for name in ("weight_decay", "crop_padding", "cutout")),
        *(
            {name: 0.0}
            for name in ("shift_rate_factor", "num_epochs_per_decay", "learning_rate_decay_factor")
        ),
    ],
)
def test_train_config_rejects(values):
    with pytest.raises(InputError, match="Received"):
        make_config(**values)


def test_rate_by_share_of_the_steps():
    """airbench94 at 489 steps, worked by hand: the peak is at step int(0.23 * 489) = 112."""
    rate = schedules.follow_shape("0:0.2,0.23:1,1:0.07", 1.5, 489)
    assert rate.steps == (0, 112, 489)
    expected = {
        0: 0.3,
        56: 0.9,
        112: 1.5,
        300: 1.5 * (1 - 0.93 * 188 / 377),
        489: 0.105,
        600: 0.105,
    }
    for step, value in (expected | {600: 0.105}).items():
        assert rate(step) == pytest.approx(value)
    assert schedules.follow_shape("0:0.2,0.23:1,1:0.07", 1.0, 4)(0) == 1  # No step before the peak.
    assert schedules.PiecewiseLinear((3, 4), (1.0, 2.0))(1) == 1


@pytest.mark.parametrize("spec", ["", "0", "0:1,0:2", "0.5:1,0.2:1", "0:1,1.5:1", "0:-1", "0:x"])
def test_rate_shapes_that_are_none(spec):
    with pytest.raises(InputError, match="`learning_rate_shape` must be"):
        schedules.rate_shape(spec)


def test_rate_and_factor_of_the_flags_reach_every_schedule():
    half = {"learning_rate_decay_factor": 0.5, "max_number_of_steps": 1000}
    for values in (
        {"studentnet": "resnet8"},
        {"studentnet": "inception", "num_epochs_per_decay": 1},
    ):
        rates = schedule(False, **half, **values)
        assert rates.values[:3] == pytest.approx((0.1, 0.05, 0.025))
    assert schedule(True, learning_rate=0.2)(0) == 0.2
    assert schedule(True, learning_rate=0.2, learning_rate_boundaries=(10,))(10) == 0.2
