"""A label becomes one of the other classes."""

import numpy as np

from mentornet.datasets.noise import Corruption


def corrupt(corruption: Corruption) -> np.ndarray:
    labels, num_classes = corruption.labels, corruption.num_classes
    return corruption.replace(
        lambda rng: (labels + rng.integers(1, num_classes, len(labels))) % num_classes
    )
