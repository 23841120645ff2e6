"""Evaluating students: accuracies, the evaluation job, losses, label errors."""

from mentornet.core.lazy import exports

__getattr__ = exports(
    __name__,
    {
        "run": "job",
    },
)
