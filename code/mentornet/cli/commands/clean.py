"""Finds the wrong labels of your data: one command from a source to a corrected data set.

    mentornet clean SOURCE --output_dir=DIR

SOURCE is a folder of class folders of images, a .csv or .npz file, or anything else that --source
of `mentornet prepare` takes. You need to know nothing about the noise. A tenth of the samples is
held out; a student is trained on the others and ranks their labels. DIR receives labels.csv,
labels.html (to review them), corrected records and the student. After Ctrl-C the same command
resumes.
"""

from __future__ import annotations

import os

from mentornet.cli import config_flags, script
from mentornet.config.cleaning import INCLUDED, OWN, CleanConfig
from mentornet.datasets import sources

ARGUMENTS = ("SOURCE",)


def define_flags() -> None:
    config_flags.define_flags(CleanConfig)


def main(source: str) -> None:
    config = CleanConfig(**config_flags.read_flags(CleanConfig))
    if source != INCLUDED:
        sources.find_reader(OWN, source)  # A mistyped path is named at once.
    script.load_tensorflow(os.environ.get("CUDA_VISIBLE_DEVICES", "0"))
    from mentornet.cleaning import stages

    stages.clean(source, config)
