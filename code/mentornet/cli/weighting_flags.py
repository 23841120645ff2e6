"""The flags --weighting, --weighting_options and --second_reweight."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from absl import flags

from mentornet.cli.config_flags import define_flags
from mentornet.config.weighting import (
    MENTORNET,
    UNIFORM,
    MixupConfig,
    NamedWeighting,
    WeightingConfig,
)
from mentornet.core.errors import check
from mentornet.weighting import registry
from mentornet.weighting.methods import WEIGHTINGS

FLAGS = flags.FLAGS
flags.disclaim_key_flags()  # The flags belong to the script that calls these functions.

_SETTINGS = {field.name: field.default for field in dataclasses.fields(WeightingConfig)}
# Flags that only some weightings use; the misspelt one only a MentorNet does.
_MENTORNET_FLAGS = (
    *("trained_mentornet_dir", "mentornet_label", "mentornet_update_epochs", "loss_p_precentile"),
    *_SETTINGS,
)


def define_weighting_flag(default: str, flag_values: flags.FlagValues = FLAGS) -> None:
    """Defines the flags that select a weighting, by default `default`, and how it is used.

    Only scripts whose default is a MentorNet have one.
    """
    refused = () if default == MENTORNET else (MENTORNET,)
    text = f"How samples are weighted, by name or as module:factory.\n{WEIGHTINGS.help(*refused)}"
    flags.DEFINE_string("weighting", default, text, flag_values=flag_values)
    flags.DEFINE_list(
        "weighting_options",
        [],
        "Options of --weighting as name=value,...; values that contain commas must be quoted.",
        flag_values=flag_values,
    )
    define_flags(MixupConfig, "weighting", flag_values)


def named(flag_values: flags.FlagValues = FLAGS) -> NamedWeighting | None:
    """The weighting that the flags name; None for `uniform`.

    Args:
      flag_values: the flags that were defined and parsed; they do not name `mentornet`, unless
        the script does not have its flags.

    Raises:
      InputError: flags contradict each other.
    """
    name, options = flag_values["weighting"].value, _options(flag_values)
    registry.check_name(name)
    rule = "--weighting=mentornet needs cifar_train_mentornet.py or cifar_train_mentormix.py."
    check(name != MENTORNET, rule, weighting=name)
    rule = f"--weighting_options cannot be used with --weighting={name}, which has no options."
    check(not options or name != UNIFORM, rule, weighting_options=options)
    known = () if ":" in name else registry.options_of(name)
    for flag in _MENTORNET_FLAGS if "trained_mentornet_dir" in flag_values else ():
        given = flag_values[flag]
        rule = f"--{flag} cannot be used with --weighting={name}."
        check(flag in known or not given.present, rule, **{flag: given.value})
        rule = f"Give --{flag} or the option {flag}, not both."
        check(not (given.present and flag in options), rule, **{flag: given.value})
        # A script's own default counts as well.
        if flag in known and flag not in options and given.value != _SETTINGS[flag]:
            options[flag] = given.value
    return None if name == UNIFORM else NamedWeighting(name, options)


def _options(flag_values: flags.FlagValues) -> dict[str, Any]:
    """The options as JSON values; what is none is a string, but for True and False."""
    options: dict[str, Any] = {}
    for item in flag_values["weighting_options"].value:
        name, equals, value = item.partition("=")
        check(bool(equals), "`weighting_options` must be name=value,...", weighting_options=item)
        try:
            options[name.strip()] = json.loads(value)
        except ValueError:
            options[name.strip()] = {"True": True, "False": False}.get(value, value)
    return options
