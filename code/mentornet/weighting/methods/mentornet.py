"""A MentorNet: a small network that computes a sample's weight from its loss (Jiang et al. 2018).
It has its own flags.
"""

from __future__ import annotations

from typing import Any

from mentornet.core.errors import check
from mentornet.weighting import features
from mentornet.weighting.curriculum import CurriculumWeighting, make_curriculum
from mentornet.weighting.mentor import MentorNet
from mentornet.weighting.mentor_checkpoints import load_mentornet, mentornet_fingerprint
from mentornet.weighting.protocol import Context, Weighting


def make(
    context: Context, *, mentor: MentorNet | str, label: str = "zero", **settings: Any
) -> Weighting:
    """The weighting of the paper's Algorithm 1: weights float32 [batch, 1] in 0..1.

    Args:
      context: of the training.
      mentor: a MentorNet, or an argument of `load_mentornet`.
      label: the label that the MentorNet sees, "zero" or "given".
      **settings: see `mentornet.config.weighting.WeightingConfig`.

    Raises:
      InputError: the MentorNet cannot be read, its labels or features do not fit, or a setting is
        outside its range.
    """
    check(label in ("zero", "given"), "`label` must be zero or given.", label=label)
    if isinstance(context.first, CurriculumWeighting):
        mentor = context.first.mentor  # Shared, since it may be updated during the run.
    if isinstance(mentor, str):
        mentor = load_mentornet(mentor)
    classes = context.num_classes
    rule = f"mentornet_label='given' needs a MentorNet with {classes} labels."
    known = label == "zero" or classes is None or mentor.num_labels >= classes
    check(known, rule, labels_in_the_checkpoint=mentor.num_labels)
    further = mentor.further_features
    rule = f"The MentorNet's further features must be among {', '.join(features.FURTHER)}."
    check(set(further) <= features.FURTHER.keys(), rule, features=further)
    weighting = make_curriculum(context, mentor, label == "given", settings)
    if context.first is None:
        # Saved in checkpoints, since it may be updated during the run.
        context.keep({name: v.value for name, v in mentor.tf1_variables.items()})
        context.facts["mentornet_sha256"] = mentornet_fingerprint(mentor)
    return weighting
