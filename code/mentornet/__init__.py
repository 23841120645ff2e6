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

_REGISTERING = (  # Modules whose classes Keras has to know to load a saved model.
    "keras_model",
    "students.networks.airbench",
    "students.registry",
    "training.optimizers",
)
if "keras" in sys.modules:
    for _module in _REGISTERING:
        importlib.import_module(f"{__name__}.{_module}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
