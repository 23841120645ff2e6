"""The predefined curricula against weights worked by hand, and the rows they are learned from."""

import numpy as np
import pytest

from mentornet import InputError
from mentornet.learning import curricula
from mentornet.weighting.features import FURTHER, RELEASE

# Loss, difference, label, epoch, and the target weight of each curriculum.
NAMES = ("self_paced", "hard_example_mining", "focal_loss", "spcl_linear", "mentornet_pd")
BY_HAND = [
    ((0, 0, 0, 19), (1, 1, 0, 1, 1)),
    ((np.log(4), 0.25, 0, 18), (0, 1, 9 / 16, 0.75, 1)),
    ((np.log(4), 0.25, 1, 19), (0, 1, 9 / 16, 0.75, 0)),
    ((np.log(2), 0.25, 0, 89), (0, 1, 1 / 4, 0.75, 0)),
    ((np.log(2), 0.25, 0, 90), (0, 1, 1 / 4, 0.75, 0.75)),
    ((np.log(2), -0.5, 0, 90), (1, 0, 1 / 4, 1, 1)),
    ((np.log(2), -0.5, 1, 50), (1, 1, 1 / 4, 1, 1)),
    ((1e3, 3, 0, 95), (0, 1, 1, 0, 0)),
]
ROWS = np.array([row for row, _ in BY_HAND])
WEIGHTS = np.array([weights for _, weights in BY_HAND])


@pytest.mark.parametrize("name", NAMES)
def test_weights_by_hand(name):
    weights = curricula.targets(name, ROWS, None)
    np.testing.assert_allclose(weights, WEIGHTS[:, NAMES.index(name)], atol=1e-12)
    np.testing.assert_array_equal(curricula.targets(f"vstar_{name}", ROWS, None), weights)
    assert curricula.targets("baseline", ROWS, None).tolist() == [1] * len(ROWS)


def test_gamma_by_hand():
    """Of focal_loss the exponent, of spcl_linear the width, also late in mentornet_pd."""
    for name, expected in (
        ("focal_loss", [0, 0.75**3, 0.75**3, 1 / 8, 1 / 8, 1 / 8, 1 / 8, 1]),
        ("spcl_linear", [1, 11 / 12, 11 / 12, 11 / 12, 11 / 12, 1, 1, 0]),
        ("mentornet_pd", [1, 1, 0, 0, 11 / 12, 1, 1, 0]),
    ):
        np.testing.assert_allclose(curricula.targets(name, ROWS, 3.0), expected, atol=1e-12)
    deviation = np.append(ROWS, [[0.25]] * len(ROWS), axis=1)
    np.testing.assert_allclose(curricula.targets("active_bias", deviation, None), 0.75)
    np.testing.assert_allclose(curricula.targets("active_bias", deviation, 2.0), 0.625)
    np.testing.assert_allclose(curricula.targets("active_bias", 100 * deviation, None), 1)


@pytest.mark.parametrize(
    "weights", [[0, 1.01, 1], [0, -0.01, 1], [0, np.nan, 1], [0, 1], [[0]] * 3]
)
def test_targets_that_are_no_weights(weights, monkeypatch):
    monkeypatch.setitem(curricula.CURRICULA, "own", lambda features, gamma: np.array(weights))
    with pytest.raises(
        InputError, match=r"`vstar_fn` own must return .* Received: (shape|outside)="
    ):
        curricula.targets("own", ROWS[:3], None)


def test_a_function_without_gamma(monkeypatch):
    monkeypatch.setitem(curricula.CURRICULA, "own", lambda features: features[:, 2])
    with pytest.raises(InputError, match="`vstar_fn` own cannot be called: "):
        curricula.targets("own", ROWS, None)


def test_features_of_a_curriculum(monkeypatch):
    assert curricula.feature_names("focal_loss") == RELEASE
    assert curricula.feature_names("active_bias") == (*RELEASE, "loss_variance")
    with pytest.raises(InputError, match=r"one of baseline, .* Received: vstar_fn='none'"):
        curricula.find("none")
    bias = curricula.active_bias
    monkeypatch.setattr(bias, "features", (*RELEASE, "mean_loss", "weather"))
    with pytest.raises(InputError, match=r"must be among loss, .* Received: unknown=.'weather'"):
        curricula.feature_names("active_bias")
    monkeypatch.setattr(bias, "features", ("loss_variance",))
    with pytest.raises(InputError, match="`features` must begin with loss, "):
        curricula.feature_names("active_bias")


def test_the_grid_is_the_release():
    grid = curricula.grid()
    assert grid.shape == (120 * 100 * 100, 4) and grid.dtype == np.float32
    loss, difference, label, epoch = grid.T
    np.testing.assert_allclose(loss[:: 100 * 100], [*np.arange(0, 10, 0.1), *range(10, 30)], 1e-6)
    np.testing.assert_allclose(difference[: 100 * 100 : 100], np.linspace(-5, 4.9, 100), atol=1e-6)
    assert not label.any() and epoch[:100].tolist() == list(range(100))


def test_the_grids_of_further_features():
    """Another grid would draw other rows for the same seed."""
    grids = {name: feature.grid for name, feature in FURTHER.items()}
    shares, margins = grids.pop("wrong_share"), grids.pop("probability_margin")
    np.testing.assert_allclose(shares, np.linspace(0.05, 0.95, 19), rtol=1e-12)
    np.testing.assert_allclose(margins, np.linspace(-1, 1, 21), atol=1e-12)
    small, large = (0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5), (10,)
    assert grids == {
        "loss_variance": (0, 0.003, 0.01, 0.03, 0.06, *small, *large),
        "mean_loss": (0, 0.03, *small, 7, *large),
    }


def test_rows_are_drawn_from_the_grid_as_ever(monkeypatch):
    """Once each, further features independently; the same for the same seed and size."""
    grid = np.arange(48, dtype=np.float32).reshape(12, 4)
    monkeypatch.setattr(curricula, "grid", lambda: grid)
    rows = curricula.draw((*RELEASE, "wrong_share"), 12, 3)
    assert rows.dtype == np.float32 and rows.shape == (12, 5)
    generator = np.random.default_rng(3)
    np.testing.assert_array_equal(rows[:, :4], grid[generator.choice(12, 12, replace=False)])
    assert sorted(rows[:, 0]) == grid[:, 0].tolist()
    shares = np.array(FURTHER["wrong_share"].grid)[generator.integers(0, 19, (12, 1))]
    np.testing.assert_allclose(rows[:, 4:], shares, rtol=1e-6)
    assert curricula.draw(RELEASE, 10, 3).shape == (10, 4)
    for count in (9, 13):
        with pytest.raises(InputError, match=rf"in 10\.\.12, .* Received: sample_size={count}"):
            curricula.draw(RELEASE, count, 0)
