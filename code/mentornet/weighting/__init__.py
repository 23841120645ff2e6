"""From losses to sample weights: the protocol, MentorNet and other weightings."""

from mentornet.core.lazy import exports

# Names of earlier versions, in which this folder was a module.
__getattr__ = exports(
    __name__,
    {
        "SampleWeighting": "sample_weighting",
        "WeightedBatch": "sample_weighting",
    },
)
