"""Evaluating students: accuracies, the evaluation job, losses."""

from mentornet.core.lazy import exports

# Names of earlier versions, in which this folder was a module.
__getattr__ = exports(
    __name__,
    {
        "run": "job",
    },
)
