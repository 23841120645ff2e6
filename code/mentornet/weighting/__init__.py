"""From losses to sample weights: the protocol, MentorNet and other weightings."""

from mentornet.core.lazy import exports

__getattr__ = exports(
    __name__,
    {
        "SampleWeighting": "sample_weighting",
        "WeightedBatch": "sample_weighting",
    },
)
