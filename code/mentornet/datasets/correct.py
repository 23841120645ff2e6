"""Corrected records: applies a file of corrections to a folder of records."""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mentornet.config.options import REQUIRED, check_fields, option, within
from mentornet.core import files
from mentornet.core.errors import InputError, check
from mentornet.datasets.catalog import MANIFEST, DatasetInfo, dataset_info, read_manifest
from mentornet.datasets.corrections import NOT_USABLE, Known, read_corrections
from mentornet.datasets.file_list import read_paths, write_paths
from mentornet.datasets.summaries import manifest_facts, share_of_wrong_labels

FLAGS_GROUP = "correct"  # Of the flags that PrepareConfig does not have.
_LEAST_LEFT = 0.1  # Share of a class's samples below which predictions would erase it.
_LOST = (
    "hardly a label would be left, so the student has not learned to tell this class from others. "
    "Its labels stay as they are; review them."
)


@dataclasses.dataclass(frozen=True)
class CorrectConfig:
    """The configuration of `prepare_data.py --records`: each field is one of its flags.

    Raises:
      InputError: `accept_above` is outside 0..1.
    """

    records: str = option(
        REQUIRED, "Correct the labels of the training records in this folder.", group=FLAGS_GROUP
    )
    corrections: str = option(
        REQUIRED,
        "With --records: corrections.csv as saved by labels.html, or the JSON that Label Studio "
        "exports; with --accept_above, labels.csv.",
        group=FLAGS_GROUP,
    )
    output_dir: str = option(REQUIRED, "Folder to create.")
    accept_above: float | None = option(
        None,
        "Accept the prediction in labels.csv wherever 1 - label_score, the report's confidence "
        "that the given label is wrong, is above this value.",
        check=within(0, 1),
        group=FLAGS_GROUP,
    )
    dataset_name: str = option("cifar10", "Data set of records without a manifest.")

    def __post_init__(self) -> None:
        check_fields(self)


def correct(config: CorrectConfig) -> dict[str, Any]:
    """Writes corrected records in the layout of the original ones, completely or not at all.

    Labels are replaced, and samples that are not usable are left out. Predictions that are accepted
    unseen (`accept_above`) do not erase a class: if they would leave less than a tenth of its
    samples, its labels stay as they are, with a warning. Everything else in the
    records (image bytes, ids, clean labels, trusted marks) is kept. Samples that the file does not
    mention keep their given label.

    Returns:
      The manifest of `output_dir`; a folder that already holds the same data is kept.

    Raises:
      InputError: the records or the corrections cannot be used, or the folder holds other data.
    """
    from mentornet.datasets import records

    data = _read(config)
    manifest = read_manifest(config.records) or {}
    name = manifest.get("config", {}).get("dataset_name", config.dataset_name)
    info = dataset_info(name, config.records)
    examples = records.read_examples(config.records, info, "train")
    known = Known(info, examples.ids, examples.labels, read_paths(config.records, examples.ids))
    decided = read_corrections(data, config.corrections, known, config.accept_above)
    lost: list[str] = []
    if config.accept_above is not None:
        decided, lost = _without_lost_classes(decided, examples.labels, info)
    labels = examples.labels.copy()
    labels[decided[:, 0]] = decided[:, 1]
    before = examples.labels[decided[:, 0]]
    wrong = share_of_wrong_labels(examples.labels, examples.clean_labels)
    facts = {
        "file": pathlib.Path(config.corrections).name,
        "sha256": hashlib.sha256(data).hexdigest(),
        "accept_above": config.accept_above,
        "records_fingerprint": examples.fingerprint(),
        "kept": int((decided[:, 1] == before).sum()),
        "replaced": int(((decided[:, 1] != before) & (decided[:, 1] != NOT_USABLE)).sum()),
        "left_out": int((decided[:, 1] == NOT_USABLE).sum()),
        "undecided": len(labels) - len(decided),
        "classes_not_corrected": lost,
        "share_of_wrong_labels_before": wrong,
    }
    if "corrections" in manifest:  # From the previous round.
        facts["previous"] = manifest["corrections"]
    rule = "`corrections` must leave at least one usable sample."
    used = labels != NOT_USABLE
    check(used.any(), rule, left_out=facts["left_out"])
    columns = labels[used], examples.clean_labels[used]
    contents = manifest_facts(*columns, info.all_class_names, examples.image_shape)
    made = {**manifest, **contents, "corrections": facts}
    made = {"config": {"dataset_name": name}, "split": "train", **made}
    paths = {number: known.paths[number] for number in examples.ids[used].tolist() if known.paths}
    return _write(config, info, examples.ids, labels, paths, made)


def _read(config: CorrectConfig) -> bytes:
    """The file of corrections.

    Raises:
      InputError: it cannot be read, or there are no records.
    """
    rule = "`records` must be a folder of training records, such as the one of `mentornet prepare`."
    has_any = any(pathlib.Path(config.records).glob("*_train-*"))
    check(has_any, rule, records=config.records)
    try:
        return pathlib.Path(config.corrections).read_bytes()
    except OSError as error:
        text = f"`corrections` {config.corrections} cannot be read: {error.strerror}"
        raise InputError(text) from None


def _without_lost_classes(
    decided: np.ndarray, labels: np.ndarray, info: DatasetInfo
) -> tuple[np.ndarray, list[str]]:
    """Decisions int64 [m, 2] without those on classes of which hardly a label would be left.

    Such a class is not known to the student, as where most of its labels went to a similar one.

    Returns:
      The other decisions, and the names of the classes.
    """
    corrected = labels.copy()
    corrected[decided[:, 0]] = decided[:, 1]
    before, after = (np.bincount(each, minlength=info.num_classes) for each in (labels, corrected))
    lost = np.flatnonzero(after < _LEAST_LEFT * before)
    names = [info.class_name(label) for label in lost.tolist()]
    if names:
        print(f"WARNING: {', '.join(names)}: {_LOST}", flush=True)
    return decided[~np.isin(labels[decided[:, 0]], lost)], names


def _is_there(folder: pathlib.Path, facts: dict[str, Any]) -> dict[str, Any] | None:
    """The manifest of an existing folder with these corrections; None if there is no folder."""
    manifest = read_manifest(folder)
    if manifest is None:
        rule = "`output_dir` exists and has no manifest; it was left unchanged."
        check(not folder.exists(), rule, output_dir=str(folder))
        return None
    same = ("sha256", "accept_above", "records_fingerprint")
    old = manifest.get("corrections") or {}
    rule = "`output_dir` holds other data; remove it or choose another folder."
    check(all(old.get(key) == facts[key] for key in same), rule, output_dir=str(folder))
    return manifest


def _write(
    config: CorrectConfig,
    info: DatasetInfo,
    ids: np.ndarray,
    labels: np.ndarray,
    paths: Mapping[int, str],
    manifest: dict[str, Any],
) -> dict[str, Any]:
    """Writes the folder under a temporary name, then renames it; returns its manifest."""
    from mentornet.datasets import records

    folder = pathlib.Path(config.output_dir)
    existing = _is_there(folder, manifest["corrections"])
    if existing is not None:
        return existing
    with files.whole_folder(folder) as temporary:
        found = records.find_files(config.records, info.name, "train")
        _relabel(found, temporary, info.label_key, ids, labels)
        if paths:
            write_paths(temporary, paths)
        names = [pathlib.Path(file).name for file in found]
        manifest["sha256"] = {name: files.sha256(temporary / name) for name in names}
        files.write_json(temporary / MANIFEST, manifest)
    return manifest


def _relabel(
    shards: Sequence[str], target: pathlib.Path, key: str, ids: np.ndarray, labels: np.ndarray
) -> None:
    """Copies records file by file with other labels, without those that are NOT_USABLE.

    Raises:
      InputError: the disk is full or the folder cannot be written.
    """
    import tensorflow as tf

    place = 0
    for file in shards:
        try:
            with tf.io.TFRecordWriter(str(target / pathlib.Path(file).name)) as writer:
                for serialized in tf.data.TFRecordDataset(file).as_numpy_iterator():
                    if labels[place] != NOT_USABLE:
                        example = tf.train.Example.FromString(serialized)
                        feature = example.features.feature
                        feature[key].int64_list.value[:] = [labels[place]]
                        # Records without an id use their position, which may now belong to another.
                        feature["image/id"].int64_list.value[:] = [ids[place]]
                        writer.write(example.SerializeToString(deterministic=True))
                    place += 1
        except tf.errors.OpError as error:
            raise InputError(f"`output_dir` {target} cannot be written: {error.message}") from None
