"""What a run is: frozen dataclasses, validated when they are built (layer 0)."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from mentornet import schedules

# What students compute in; parameters, losses and weights are always float32.
PRECISIONS = {
    "float32": "float32",
    "bfloat16": "mixed_bfloat16",
    "mixed_float16": "mixed_float16",
}  # Flag -> Keras' name of the policy.


class InputError(ValueError):
    """Input that a user can mend; scripts print it on one line and exit with status 2."""


class WorkerLostError(RuntimeError):
    """Another worker is gone; scripts start anew and wait for it."""


def check(condition: bool, rule: str, **received: Any) -> None:
    """Raises InputError `rule` with what was received, unless `condition` holds."""
    if not condition:
        values = ", ".join(f"{name}={value!r}" for name, value in received.items())
        raise InputError(f"{rule} Received: {values}")


def check_count(name: str, value: int, lowest: int = 1) -> None:
    """Raises InputError unless a whole number lies in lowest..2**31-1."""
    rule = "must not be negative" if lowest == 0 else f"must be at least {lowest}"
    check(value >= lowest, f"`{name}` {rule}.", **{name: value})
    check(value < 2**31, f"`{name}` must be below 2**31.", **{name: value})


@dataclasses.dataclass(frozen=True)
class WeightingConfig:
    """How losses become sample weights; defaults are those of the 2018 release.

    Attributes:
      loss_p_percentile: share in 0..1; this percentile of a batch's losses enters the moving
        average (paper, Algorithm 1).
      burn_in_epoch: epoch percentage in 0..100 before which every weight is 1.
      fixed_epoch_after_burn_in: whether the MentorNet sees at most `burn_in_epoch` as epoch.
      loss_moving_average_decay: in 0..1.
      example_dropout_rates: "rate,epochs,rate,epochs,..." whose epochs sum to 100.

    Raises:
      InputError: a value lies outside its range.
    """

    loss_p_percentile: float = 0.7
    burn_in_epoch: int = 0
    fixed_epoch_after_burn_in: bool = False
    loss_moving_average_decay: float = 0.5
    example_dropout_rates: str = "0.5, 17, 0.05, 78, 1.0, 5"

    def __post_init__(self) -> None:
        for name, upper in (
            ("loss_p_percentile", 1),
            ("loss_moving_average_decay", 1),
            ("burn_in_epoch", 100),
        ):
            value = getattr(self, name)
            check(0 <= value <= upper, f"`{name}` must lie in 0..{upper}.", **{name: value})
        try:
            schedules.dropout_rates(self.example_dropout_rates)
        except ValueError as error:
            raise InputError(str(error)) from None


@dataclasses.dataclass(frozen=True)
class MixupConfig:
    """How samples are mixed (Jiang et al. 2020, "Beyond Synthetic Noise", Algorithm 1).

    Attributes:
      alpha: of the Beta distribution of the shares; positive.
      second_reweight: whether the mixed samples are weighted again, with a moving average of their
        own.

    Raises:
      InputError: `alpha` is not positive.
    """

    alpha: float
    second_reweight: bool = False

    def __post_init__(self) -> None:
        rule = "`mixup_alpha` must be a positive number."
        check(math.isfinite(self.alpha) and self.alpha > 0, rule, mixup_alpha=self.alpha)


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Everything that a training run depends on.

    `weighting` is None for the baseline, `mixup` where samples are not mixed, `ema_decay` where
    the parameters are evaluated as they are. `augment` None means what the data set asks for,
    `num_epochs_per_decay`, `momentum` and `weight_decay` None what the student does.

    Raises:
      InputError: a value lies outside its range.
    """

    data_dir: str
    train_log_dir: str
    dataset_name: str = "cifar10"
    studentnet: str = "resnet101"
    batch_size: int = 128
    max_number_of_steps: int = 39000
    learning_rate: float = 0.1
    learning_rate_decay_factor: float = 0.1
    num_epochs_per_decay: float | None = None
    learning_rate_boundaries: tuple[int, ...] = ()
    momentum: float | None = None
    weight_decay: float | None = None
    augment: bool | None = None
    seed: int = 0
    deterministic: bool = True
    trained_mentornet_dir: str | None = None
    mentornet_label: str = "zero"
    weighting: WeightingConfig | None = None
    mixup: MixupConfig | None = None
    ema_decay: float | None = None
    mentornet_update_epochs: tuple[int, ...] = ()
    record_sample_weights: bool = False
    mixed_precision: str = "float32"
    jit_compile: bool = False
    sync_batch_norm: bool = False
    # What follows may change from one start to the next without changing the result; except that
    # batch normalisation, unless synchronised, sees other samples together on more devices.
    num_devices: int = 1
    cluster_timeout_secs: int = 300
    recompute_gradients: bool = False
    save_summaries_secs: int = 120
    save_interval_secs: int = 1200
    save_interval_steps: int | None = None
    log_every_steps: int = 10
    steps_per_loop: int = 1
    max_to_keep: int = 10
    stop_after_step: int | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        for name in ("data_dir", "train_log_dir"):
            value = getattr(self, name)
            check(bool(value), f"`{name}` must name a folder.", **{name: value})
        for name in (
            "batch_size",
            "max_number_of_steps",
            "log_every_steps",
            "max_to_keep",
            "steps_per_loop",
            "num_devices",
            "cluster_timeout_secs",
        ):
            check_count(name, getattr(self, name))
        for name in ("learning_rate", "learning_rate_decay_factor", "num_epochs_per_decay"):
            value = getattr(self, name)
            rule = f"`{name}` must be a positive number."
            valid = value is None or (math.isfinite(value) and value > 0)
            check(valid, rule, **{name: value})
        for name in ("save_summaries_secs", "save_interval_secs", "seed"):
            check_count(name, getattr(self, name), 0)
        for name in ("stop_after_step", "save_interval_steps"):
            if getattr(self, name) is not None:
                check_count(name, getattr(self, name))
        boundaries = self.learning_rate_boundaries
        increasing = all(a < b for a, b in zip((0, *boundaries), boundaries, strict=False))
        rule = "`learning_rate_boundaries` must be positive and increasing."
        check(increasing, rule, learning_rate_boundaries=boundaries)
        rule = "`mentornet_label` must be 'zero' or 'given'."
        check(self.mentornet_label in ("zero", "given"), rule, mentornet_label=self.mentornet_label)
        for name, upper in (("momentum", 1), ("weight_decay", math.inf), ("ema_decay", 1)):
            value = getattr(self, name)
            rule = f"`{name}` must lie in 0..{upper}, {upper} not included."
            check(value is None or 0 <= value < upper, rule, **{name: value})
        rule = f"`mixed_precision` must be one of {', '.join(PRECISIONS)}."
        check(self.mixed_precision in PRECISIONS, rule, mixed_precision=self.mixed_precision)
        self._check_loop()
        self._check_updates()
        if self.weighting is not None:
            rule = "`trained_mentornet_dir` must name a MentorNet checkpoint."
            path = self.trained_mentornet_dir
            check(bool(path), rule, trained_mentornet_dir=path)
        if self.mixup is not None:
            second = self.mixup.second_reweight
            rule = "`second_reweight` needs a MentorNet."
            check(not second or self.weighting is not None, rule, second_reweight=second)

    def _check_loop(self) -> None:
        rule = "`jit_compile` needs --nodeterministic: XLA draws other random numbers."
        check(not (self.jit_compile and self.deterministic), rule, jit_compile=True)
        rule = "`jit_compile` needs num_devices=1."
        check(not self.jit_compile or self.num_devices == 1, rule, num_devices=self.num_devices)
        size = self.steps_per_loop
        for name in ("log_every_steps", "save_interval_steps"):
            value = getattr(self, name)
            rule = f"`{name}` must be a multiple of steps_per_loop={size}."
            check(value is None or value % size == 0, rule, **{name: value})
        rule = "`mentornet_update_epochs` needs steps_per_loop=1."
        check(size == 1 or not self.mentornet_update_epochs, rule, steps_per_loop=size)

    def _check_updates(self) -> None:
        epochs = self.mentornet_update_epochs
        inside = all(1 <= epoch <= 99 for epoch in epochs)
        rule = "`mentornet_update_epochs` must be increasing whole numbers in 1..99."
        check(inside and list(epochs) == sorted(set(epochs)), rule, mentornet_update_epochs=epochs)
        # What is learned at one epoch says nothing of the embeddings of others.
        fixed = self.weighting is not None and self.weighting.fixed_epoch_after_burn_in
        rule = "`mentornet_update_epochs` needs fixed_epoch_after_burn_in."
        check(not epochs or fixed, rule, mentornet_update_epochs=epochs)

    @property
    def operational(self) -> frozenset[str]:
        """The fields that may differ between a run and its continuation."""
        names = [field.name for field in dataclasses.fields(self)]
        return frozenset(names[names.index("num_devices") :]) | {"train_log_dir"}


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
