"""Summaries of written records."""

from __future__ import annotations

import pathlib
from typing import Any


def print_manifests(manifests: dict[str, dict[str, Any]]) -> None:
    """Prints what the folders hold, and warnings about unreadable or conflicting files."""
    for folder, manifest in manifests.items():
        print_manifest(folder, manifest)
        for name in ("unreadable.txt", "conflicts.txt"):
            path = pathlib.Path(folder, name)
            if path.exists():
                lines = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
                print(f"WARNING: {path} lists {len(lines)} entries; the first is {lines[0]}")


def print_manifest(folder: str, manifest: dict[str, Any]) -> None:
    """Prints what a folder holds, on one line."""
    wrong, known = manifest["share_of_wrong_labels"], manifest.get("num_known_clean_labels")
    kind = "rows" if len(manifest.get("image_shape", ())) == 1 else "images"
    size = f"{manifest['num_examples']} {kind}, {manifest['num_classes']} classes"
    share = "clean labels unknown" if wrong is None else f"{wrong:.2%} of the labels wrong"
    if known and known < manifest["num_examples"]:
        share += f" (of the {known} whose clean label is known)"
    print(f"{folder}: {size}, {share}")
