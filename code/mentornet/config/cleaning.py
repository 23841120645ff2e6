"""The configuration of `mentornet clean`."""

from __future__ import annotations

import dataclasses

from mentornet.config.options import REQUIRED, at_least, check_fields, checkpoint_folder, option

INCLUDED, OWN = "digits", "mine"  # Names of the data sets: that of scikit-learn, or the user's.
NUM_SHOWN = 500  # Suspects in labels.html, by default.


@dataclasses.dataclass(frozen=True)
class CleanConfig:
    """The configuration of `mentornet clean`: each field is one of its flags.

    Raises:
      InputError: a value is outside its range.
    """

    output_dir: str = option(REQUIRED, "Folder of all results.", check=checkpoint_folder)
    studentnet: str | None = option(
        None,
        "The network; by default mlp for features, airbench93 for images, inception for images of "
        "less than 9 pixels per side.",
    )
    num_epochs: int | None = option(
        None,
        "Epochs; by default as many as make about 500 steps, at least 10 and at most 60.",
        check=at_least(1),
    )
    seed: int = option(
        0, "Random seed for the held-out samples and the training.", check=at_least(0)
    )
    image_size: int | None = option(
        None,
        "Pixels per side that images are resized to; by default 32, or for arrays their size.",
    )
    label_column: str | None = option(
        None, "Column of the labels in a table, by default label, labels, target or class."
    )
    skip_bad: bool = option(False, "Leave unreadable images out, and list them.")

    def __post_init__(self) -> None:
        check_fields(self)
