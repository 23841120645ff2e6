"""Writes folders of records with a manifest, from a source and a type of label noise."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mentornet.config.options import differences
from mentornet.core import files
from mentornet.core.errors import InputError, check
from mentornet.datasets import noise, sources
from mentornet.datasets.catalog import KNOWN, MANIFEST, DatasetInfo, read_manifest
from mentornet.datasets.file_list import write_paths
from mentornet.datasets.prepare_config import OWN_SETTINGS, PrepareConfig
from mentornet.datasets.summaries import manifest_facts


def _noisy_labels(config: PrepareConfig, clean: np.ndarray, num_classes: int) -> np.ndarray:
    corruption = noise.Corruption(
        clean,
        num_classes,
        config.noise_fraction,
        config.seed,
        config.dataset_name,
        config.noise_file,
        config.noise_key,
    )
    labels = np.asarray(noise.NOISE_TYPES.find(config.noise_type)(corruption))
    is_fit = labels.shape == clean.shape and labels.dtype.kind in "iu"
    is_fit = is_fit and bool(((labels >= 0) & (labels < num_classes)).all())
    rule = f"`noise_type` must return a label in 0..{num_classes - 1} for each sample."
    check(is_fit, rule, noise_type=config.noise_type, shape=labels.shape, dtype=labels.dtype)
    return labels


@dataclasses.dataclass(frozen=True)
class _Samples:
    """The part of a split for one folder: positions, labels, and lists to write next to it."""

    ids: np.ndarray
    labels: np.ndarray
    clean: np.ndarray
    trusted: np.ndarray | None = None
    lists: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)


def _train_folder(config: PrepareConfig, asked: dict[str, Any]) -> pathlib.Path:
    """`config.train_folder`, or the folder named by the fraction alone if it holds the same data.

    Earlier versions named folders this way for every type of noise.
    """
    earlier = config.train_folder.with_name(f"{config.noise_fraction:g}")
    manifest = read_manifest(earlier)
    if manifest is not None and not differences(manifest.get("config", {}), asked):
        return earlier
    return config.train_folder


# What differs if a checksum does.
_DIFFERENCES = {
    "source_sha256": "the source has other contents",
    "names_sha256": "the source's files or features have other names",
    "noise_sha256": "the noise file has other labels",
}


def _checksums(split: sources.Split, source: sources.Source) -> dict[str, str]:
    """SHA-256 of what a split holds, and of its names, wherever it came from."""
    content = hashlib.sha256(json.dumps(list(source.class_names)).encode())
    for array in (split.images, split.labels, split.clean_labels):
        if array is not None:
            content.update(np.ascontiguousarray(array).data)
    paths = [] if split.paths is None else split.paths.tolist()
    names = json.dumps([paths, list(source.feature_names)])
    of_names = hashlib.sha256(names.encode()).hexdigest()
    return {"source_sha256": content.hexdigest(), "names_sha256": of_names}


def _existing(
    folder: pathlib.Path, config: dict[str, Any], checksums: dict[str, str]
) -> dict[str, Any] | None:
    """The manifest of a folder that already holds the same data; None if there is no folder.

    Raises:
      InputError: the folder holds other data.
    """
    existing = read_manifest(folder)
    if existing is not None:
        different = differences(existing.get("config", {}), config)
        different += [
            _DIFFERENCES[name]
            for name, checksum in checksums.items()
            if existing.get(name, checksum) != checksum  # Earlier versions did not record them.
        ]
        if different:
            advice = "remove the folder or choose another `output_dir`"
            raise InputError(f"{folder} holds other data ({'; '.join(different)}); {advice}.")
        return existing
    rule = "The folder exists and has no manifest; it was left unchanged."
    check(not folder.exists(), rule, folder=str(folder))
    return None


def _folder(
    folder: pathlib.Path,
    split: str,
    config: dict[str, Any],
    source: sources.Source,
    samples: _Samples,
    checksums: dict[str, str],
) -> dict[str, Any]:
    """Writes one folder of records, completely or not at all; returns its manifest."""
    from mentornet.datasets import records

    name, ids = config["dataset_name"], samples.ids
    data = source.train if split == "train" else source.test
    info = KNOWN.get(name, DatasetInfo(name, len(source.class_names), source.class_names))
    features = {
        info.label_key: samples.labels,
        "image/class/clean_label": samples.clean,
        "image/id": ids,
    }
    if data.coarse_labels is not None:
        features["image/class/coarse_label"] = data.coarse_labels[ids]
    if samples.trusted is not None:
        features["image/trusted"] = samples.trusted.astype(np.int64)
    shape = data.images.shape[1:]
    facts = manifest_facts(samples.labels, samples.clean, source.class_names, shape)
    try:
        with files.whole_folder(folder) as temporary:
            file = temporary / f"{info.name}_{split}-00000-of-00001"
            records.write_records(file, data.images[ids], features)
            manifest = {
                "config": config,
                "split": split,
                **facts,
                **checksums,
                **({"feature_names": list(source.feature_names)} if source.feature_names else {}),
                "sha256": {file.name: files.sha256(file)},
            }
            _write_lists(temporary, data, samples)
            files.write_json(temporary / MANIFEST, manifest)
    except FileExistsError:  # Another process has just prepared it; other data are refused.
        _existing(folder, config, checksums)
    return manifest


def _write_lists(folder: pathlib.Path, data: sources.Split, samples: _Samples) -> None:
    if data.paths is not None:
        write_paths(folder, dict(zip(samples.ids, data.paths[samples.ids], strict=True)))
    for name, lines in samples.lists.items():
        if lines:
            (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _clean_labels(split: sources.Split, corrupted: bool) -> np.ndarray:
    """Clean labels, -1 where unknown; the source's labels count as clean if we corrupt them."""
    if split.clean_labels is None:
        return split.labels
    unknown = split.clean_labels == sources.UNKNOWN
    return np.where(unknown & corrupted, split.labels, split.clean_labels)


def _trusted(config: PrepareConfig, clean: np.ndarray) -> np.ndarray | None:
    """Which samples are marked as trusted; None if none are."""
    if not config.num_trusted:
        return None
    known = np.flatnonzero(clean != sources.UNKNOWN)
    rule = f"`num_trusted` must not exceed the {len(known)} training images with a clean label."
    check(config.num_trusted <= len(known), rule, num_trusted=config.num_trusted)
    trusted = np.zeros(len(clean), bool)
    order = np.random.default_rng([config.seed, 2]).permutation(len(known))
    trusted[known[order < config.num_trusted]] = True
    return trusted


def prepare(config: PrepareConfig) -> dict[str, dict[str, Any]]:
    """Writes the corrupted training split and the clean test split.

    Labels are drawn for all images of the source before a subset is taken, so an image has the same
    label in the whole set and in each subset with the same seed. Each folder appears under its
    final name only when complete; a folder that already holds the same data is kept.

    Returns:
      The manifests by folder.

    Raises:
      InputError: the source or the noise cannot be loaded, or a folder holds other data.
    """
    is_own = config.dataset_name not in KNOWN
    source = sources.load(config.dataset_name, config.source, config.own_options())
    labels = _noisy_labels(config, source.train.labels, len(source.class_names))
    ids = np.arange(len(labels))
    if config.num_train is not None:
        rule = f"`num_train` must not exceed the {len(ids)} training images."
        check(config.num_train <= len(ids), rule, num_train=config.num_train)
        ids = np.sort(np.random.default_rng([config.seed, 1]).permutation(ids)[: config.num_train])
    asked = dataclasses.asdict(config)
    for key in ("output_dir", "source", *(() if is_own else OWN_SETTINGS)):
        del asked[key]
    corrupted = bool(np.any(labels != source.train.labels))
    clean = _clean_labels(source.train, corrupted)[ids]
    lists = {"unreadable.txt": source.unreadable, "conflicts.txt": source.conflicts}
    train_samples = _Samples(ids, labels[ids], clean, _trusted(config, clean), lists)
    test_clean = _clean_labels(source.test, corrupted=False)
    # The student is evaluated on clean labels wherever they are known.
    test_labels = np.where(test_clean == sources.UNKNOWN, source.test.labels, test_clean)
    test_samples = _Samples(np.arange(len(test_labels)), test_labels, test_clean)
    kept = ("dataset_name", *OWN_SETTINGS, "seed") if is_own else ("dataset_name",)
    folders = (
        (_train_folder(config, asked), "train", asked, train_samples),
        (config.test_folder, "test", {key: asked[key] for key in kept}, test_samples),
    )
    checksums = {
        split: _checksums(data, source)
        for split, data in (("train", source.train), ("test", source.test))
    }
    if config.noise_file:
        checksums["train"]["noise_sha256"] = hashlib.sha256(labels.tobytes()).hexdigest()
    # Both are looked at before one is written.
    found = {folder: _existing(folder, how, checksums[split]) for folder, split, how, _ in folders}
    return {
        str(folder): found[folder] or _folder(folder, split, how, source, samples, checksums[split])
        for folder, split, how, samples in folders
    }
