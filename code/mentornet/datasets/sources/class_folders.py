"""A folder of class folders of images (PNG, JPEG, BMP, GIF, WebP, any size), or `train` and `test`
(or `val`, `valid`, `validation`) with class folders in them; of `train` alone, a share is held out.
"""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

from mentornet.core.errors import check
from mentornet.datasets.sources import Options, Reader, Source
from mentornet.datasets.sources._custom import TEST_NAMES, check_no_table, metadata_files
from mentornet.datasets.sources._listing import Listing, read_listing

_LEFT_BEHIND = ("Thumbs.db", "desktop.ini")
_SPLITS = ("train", "training", "testing", "dev", "eval")  # Besides TEST_NAMES.
_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")


def _folders(root: pathlib.Path) -> list[pathlib.Path]:
    """The folders in a folder, without those that file managers and archives leave behind."""
    found = sorted(path for path in root.iterdir() if path.is_dir())
    return [path for path in found if path.name[0] != "." and path.name != "__MACOSX"]


def _visible(folder: pathlib.Path) -> list[pathlib.Path]:
    """What is below a folder, without what file managers leave behind."""
    parts = ((path, path.relative_to(folder).parts) for path in folder.rglob("*"))
    shown = (path for path, names in parts if not any(name[0] == "." for name in names))
    return sorted(path for path in shown if path.name not in _LEFT_BEHIND)


def _images(folder: pathlib.Path) -> list[pathlib.Path]:
    """The images below a folder, without hidden ones."""
    return [path for path in _visible(folder) if path.suffix.lower() in _SUFFIXES]


def _parts(root: pathlib.Path) -> list[tuple[pathlib.Path, bool]]:
    """The folders of class folders, and whether each is for testing.

    Raises:
      InputError: there are splits, and a folder of images that belongs to none.
    """
    found = _folders(root)
    folders = {path.name.lower(): path for path in found}
    train = folders.get("train")
    if train is None:
        return [(root, False)]
    rule = "Beside `train`, the folders of `source` must not differ only in upper and lower case."
    names = sorted(path.name for path in found)
    check(len(folders) == len(found), rule, source=str(root), folders=names)
    tests = [folders[name] for name in TEST_NAMES if name in folders]
    others = {path for path in folders.values() if _images(path)} - {train, *tests}
    if not tests and (others or not any(map(_images, _folders(train)))):  # A class of trains.
        return [(root, False)]
    rule = f"Beside `train`, `source` must hold only {', '.join(TEST_NAMES)}."
    check(not others, rule, source=str(root), folders=sorted(path.name for path in others))
    return [(train, False), *((path, True) for path in tests[:1])]


def _warn_of_others(
    root: pathlib.Path, images: set[str], parts: Sequence[tuple[pathlib.Path, bool]]
) -> None:
    """Warns of files, and of second test splits, that are left out."""
    read = [part.name for part, _ in parts]
    splits = (path for path in _folders(root) if path.name.lower() in TEST_NAMES)
    unread = [path for path in splits if len(read) > 1 and path.name not in read]
    for path in unread:
        print(f"WARNING: {path.name} is not read, as {read[1]} is the test split.", flush=True)
    visible = (path for path in _visible(root) if not {*path.parents} & {*unread})
    named = {str(path.relative_to(root)): path for path in visible}
    if others := [name for name, path in named.items() if name not in images and path.is_file()]:
        known, more = ", ".join(_SUFFIXES), f" and {len(others) - 1} more" * (len(others) > 1)
        what = f"ignored, since not an image ({known}) in a class folder"
        print(f"WARNING: {what}: {others[0]}{more}", flush=True)


def _list_folder(root: pathlib.Path) -> Listing:
    """Every image below <class>/ or <split>/<class>/; other files are ignored."""
    listing, names, parts = Listing([], [], [], []), set[str](), _parts(root)
    for part, is_test in parts:
        for folder in _folders(part):
            names.add(folder.name)
            for path in _images(folder):
                name = str(path.relative_to(root))
                listing.paths.append(name)
                listing.labels.append(folder.name)
                listing.clean.append(None)
                listing.is_test.append(is_test)
    rule = f"`source` must hold class folders of images ({', '.join(_SUFFIXES)})."
    check(bool(listing.paths), rule, source=str(root))
    rule = f"Splits in `source` must be named train and {' or '.join(TEST_NAMES)}."
    are_splits = {name.lower() for name in listing.labels} <= {*_SPLITS, *TEST_NAMES}
    check(not are_splits, rule, folders=sorted(set(listing.labels)))
    is_one = len(parts) == 1 and len(set(listing.labels)) == 1
    inner = _folders(root / listing.labels[0]) if is_one else []
    rule = "`source` must hold the class folders themselves, not a folder of them."
    check(len(inner) < 2, rule, source=str(root), folders=sorted(set(listing.labels)))
    _warn_of_others(root, set(listing.paths), parts)
    if empty := sorted(names - set(listing.labels)):
        known, named = ", ".join(_SUFFIXES), ", ".join(empty)
        print(f"WARNING: folders without images ({known}) are ignored: {named}", flush=True)
    return listing


def _class_images(root: pathlib.Path) -> list[pathlib.Path]:
    """The images of all class folders, linked ones included."""
    return [path for part, _ in _parts(root) for each in _folders(part) for path in _images(each)]


def _load(dataset: str, location: str, options: Options) -> Source:
    del dataset
    root = pathlib.Path(location)
    check(root.is_dir(), "`source` must be a folder.", source=location)
    check_no_table(options)
    return read_listing(_list_folder(root), root, options)


reader = Reader(
    _load,
    takes=lambda path: path.is_dir() and not metadata_files(path),
    files=_class_images,
)
