"""Packages of the project; everything else stands in pyproject.toml."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages("code"), "mentornet_learning"],
    package_dir={"mentornet": "code/mentornet"},
)
