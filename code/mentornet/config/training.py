"""What a training run depends on."""

from __future__ import annotations

import dataclasses
import math

from mentornet.config.weighting import MixupConfig, WeightingConfig
from mentornet.core.errors import check, check_count

# What students compute in; parameters, losses and weights are always float32.
PRECISIONS = {
    "float32": "float32",
    "bfloat16": "mixed_bfloat16",
    "mixed_float16": "mixed_float16",
}  # Flag -> Keras' name of the policy.


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
