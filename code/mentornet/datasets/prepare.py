"""Makes folders of records with a manifest, from a source and a kind of label noise."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import tempfile
from typing import Any

import numpy as np

from mentornet.config import InputError, check
from mentornet.datasets import KNOWN, MANIFEST, noise, read_manifest, sources


@dataclasses.dataclass(frozen=True)
class PrepareConfig:
    """What `cifar_prepare_data.py` is asked for; see its flags.

    Raises:
      InputError: a value lies outside its range.
    """

    dataset_name: str
    output_dir: str
    source: str | None = None
    noise_type: str = "uniform"
    noise_fraction: float = 0.0
    noise_file: str | None = None
    noise_key: str | None = None
    num_train: int | None = None
    num_trusted: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        rule = f"`dataset_name` must be one of {', '.join(sorted(KNOWN))}."
        check(self.dataset_name in KNOWN, rule, dataset_name=self.dataset_name)
        rule = f"`noise_type` must be one of {', '.join(noise.NOISE_TYPES)}."
        check(self.noise_type in noise.NOISE_TYPES, rule, noise_type=self.noise_type)
        rule = "`noise_fraction` must lie in 0..1."
        check(0 <= self.noise_fraction <= 1, rule, noise_fraction=self.noise_fraction)
        rule = "`noise_file` goes with noise_type='file', and only with it."
        fits = (self.noise_type == "file") == (self.noise_file is not None)
        check(fits, rule, noise_type=self.noise_type, noise_file=self.noise_file)
        check(self.seed >= 0, "`seed` must not be negative.", seed=self.seed)
        rule = "`num_trusted` must not be negative."
        check(self.num_trusted >= 0, rule, num_trusted=self.num_trusted)
        rule = "`num_train` must be at least 1."
        check(self.num_train is None or self.num_train >= 1, rule, num_train=self.num_train)

    @property
    def train_folder(self) -> pathlib.Path:
        """<output_dir>/<dataset>/<noise>: "0.4", or what the file of labels is called."""
        name = f"{self.noise_fraction:g}"
        if self.noise_file is not None:
            name = self.noise_key or pathlib.Path(self.noise_file).stem
        return pathlib.Path(self.output_dir) / self.dataset_name / name

    @property
    def test_folder(self) -> pathlib.Path:
        return pathlib.Path(self.output_dir) / self.dataset_name / "val"


def _noisy_labels(config: PrepareConfig, clean: np.ndarray, num_classes: int) -> np.ndarray:
    if config.noise_file is not None:
        return noise.labels_from_file(config.noise_file, config.noise_key, len(clean), num_classes)
    return noise.corrupt(
        clean,
        num_classes,
        config.noise_type,
        config.noise_fraction,
        config.seed,
        config.dataset_name,
    )


def _folder(
    folder: pathlib.Path,
    split: str,
    config: dict[str, Any],
    data: sources.Split,
    class_names: tuple[str, ...],
    labels: np.ndarray,
    ids: np.ndarray,
    trusted: np.ndarray | None = None,
) -> dict[str, Any]:
    """Writes one folder of records whole or not at all; returns its manifest."""
    from mentornet.datasets import records

    info = KNOWN[config["dataset_name"]]
    existing = read_manifest(folder)
    if existing is not None:
        old = existing.get("config", {})
        different = [
            f"{k}: {old.get(k)!r} there, {v!r} asked" for k, v in config.items() if old.get(k) != v
        ]
        if different:
            advice = "remove the folder or choose another `output_dir`"
            raise InputError(f"{folder} holds other data ({'; '.join(different)}); {advice}.")
        return existing
    check(
        not folder.exists(),
        "The folder exists and has no manifest; it is left as it is.",
        folder=str(folder),
    )
    clean = data.labels[ids]
    features = {info.label_key: labels, "image/class/clean_label": clean, "image/id": ids}
    if data.coarse_labels is not None:
        features["image/class/coarse_label"] = data.coarse_labels[ids]
    if trusted is not None:
        features["image/trusted"] = trusted.astype(np.int64)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = pathlib.Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        file = temporary / f"{info.name}_{split}-00000-of-00001"
        records.write_records(file, data.images[ids], features)
        manifest = {
            "config": config,
            "split": split,
            "num_examples": len(ids),
            "examples_per_label": np.bincount(labels, minlength=info.num_classes).tolist(),
            "num_classes": info.num_classes,
            "classes": list(class_names),
            "image_shape": list(data.images.shape[1:]),
            "share_of_wrong_labels": float(np.mean(labels != clean)),
            "transition_matrix": noise.transition_matrix(clean, labels, info.num_classes).tolist(),
            "sha256": {file.name: hashlib.sha256(file.read_bytes()).hexdigest()},
        }
        (temporary / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
        temporary.chmod(0o755)
        os.replace(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return manifest


def prepare(config: PrepareConfig) -> dict[str, dict[str, Any]]:
    """Writes the corrupted training split and the clean test split.

    The labels are drawn for all images of the source before a subset is taken, so an image has
    the same label in the whole set and in each subset of the same seed. Each folder appears
    under its name only when complete; a folder that holds the same data already is kept.

    Returns:
      The manifests by folder.

    Raises:
      InputError: the source or the noise cannot be had, or a folder holds other data.
    """
    source = sources.load(config.dataset_name, config.source)
    num_classes = KNOWN[config.dataset_name].num_classes
    labels = _noisy_labels(config, source.train.labels, num_classes)
    ids = np.arange(len(labels))
    if config.num_train is not None:
        rule = f"`num_train` must not exceed the {len(ids)} training images."
        check(config.num_train <= len(ids), rule, num_train=config.num_train)
        ids = np.sort(np.random.default_rng([config.seed, 1]).permutation(ids)[: config.num_train])
    trusted = None
    if config.num_trusted:
        rule = f"`num_trusted` must not exceed the {len(ids)} training images."
        check(config.num_trusted <= len(ids), rule, num_trusted=config.num_trusted)
        order = np.random.default_rng([config.seed, 2]).permutation(len(ids))
        trusted = order < config.num_trusted
    asked = dataclasses.asdict(config)
    for key in ("output_dir", "source"):
        del asked[key]
    names, folder = source.class_names, config.train_folder
    train = _folder(folder, "train", asked, source.train, names, labels[ids], ids, trusted)
    test_asked, test_ids = {"dataset_name": config.dataset_name}, np.arange(len(source.test.labels))
    test_labels, test_folder = source.test.labels, config.test_folder
    test = _folder(test_folder, "test", test_asked, source.test, names, test_labels, test_ids)
    return {str(folder): train, str(test_folder): test}
