"""StudentNets: the networks, their training recipes, the release's names."""

from mentornet.core.lazy import exports

__getattr__ = exports(
    __name__,
    {
        "build_student": "registry",
    },
)
