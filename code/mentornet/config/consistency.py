"""Options of a training run that contradict each other."""

from __future__ import annotations

from typing import Any

from mentornet.config.weighting import AUTO
from mentornet.core.errors import check


def check_together(config: Any) -> None:
    """Raises InputError for values of a `TrainConfig` that contradict each other."""
    rule = "`jit_compile` needs --nodeterministic: XLA draws different random numbers."
    check(not (config.jit_compile and config.deterministic), rule, jit_compile=True)
    size, updates = config.steps_per_loop, config.mentornet_update_epochs
    rule = "`jit_compile` needs num_devices=1 and steps_per_loop=1."
    check(not config.jit_compile or size == config.num_devices == 1, rule, jit_compile=True)
    rule = "`jit_compile` needs a training without mixup_alpha: XLA cannot draw the shares."
    check(not config.jit_compile or config.mixup is None, rule, jit_compile=True)
    shape, boundaries = config.learning_rate_shape, config.learning_rate_boundaries
    rule = "Give `learning_rate_shape` or learning_rate_boundaries, not both."
    check(shape is None or not boundaries, rule, learning_rate_shape=shape)
    for name in ("log_every_steps", "save_interval_steps"):
        value = getattr(config, name)
        rule = f"`{name}` must be a multiple of steps_per_loop={size}."
        check(value is None or value % size == 0, rule, **{name: value})
    rule = "`mentornet_update_epochs` needs steps_per_loop=1."
    check(size == 1 or not updates, rule, steps_per_loop=size)
    # What is learned at one epoch does not train the embeddings of the other epochs.
    fixed = getattr(config.weighting, "fixed_epoch_after_burn_in", False)
    rule = "`mentornet_update_epochs` needs fixed_epoch_after_burn_in."
    check(not updates or fixed, rule, mentornet_update_epochs=updates)
    found = AUTO in map(config.named_weighting[1].get, ("loss_p_percentile", "burn_in_epoch"))
    for name in ("mentornet_update_epochs", "jit_compile"):
        rule = f"`{name}` needs a fixed burn_in_epoch and loss_p_percentile."
        check(not (found and getattr(config, name)), rule, **{name: getattr(config, name)})
    rule = "`mentornet_update_epochs` needs mentornet_label=zero: updates use label 0 only."
    check(not updates or config.mentornet_label == "zero", rule, mentornet_label="given")
    mentor, lookahead = config.trained_mentornet_dir, config.lookahead_steps or 0
    rule = f"`lookahead_steps` must be below max_number_of_steps={config.max_number_of_steps}."
    check(lookahead < config.max_number_of_steps, rule, lookahead_steps=lookahead)
    rule = "`trained_mentornet_dir` must name a MentorNet, such as mentornet_pd, or `weighting` "
    rule += "another method."
    check(not config.is_mentored or bool(mentor), rule, trained_mentornet_dir=mentor)
    second = config.mixup is not None and config.mixup.second_reweight
    rule = "`second_reweight` needs a MentorNet, or another weighting."
    check(not second or config.weighting is not None, rule, second_reweight=second)
