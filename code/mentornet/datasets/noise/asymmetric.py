"""A label becomes that of a similar class (CIFAR-10: truck -> automobile, bird -> airplane,
deer -> horse, cat <-> dog).
"""

import numpy as np

from mentornet.core.errors import check
from mentornet.datasets.noise import Corruption

LOOK_ALIKES = {"cifar10": {9: 1, 2: 0, 4: 7, 3: 5, 5: 3}}


def corrupt(corruption: Corruption) -> np.ndarray:
    """Raises InputError if no look-alikes are defined for the data set."""
    rule = f"noise_type='asymmetric' is defined for {', '.join(LOOK_ALIKES)} only."
    check(corruption.dataset in LOOK_ALIKES, rule, dataset_name=corruption.dataset)
    becomes = np.arange(corruption.num_classes)
    for label, other in LOOK_ALIKES[corruption.dataset].items():
        becomes[label] = other
    return corruption.replace(lambda rng: becomes[corruption.labels])
