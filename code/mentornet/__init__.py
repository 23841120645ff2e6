"""MentorNet in TensorFlow 2: curricula for training on corrupted labels (Jiang et al. 2018)."""

from __future__ import annotations

import importlib
import sys

from mentornet.core.lazy import exports

__version__ = "0.3.0.dev0"

_MODULES = {
    "InputError": "core.errors",
    "MentorNet": "weighting.mentor",
    "MentoredModel": "keras_model",
    "SampleWeighting": "weighting.sample_weighting",
    "TrainedStudent": "evaluation.export",
    "WeightedBatch": "weighting.sample_weighting",
    "build_student": "students.registry",
    "export": "evaluation.export",
    "find_label_issues": "cleaning.label_issues",
    "load_mentornet": "weighting.mentor_checkpoints",
    "load_trained": "evaluation.export",
    "restore_tf1_student": "students.tf1_checkpoints",
    "save_mentornet": "weighting.mentor_checkpoints",
}
__all__ = sorted(_MODULES)
__getattr__ = exports(__name__, _MODULES)

if "keras" in sys.modules:  # keras.saving.load_model() knows a class once it is imported.
    for _module in ("keras_model", "students.networks.airbench", "training.optimizers"):
        importlib.import_module(f"{__name__}.{_module}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
