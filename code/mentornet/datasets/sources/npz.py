"""An .npz file with `images` uint8 [n, height, width(, 3)], or `features` [n, d] of numbers;
`labels` [n], and optionally `clean_labels`, `paths`, `feature_names`, and the same for a test
split, as `test_images` and so on.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from mentornet.core import files
from mentornet.core.errors import check
from mentornet.datasets.label_texts import clean_label_texts, decoded, label_texts
from mentornet.datasets.sources import Options, Reader, Source
from mentornet.datasets.sources._custom import (
    check_no_table,
    check_width,
    fit_image,
    to_features,
)
from mentornet.datasets.sources._listing import Listing, labelled_source


def _used(names: Sequence[str]) -> set[str]:
    """The arrays of these names that are read."""
    key = "features" if "features" in names else "images"
    prefixes = ["", *(["test_"] if f"test_{key}" in names else [])]
    found = {f"{p}{name}" for p in prefixes for name in (key, "labels", "clean_labels", "paths")}
    return found | ({"feature_names"} if key == "features" else set())


def _load(dataset: str, location: str, options: Options) -> Source:
    del dataset
    check_no_table(options)
    path = pathlib.Path(location)
    with files.arrays(path, f"`source` {path} cannot be read as .npz") as file:
        shape = _shape(file, "features")
        if shape is not None and len(shape) == 2:  # Before the array takes memory.
            check_width(shape[1], options, str(path))
        used = _used(file.files)
        arrays: dict[str, Any] = {n: file[n] if n in used else None for n in file.files}
    for name in used & arrays.keys():
        is_array = isinstance(arrays[name], np.ndarray)
        check(is_array, f"{path}: `{name}` must be an array.", kind=type(arrays[name]).__name__)
    key = "features" if "features" in arrays else "images"
    rule = f"{path} must hold either `images` or `features`."
    check(key == "images" or "images" not in arrays, rule, found=sorted(arrays))
    parts = [_npz_part(path, arrays, "", key)]
    if f"test_{key}" in arrays:
        parts.append(_npz_part(path, arrays, "test_", key))
        shapes = [part[0].shape[1:] for part in parts]
        check(shapes[0] == shapes[1], f"{path}: all {key} must have the same shape.", shapes=shapes)
    raw, labels, clean, paths = (np.concatenate(column) for column in zip(*parts, strict=True))
    check(len(raw) > 0, f"`source` {path} must have rows.", rows=0)
    is_test = np.repeat(np.arange(len(parts)) == 1, [len(part[0]) for part in parts])
    if options.image_size is not None:
        raw = np.stack([fit_image(Image.fromarray(image), options.image_size) for image in raw])
    listing = Listing(paths.tolist(), labels.tolist(), [c or None for c in clean], is_test.tolist())
    source = labelled_source(raw, listing, listing.class_names, options)
    return dataclasses.replace(source, feature_names=_feature_names(path, arrays, key))


def _shape(file: Any, name: str) -> tuple[int, ...] | None:
    """The shape of an array in an .npz file, from its header; None if there is no such array."""
    if name not in file.files:
        return None
    with file.zip.open(f"{name}.npy") as array:
        is_first = np.lib.format.read_magic(array) == (1, 0)
        form = np.lib.format
        read = form.read_array_header_1_0 if is_first else form.read_array_header_2_0
        return read(array)[0]


def _npz_part(
    path: pathlib.Path, arrays: dict[str, Any], prefix: str, key: str
) -> list[np.ndarray]:
    """Images as RGB, or features; labels, clean labels and paths as text ("" where unknown)."""
    samples, labels = arrays.get(f"{prefix}{key}"), arrays.get(f"{prefix}labels")
    form = "uint8 [n, h, w(, 1 or 3)]" if key == "images" else "[n, d]"
    rule = f"{path} must hold {prefix}{key} {form} and {prefix}labels [n]."
    needed = f"{path} must hold `{prefix}labels`, and `images` or `features`."
    check(samples is not None and labels is not None, needed, found=sorted(arrays))
    assert samples is not None and labels is not None
    if key == "images" and samples.ndim == 3:
        samples = samples[..., None]
    fits = samples.ndim == 2
    if key == "images":
        fits = samples.dtype == np.uint8 and samples.ndim == 4 and samples.shape[3] in (1, 3)
        fits = fits and min(samples.shape[1:]) > 0
    facts = {"shape": samples.shape, "dtype": str(samples.dtype), "labels": labels.shape}
    check(fits and labels.shape == (len(samples),), rule, **facts)
    if key == "features":
        samples = to_features(samples, f"{path}, {prefix}features")
    elif samples.shape[3] == 1:
        samples = np.repeat(samples, 3, axis=3)
    given = {name: arrays.get(f"{prefix}{name}") for name in ("clean_labels", "paths")}
    for name, values in given.items():
        rule = f"{path}: must hold one clean label (and path) per sample."
        shape = labels.shape if values is None else values.shape
        check(shape == labels.shape, rule, **{f"{prefix}{name}": shape})
    named, where = label_texts(labels, f"{prefix}labels", f"{path}, row"), f"{path}, row"
    clean: list[str | None] = [None] * len(labels)
    if (cells := given["clean_labels"]) is not None:
        clean = clean_label_texts(cells, named, f"{prefix}clean_labels", where)
    names = np.array([f"row {i}" for i in range(len(samples))])
    if (paths := given["paths"]) is not None:
        paths = decoded(paths, f"{path}: `{prefix}paths`").astype(str)
        names = np.where(paths == "", names, paths)
    return [samples, np.array(named, str), np.array([text or "" for text in clean], str), names]


def _feature_names(path: pathlib.Path, arrays: dict[str, Any], key: str) -> tuple[str, ...]:
    names = arrays.get("feature_names")
    if names is None or key == "images":
        return ()
    rule = f"{path}: `feature_names` must name each feature."
    check(names.shape == arrays["features"].shape[1:], rule, feature_names=names.shape)
    return tuple(map(str, decoded(names, f"{path}: `feature_names`")))


reader = Reader(_load, takes=lambda path: path.suffix.lower() == ".npz")
