"""Labels are read from `noise_file` (.npy, or .npz with `noise_key`): human ones, for example."""

import numpy as np

from mentornet.core.errors import check
from mentornet.core.files import arrays
from mentornet.datasets.noise import Corruption


def corrupt(corruption: Corruption) -> np.ndarray:
    """Reads noisy labels, one per training image in the source's order.

    The key may be None if an .npz file holds only one array.

    Returns:
      int64 [n].

    Raises:
      InputError: the file is unreadable, is a pickle, lacks the key, or has unsuitable labels.
    """
    path, key, num_classes = corruption.file, corruption.key, corruption.num_classes
    assert path is not None  # PrepareConfig checks it.
    loaded = _read(path, key)
    size = len(corruption.labels)
    integral = np.issubdtype(loaded.dtype, np.integer) and loaded.shape == (size,)
    check(integral, f"{path} must hold {size} whole numbers.", shape=loaded.shape)
    labels = loaded.astype(np.int64)
    found = {"smallest": int(labels.min()), "largest": int(labels.max())}
    inside = found["smallest"] >= 0 and found["largest"] < num_classes
    check(inside, f"Labels in {path} must lie in 0..{num_classes - 1}.", **found)
    return labels


def _read(path: str, key: str | None) -> np.ndarray:
    fault = f"`noise_file` {path} cannot be read as .npy or .npz"
    with arrays(path, fault, may_be_single=True) as loaded:
        if isinstance(loaded, np.ndarray):
            return loaded
        if key is None and len(loaded.files) == 1:
            key = loaded.files[0]
        rule = f"`noise_key` must name an array of {path}, one of {', '.join(loaded.files)}."
        check(key in loaded.files, rule, noise_key=key)
        return np.asarray(loaded[key])
