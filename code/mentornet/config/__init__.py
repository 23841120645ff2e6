"""Configurations of runs: frozen dataclasses, validated when they are created."""

from mentornet.core.lazy import exports

# Names of earlier versions, in which this folder was a module.
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
