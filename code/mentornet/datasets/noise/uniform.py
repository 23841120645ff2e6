"""A label becomes any class, so 0.4 makes 36 % of CIFAR-10 wrong (the paper's noise)."""

import numpy as np

from mentornet.datasets.noise import Corruption


def corrupt(corruption: Corruption) -> np.ndarray:
    num_classes, size = corruption.num_classes, len(corruption.labels)
    return corruption.replace(lambda rng: rng.integers(0, num_classes, size))
