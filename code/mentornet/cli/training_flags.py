"""The flags of the training scripts, and the configuration that they ask for."""

from __future__ import annotations

import dataclasses

from absl import flags

from mentornet.cli import script
from mentornet.config.training import PRECISIONS, TrainConfig
from mentornet.config.weighting import MixupConfig, WeightingConfig
from mentornet.core.errors import InputError, check
from mentornet.students.networks import STUDENTS

FLAGS = flags.FLAGS
_DEFAULTS = {field.name: field.default for field in dataclasses.fields(TrainConfig)}
_WEIGHTING = {field.name: field.default for field in dataclasses.fields(WeightingConfig)}


def define_device_flag() -> None:
    flags.DEFINE_string(
        "device_id",
        "0",
        "GPUs that the process may see, as CUDA numbers them; by default the first num_devices.",
    )


def define_training_flags() -> None:
    """The flags of the release's training scripts, and ours."""
    d = _DEFAULTS
    flags.DEFINE_string("data_dir", "", "Folder of the training records.")
    flags.DEFINE_string("train_log_dir", "", "Folder of checkpoints and logs.")
    flags.DEFINE_string(
        "dataset_name", d["dataset_name"], "cifar10, cifar100, digits, or your own."
    )
    flags.DEFINE_string(
        "studentnet",
        d["studentnet"],
        "The network, by name or as module:function (number of classes -> keras.Model). Numbers of "
        f"parameters are for 10 classes.\n{STUDENTS.help()}",
    )
    flags.DEFINE_integer("batch_size", d["batch_size"], "Samples a step.")
    flags.DEFINE_integer("max_number_of_steps", d["max_number_of_steps"], "Steps in all.")
    flags.DEFINE_float("learning_rate", d["learning_rate"], "Initial learning rate.")
    flags.DEFINE_float(
        "learning_rate_decay_factor", d["learning_rate_decay_factor"], "Factor of each decay."
    )
    flags.DEFINE_float(
        "num_epochs_per_decay",
        None,
        "Passes over the data between decays; 50 for resnet101 and inception, others by default "
        "decay at half and at three quarters of the steps.",
    )
    flags.DEFINE_list(
        "learning_rate_boundaries",
        [],
        "Steps after which the learning rate is multiplied by learning_rate_decay_factor, in place "
        "of the student's own schedule.",
    )
    _define_student_flags()
    flags.DEFINE_integer("seed", d["seed"], "Of everything random.")
    flags.DEFINE_boolean(
        "deterministic", d["deterministic"], "Use deterministic operations (may be slower on GPUs)."
    )
    flags.DEFINE_enum(
        "mixed_precision",
        d["mixed_precision"],
        list(PRECISIONS),
        "What the student computes in; its parameters stay float32.",
    )
    flags.DEFINE_boolean(
        "jit_compile", d["jit_compile"], "Compile the step with XLA (slower on CPUs)."
    )
    _define_device_flags()
    _define_running_flags()


def _define_device_flags() -> None:
    """How many devices and machines compute, and how they spare memory."""
    d = _DEFAULTS
    define_device_flag()
    flags.DEFINE_integer(
        "num_devices",
        d["num_devices"],
        "Devices of this machine among which each batch is divided: GPUs, or logical CPUs where "
        "there is none. Several machines are named by TF_CONFIG.",
    )
    flags.DEFINE_boolean(
        "sync_batch_norm",
        d["sync_batch_norm"],
        "Normalise with the statistics of the whole batch, not of each device's part.",
    )
    flags.DEFINE_integer(
        "cluster_timeout_secs",
        d["cluster_timeout_secs"],
        "How long to wait for the other machines of TF_CONFIG.",
    )
    flags.DEFINE_boolean(
        "recompute_gradients",
        d["recompute_gradients"],
        "Compute parts of the student twice instead of keeping them in memory.",
    )
    flags.DEFINE_string("master", "", "Not supported; see TF_CONFIG.")
    flags.DEFINE_integer("ps_tasks", 0, "Not supported; see TF_CONFIG.")
    flags.DEFINE_integer("task", 0, "Not supported; see TF_CONFIG.")


def _define_student_flags() -> None:
    """What the release does not have; None is what suits student and data set."""
    flags.DEFINE_float("momentum", None, "0 is plain gradient descent; by default the student's.")
    flags.DEFINE_float(
        "weight_decay",
        None,
        "Times half the squared norm of the kernels; by default the student's.",
    )
    flags.DEFINE_boolean(
        "augment", None, "Random crops and flips; by default what suits the data set."
    )
    flags.DEFINE_float(
        "mixup_alpha",
        None,
        "Mix samples: alpha of the Beta distribution of their shares (MentorMix; mixup without a "
        "MentorNet).",
    )
    flags.DEFINE_float(
        "ema_decay", None, "Evaluate an exponential moving average of the parameters, e.g. 0.9999."
    )


def _define_running_flags() -> None:
    """What does not change the result: logs, checkpoints, and what is remembered."""
    d = _DEFAULTS
    flags.DEFINE_integer("save_summaries_secs", d["save_summaries_secs"], "Between flushes.")
    flags.DEFINE_integer("save_interval_secs", d["save_interval_secs"], "Between checkpoints.")
    flags.DEFINE_integer("save_interval_steps", None, "The same, counted in steps.")
    flags.DEFINE_integer("log_every_steps", d["log_every_steps"], "Steps between logged rows.")
    flags.DEFINE_integer("steps_per_loop", d["steps_per_loop"], "Steps in one call of TensorFlow.")
    flags.DEFINE_integer("max_to_keep", d["max_to_keep"], "Checkpoints that are kept.")
    flags.DEFINE_integer(
        "stop_after_step", None, "Save and stop there; started again, the run goes on."
    )
    flags.DEFINE_boolean(
        "record_sample_weights",
        False,
        "Remember weight, loss and prediction of each sample; code/label_report.py reads them.",
    )
    flags.DEFINE_boolean("overwrite", False, "Remove the run in train_log_dir and start anew.")


def define_mentornet_flags() -> None:
    """The flags of `cifar_train_mentornet.py` that the baseline does not have."""
    flags.DEFINE_string(
        "trained_mentornet_dir",
        "",
        "MentorNet: a checkpoint prefix, a directory, or a shipped curriculum's name.",
    )
    flags.DEFINE_enum(
        "mentornet_label",
        _DEFAULTS["mentornet_label"],
        ["zero", "given"],
        "What the MentorNet sees as label: 0 (as in the release) or the given label.",
    )
    flags.DEFINE_boolean(
        "second_reweight", False, "With mixup_alpha: weigh the mixed samples again."
    )
    define_weighting_flags()


def define_weighting_flags() -> None:
    """How losses become weights, and when that is learned further."""
    flags.DEFINE_list(
        "mentornet_update_epochs",
        [],
        "Epoch percentages at which the MentorNet is learned further from the trusted samples.",
    )
    d = _WEIGHTING
    flags.DEFINE_float(
        "loss_p_percentile",
        d["loss_p_percentile"],
        "Share 0..1: the percentile of a batch's losses.",
    )
    flags.DEFINE_float(
        "loss_p_precentile", None, "As the published commands spell loss_p_percentile."
    )
    flags.DEFINE_integer("burn_in_epoch", d["burn_in_epoch"], "Epoch percentage of the burn-in.")
    flags.DEFINE_boolean(
        "fixed_epoch_after_burn_in",
        d["fixed_epoch_after_burn_in"],
        "Show the MentorNet no epoch after burn_in_epoch.",
    )
    flags.DEFINE_float(
        "loss_moving_average_decay", d["loss_moving_average_decay"], "Decay of the moving average."
    )
    flags.DEFINE_string(
        "example_dropout_rates",
        d["example_dropout_rates"],
        "rate,epochs,rate,epochs,...: share of samples dropped; the epochs sum to 100.",
    )


def train_config(mentored: bool) -> TrainConfig:
    """The configuration that the flags ask for.

    Raises:
      InputError: a flag's value is out of range, or belongs to the release's parameter servers.
    """
    for name, default in (("master", ""), ("ps_tasks", 0), ("task", 0)):
        rule = f"--{name} is not supported: use TF_CONFIG for several machines."
        check(FLAGS[name].value == default, rule, **{name: FLAGS[name].value})
    values = {name: FLAGS[name].value for name in _DEFAULTS if name in FLAGS}
    values["learning_rate_boundaries"] = whole_numbers("learning_rate_boundaries")
    values.pop("mentornet_update_epochs", None)
    second = mentored and FLAGS.second_reweight
    if FLAGS.mixup_alpha is not None:
        values["mixup"] = MixupConfig(FLAGS.mixup_alpha, second)
    else:
        check(not second, "`second_reweight` needs mixup_alpha.", second_reweight=second)
    if mentored:
        values["weighting"] = weighting_config()
        values["mentornet_update_epochs"] = whole_numbers("mentornet_update_epochs")
    return TrainConfig(**values)


def whole_numbers(name: str) -> tuple[int, ...]:
    """The value of a flag that is a list of whole numbers.

    Raises:
      InputError: it is not.
    """
    try:
        return tuple(map(int, FLAGS[name].value))
    except ValueError:
        given = ",".join(FLAGS[name].value)
        raise InputError(f"`{name}` must be whole numbers. Received: {name}={given}") from None


def weighting_config() -> WeightingConfig:
    """How losses become weights, as the flags say.

    Raises:
      InputError: a flag's value is out of range.
    """
    values = {name: FLAGS[name].value for name in _WEIGHTING}
    if FLAGS.loss_p_precentile is not None:
        values["loss_p_percentile"] = _published_percentile()
    return WeightingConfig(**values)


def _published_percentile() -> float:
    check(
        not FLAGS["loss_p_percentile"].present,
        "Give loss_p_percentile or loss_p_precentile, not both.",
        loss_p_percentile=FLAGS.loss_p_percentile,
        loss_p_precentile=FLAGS.loss_p_precentile,
    )
    script.warn(
        f"--loss_p_precentile={FLAGS.loss_p_precentile} is taken as loss_p_percentile; the 2018 "
        "release ignored the misspelt flag and used 0.7."
    )
    return FLAGS.loss_p_precentile
