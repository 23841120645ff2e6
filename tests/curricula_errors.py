"""Errors of learned curricula: python tests/curricula_errors.py [--seeds=5] [--published].

Without flags, those of the shipped MentorNets. With --seeds, learns each curriculum from so many
seeds first, with the default flags or (--published) with those of the published command.
"""

from __future__ import annotations

import argparse
import functools

import numpy as np
import tensorflow as tf

from mentornet import MentorNet, load_mentornet
from mentornet.learning import curricula, teaching, training_rows
from mentornet.learning.settings import DEFAULTS
from mentornet.weighting.features import RELEASE
from mentornet.weighting.mentor_checkpoints import shipped_mentornets

# The curricula of the release's four features; others are not shipped.
SHIPPED = [n for n in curricula.CURRICULA if curricula.feature_names(n) == RELEASE]
PUBLISHED = DEFAULTS | {"num_steps": 30_000, "learning_rate": 0.1}


def outside(n: int = 200_000) -> np.ndarray:
    """Uniform random points: loss 0..40, difference -30..30, label 0, epoch 0..99."""
    random = np.random.default_rng(1)
    columns = [random.uniform(0, 40, n), random.uniform(-30, 30, n), np.zeros(n)]
    return np.stack([*columns, random.integers(0, 100, n)], 1)


def learn(vstar_fn: str, seed: int, settings: dict) -> MentorNet:
    """The MentorNet that data_generator.py and train.py learn with this seed."""
    features, targets = training_rows.generate(vstar_fn, None, 100_000, seed)
    targets = targets[:, None]
    rows = (features[:80_000], targets[:80_000]), (features[80_000:], targets[80_000:])
    return teaching.learn(*rows, seed=seed, **settings)


@functools.lru_cache(maxsize=1)
def _points(vstar_fn: str) -> list[tuple[tf.Tensor, np.ndarray]]:
    """The grid's and the other features, with their targets."""
    curriculum = curricula.CURRICULA[vstar_fn]
    parts = curricula.grid(), outside()
    return [(tf.constant(part, tf.float32), curriculum(part, None)) for part in parts]


def errors(vstar_fn: str, mentor: MentorNet) -> tuple[float, float, float]:
    """Mean squared error on the grid and outside it, and the smallest weight on the grid."""
    results, smallest = [], 1.0
    for features, target in _points(vstar_fn):
        weights = tf.sigmoid(mentor(features)).numpy()[:, 0]
        results.append(float(np.mean((weights - target) ** 2)))
        smallest = min(smallest, float(weights.min()))
    return results[0], results[1], smallest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=0)
    parser.add_argument("--published", action="store_true")
    args = parser.parse_args()
    lines = []
    for vstar_fn in SHIPPED:
        for seed in range(args.seeds) or [None]:
            if seed is None:
                mentor = load_mentornet(shipped_mentornets()[vstar_fn])
            else:
                mentor = learn(vstar_fn, seed, PUBLISHED if args.published else DEFAULTS)
            grid, out, smallest = errors(vstar_fn, mentor)
            label = "shipped" if seed is None else f"seed {seed}"
            lines.append(
                f"{vstar_fn:<20} {label}: grid {grid:.1e}, outside {out:.1e}, smallest weight "
                f"{smallest:.6f}"
            )
    print("\n".join(lines))


if __name__ == "__main__":
    main()
