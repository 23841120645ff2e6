"""A user's own images: a folder of class folders, a csv, an .npz file, tensorflow_datasets."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import pathlib
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from mentornet.core.errors import InputError, check
from mentornet.datasets.sources import MAX_PIXELS, UNKNOWN, Source, Split

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
_IMAGE_SIZE = 32
_TEST_NAMES = ("test", "val", "validation")


@dataclasses.dataclass(frozen=True)
class Options:
    """How images become arrays.

    Attributes:
      image_size: pixels a side; images are resized and cropped at the centre. None is 32, and for
        arrays their own size.
      test_share: share 0..1 of each class that is set aside for testing, if the source has no
        test split.
      skip_bad: leave unreadable images out instead of refusing the source.
      seed: of the test split.
    """

    image_size: int | None = None
    test_share: float = 0.2
    skip_bad: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        size, share = self.image_size, self.test_share
        rule = "`image_size` must lie in 8..1024."
        check(size is None or 8 <= size <= 1024, rule, image_size=size)
        check(0 < share < 1, "`test_share` must lie between 0 and 1.", test_share=share)


@dataclasses.dataclass
class _Listing:
    """Images by path (or array), with labels by name."""

    paths: list[str]
    labels: list[str]
    clean: list[str | None]
    is_test: list[bool]


def load(source: str, options: Options) -> Source:
    """Reads a data set of the user's own.

    Args:
      source: a folder of class folders (or of `train` and `test`, which hold them); a .csv with
        the columns path, label and perhaps clean_label and split (train or test), paths from the
        csv's folder; an .npz with images uint8 [n, height, width(, 3)], labels [n] and perhaps
        clean_labels [n], test_images and test_labels; or "tfds:<name>".
      options: see `Options`.

    Returns:
      The source; labels are as given, clean ones known only where the source says so.

    Raises:
      InputError: it cannot be read, images are unreadable and `skip_bad` is off, or a class has
        too few samples to be split.
    """
    path = pathlib.Path(source)
    if source.startswith("tfds:"):
        return _read_tfds(source.removeprefix("tfds:"), options)
    check(path.exists(), "`source` must be a folder, a .csv or an .npz file.", source=source)
    if path.suffix == ".npz":
        return _read_npz(path, options)
    listing = _list_folder(path) if path.is_dir() else _list_csv(path)
    return _read_listing(listing, path if path.is_dir() else path.parent, options)


def _list_folder(root: pathlib.Path) -> _Listing:
    """Every image below <class>/ or <split>/<class>/; other files are passed over."""
    splits = {p.name.lower(): p for p in sorted(root.iterdir()) if p.is_dir()}
    test = next((splits[name] for name in _TEST_NAMES if name in splits), None)
    parts = [(splits["train"], False)] if "train" in splits and test else [(root, False)]
    if "train" in splits and test:
        parts.append((test, True))
    listing = _Listing([], [], [], [])
    for part, is_test in parts:
        for folder in sorted(p for p in part.iterdir() if p.is_dir()):
            for path in sorted(folder.rglob("*")):
                if path.suffix.lower() in _SUFFIXES:
                    listing.paths.append(str(path.relative_to(root)))
                    listing.labels.append(folder.name)
                    listing.clean.append(None)
                    listing.is_test.append(is_test)
    rule = f"`source` must hold class folders of images ({', '.join(_SUFFIXES)})."
    check(bool(listing.paths), rule, source=str(root))
    return listing


def _list_csv(path: pathlib.Path) -> _Listing:
    listing = _Listing([], [], [], [])
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            for row in csv.DictReader(file):
                number = len(listing.paths) + 2
                rule = f"{path}, line {number}: must have a path and a label."
                check(bool(row.get("path")) and bool(row.get("label")), rule, row=dict(row))
                listing.paths.append(row["path"])
                listing.labels.append(row["label"])
                listing.clean.append(row.get("clean_label") or None)
                listing.is_test.append((row.get("split") or "train").lower() in _TEST_NAMES)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"`source` {path} cannot be read: {error}") from None
    check(bool(listing.paths), f"`source` {path} must have the columns path and label, and rows.")
    return listing


def _read_image(path: pathlib.Path, size: int) -> np.ndarray:
    """uint8 [size, size, 3]: turned as its EXIF says, resized, cropped at the centre.

    Raises:
      OSError, ValueError, SyntaxError: it cannot be read, or claims more pixels than are allowed.
    """
    from PIL import Image, ImageOps

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"{image.width} x {image.height} pixels are too many")
            return _fit(ImageOps.exif_transpose(image), size)


def _fit(image: Any, size: int) -> np.ndarray:
    """A PIL image as uint8 [size, size, 3]."""
    from PIL import Image, ImageOps

    return np.asarray(ImageOps.fit(image.convert("RGB"), (size, size), Image.Resampling.BILINEAR))


def _read_listing(listing: _Listing, root: pathlib.Path, options: Options) -> Source:
    from PIL import Image

    images, kept, bad = [], [], []
    for i, name in enumerate(listing.paths):
        try:
            images.append(_read_image(root / name, options.image_size or _IMAGE_SIZE))
            kept.append(i)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            bad.append(f"{name}: {str(error).splitlines()[0] if str(error) else 'unreadable'}")
    if bad and not options.skip_bad:
        more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        advice = "--skip_bad leaves such images out"
        raise InputError(f"`source` {root} holds unreadable images ({advice}): {bad[0]}{more}.")
    check(bool(images), f"`source` {root} holds no readable image.", unreadable=len(bad))
    names = sorted({*listing.labels, *(name for name in listing.clean if name)})
    paths = [listing.paths[i] for i in kept]
    given = [listing.labels[i] for i in kept]
    source = _split(
        np.stack(images),
        _numbers(given, names),
        _numbers([listing.clean[i] for i in kept], names),
        np.array([listing.is_test[i] for i in kept]),
        names,
        options,
        np.array(paths),
    )
    conflicts = tuple(_conflicts(images, given, paths))
    return dataclasses.replace(source, unreadable=tuple(bad), conflicts=conflicts)


def _numbers(labels: Iterable[str | None], names: Sequence[str]) -> np.ndarray:
    number = {name: i for i, name in enumerate(names)}
    return np.array([UNKNOWN if label is None else number[label] for label in labels], np.int64)


def _conflicts(
    images: Sequence[np.ndarray], labels: Sequence[str], paths: Sequence[str]
) -> Iterable[str]:
    """Equal images under different labels, one line a pair."""
    first: dict[str, int] = {}
    for i, image in enumerate(images):
        other = first.setdefault(hashlib.sha256(image.tobytes()).hexdigest(), i)
        if labels[other] != labels[i]:
            yield f"{paths[other]} ({labels[other]}) = {paths[i]} ({labels[i]})"


def _split(
    images: np.ndarray,
    labels: np.ndarray,
    clean: np.ndarray,
    is_test: np.ndarray,
    names: Sequence[str],
    options: Options,
    paths: np.ndarray | None = None,
) -> Source:
    """Train and test; without a test split a share of each class is set aside, by the seed."""
    check(len(names) >= 2, "`source` must have at least 2 classes.", classes=list(names))
    if not is_test.any():
        generator = np.random.default_rng([options.seed, 3])
        for label in np.unique(labels):
            members = generator.permutation(np.flatnonzero(labels == label))
            rule = "Each class of `source` must have at least 2 samples, one of them for testing."
            check(len(members) >= 2, rule, few=names[label])
            count = min(max(1, round(len(members) * options.test_share)), len(members) - 1)
            is_test[members[:count]] = True
    check(not is_test.all(), "`source` must have training samples.", test=int(is_test.sum()))
    train, test = (
        Split(
            images[chosen],
            labels[chosen],
            clean_labels=clean[chosen],
            paths=None if paths is None else paths[chosen],
        )
        for chosen in (~is_test, is_test)
    )
    return Source(train, test, tuple(names))


def _read_npz(path: pathlib.Path, options: Options) -> Source:
    from PIL import Image

    try:
        with np.load(path, allow_pickle=False) as file:
            arrays: dict[str, Any] = dict(file)
    except Exception as error:  # zipfile, zlib and NumPy each have their own.
        raise InputError(f"`source` {path} cannot be read as .npz: {error}") from None
    parts = [_npz_part(path, arrays, "")]
    if "test_images" in arrays:
        parts.append(_npz_part(path, arrays, "test_"))
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    is_test = np.repeat(np.arange(len(parts)) == 1, [len(part[0]) for part in parts])
    raw, labels, clean = columns
    if options.image_size is not None:
        raw = np.stack([_fit(Image.fromarray(image), options.image_size) for image in raw])
    texts = [str(label) for label in np.unique([*labels, *clean[clean != ""]])]
    if all(text.isdigit() for text in texts):
        texts.sort(key=int)
    numbered = _numbers(labels, texts), _numbers([c or None for c in clean], texts)
    return _split(raw, *numbered, is_test, texts, options)


def _npz_part(path: pathlib.Path, arrays: dict[str, Any], prefix: str) -> list[np.ndarray]:
    """Images as RGB, labels and clean labels as text ("" where unknown)."""
    images, labels = arrays.get(f"{prefix}images"), arrays.get(f"{prefix}labels")
    rule = f"{path} must hold {prefix}images uint8 [n, h, w(, 1 or 3)] and {prefix}labels [n]."
    check(images is not None and labels is not None, rule, found=sorted(arrays))
    assert images is not None and labels is not None
    if images.ndim == 3:
        images = images[..., None]
    fits = images.dtype == np.uint8 and images.ndim == 4 and images.shape[3] in (1, 3)
    check(fits and labels.shape == (len(images),), rule, shape=images.shape, labels=labels.shape)
    if images.shape[3] == 1:
        images = np.repeat(images, 3, axis=3)
    clean = arrays.get(f"{prefix}clean_labels")
    if clean is None:
        texts = np.full(len(labels), "")
    else:
        check(clean.shape == labels.shape, f"{path}: one clean label a sample.", shape=clean.shape)
        texts = np.where(clean == UNKNOWN, "", clean.astype(str))
    return [images, labels.astype(str), texts]


def _read_tfds(name: str, options: Options) -> Source:
    try:
        import tensorflow_datasets as tfds
    except ImportError:
        raise InputError("`source` tfds:... needs `pip install tensorflow-datasets`.") from None
    from PIL import Image

    try:
        builder = tfds.builder(name)
        builder.download_and_prepare()
        info, parts = builder.info, {}
        for split in ("train", "test"):
            if split in info.splits:
                data = builder.as_dataset(split=split, as_supervised=True)
                parts[split] = list(tfds.as_numpy(data))
    except Exception as error:  # Its own, and those of the network.
        raise InputError(f"`source` tfds:{name} cannot be had: {error}") from None
    check("train" in parts, f"tfds:{name} must have a split train.", found=sorted(info.splits))
    size = options.image_size or _IMAGE_SIZE
    rows = [(row, split == "test") for split, part in parts.items() for row in part]
    images = [_fit(Image.fromarray(np.squeeze(image)), size) for (image, _), _ in rows]
    labels = np.array([label for (_, label), _ in rows], np.int64)
    is_test = np.array([test for _, test in rows])
    names = tuple(map(str, info.features["label"].names))
    unknown = np.full(len(labels), UNKNOWN)
    return _split(np.stack(images), labels, unknown, is_test, names, options)
