"""Training a student: the step, the loop around it, devices."""

from mentornet.core.lazy import exports

# Names of earlier versions, in which this folder was a module.
__getattr__ = exports(
    __name__,
    {
        "train": "loop",
    },
)
