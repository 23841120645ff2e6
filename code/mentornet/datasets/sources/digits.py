"""The 1,797 digits of scikit-learn (8x8), scaled to 32x32x3; one in five is used for testing."""

from __future__ import annotations

import numpy as np

from mentornet.core.errors import check
from mentornet.datasets.sources import Options, Reader, Source, Split


def _load(dataset: str, location: str, options: Options) -> Source:
    del dataset, options
    check(not location, "`source` digits takes no location.", location=location)
    import tensorflow as tf
    from sklearn import datasets, model_selection

    digits = datasets.load_digits()
    images = tf.image.resize(digits.images[..., None] * (255 / 16), (32, 32)).numpy()
    images = np.repeat(np.round(images).astype(np.uint8), 3, axis=-1)
    # The split is the same for every seed, so that results of different seeds are comparable.
    train, test = model_selection.train_test_split(
        np.arange(len(images)), test_size=0.2, random_state=0, stratify=digits.target
    )
    splits = [Split(images[i], digits.target[i].astype(np.int64)) for i in (train, test)]
    return Source(splits[0], splits[1], tuple("0123456789"))


reader = Reader(_load, provides=("digits",))
