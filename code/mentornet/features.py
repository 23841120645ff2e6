"""The features that a MentorNet sees: the names that your own curriculum imports."""

from mentornet.weighting.features import FURTHER, RELEASE, Feature, check_names

__all__ = ["FURTHER", "RELEASE", "Feature", "check_names"]
