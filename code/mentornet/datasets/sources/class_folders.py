"""A folder of class folders of images (PNG, JPEG, BMP, GIF, WebP, any size), or `train` and `test`
(or `val`) with class folders in them.
"""

from __future__ import annotations

import pathlib

from mentornet.core.errors import check
from mentornet.datasets.sources import Options, Reader, Source
from mentornet.datasets.sources._listing import Listing, read_listing
from mentornet.datasets.sources._own import TEST_NAMES, metadata_files

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")


def _list_folder(root: pathlib.Path) -> Listing:
    """Every image below <class>/ or <split>/<class>/; other files are ignored."""
    splits = {p.name.lower(): p for p in sorted(root.iterdir()) if p.is_dir()}
    test = next((splits[name] for name in TEST_NAMES if name in splits), None)
    parts = [(splits["train"], False)] if "train" in splits and test else [(root, False)]
    if "train" in splits and test:
        parts.append((test, True))
    listing = Listing([], [], [], [])
    for part, is_test in parts:
        for folder in sorted(p for p in part.iterdir() if p.is_dir()):
            for path in sorted(folder.rglob("*")):
                if path.suffix.lower() in _SUFFIXES:
                    name = str(path.relative_to(root))
                    is_utf8 = name.encode(errors="replace").decode() == name
                    check(is_utf8, "File names must be UTF-8.", name=ascii(name))
                    listing.paths.append(name)
                    listing.labels.append(folder.name)
                    listing.clean.append(None)
                    listing.is_test.append(is_test)
    rule = f"`source` must hold class folders of images ({', '.join(_SUFFIXES)})."
    check(bool(listing.paths), rule, source=str(root))
    return listing


def _load(dataset: str, location: str, options: Options) -> Source:
    del dataset
    root = pathlib.Path(location)
    check(root.is_dir(), "`source` must be a folder.", source=location)
    return read_listing(_list_folder(root), root, options)


reader = Reader(_load, takes=lambda path: path.is_dir() and not metadata_files(path))
