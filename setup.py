"""Packages of the project; everything else stands in pyproject.toml."""

import pathlib
import shutil

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

MODELS = pathlib.Path("mentornet_models", "models")


class BuildWithModels(build_py):
    """Takes the shipped curricula along, so that they are found without the repository."""

    def run(self) -> None:
        if not self.editable_mode:  # Modules that have been deleted since would stay in it.
            shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()
        if not self.editable_mode:
            target = pathlib.Path(self.build_lib, "mentornet", "models")
            shutil.copytree(MODELS, target, dirs_exist_ok=True)


setup(
    packages=[*find_packages("code"), "mentornet_learning"],
    cmdclass={"build_py": BuildWithModels},
)
