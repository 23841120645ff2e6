"""The features of a sample that a MentorNet sees, by name.

This is the only place to add a feature: an entry in `FURTHER` can be named by a curriculum (in its
attribute `features`), is stored with the MentorNet that is learned from it, and is computed during
training from the sample history. In your own loop you can use any name, as you pass the values to
`SampleWeighting`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from mentornet.core.errors import check

# The features of the 2018 release, in its order; its checkpoints do not name them.
RELEASE = ("loss", "loss_difference", "label", "epoch")


@dataclasses.dataclass(frozen=True)
class Feature:
    """An additional feature.

    Attributes:
      compute: from each sample's history before this step (float32 [batch] by name, see
        `mentornet.weighting.history.COLUMNS`) to the feature, float32 [batch].
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
}


def check_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """Checks that names begin with the release's four and have no duplicates.

    Raises:
      InputError: they do not.
    """
    fits = names[: len(RELEASE)] == RELEASE and len(set(names)) == len(names)
    check(
        fits,
        f"`features` must begin with {', '.join(RELEASE)}, without duplicates.",
        features=names,
    )
    return names
