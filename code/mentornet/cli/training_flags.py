"""The flags of the training scripts, and the configuration that they describe."""

from __future__ import annotations

from absl import flags

from mentornet.cli import script, weighting_flags
from mentornet.cli.config_flags import define_flags, read_flags
from mentornet.config.training import TrainConfig
from mentornet.config.weighting import MENTORNET, MixupConfig, WeightingConfig
from mentornet.core.errors import check
from mentornet.datasets.catalog import KNOWN
from mentornet.students.networks import STUDENTS

FLAGS = flags.FLAGS
flags.disclaim_key_flags()  # The flags belong to the script that calls these functions.

# Flags of the release's parameter servers: flag -> the only accepted value.
_UNSUPPORTED: dict[str, str | int] = {"master": "", "ps_tasks": 0, "task": 0}


def define_device_flag(flag_values: flags.FlagValues = FLAGS) -> None:
    """Defines --device_id, which `script.load_tensorflow` obeys."""
    flags.DEFINE_string(
        "device_id",
        "0",
        "GPUs that the process may see, as CUDA numbers them; by default those of the variable "
        "CUDA_VISIBLE_DEVICES, or else the first num_devices.",
        flag_values=flag_values,
    )


def define_training_flags(flag_values: flags.FlagValues = FLAGS) -> None:
    """The flags that every training script has."""
    names = {"students": STUDENTS.help(), "datasets": ", ".join(KNOWN)}
    define_flags(TrainConfig, flag_values=flag_values, **names)
    define_flags(MixupConfig, flag_values=flag_values)
    define_device_flag(flag_values)
    for name, default in _UNSUPPORTED.items():
        define = flags.DEFINE_string if default == "" else flags.DEFINE_integer
        define(name, default, "Not supported; see TF_CONFIG.", flag_values=flag_values)


def define_mentornet_flags(flag_values: flags.FlagValues = FLAGS) -> None:
    """The flags of training under a MentorNet."""
    define_flags(TrainConfig, "mentornet", flag_values)
    define_weighting_flags(flag_values)


def define_weighting_flags(flag_values: flags.FlagValues = FLAGS) -> None:
    """The flags for weighting losses, and for updates of the MentorNet."""
    define_flags(TrainConfig, "updates", flag_values)
    define_flags(WeightingConfig, flag_values=flag_values)
    flags.DEFINE_float(
        "loss_p_precentile",
        None,
        "loss_p_percentile, as misspelt in the published commands.",
        flag_values=flag_values,
    )


def train_config(flag_values: flags.FlagValues = FLAGS) -> TrainConfig:
    """The configuration that the flags, which must have been parsed, describe.

    Raises:
      InputError: a flag's value is out of range, or belongs to the release's parameter servers.
    """
    for name, default in _UNSUPPORTED.items():
        rule = f"--{name} is not supported: use TF_CONFIG for several machines."
        value = flag_values[name].value
        check(value == default, rule, **{name: value})
    values = read_flags(TrainConfig, flag_values)
    mixup = read_flags(MixupConfig, flag_values)
    if mixup["alpha"] is not None:
        values["mixup"] = MixupConfig(**mixup)
    else:
        second = mixup.get("second_reweight", False)
        check(not second, "`second_reweight` needs mixup_alpha.", second_reweight=second)
    mentored = "trained_mentornet_dir" in flag_values
    if mentored and flag_values["weighting"].value == MENTORNET:
        options = flag_values["weighting_options"].value
        rule = "--weighting_options cannot be used with --weighting=mentornet, which has flags."
        check(not options, rule, weighting_options=options)
        values["weighting"] = weighting_config(flag_values)
    elif "weighting" in flag_values:  # Not in learn_curriculum.py.
        values["weighting"] = weighting_flags.named(flag_values)
    if not mentored:
        # learn_curriculum.py has the flag for its second stage only.
        values.pop("mentornet_update_epochs", None)
    return TrainConfig(**values)


def weighting_config(flag_values: flags.FlagValues = FLAGS) -> WeightingConfig:
    """The settings for weighting losses, from the flags.

    Raises:
      InputError: a flag's value is out of range.
    """
    values = read_flags(WeightingConfig, flag_values)
    misspelt = flag_values["loss_p_precentile"].value
    if misspelt is not None:
        check(
            not flag_values["loss_p_percentile"].present,
            "Give --loss_p_percentile or the release's misspelt --loss_p_precentile, not both.",
            loss_p_percentile=values["loss_p_percentile"],
            loss_p_precentile=misspelt,
        )
        script.warn(
            f"--loss_p_precentile={misspelt} is taken as loss_p_percentile; the 2018 release "
            "ignored the misspelt flag and used 0.7."
        )
        values["loss_p_percentile"] = misspelt
    return WeightingConfig(**values)
