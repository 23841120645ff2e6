"""Predefined curricula: the target weight v* of a sample (NumPy only).

Each is a function of gamma (None means its default) and of the features [n, 4]: loss, loss minus
its moving average, label, epoch percentage. The formulas are those of the 2018 release; each
docstring gives the source of the idea. A function with more features names all its columns in an
attribute `features` (`mentornet.features`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable

import numpy as np

from mentornet.core.errors import check
from mentornet.core.registry import call_object, import_object
from mentornet.weighting.features import FURTHER, RELEASE, check_names

Curriculum = Callable[[np.ndarray, float | None], np.ndarray]


def _columns(features: np.ndarray) -> tuple[np.ndarray, ...]:
    return tuple(np.asarray(features, np.float64).T)


def baseline(features: np.ndarray, gamma: float | None = None) -> np.ndarray:
    """Every sample has weight 1."""
    del gamma
    return np.ones(len(features))


def self_paced(features: np.ndarray, gamma: float | None = None) -> np.ndarray:
    """1 where the difference is at most 0 (Kumar et al. 2010)."""
    del gamma
    _, difference, _, _ = _columns(features)
    return np.where(difference <= 0, 1.0, 0.0)


def hard_example_mining(features: np.ndarray, gamma: float | None = None) -> np.ndarray:
    """1 where the difference is at least 0 or the label is positive."""
    del gamma
    _, difference, label, _ = _columns(features)
    return np.where((difference >= 0) | (label > 0), 1.0, 0.0)


def focal_loss(features: np.ndarray, gamma: float | None = None) -> np.ndarray:
    """(1 - exp(-loss)) ** gamma, gamma 2 by default (Lin et al. 2017)."""
    loss, _, _, _ = _columns(features)
    return (1 - np.exp(-loss)) ** (2 if gamma is None else gamma)


def spcl_linear(features: np.ndarray, gamma: float | None = None) -> np.ndarray:
    """1 - difference / gamma, clipped to 0..1; gamma 1 by default (Jiang et al. 2015)."""
    _, difference, _, _ = _columns(features)
    return np.clip(1 - difference / (1 if gamma is None else gamma), 0, 1)


def mentornet_pd(features: np.ndarray, gamma: float | None = None) -> np.ndarray:
    """1 up to epoch 18, then self_paced, and from epoch 90 spcl_linear (paper, section 5.1)."""
    _, _, _, epoch = _columns(features)
    late = np.where(epoch < 90, self_paced(features), spcl_linear(features, gamma))
    return np.where(epoch <= 18, 1.0, late)


def active_bias(features: np.ndarray, gamma: float | None = None) -> np.ndarray:
    """(1 + deviation of the sample's past losses / gamma) / 2, at most 1; gamma 1 by default.

    Samples on which the student is undecided count most (Chang et al. 2017, SGD-WPV). As in the
    paper, a sample with deviation gamma has twice the weight of one that never changes. Unlike in
    the paper, this is the maximum, since weights are at most 1, and the deviation is that of the
    loss.
    """
    deviation = np.sqrt(np.asarray(features, np.float64)[:, 4])
    return np.minimum(1, (1 + deviation / (1 if gamma is None else gamma)) / 2)


active_bias.features = (*RELEASE, "loss_variance")  # type: ignore[attr-defined]

CURRICULA: dict[str, Curriculum] = {
    function.__name__: function
    for function in (
        baseline,
        self_paced,
        hard_example_mining,
        focal_loss,
        spcl_linear,
        mentornet_pd,
        active_bias,
    )
}


def find(name: str) -> Curriculum:
    """A predefined curriculum, or your own as "module:function".

    The release's function names, `vstar_<curriculum>`, are accepted as well.

    Raises:
      InputError: the name is unknown, or there is no such module or function.
    """
    if ":" not in name:
        rule = f"`vstar_fn` must be one of {', '.join(CURRICULA)}, or 'module:function'."
        curriculum = name.removeprefix("vstar_")
        check(curriculum in CURRICULA, rule, vstar_fn=name)
        return CURRICULA[curriculum]
    return import_object("vstar_fn", name)


def targets(name: str, features: np.ndarray, gamma: float | None) -> np.ndarray:
    """The target weights of curriculum `name`, float64 [n].

    Without `gamma`, a function of one's own gets its default, or None if it has none.

    Raises:
      InputError: see `find`; gamma is not positive; or the function does not take two arguments, or
        return one weight in 0..1 per sample.
    """
    rule = "`vstar_gamma` must be positive."
    check(gamma is None or gamma > 0, rule, vstar_gamma=gamma)
    function = find(name)
    given = (features,) if gamma is None and _has_default(function) else (features, gamma)
    weights = np.asarray(call_object("vstar_fn", name, function, *given), np.float64)
    rule = f"`vstar_fn` {name} must return one weight in 0..1 per sample."
    check(weights.shape == (len(features),), rule, shape=weights.shape)
    outside = weights[~((weights >= 0) & (weights <= 1))]
    check(not outside.size, rule, outside=outside[:3].tolist())
    return weights


def _has_default(function: Curriculum) -> bool:
    """Whether a curriculum has a default of gamma, its second argument."""
    try:
        _, gamma, *_ = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # No function, one without a signature, or of one argument.
        return False
    return gamma.default is not gamma.empty


def feature_names(name: str) -> tuple[str, ...]:
    """The features of curriculum `name`: the release's four, or those that its function names.

    Raises:
      InputError: see `find`; or a further feature is not in `mentornet.features.FURTHER`.
    """
    names = tuple(getattr(find(name), "features", RELEASE))
    unknown = [n for n in check_names(names)[len(RELEASE) :] if n not in FURTHER]
    rule = f"Features of `vstar_fn` {name} must be among {', '.join((*RELEASE, *FURTHER))}."
    check(not unknown, rule, unknown=unknown)
    return names


def draw(names: tuple[str, ...], count: int, seed: int) -> np.ndarray:
    """Draws rows of the release's grid without replacement, and further features from theirs.

    Returns:
      float32 [count, len(names)].

    Raises:
      InputError: `count` is below 10 or exceeds the grid's number of rows.
    """
    rows = grid()
    rule = f"`sample_size` must lie in 10..{len(rows)}, the rows of the grid."
    check(10 <= count <= len(rows), rule, sample_size=count)
    generator = np.random.default_rng(seed)
    columns = [rows[generator.choice(len(rows), count, replace=False)]]
    for name in names[len(RELEASE) :]:
        columns.append(generator.choice(FURTHER[name].grid, (count, 1)))
    return np.hstack(columns).astype(np.float32)


def grid() -> np.ndarray:
    """The release's grid of features, float32 [1_200_000, 4].

    loss 0, 0.1, ..., 9.9, 10, 11, ..., 29; difference -5, -4.9, ..., 4.9; label 0; epoch 0..99.
    """
    loss = np.concatenate([np.arange(100) / 10, np.arange(10, 30)])
    difference = np.arange(-50, 50) / 10
    axes = np.meshgrid(loss, difference, [0.0], np.arange(100), indexing="ij")
    return np.stack([axis.ravel() for axis in axes], axis=1).astype(np.float32)
