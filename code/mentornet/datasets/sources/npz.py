"""An .npz file with `images` uint8 [n, height, width(, 3)], `labels` [n], and perhaps
`clean_labels`, `test_images` and `test_labels`.
"""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
from PIL import Image

from mentornet.core.errors import InputError, check
from mentornet.datasets.sources import UNKNOWN, Options, Reader, Source
from mentornet.datasets.sources._own import divide, fit, numbers


def _load(dataset: str, location: str, options: Options) -> Source:
    del dataset
    path = pathlib.Path(location)

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
        raw = np.stack([fit(Image.fromarray(image), options.image_size) for image in raw])
    texts = [str(label) for label in np.unique([*labels, *clean[clean != ""]])]
    if all(text.isdigit() for text in texts):
        texts.sort(key=int)
    numbered = numbers(labels, texts), numbers([c or None for c in clean], texts)
    return divide(raw, *numbered, is_test, texts, options)


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
    numeric = labels.dtype.kind in "fiu"
    rule = f"{path}: {prefix}labels must be texts, or whole numbers from 0 on."
    bad = labels[~((labels >= 0) & (labels % 1 == 0))] if numeric else labels[:0]
    check(not bad.size, rule, label=bad[:1].tolist())
    if images.shape[3] == 1:
        images = np.repeat(images, 3, axis=3)
    clean = arrays.get(f"{prefix}clean_labels")
    if clean is None:
        texts = np.full(len(labels), "")
    else:
        check(
            clean.shape == labels.shape,
            f"{path}: must hold one clean label per sample.",
            shape=clean.shape,
        )
        texts = np.where(clean == UNKNOWN, "", clean.astype(str))
    return [images, labels.astype(str), texts]


reader = Reader(_load, takes=lambda path: path.suffix == ".npz")
