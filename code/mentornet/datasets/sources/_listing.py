"""Image files that are listed with their labels, in folders or in a table."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import pathlib
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from mentornet.core.errors import InputError, check, first_line
from mentornet.datasets.sources import MAX_PIXELS, Options, Source
from mentornet.datasets.sources._custom import (
    IMAGE_SIZE,
    check_file_names,
    fit_image,
    label_numbers,
    split_samples,
)

_MISSING = "no such file"
# EXIF's orientation -> how the image is turned.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclasses.dataclass
class Listing:
    """Samples by path or name, with labels by name.

    `read` takes the index of an image and returns its bytes, or None if the image is the file at
    its path; without `read`, this holds for all images.
    """

    paths: list[str]
    labels: list[str]
    clean: list[str | None]
    is_test: list[bool]
    read: Callable[[int], bytes | None] = lambda place: None

    @property
    def class_names(self) -> list[str]:
        """The classes, in numerical order if all are numbers, else in alphabetical order."""
        names = sorted({*self.labels, *(name for name in self.clean if name is not None)})
        return sorted(names, key=int) if all(name.isdecimal() for name in names) else names


def _read_image(file: pathlib.Path | io.BytesIO, size: int) -> np.ndarray:
    """uint8 [size, size, 3]: rotated according to its EXIF data, resized, cropped at the centre.

    Raises:
      Exception: it cannot be read, or claims too many pixels; Pillow's readers raise many kinds.
    """

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(file) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"{image.width} x {image.height} pixels are too many")
            if image.mode[0] in "IF":  # Their scale is not known: Pillow would clip them at 255.
                raise ValueError("has more than 8 bits per pixel; convert it to 8 bits")
            # Not by ImageOps.exif_transpose, which also writes the other tags again.
            turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
            return fit_image(image if turn is None else image.transpose(turn), size)


def read_listing(
    listing: Listing, root: pathlib.Path, options: Options, class_names: Sequence[str] = ()
) -> Source:
    """Reads the listed images, from paths relative to `root`.

    Classes are numbered in the order of `class_names`, by default alphabetically.

    Raises:
      InputError: images are unreadable and `skip_bad` is off, or none is left.
    """
    check_file_names(listing.paths)
    images, kept, bad = [], [], []
    for i, name in enumerate(listing.paths):
        try:
            data = listing.read(i)
            file = root / name if data is None else io.BytesIO(data)
            images.append(_read_image(file, options.image_size or IMAGE_SIZE))
            kept.append(i)
        except MemoryError:
            raise
        except Exception as error:
            reason = first_line(error)
            if isinstance(error, UnidentifiedImageError):
                reason = "not an image of a known format"
            elif isinstance(error, FileNotFoundError):
                reason = _MISSING
            bad.append(f"{name}: {reason}")
    if bad and not options.skip_bad:
        more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        what, advice = "holds unreadable images", "--skip_bad skips such images"
        if all(text.endswith(f": {_MISSING}") for text in bad):
            what, advice = "lacks images that are listed", f"paths are relative to it; {advice}"
        raise InputError(f"`source` {root} {what} ({advice}): {bad[0]}{more}.")
    check(bool(images), f"`source` {root} holds no readable image.", unreadable=len(bad))
    names = class_names or sorted({*listing.labels, *(name for name in listing.clean if name)})
    columns = (listing.paths, listing.labels, listing.clean, listing.is_test)
    kept_columns: list[Any] = [[column[i] for i in kept] for column in columns]
    source = labelled_source(np.stack(images), Listing(*kept_columns), names, options)
    return dataclasses.replace(source, unreadable=tuple(bad))


def labelled_source(
    samples: np.ndarray, listing: Listing, names: Sequence[str], options: Options
) -> Source:
    """Images or features with their labels, see `split_samples`; conflicting ones are noted.

    Raises:
      InputError: a split would be empty, or would lack a class that it needs.
    """
    paths, labels = listing.paths, listing.labels
    numbered = label_numbers(labels, names), label_numbers(listing.clean, names)
    is_test = np.array(listing.is_test)
    source = split_samples(samples, *numbered, is_test, names, options, np.array(paths))
    return dataclasses.replace(source, conflicts=tuple(_conflicts(samples, labels, paths)))


def _conflicts(samples: np.ndarray, labels: Sequence[str], paths: Sequence[str]) -> Iterable[str]:
    """Identical images, or rows, with different labels, one line per pair."""
    first: dict[str, int] = {}
    for i, sample in enumerate(samples):
        other = first.setdefault(hashlib.sha256(sample.tobytes()).hexdigest(), i)
        if labels[other] != labels[i]:
            yield f"{paths[other]} ({labels[other]}) = {paths[i]} ({labels[i]})"
