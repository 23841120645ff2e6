"""How losses become sample weights, and how samples are mixed."""

from __future__ import annotations

import dataclasses
import math

from mentornet.core import schedules
from mentornet.core.errors import InputError, check


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
