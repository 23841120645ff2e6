"""Downloads CIFAR-10 or CIFAR-100 with keras.datasets."""

from __future__ import annotations

import numpy as np

from mentornet.core.errors import InputError, check
from mentornet.datasets.catalog import CIFAR_CLASSES
from mentornet.datasets.sources import Options, Reader, Source, Split


def _load(dataset: str, location: str, options: Options) -> Source:
    del options
    check(not location, "`source` keras takes no location.", location=location)
    import keras

    module = getattr(keras.datasets, dataset)
    try:
        (x_train, y_train), (x_test, y_test) = module.load_data()
    except Exception as error:  # Errors of network, checksum or disk: the message has the reason.
        raise InputError(f"source=keras could not download {dataset}: {error}") from None
    splits = [
        Split(x, y.reshape(-1).astype(np.int64)) for x, y in ((x_train, y_train), (x_test, y_test))
    ]
    return Source(splits[0], splits[1], CIFAR_CLASSES[dataset])


reader = Reader(_load, provides=("cifar10", "cifar100"))
