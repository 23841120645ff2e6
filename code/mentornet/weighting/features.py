"""The features of a sample that a MentorNet sees, by name.

To add a feature, add an entry to `FURTHER`. A curriculum names it in its attribute `features`; a
MentorNet that is learned from data stores its name. During training it is computed from the sample
history. In your own loop any name will do, since you pass the values to `SampleWeighting`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mentornet.core.errors import check

# The features of the 2018 release, in its order; its checkpoints do not name them.
RELEASE = ("loss", "loss_difference", "label", "epoch")


@dataclasses.dataclass(frozen=True)
class Feature:
    """A further feature.

    Attributes:
      compute: from each sample's history before this step (float32 [n] by name, see
        `mentornet.label_noise.history.COLUMNS`) to the feature, float32 [n]; of tensors in
        training, of NumPy arrays for a dump.
      grid: the values from which a predefined curriculum is learned.
    """

    compute: Callable[[Mapping[str, Any]], Any]
    grid: tuple[float, ...]


FURTHER: dict[str, Feature] = {
    # Of the sample's losses in earlier steps, in nats squared; 0 for fewer than two.
    "loss_variance": Feature(
        compute=lambda history: history["loss_variance"],
        grid=(0, 0.003, 0.01, 0.03, 0.06, 0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10),
    ),
    # The running mean of the sample's losses, which is steadier than the present one. Nats.
    "mean_loss": Feature(
        compute=lambda history: history["mean_loss"],
        grid=(0, 0.03, 0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 7, 10),
    ),
    # Share of the visits at which another class was predicted, by Laplace's rule: 0.5 before any.
    "wrong_share": Feature(
        compute=lambda history: (history["num_wrong"] + 1) / (history["num_counted"] + 2),
        grid=tuple(n / 20 for n in range(1, 20)),
    ),
    # Mean probability of the given label minus that of the next best class, -1..1.
    "probability_margin": Feature(
        compute=lambda history: history["mean_given"] - history["mean_other"],
        grid=tuple(n / 10 for n in range(-10, 11)),
    ),
}


def check_further(name: str, names: Sequence[str]) -> None:
    """Checks that the argument `name` names entries of `FURTHER`, without duplicates.

    Raises:
      InputError: it does not.
    """
    fits = set(names) <= FURTHER.keys() and len(set(names)) == len(names)
    check(
        fits, f"`{name}` must be among {', '.join(FURTHER)}, without duplicates.", **{name: names}
    )


def check_names(names: Sequence[str]) -> tuple[str, ...]:
    """Checks that names begin with the release's four and have no duplicates.

    Raises:
      InputError: they do not.
    """
    names = tuple(names)
    fits = names[: len(RELEASE)] == RELEASE and len(set(names)) == len(names)
    check(
        fits,
        f"`features` must begin with {', '.join(RELEASE)}, without duplicates.",
        features=names,
    )
    return names
