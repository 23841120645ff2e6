"""What a run is: frozen dataclasses, validated when they are built."""

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
