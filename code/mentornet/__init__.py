"""MentorNet in TensorFlow 2: curricula for training on corrupted labels (Jiang et al. 2018)."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

# Imported on first use, so that flags can be parsed before TensorFlow is loaded.
_EXPORTS = {
    "InputError": "config",
    "MentorNet": "mentor",
    "MentoredModel": "keras_model",
    "SampleWeighting": "weighting",
    "build_student": "students",
    "load_mentornet": "tf1_checkpoints",
    "restore_tf1_student": "tf1_checkpoints",
    "save_mentornet": "tf1_checkpoints",
}
__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_EXPORTS[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
