"""--weighting: which one, and its options."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from absl import flags

from mentornet.config.weighting import MENTORNET, UNIFORM, NamedWeighting, WeightingConfig
from mentornet.core.errors import check
from mentornet.weighting import registry

FLAGS = flags.FLAGS
_DEFAULTS = {field.name: field.default for field in dataclasses.fields(WeightingConfig)}
# Those that only some weightings obey.
_MENTORNET_FLAGS = ("trained_mentornet_dir", "mentornet_label", *_DEFAULTS)


def define_weighting_flag(default: str) -> None:
    """Which weighting, with `default` in place of none, and its options."""
    choices = "\n".join(f"{name}: {registry.method(name).summary}" for name in registry.names())
    flags.DEFINE_string(
        "weighting", default, f"Weighting of the samples, or module:factory.\n{choices}"
    )
    flags.DEFINE_list(
        "weighting_options", [], "Options of --weighting, e.g. q=0.5; a list has to be quoted."
    )


def named(mentored: bool) -> NamedWeighting | None:
    """The weighting that the flags name; None is the baseline's, and a MentorNet.

    Args:
      mentored: whether the script has the flags of a MentorNet.

    Raises:
      InputError: flags contradict each other.
    """
    name, options = FLAGS.weighting, _weighting_options()
    registry.check_name(name)
    rule = "--weighting=mentornet needs cifar_train_mentornet.py or cifar_train_mentormix.py."
    check(mentored or name != MENTORNET, rule, weighting=name)
    rule = f"--weighting_options does not go with --weighting={name}: it has flags, or no options."
    check(not options or name not in (UNIFORM, MENTORNET), rule, weighting_options=options)
    if name == MENTORNET:
        return None
    known = registry.method(name).options if name in registry.names() else ()
    for flag in _MENTORNET_FLAGS if mentored else ():
        rule = f"--{flag} does not go with --weighting={name}."
        check(flag in known or not FLAGS[flag].present, rule, **{flag: FLAGS[flag].value})
        if flag in known and flag not in options and FLAGS[flag].value != _DEFAULTS[flag]:
            options[flag] = FLAGS[flag].value
    return None if name == UNIFORM else NamedWeighting(name, options)


def _weighting_options() -> dict[str, Any]:
    """The options as JSON values; what is no JSON is a text."""
    options: dict[str, Any] = {}
    for item in FLAGS.weighting_options:
        name, equals, value = item.partition("=")
        check(bool(equals), "`weighting_options` must be name=value,...", weighting_options=item)
        try:
            options[name.strip()] = json.loads(value)
        except ValueError:
            options[name.strip()] = value
    return options
