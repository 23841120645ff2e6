"""The configuration of data preparation."""

from __future__ import annotations

import dataclasses
import pathlib
import re

from mentornet.config.options import at_least, check_fields, option, within
from mentornet.core.errors import check
from mentornet.datasets import noise, sources
from mentornet.datasets.catalog import KNOWN

OWN_SETTINGS = ("image_size", "test_share", "skip_bad", "label_column")  # Of sources.Options.
_RELEASED_TYPE = "uniform"  # Folders with the release's noise are named only by its fraction.
_TEST_NAME = "val"  # Of the folder of test records, as in the release.


def _plain_name(name: str, value: str) -> None:
    plain = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]*(_[A-Za-z0-9.-]+)*", value)
    rule = f"`{name}` must consist of letters, digits, '-', '.' and single '_'."
    check(plain is not None, rule, **{name: value})


def _between_0_and_1(name: str, value: float) -> None:
    check(0 < value < 1, f"`{name}` must lie between 0 and 1.", **{name: value})


@dataclasses.dataclass(frozen=True)
class PrepareConfig:
    """The configuration of `cifar_prepare_data.py`: each field is one of its flags.

    Raises:
      InputError: a value is outside its range.
    """

    dataset_name: str = option("cifar10", "{datasets}, or a name of your own.", check=_plain_name)
    output_dir: str = option(
        "data",
        "Folder in which <dataset>/<noise> and <dataset>/val are created; with --records, the "
        "folder to create.",
    )
    source: str | None = option(
        None,
        "A path, whose kind is detected, or KIND:LOCATION; not needed for the digits. Kinds:\n"
        "{sources}",
    )
    noise_type: str = option(
        "uniform",
        "What happens to a label with probability noise_fraction.\n{noise_types}",
        check=lambda _, value: noise.NOISE_TYPES.check(value),
    )
    noise_fraction: float = option(
        0.0, "Probability 0..1 that a label is replaced.", check=within(0, 1)
    )
    noise_file: str | None = option(None, "For noise_type=file: .npy or .npz of training labels.")
    noise_key: str | None = option(None, "Name of the array in an .npz file.")
    num_train: int | None = option(
        None,
        "Keep a random subset of this many training images; by default all.",
        check=at_least(1),
    )
    num_trusted: int = option(
        0, "Mark this many randomly chosen training images as trusted.", check=at_least(0)
    )
    image_size: int | None = option(
        None,
        "Your own images: pixels per side, by default 32, or for arrays their size.",
        check=within(8, 1024),
    )
    test_share: float = option(
        sources.Options.test_share,
        "Your own data: share held out as the test split if there is none.",
        check=_between_0_and_1,
    )
    skip_bad: bool = option(False, "Your own images: skip (and list) unreadable ones.")
    label_column: str | None = option(
        None, "Your own table: column of the labels, by default label, labels, target or class."
    )
    seed: int = option(
        0,
        "Random seed of the noise, the subset, the test split and the trusted images.",
        check=at_least(0),
    )

    def __post_init__(self) -> None:
        check_fields(self)
        rule = f"A `dataset_name` other than {', '.join(sorted(KNOWN))} needs a `source`."
        known = self.dataset_name in KNOWN
        check(known or self.source is not None, rule, dataset_name=self.dataset_name)
        rule = "`noise_file` must be given if and only if noise_type='file'."
        fits = (self.noise_type == "file") == (self.noise_file is not None)
        check(fits, rule, noise_type=self.noise_type, noise_file=self.noise_file)
        from_file = self.noise_type == "file"
        rule = "`noise_fraction` must not be given with noise_type='file'."
        check(not (from_file and self.noise_fraction), rule, noise_fraction=self.noise_fraction)
        rule = "`noise_key` is for noise_type='file'."
        check(from_file or self.noise_key is None, rule, noise_key=self.noise_key)
        self._check_noise_name()
        for name in OWN_SETTINGS if known else ():
            value = getattr(self, name)
            rule = f"`{name}` is for your own data, not for {self.dataset_name}."
            check(value == getattr(PrepareConfig, name), rule, **{name: value})

    def _check_noise_name(self) -> None:
        """Labels from a file name their folder, which must lie beside that of the test split."""
        if self.noise_file is None:
            return
        name = self._noise_name
        plain = name not in ("", "..") and pathlib.PurePath(name).name == name
        rule = (
            "`noise_key`, or else the name of `noise_file` without its ending, names the folder of "
            f"the training records; it must be a plain name other than {_TEST_NAME}."
        )
        received = {"noise_file": self.noise_file, "noise_key": self.noise_key}
        check(plain and name != _TEST_NAME, rule, **received)

    def own_options(self) -> sources.Options:
        """How your own data are read; known data sets have no options."""
        return sources.Options(
            self.image_size, self.test_share, self.skip_bad, self.seed, self.label_column
        )

    @property
    def _noise_name(self) -> str:
        if self.noise_file is not None:
            return self.noise_key or pathlib.Path(self.noise_file).stem
        if self.noise_fraction == 0 and self.dataset_name not in KNOWN:
            return "given"
        prefix = "" if self.noise_type == _RELEASED_TYPE else f"{self.noise_type}_"
        return f"{prefix}{self.noise_fraction:g}"

    @property
    def train_folder(self) -> pathlib.Path:
        """<output_dir>/<dataset>/<noise>.

        <noise> is "0.4" for the release's noise, which is uniform, "pair_0.4" for another type, the
        name of the key or file for labels from a file, and "given" if no noise is added to your own
        data.
        """
        return pathlib.Path(self.output_dir) / self.dataset_name / self._noise_name

    @property
    def test_folder(self) -> pathlib.Path:
        """<output_dir>/<dataset>/val."""
        return pathlib.Path(self.output_dir) / self.dataset_name / _TEST_NAME
