"""The configuration of a training run."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from mentornet.config.consistency import check_together
from mentornet.config.options import (
    REQUIRED,
    at_least,
    below,
    check_fields,
    checkpoint_folder,
    folder,
    increasing,
    option,
    positive,
)
from mentornet.config.weighting import (
    MENTORNET,
    UNIFORM,
    MixupConfig,
    NamedWeighting,
    WeightingConfig,
)
from mentornet.core import schedules

# The student's compute types: flag -> Keras' dtype policy. Parameters and losses stay float32.
AUTO_PRECISION = "auto"  # bfloat16 if the processor has instructions for it, else float32.
PRECISIONS = {"float32": "float32", "bfloat16": "mixed_bfloat16", "mixed_float16": "mixed_float16"}


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Everything that a training run depends on.

    Each field is a flag of the training scripts: its help text, its check, and whether a run may be
    continued with another value (`may_change`) are defined here and nowhere else. `training.recipe`
    resolves fields whose None means "by default the student's".

    Raises:
      InputError: a value is outside its range, or two values contradict each other.
    """

    # What the records hold is compared when a run goes on, not where they are.
    data_dir: str = option(
        REQUIRED, "Folder of the training records.", check=folder, may_change=True
    )
    train_log_dir: str = option(
        REQUIRED, "Folder of checkpoints and logs.", check=checkpoint_folder, may_change=True
    )
    dataset_name: str = option("cifar10", "{datasets}, or the name of your own data.")
    studentnet: str = option(
        "resnet101",
        "The network, by name or as module:function (number of classes -> keras.Model). The "
        "numbers of parameters are for 10 classes.\n{students}",
    )
    batch_size: int | None = option(
        None,
        "Samples per step, over all devices; by default the student's.",
        check=at_least(1),
    )
    max_number_of_steps: int = option(39000, "Number of training steps.", check=at_least(1))
    learning_rate: float | None = option(
        None,
        "Learning rate before decays; by default the student's, which may be in proportion to the "
        "batch size.",
        check=positive,
    )
    learning_rate_decay_factor: float = option(
        0.1, "Factor of the learning rate at each decay.", check=positive
    )
    num_epochs_per_decay: float | None = option(
        None,
        "Epochs between decays; by default the student's own schedule applies.",
        check=positive,
    )
    learning_rate_boundaries: tuple[int, ...] = option(
        (),
        "Steps after which the learning rate is multiplied by learning_rate_decay_factor, instead "
        "of the student's own schedule.",
        check=increasing(),
    )
    learning_rate_shape: str | None = option(
        None,
        "Learning-rate factors by fraction of the steps, linear in between: "
        "share:factor,share:factor,..., e.g. 0:0.2,0.23:1,1:0.07; by default the student's, if it "
        "has one.",
        check=lambda _, value: schedules.rate_shape(value),
    )
    momentum: float | None = option(
        None, "Momentum (0: gradient descent); by default the student's.", check=below(1)
    )
    weight_decay: float | None = option(
        None,
        "Coefficient of half the squared norm of the kernels; by default the student's.",
        check=below(math.inf),
    )
    nesterov: bool | None = option(None, "Nesterov momentum; by default the student's.")
    shift_rate_factor: float | None = option(
        None,
        "Factor of the learning rate for batch normalisation's shifts; by default the student's.",
        check=positive,
    )
    batch_norm_decay: float | None = option(
        None,
        "Decay of batch normalisation's moving averages; by default the student's.",
        check=below(1),
    )
    label_smoothing: float | None = option(
        None,
        "Share of each label that is spread over all classes in the loss that is minimised, but "
        "not in the losses that the weighting sees; by default the student's.",
        check=below(1),
    )
    lookahead_steps: int | None = option(
        None,
        "Steps between two updates of lookahead's slow parameters; 0 disables lookahead; by "
        "default the student's.",
        check=at_least(0),
    )
    augment: bool | None = option(
        None, "Random crops and flips; by default where they suit the data set."
    )
    crop_padding: int | None = option(
        None,
        "Padding in pixels on each side before the random crop; by default the student's.",
        check=at_least(0),
    )
    crop_mode: str | None = option(
        None,
        "How images are padded before the crop: black, or reflected; by default the student's.",
        choices=("zero", "reflect"),
    )
    flip: str | None = option(
        None,
        "Mirror each image at random each time, or at random once and then in every other epoch; "
        "by default the student's.",
        choices=("random", "alternating"),
    )
    cutout: int | None = option(
        None,
        "Side in pixels of the square that cutout erases from each image; 0 disables it; by "
        "default the student's.",
        check=at_least(0),
    )
    seed: int = option(0, "Random seed of the whole run.", check=at_least(0))
    deterministic: bool = option(True, "Use deterministic operations (may be slower on GPUs).")
    trained_mentornet_dir: str | None = option(
        None,
        "MentorNet: a checkpoint prefix, a directory, or a shipped curriculum's name.",
        group="mentornet",
    )
    mentornet_label: str = option(
        "zero",
        "Label that the MentorNet sees: 0 (as in the release), or the given label.",
        choices=("zero", "given"),
        group="mentornet",
    )
    weighting: WeightingConfig | NamedWeighting | None = option(
        None,
        "The settings of a MentorNet, another weighting, or None, which weights every sample by 1.",
    )
    mixup: MixupConfig | None = option(None, "How samples are mixed; None mixes none.")
    ema_decay: float | None = option(
        None,
        "Evaluate an exponential moving average of the parameters, with this decay, e.g. 0.9999.",
        check=below(1),
    )
    mentornet_update_epochs: tuple[int, ...] = option(
        (),
        "Epoch percentages at which the MentorNet is trained further on the trusted samples.",
        check=increasing(schedules.LAST_EPOCH),
        group="updates",
    )
    record_sample_weights: bool = option(
        False,
        "Record statistics of each sample (loss, weight, predictions), for `mentornet report`.",
    )
    mixed_precision: str | None = option(
        None,
        "Precision of the student's computations; its parameters stay float32. auto is bfloat16 if "
        "the processor has instructions for it, else float32. By default the student's.",
        choices=(*PRECISIONS, AUTO_PRECISION),
    )
    jit_compile: bool = option(False, "Compile the step with XLA (slower on CPUs).")
    sync_batch_norm: bool = option(
        False,
        "Synchronise batch normalisation: statistics of the global batch, not a device's.",
    )
    # With more devices, batch normalisation sees smaller batches unless it is synchronised. This is
    # the only field with `may_change` that can alter the result.
    num_devices: int = option(
        1,
        "Devices of this machine among which each batch is divided: GPUs, or logical CPUs if there "
        "are none. TF_CONFIG names the machines if there are several.",
        check=at_least(1),
        may_change=True,
    )
    cluster_timeout_secs: int = option(
        300, "Seconds to wait for other machines of TF_CONFIG.", check=at_least(1), may_change=True
    )
    recompute_gradients: bool = option(
        False,
        "Recompute activations in the backward pass instead of keeping them in memory.",
        may_change=True,
    )
    save_summaries_secs: int = option(
        120,
        "Seconds between writes of the TensorBoard summaries to disk.",
        check=at_least(0),
        may_change=True,
    )
    save_interval_secs: int = option(
        1200, "Seconds between checkpoints.", check=at_least(0), may_change=True
    )
    save_interval_steps: int | None = option(
        None,
        "Steps between checkpoints; by default only save_interval_secs applies.",
        check=at_least(1),
        may_change=True,
    )
    log_every_steps: int = option(
        10, "Steps between logged rows.", check=at_least(1), may_change=True
    )
    steps_per_loop: int = option(
        1, "Steps per call of TensorFlow.", check=at_least(1), may_change=True
    )
    max_to_keep: int = option(
        10, "Number of checkpoints to keep.", check=at_least(1), may_change=True
    )
    keep_best: str | None = option(
        None,
        "Also keep the checkpoint of the pass before wrong labels are memorised.",
        choices=("label_wave",),
    )
    stop_after_step: int | None = option(
        None,
        "Save and stop after this step; the same command without this flag resumes.",
        check=at_least(1),
        may_change=True,
    )
    overwrite: bool = option(
        False, "Delete the run in train_log_dir and start over.", may_change=True
    )

    def __post_init__(self) -> None:
        check_fields(self)
        check_together(self)

    @property
    def is_mentored(self) -> bool:
        """Whether a MentorNet weights the samples; some students' schedules depend on it."""
        return isinstance(self.weighting, WeightingConfig)

    @property
    def named_weighting(self) -> tuple[str, dict[str, Any]]:
        """The weighting's name in `mentornet.weighting.methods`, and its factory's options."""
        if isinstance(self.weighting, NamedWeighting):
            return self.weighting.name, dict(self.weighting.options or {})
        if self.weighting is None:
            return UNIFORM, {}
        network = {"mentor": self.trained_mentornet_dir, "label": self.mentornet_label}
        return MENTORNET, network | vars(self.weighting)
