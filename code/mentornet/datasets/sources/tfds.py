"""`tfds:<name>`, a data set of tensorflow_datasets, if that is installed."""

from __future__ import annotations

import numpy as np
from PIL import Image

from mentornet.core.errors import InputError, check
from mentornet.datasets.sources import UNKNOWN, Options, Reader, Source
from mentornet.datasets.sources._custom import (
    IMAGE_SIZE,
    TEST_NAMES,
    check_no_table,
    fit_image,
    split_samples,
)


def _load(dataset: str, location: str, options: Options) -> Source:
    del dataset
    check_no_table(options)
    try:
        import tensorflow_datasets as tfds
    except ImportError:
        raise InputError("`source` tfds:... needs `pip install tensorflow-datasets`.") from None

    try:
        builder = tfds.builder(location)
        builder.download_and_prepare()
        info, parts = builder.info, {}
        test = next((name for name in TEST_NAMES if name in info.splits), None)
        for split in ("train", test):
            if split in info.splits:
                data = builder.as_dataset(split=split, as_supervised=True)
                parts[split] = list(tfds.as_numpy(data))
    except Exception as error:  # The library's own errors, and those of the network.
        raise InputError(f"`source` tfds:{location} cannot be loaded: {error}") from None
    check(
        "train" in parts, f"tfds:{location} must have a `train` split.", found=sorted(info.splits)
    )
    for split, part in parts.items():
        known = all(label >= 0 for _, label in part)
        check(known, f"The split {split} of tfds:{location} must have labels.")
        rule = f"The images of tfds:{location} must be uint8."
        check(all(image.dtype == np.uint8 for image, _ in part), rule)
    size = options.image_size or IMAGE_SIZE
    rows = [(row, split == test) for split, part in parts.items() for row in part]
    images = [fit_image(_picture(image), size) for (image, _), _ in rows]
    labels = np.array([label for (_, label), _ in rows], np.int64)
    is_test = np.array([test for _, test in rows])
    names = getattr(info.features[info.supervised_keys[1]], "names", ())
    check(bool(names), f"The labels of tfds:{location} must be classes with names.")
    unknown = np.full(len(labels), UNKNOWN)
    return split_samples(
        np.stack(images), labels, unknown, is_test, tuple(map(str, names)), options
    )


def _picture(image: np.ndarray) -> Image.Image:
    """An image uint8 [height, width, channels], of one channel in grey."""
    return Image.fromarray(image[:, :, 0] if image.shape[-1] == 1 else image)


reader = Reader(_load)
