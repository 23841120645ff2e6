"""Configurations of runs: frozen dataclasses, validated when they are created."""

from mentornet.core.lazy import exports

__getattr__ = exports(
    __name__,
    {
        "EvalConfig": "evaluation",
        "MixupConfig": "weighting",
        "NamedWeighting": "weighting",
        "TrainConfig": "training",
        "WeightingConfig": "weighting",
    },
)
