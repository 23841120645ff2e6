"""An official archive of CIFAR-10 or CIFAR-100 (python or binary version), or its folder."""

from __future__ import annotations

import io
import pathlib
import pickle
import tarfile
import zlib
from typing import Any

import numpy as np

from mentornet.core.errors import InputError, check
from mentornet.datasets.catalog import CIFAR_CLASSES
from mentornet.datasets.sources import Options, Reader, Source, Split


class _ArrayUnpickler(pickle.Unpickler):
    """Reads the official archives' pickles: dicts, lists, strings and NumPy arrays only."""

    ALLOWED = {
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("numpy._core.multiarray", "_reconstruct"),
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):  # Python 3's form of bytes in protocol 2.
            return _encode_latin1
        module = module.replace("numpy.core.", "numpy._core.")  # NumPy 1's name.
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"class {module}.{name} is not allowed")
        return super().find_class(module, name)


def _encode_latin1(text: str, encoding: str) -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"encoding {encoding} is not allowed")
    return text.encode("latin1")


def _unpickle(data: bytes, name: str) -> dict[bytes, Any]:
    try:
        loaded = _ArrayUnpickler(io.BytesIO(data), encoding="bytes").load()
    except Exception as error:  # Unpickling can raise almost any error.
        raise InputError(f"{name} is not a CIFAR python batch: {error}") from None
    check(isinstance(loaded, dict), f"{name} must hold a dict.", found=type(loaded).__name__)
    return {k.encode("latin1") if isinstance(k, str) else k: v for k, v in loaded.items()}


def _contents(source: pathlib.Path, wanted: set[str]) -> dict[str, bytes]:
    """The wanted files of a folder or archive, which is not extracted: base name -> contents."""
    if source.is_dir():
        found = (path for path in sorted(source.rglob("*")) if path.is_file())
        return {path.name: path.read_bytes() for path in found if path.name in wanted}
    contents = {}
    try:
        with tarfile.open(source) as tar:
            for member in tar:
                name = pathlib.PurePosixPath(member.name).name
                if name in wanted and (file := tar.extractfile(member)) is not None:
                    contents[name] = file.read()
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        hint = "data of your own need a `dataset_name` of their own"
        raise InputError(
            f"`source` {source} cannot be read as an archive ({hint}): {error}"
        ) from None
    return contents


def _python_split(batches: list[tuple[str, bytes]], label_key: bytes) -> Split:
    images, labels, coarse = [], [], []
    for name, data in batches:
        batch = _unpickle(data, name)
        rule = f"{name} lacks a key that CIFAR python batches have."
        check(b"data" in batch and label_key in batch, rule, keys=sorted(map(str, batch)))
        rows = np.asarray(batch[b"data"])
        label_kind = np.asarray(batch[label_key]).dtype.kind
        fits = rows.dtype == np.uint8 and rows.shape == (len(batch[label_key]), 3072)
        rule = f"{name} must hold uint8 images [n, 3072] and n labels, whole numbers."
        check(fits and label_kind in "iu", rule, dtype=str(rows.dtype), shape=rows.shape)
        images.append(rows)
        labels.extend(batch[label_key])
        coarse.extend(batch.get(b"coarse_labels", ()))
    return _split(np.concatenate(images), labels, coarse)


def _binary_split(batches: list[tuple[str, bytes]], num_label_bytes: int) -> Split:
    records = []
    for name, data in batches:
        row_bytes = num_label_bytes + 3072
        rule = f"{name} must be a whole number of records of {row_bytes} bytes."
        check(len(data) > 0 and len(data) % row_bytes == 0, rule, bytes=len(data))
        records.append(np.frombuffer(data, np.uint8).reshape(-1, row_bytes))
    rows = np.concatenate(records)
    coarse = rows[:, 0] if num_label_bytes == 2 else ()  # CIFAR-100: coarse byte, fine byte.
    return _split(rows[:, num_label_bytes:], rows[:, num_label_bytes - 1], coarse)


def _split(rows: np.ndarray, labels: Any, coarse: Any) -> Split:
    images = np.ascontiguousarray(rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    coarse_labels = np.asarray(coarse, np.int64) if len(coarse) else None
    return Split(images, np.asarray(labels, np.int64), coarse_labels)


# Per data set and layout: training files, test files, file of class names, its key, label key.
_LAYOUTS: dict[tuple[str, str], tuple[list[str], str, str, Any]] = {
    ("cifar10", "python"): (
        [f"data_batch_{i}" for i in range(1, 6)],
        "test_batch",
        "batches.meta",
        (b"label_names", b"labels"),
    ),
    ("cifar10", "binary"): (
        [f"data_batch_{i}.bin" for i in range(1, 6)],
        "test_batch.bin",
        "batches.meta.txt",
        1,
    ),
    ("cifar100", "python"): (["train"], "test", "meta", (b"fine_label_names", b"fine_labels")),
    ("cifar100", "binary"): (["train.bin"], "test.bin", "fine_label_names.txt", 2),
}


def _load(dataset: str, location: str, options: Options) -> Source:
    del options
    source = pathlib.Path(location)
    check(source.exists(), "`source` must be a folder or an archive.", source=location)
    wanted = {
        name for key, (t, v, m, _) in _LAYOUTS.items() if key[0] == dataset for name in (*t, v, m)
    }
    contents = _contents(source, wanted)
    for layout in ("python", "binary"):
        train, test, meta, how = _LAYOUTS[dataset, layout]
        if not {*train, test} <= contents.keys():
            continue
        batches = [(name, contents[name]) for name in train]
        if layout == "python":
            names_key, label_key = how
            splits = [_python_split(b, label_key) for b in (batches, [(test, contents[test])])]
            facts = _unpickle(contents[meta], meta) if meta in contents else {names_key: ()}
            rule = f"{meta} lacks {names_key.decode()}."
            check(names_key in facts, rule, keys=sorted(map(str, facts)))
            raw = facts[names_key]
        else:
            splits = [_binary_split(b, how) for b in (batches, [(test, contents[test])])]
            raw = contents.get(meta, b"").split()
        names = tuple(n.decode() if isinstance(n, bytes) else str(n) for n in raw)
        names = names or CIFAR_CLASSES[dataset]
        for split in splits:
            least, most = int(split.labels.min()), int(split.labels.max())
            rule = f"`source` {source}: labels must lie in 0..{len(names) - 1}."
            check(least >= 0 and most < len(names), rule, least=least, most=most)
        return Source(splits[0], splits[1], names)
    found = ", ".join(sorted(contents)) or "none of them"
    needed = " or ".join(
        ", ".join([*t, v]) for (d, _), (t, v, *_) in _LAYOUTS.items() if d == dataset
    )
    advice = "Data of your own need a --dataset_name of their own."
    raise InputError(f"`source` {source} must hold {needed}; found {found}. {advice}")


reader = Reader(_load, provides=("cifar10", "cifar100"), takes=lambda path: True)
