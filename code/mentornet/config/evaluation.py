"""What the evaluation job watches and writes."""

from __future__ import annotations

import dataclasses

from mentornet.core.errors import check, check_count


@dataclasses.dataclass(frozen=True)
class EvalConfig:
    """What the evaluation job watches and writes.

    `studentnet` and `dataset_name` are what the user asked for, or None; the checkpoint's own
    configuration decides.

    Raises:
      InputError: a value lies outside its range.
    """

    checkpoint_dir: str
    eval_dir: str
    data_dir: str
    dataset_name: str | None = None
    studentnet: str | None = None
    split_name: str = "test"
    batch_size: int = 25
    eval_interval_secs: float = 600.0
    timeout_secs: float | None = None
    run_once: bool = False

    def __post_init__(self) -> None:
        for name in ("checkpoint_dir", "eval_dir", "data_dir", "split_name"):
            value = getattr(self, name)
            check(bool(value), f"`{name}` must not be empty.", **{name: value})
        check_count("batch_size", self.batch_size)
        for name in ("eval_interval_secs", "timeout_secs"):
            value = getattr(self, name)
            rule = f"`{name}` must not be negative."
            check(value is None or value >= 0, rule, **{name: value})
