"""Builds what a configuration describes."""

from __future__ import annotations

from mentornet.config.training import PRECISIONS, TrainConfig
from mentornet.core.errors import check
from mentornet.students import registry
from mentornet.training import recipe
from mentornet.training.optimizers import make_optimizer
from mentornet.training.step import Trainer
from mentornet.weighting import features
from mentornet.weighting.history import SampleHistory
from mentornet.weighting.mentor_checkpoints import load_mentornet
from mentornet.weighting.sample_weighting import SampleWeighting


def make_trainer(
    config: TrainConfig,
    num_examples: int,
    num_classes: int,
    image_shape: tuple[int, int, int],
    dropout_rate: float | None = None,
) -> Trainer:
    """Builds student, weighting and optimizer as a configuration says.

    Raises:
      InputError: unknown student, no readable MentorNet, or labels or features that do not fit.
    """
    resolved = recipe.resolve(config, recipe.defaults(config.studentnet, augment=False))
    assert resolved.momentum is not None and resolved.weight_decay is not None
    weighting, needs_history = None, config.record_sample_weights
    if config.weighting is not None:
        assert config.trained_mentornet_dir is not None  # TrainConfig checks it.
        mentor = load_mentornet(config.trained_mentornet_dir)
        rule = f"mentornet_label='given' needs a MentorNet with {num_classes} labels."
        known = config.mentornet_label == "zero" or mentor.num_labels >= num_classes
        check(known, rule, labels_in_the_checkpoint=mentor.num_labels)
        further = mentor.further_features
        rule = f"The MentorNet's further features must be among {', '.join(features.FURTHER)}."
        check(set(further) <= features.FURTHER.keys(), rule, features=further)
        needs_history = needs_history or bool(further)
        weighting = SampleWeighting(mentor, **vars(config.weighting), seed=config.seed)
    student = registry.build_student(
        config.studentnet,
        num_classes,
        config.seed,
        image_shape,
        dropout_rate,
        PRECISIONS[config.mixed_precision],
    )
    if config.sync_batch_norm:
        registry.synchronize_batch_norm(student)
    mentored = config.weighting is not None
    schedule = registry.learning_rate_schedule(config, num_examples, mentored=mentored)
    return Trainer(
        student,
        make_optimizer(resolved.momentum, schedule),
        weight_decay=resolved.weight_decay,
        weighting=weighting,
        max_number_of_steps=config.max_number_of_steps,
        seed=config.seed,
        label_is_given=config.mentornet_label == "given",
        history=SampleHistory(num_examples) if needs_history else None,
        mixup=config.mixup,
        ema_decay=config.ema_decay,
        scale_loss=config.mixed_precision == "mixed_float16",
        jit_compile=config.jit_compile,
        recompute_gradients=config.recompute_gradients,
    )
