"""What manifests say of folders of records, and what is printed of it."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

_MOST_LISTED = 20  # Classes whose sizes are printed.


def print_manifests(manifests: dict[str, dict[str, Any]]) -> None:
    """Prints what the folders hold, and warnings about unreadable or conflicting files."""
    for folder, manifest in manifests.items():
        print_manifest(folder, manifest)
        for name in ("unreadable.txt", "conflicts.txt"):
            path = pathlib.Path(folder, name)
            if path.exists():
                lines = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
                print(f"WARNING: see {path} (lines: {len(lines)}); the first line is: {lines[0]}")


def print_manifest(folder: str, manifest: dict[str, Any]) -> None:
    """Prints what a folder holds; of a few classes, their names and sizes on a second line."""
    wrong, known = manifest["share_of_wrong_labels"], manifest.get("num_known_clean_labels")
    kind = "rows" if len(manifest.get("image_shape", ())) == 1 else "images"
    size = f"{manifest['num_examples']} {kind}, {manifest['num_classes']} classes"
    share = "clean labels unknown" if wrong is None else f"{wrong:.2%} of the labels wrong"
    if known and known < manifest["num_examples"]:
        share += f" (of the {known} whose clean label is known)"
    print(f"{folder}: {size}, {share}")
    counts = manifest.get("examples_per_label", ())
    if 0 < len(counts) <= _MOST_LISTED:
        each = zip(manifest["classes"], counts, strict=True)
        print(f"  {', '.join(f'{name} {count}' for name, count in each)}")


def transition_matrix(clean: np.ndarray, noisy: np.ndarray, num_classes: int) -> np.ndarray:
    """int64 [classes, classes]: how many samples of clean class `row` have the label `column`.

    Args:
      clean, noisy: int64 [n] in 0..num_classes - 1.
      num_classes: number of classes.
    """
    counts = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(counts, (clean, noisy), 1)
    return counts


def share_of_wrong_labels(labels: np.ndarray, clean: np.ndarray) -> float | None:
    """The share of wrong labels among those whose clean label is known; None if none is.

    Args:
      labels: int64 [n].
      clean: int64 [n], -1 where unknown.
    """
    known = clean >= 0
    return float(np.mean(labels[known] != clean[known])) if known.any() else None


def manifest_facts(
    labels: np.ndarray, clean: np.ndarray, classes: Sequence[str], image_shape: Sequence[int]
) -> dict[str, Any]:
    """What a manifest says of a folder's samples, as JSON values.

    Args:
      labels: int64 [n], as given.
      clean: int64 [n], -1 where unknown.
      classes: their names.
      image_shape: (height, width, channels), or (num_features,).
    """
    known, number = clean >= 0, len(classes)
    return {
        "num_examples": len(labels),
        "examples_per_label": np.bincount(labels, minlength=number).tolist(),
        "num_classes": number,
        "classes": list(classes),
        "image_shape": list(image_shape),
        "num_known_clean_labels": int(known.sum()),
        "share_of_wrong_labels": share_of_wrong_labels(labels, clean),
        "transition_matrix": transition_matrix(clean[known], labels[known], number).tolist(),
    }
