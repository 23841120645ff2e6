"""What sources of a user's own images share: sizes, class names, and the test split."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from mentornet.core.errors import check
from mentornet.datasets.sources import UNKNOWN, Options, Source, Split

IMAGE_SIZE = 32
TEST_NAMES = ("test", "val", "validation")


def fit(image: Any, size: int) -> np.ndarray:
    """A PIL image as uint8 [size, size, 3]."""

    return np.asarray(ImageOps.fit(image.convert("RGB"), (size, size), Image.Resampling.BILINEAR))


def numbers(labels: Iterable[str | None], names: Sequence[str]) -> np.ndarray:
    """int64 positions of labels in `names`; None becomes UNKNOWN."""
    number = {name: i for i, name in enumerate(names)}
    return np.array([UNKNOWN if label is None else number[label] for label in labels], np.int64)


def divide(
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
    if paths is None:  # The ids of samples count within their split.
        paths = np.array([f"row {i}" for i in range(len(labels))])
    train, test = (
        Split(
            images[chosen],
            labels[chosen],
            clean_labels=clean[chosen],
            paths=paths[chosen],
        )
        for chosen in (~is_test, is_test)
    )
    return Source(train, test, tuple(names))
