"""From losses to sample weights: the MentorNet and what surrounds it."""

from mentornet.core.lazy import exports

__getattr__ = exports(
    __name__,
    {
        "SampleWeighting": "sample_weighting",
        "WeightedBatch": "sample_weighting",
    },
)
