"""Where images and labels come from, one file per source; see `mentornet.core.registry`.

A module of this package defines `reader`, a `Reader`. Its docstring's first paragraph describes it
in `--help` and in the documents.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Iterable

import numpy as np

from mentornet.core.errors import InputError, check
from mentornet.core.registry import Registry
from mentornet.datasets.catalog import KNOWN

UNKNOWN = -1  # Clean label of a sample whose clean label is not known.
MAX_PIXELS = 100_000_000  # An image that claims more is rejected before it is decoded.

_OWN = "data of your own"

SOURCES = Registry(__name__, attribute="reader", argument="source")


@dataclasses.dataclass(frozen=True)
class Split:
    """uint8 images [n, height, width, 3] and int64 labels [n], in the source's order.

    Instead of images there may be rows of features, finite float32 [n, num_features].
    `clean_labels` are int64 [n], -1 where unknown; None means that the labels are clean. `paths`
    are the files' names or, for arrays and tables, the rows' names: by default "row <number>" from
    0 on.
    """

    images: np.ndarray
    labels: np.ndarray
    coarse_labels: np.ndarray | None = None
    clean_labels: np.ndarray | None = None
    paths: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set; `unreadable` and `conflicts` are lines to show to the user.

    `feature_names` has one name per feature; it is empty if they are unknown or samples are images.
    """

    train: Split
    test: Split
    class_names: tuple[str, ...]
    unreadable: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    feature_names: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Options:
    """How your own data are read; `PrepareConfig` checks the values.

    Attributes:
      image_size: pixels per side; images are resized and cropped at the centre. None means 32, or
        for arrays their own size.
      test_share: share 0..1 of each class that is set aside for testing, if the source has no
        test split.
      skip_bad: whether to skip unreadable images instead of rejecting the source.
      seed: of the test split.
      label_column: of a table; None means the only one of `label`, `labels`, `target` and
        `class`.
    """

    image_size: int | None = None
    test_share: float = 0.2
    skip_bad: bool = False
    seed: int = 0
    label_column: str | None = None


def _visible_files(path: pathlib.Path) -> Iterable[pathlib.Path]:
    return path.rglob("[!.]*") if path.is_dir() else ()


@dataclasses.dataclass(frozen=True)
class Reader:
    """How a source is read.

    Attributes:
      load: (data set, location, options) -> `Source`. The location is a path, or what follows the
        reader's name and a colon in `--source` ("" if nothing does).
      provides: which of the known data sets (`catalog.KNOWN`) the source holds; empty for a source
        of your own data, under a name of your own.
      takes: whether an existing path is of this kind, so that giving the path is enough; None for a
        source that is selected by its name.
      files: the files of such a folder, or beside such a file, on which the data set depends, in
        any order; by default all in a folder that are not hidden, and none beside a file.
    """

    load: Callable[[str, str, Options], Source]
    provides: tuple[str, ...] = ()
    takes: Callable[[pathlib.Path], bool] | None = None
    files: Callable[[pathlib.Path], Iterable[pathlib.Path]] = _visible_files

    def fits(self, dataset: str) -> bool:
        """Whether the source may hold this data set."""
        return dataset in self.provides if self.provides else dataset not in KNOWN


def load(dataset: str, source: str | None, options: Options | None = None) -> Source:
    """Reads a data set.

    Args:
      dataset: "cifar10", "cifar100", "digits", or a name of your own.
      source: a path, or the name of a source in this package, optionally with a colon and a
        location ("keras", "tfds:mnist"). None for the digits.
      options: how your own data are read.

    Returns:
      The data set; labels are as given, and clean labels are known only if the source has them.

    Raises:
      InputError: there is no such source, it does not hold the data set, or it cannot be read.
    """
    reader, location = find_reader(dataset, source)
    return reader.load(dataset, location, options or Options())


def find_reader(dataset: str, source: str | None) -> tuple[Reader, str]:
    """The reader of a data set, and the location to read from; the arguments are those of `load`.

    Raises:
      InputError: there is no such source, or it does not hold the data set.
    """
    if source is None:
        source = dataset
        rule = f"`source` must name the archive or folder of {dataset}, or be 'keras'."
        check(dataset in SOURCES.names(), rule, source=None)
    name, _, location = source.partition(":")
    if name not in SOURCES.names():
        name, location = _recognize(dataset, source), source
    reader: Reader = SOURCES.find(name)
    held = " or ".join(reader.provides) or _OWN
    rule = f"`source` {name} holds {held}, not {dataset if dataset in KNOWN else _OWN}."
    check(reader.fits(dataset), rule, dataset_name=dataset, source=source)
    rule = f"`source` {name} needs a path, as in {name}:PATH."
    check(bool(location) or reader.takes is None, rule, source=source)
    return reader, location


def _recognize(dataset: str, path: str) -> str:
    """The name of the source that reads this path.

    Raises:
      InputError: the path does not exist, or no source reads it.
    """
    readers: dict[str, Reader] = {name: SOURCES.find(name) for name in SOURCES.names()}
    fitting = {name: reader for name, reader in readers.items() if reader.fits(dataset)}
    named = [name for name, reader in fitting.items() if reader.takes is None]
    rule = f"`source` must be an existing file or folder, or one of {', '.join(named)}."
    check(pathlib.Path(path).exists(), rule, source=path)
    for name, reader in fitting.items():
        if reader.takes is not None and reader.takes(pathlib.Path(path)):
            return name
    kinds = ", ".join(sorted(fitting.keys() - named))
    what = dataset if dataset in KNOWN else _OWN
    raise InputError(f"`source` {path} cannot be read as {what}: it must be {kinds}.")
