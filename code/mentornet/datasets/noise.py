"""Label noise: which labels become wrong, as functions of a seed (NumPy only)."""

from __future__ import annotations

import numpy as np

from mentornet.core.errors import InputError, check

NOISE_TYPES = ("uniform", "symmetric", "pair", "asymmetric", "file")

# CIFAR-10's usual look-alikes: truck -> automobile, bird -> airplane, deer -> horse, cat <-> dog.
ASYMMETRIC = {"cifar10": {9: 1, 2: 0, 4: 7, 3: 5, 5: 3}}


def corrupt(
    labels: np.ndarray, num_classes: int, noise_type: str, fraction: float, seed: int, dataset: str
) -> np.ndarray:
    """Replaces each label, independently with probability `fraction`, by another draw.

    Args:
      labels: int64 [n], the clean labels.
      num_classes: labels are 0..num_classes-1.
      noise_type: "uniform" draws from all classes, so that 1/num_classes of the draws change
        nothing (the paper's noise: 0.4 corrupts 36 % of CIFAR-10); "symmetric" draws from the
        other classes; "pair" takes the next class; "asymmetric" the look-alike in `ASYMMETRIC`.
      fraction: probability in 0..1.
      seed: of NumPy's PCG64; the labels drawn depend on it and on the order alone.
      dataset: name, for "asymmetric".

    Returns:
      int64 [n], the noisy labels.

    Raises:
      InputError: unknown type, fraction outside 0..1, or no look-alikes for this data set.
    """
    rule = f"`noise_type` must be one of {', '.join(NOISE_TYPES)}."
    check(noise_type in NOISE_TYPES[:-1], rule, noise_type=noise_type)
    check(0 <= fraction <= 1, "`noise_fraction` must lie in 0..1.", noise_fraction=fraction)
    rng = np.random.default_rng(seed)
    chosen = rng.random(len(labels)) < fraction
    if noise_type == "uniform":
        drawn = rng.integers(0, num_classes, len(labels))
    elif noise_type == "symmetric":
        drawn = (labels + rng.integers(1, num_classes, len(labels))) % num_classes
    elif noise_type == "pair":
        drawn = (labels + 1) % num_classes
    else:
        rule = f"noise_type='asymmetric' is defined for {', '.join(ASYMMETRIC)} only."
        check(dataset in ASYMMETRIC, rule, dataset_name=dataset)
        look_alike = np.arange(num_classes)
        for source, target in ASYMMETRIC[dataset].items():
            look_alike[source] = target
        drawn = look_alike[labels]
    return np.where(chosen, drawn, labels).astype(np.int64)


def labels_from_file(path: str, key: str | None, num_examples: int, num_classes: int) -> np.ndarray:
    """Reads noisy labels (human ones, say), one a training image in the source's order.

    Args:
      path: an .npy file, or an .npz file together with `key`.
      key: name of the array in an .npz file; may be None if there is only one.
      num_examples: how many labels there must be.
      num_classes: labels are 0..num_classes-1.

    Returns:
      int64 [num_examples].

    Raises:
      InputError: the file is unreadable, is a pickle, lacks the key, or has other labels.
    """
    try:
        loaded = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"`noise_file` {path} cannot be read as .npy or .npz: {error}") from None
    if not isinstance(loaded, np.ndarray):
        if key is None and len(loaded.files) == 1:
            key = loaded.files[0]
        rule = f"`noise_key` must name an array of {path}, one of {', '.join(loaded.files)}."
        check(key in loaded.files, rule, noise_key=key)
        loaded = loaded[key]
    rule = f"{path} must hold {num_examples} whole numbers."
    integral = np.issubdtype(loaded.dtype, np.integer)
    check(integral and loaded.shape == (num_examples,), rule, shape=loaded.shape)
    labels = loaded.astype(np.int64)
    inside = labels.size == 0 or (labels.min() >= 0 and labels.max() < num_classes)
    check(inside, f"Labels in {path} must lie in 0..{num_classes - 1}.", largest=labels.max())
    return labels


def transition_matrix(clean: np.ndarray, noisy: np.ndarray, num_classes: int) -> np.ndarray:
    """int64 [classes, classes]: how many samples of clean class `row` carry label `column`."""
    counts = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(counts, (clean, noisy), 1)
    return counts
