"""Training a student: the step, the loop around it, devices."""

from mentornet.core.lazy import exports

__getattr__ = exports(
    __name__,
    {
        "train": "loop",
    },
)
