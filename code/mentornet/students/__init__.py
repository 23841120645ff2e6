"""Students: the networks, their training recipes, and their names in the release."""

from mentornet.core.lazy import exports

# Names of earlier versions, in which this folder was a module.
__getattr__ = exports(
    __name__,
    {
        "build_student": "registry",
    },
)
