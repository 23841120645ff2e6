"""How losses become sample weights, and how samples are mixed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from mentornet.config.options import (
    REQUIRED,
    check_fields,
    option,
    plain,
    positive,
    within,
)
from mentornet.core import schedules
from mentornet.core.errors import check

UNIFORM, MENTORNET = "uniform", "mentornet"
AUTO = "auto"  # Determined from the data, see `mentornet.weighting.automatic`.


@dataclasses.dataclass(frozen=True)
class WeightingConfig:
    """How a MentorNet turns losses into sample weights; defaults are those of the 2018 release.

    Attributes:
      loss_p_percentile: share in 0..1 of a batch's losses that lie below the percentile that enters
        the moving average (paper, Algorithm 1); or "auto".
      burn_in_epoch: epoch percentage in 0..100; every weight is 1 until the one before it, as in
        the release: 0 and 1 are no burn-in. Or "auto".
      fixed_epoch_after_burn_in: whether the epoch that the MentorNet sees is at most
        `burn_in_epoch`.
      loss_moving_average_decay: in 0..1.
      example_dropout_rates: "rate,epochs,rate,epochs,..." whose epochs sum to 100, or 100 rates,
        one per epoch percentage; each in 0..1. The default drops half of the samples at first, and
        all in the last 5 % of the training, as the release does; "0,100" drops none.
      class_balanced: whether each given class always has a percentile and a moving average of its
        own; with "auto" it has them where a common one would lose a class.

    Raises:
      InputError: a value is outside its range, or `class_balanced` is set without "auto".
    """

    loss_p_percentile: float | str = option(
        0.7,
        "The percentile of each batch's losses that enters their moving average, as a share 0..1; "
        "auto is 1 minus the share of wrong labels, estimated during the training.",
        check=within(0, 1),
        words=(AUTO,),
    )
    burn_in_epoch: int | str = option(
        0,
        "Every weight is 1 until the epoch percentage before this one, as in the release; 0 and 1 "
        "are no burn-in. auto ends it when the student begins to memorise wrong labels, or in the "
        "second half of a long training that does not.",
        check=within(0, 100),
        words=(AUTO,),
    )
    fixed_epoch_after_burn_in: bool = option(
        False, "Show the MentorNet burn_in_epoch as the epoch for the rest of the training."
    )
    loss_moving_average_decay: float = option(
        0.5, "Decay of the moving average of the losses' percentile.", check=within(0, 1)
    )
    example_dropout_rates: str | Sequence[float] = option(
        "0.5, 17, 0.05, 78, 1.0, 5",
        "rate,epochs,rate,epochs,...: the share of samples dropped during that many epochs; the "
        "epochs are percentages of the training and sum to 100.",
        check=lambda _, value: schedules.dropout_rates(value),
    )
    class_balanced: bool = option(
        False,
        "With loss_p_percentile=auto: a percentile for each given class, 1 minus the share of its "
        "labels that is estimated wrong. Without this flag, that is so only where a common one "
        "would lose a class.",
    )

    def __post_init__(self) -> None:
        check_fields(self)
        if not isinstance(self.example_dropout_rates, str):
            # A tuple of floats can be compared with others and with values read from JSON.
            rates = tuple(schedules.dropout_rates(self.example_dropout_rates))
            object.__setattr__(self, "example_dropout_rates", rates)
        rule = "`class_balanced` needs loss_p_percentile=auto."
        fits = not self.class_balanced or self.loss_p_percentile == AUTO
        check(fits, rule, loss_p_percentile=self.loss_p_percentile)

    @property
    def is_automatic(self) -> bool:
        """Whether the percentile or the burn-in is determined during the training."""
        return AUTO in (self.loss_p_percentile, self.burn_in_epoch)

    def is_burn_in(self, epoch: Any) -> Any:
        """Whether a fixed burn-in lasts at an epoch percentage, a number or a tensor.

        Kept from the release: it ends one epoch early.
        """
        assert not isinstance(self.burn_in_epoch, str)
        return epoch < self.burn_in_epoch - 1


@dataclasses.dataclass(frozen=True)
class NamedWeighting:
    """A weighting other than a MentorNet.

    Attributes:
      name: a weighting of `mentornet.weighting.methods`, or "module:factory".
      options: keyword arguments of the factory, JSON values; None means none.

    Raises:
      InputError: the name is no string, or is uniform or mentornet, which configurations express
        differently.
    """

    name: str = option(REQUIRED, "Name of the weighting, or module:factory.")
    options: Mapping[str, Any] | None = option(None, "Options of the weighting's factory.")

    def __post_init__(self) -> None:
        check_fields(self)
        options = {name: plain(value) for name, value in (self.options or {}).items()}
        object.__setattr__(self, "options", options)
        rule = "`name` must not be uniform (which is None) or mentornet (a WeightingConfig)."
        check(self.name not in (UNIFORM, MENTORNET), rule, name=self.name)


@dataclasses.dataclass(frozen=True)
class MixupConfig:
    """How samples are mixed (Jiang et al. 2020, "Beyond Synthetic Noise", Algorithm 1).

    Attributes:
      alpha: parameter of the Beta distribution of the shares; positive.
      second_reweight: whether the mixed samples are weighted again, with a separate moving average.

    Raises:
      InputError: `alpha` is not positive.
    """

    alpha: float = option(
        REQUIRED,
        "Mix samples, with shares from Beta(alpha, alpha): MentorMix; without a MentorNet, mixup.",
        check=positive,
        flag="mixup_alpha",
    )
    second_reweight: bool = option(
        False, "With mixup_alpha: weight the mixed samples again.", group="weighting"
    )

    def __post_init__(self) -> None:
        check_fields(self)
