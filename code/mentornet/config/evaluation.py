"""What the evaluation job watches and writes."""

from __future__ import annotations

import dataclasses

from mentornet.config.options import (
    REQUIRED,
    at_least,
    below,
    check_fields,
    checkpoint_folder,
    folder,
    not_empty,
    not_negative,
    option,
)


@dataclasses.dataclass(frozen=True)
class EvalConfig:
    """The configuration of the evaluation job.

    `studentnet` and `dataset_name` are the user's choices, or None; a configuration in the
    checkpoint takes precedence.

    Raises:
      InputError: a value is outside its range.
    """

    checkpoint_dir: str = option(
        REQUIRED,
        "Folder of the checkpoints: the training job's train_log_dir.",
        check=checkpoint_folder,
    )
    eval_dir: str = option(REQUIRED, "Folder of the results.", check=folder)
    data_dir: str = option(REQUIRED, "Folder of the records, e.g. data/cifar10/val.", check=folder)
    dataset_name: str | None = option(None, "Data set; by default the checkpoint's.")
    studentnet: str | None = option(None, "Student; by default the checkpoint's.")
    split_name: str = option(
        "test", "The split to evaluate: files <dataset_name>_<split_name>-*.", check=not_empty
    )
    batch_size: int = option(
        25, "Samples per forward pass; does not change the results.", check=at_least(1)
    )
    test_time_augmentation: bool | None = option(
        None,
        "Average the logits over an image, its mirror image and shifts by a pixel; by default the "
        "student's.",
    )
    eval_interval_secs: float = option(
        600.0, "Seconds between checks for new checkpoints.", check=below(10**9)
    )
    timeout_secs: float | None = option(
        None, "Stop after this many seconds without a new checkpoint.", check=not_negative
    )
    run_once: bool = option(False, "Evaluate the existing checkpoints, then stop.")

    def __post_init__(self) -> None:
        check_fields(self)
