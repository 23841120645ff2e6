"""Students: the networks, their training recipes, and their names in the release."""

from mentornet.core.lazy import exports

__getattr__ = exports(
    __name__,
    {
        "build_student": "registry",
    },
)
