"""Evaluating students: accuracies, the evaluation job, losses."""

from mentornet.core.lazy import exports

__getattr__ = exports(
    __name__,
    {
        "run": "job",
    },
)
