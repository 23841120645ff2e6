"""What a MentorNet sees of a sample, by name.

The one place to add an input: an entry in `FURTHER` can be named by a curriculum (its attribute
`features`), is stored with the MentorNet that is learned from it, and is computed in training from
the sample's history. In your own loop any name will do: `SampleWeighting` takes the values.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from mentornet.core.errors import check

# In this order, and without a list of names in the checkpoint: what the 2018 release knows.
RELEASE = ("loss", "loss_difference", "label", "epoch")


@dataclasses.dataclass(frozen=True)
class Feature:
    """A further input.

    Attributes:
      compute: from what is known of each sample of a batch before this step, by name float32
        [batch] (`mentornet.weighting.history.COLUMNS`), to the feature, float32 [batch].
      grid: the values from which a predefined curriculum is learned.
    """

    compute: Callable[[Mapping[str, Any]], Any]
    grid: tuple[float, ...]


FURTHER: dict[str, Feature] = {
    # Of the sample's losses in earlier steps, nats squared; 0 before the second.
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
