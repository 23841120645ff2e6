"""Writes and reads TFRecords of images (or rows of features) in the 2018 release's layout."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import hashlib
import os
import pathlib
import zlib
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from mentornet.core.errors import InputError, check, first_line
from mentornet.datasets import images
from mentornet.datasets.catalog import DatasetInfo
from mentornet.datasets.images import EncodedImages, Shape
from mentornet.datasets.sources import UNKNOWN

MAX_IN_MEMORY = 2**28  # Bytes; larger sets of images are read when they are needed.
_CHUNK = 256
_CHECKSUM = 4  # Bytes after each record of a TFRecord file,
_FRAME = 16  # and all bytes around a record: its length, and the checksums of length and record.


@dataclasses.dataclass(frozen=True)
class Examples:
    """The records of one split.

    Attributes:
      images: uint8 [n, height, width, 3], or rows of features, float32 [n, num_features]; if they
        would take more than 256 MiB, only their positions in the files.
      image_shape: (height, width, 3), or (num_features,).
      labels: int64 [n], the given labels (possibly wrong).
      clean_labels: int64 [n], -1 where not recorded.
      ids: int64 [n], stable across noise settings; the position in the split where not recorded.
      trusted: bool [n], whether the sample is marked as one whose clean label may be used.
      images_sha256: over checksums of the encoded images; None for a part of a split.
    """

    images: tf.Tensor | EncodedImages
    image_shape: Shape
    labels: np.ndarray
    clean_labels: np.ndarray
    ids: np.ndarray
    trusted: np.ndarray
    images_sha256: str | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def are_features(self) -> bool:
        """Whether the samples are rows of features instead of images."""
        return len(self.image_shape) == 1

    def read(self, indices: np.ndarray | tf.Tensor) -> tf.Tensor:
        """uint8 [m, height, width, 3], or float32 [m, num_features], at `indices`, int [m]."""
        return images.reader(self.images)(tf.cast(indices, tf.int64))

    def take(self, indices: np.ndarray) -> Examples:
        """The samples at `indices`, int [m]."""
        if isinstance(self.images, EncodedImages):
            images = self.images.take(indices)
        else:
            with tf.device("CPU:0"):
                images = tf.gather(self.images, indices)
        columns = (self.labels, self.clean_labels, self.ids, self.trusted)
        return Examples(images, self.image_shape, *(column[indices] for column in columns))

    def fingerprint(self) -> str:
        """SHA-256 over ids and given labels."""
        return hashlib.sha256(self.ids.tobytes() + self.labels.tobytes()).hexdigest()

    def identity(self) -> str:
        """The start of a SHA-256 over ids, given labels and images."""
        both = f"{self.fingerprint()} {self.images_sha256}"
        return hashlib.sha256(both.encode()).hexdigest()[:16]


def write_records(
    path: str | pathlib.Path,
    samples: np.ndarray,
    features: dict[str, np.ndarray],
) -> None:
    """Writes PNG-encoded images, or rows.

    Args:
      path: the file to create.
      samples: images uint8 [n, height, width, 3], or rows of features float32 [n, num_features].
      features: int64 [n] each, under the record's key.

    Raises:
      InputError: the disk is full or the folder cannot be written.
    """
    are_images = samples.ndim == 4
    encoded = _encode_png(samples) if are_images else images.encode_rows(samples)
    kind = b"png" if are_images else b"float32"
    try:
        with tf.io.TFRecordWriter(str(path)) as writer:
            for i, data in enumerate(encoded):
                feature = {key: _int64(values[i]) for key, values in features.items()}
                feature["image/encoded"] = _bytes(data)
                feature["image/format"] = _bytes(kind)
                example = tf.train.Example(features=tf.train.Features(feature=feature))
                # Otherwise equal records could differ in their bytes and checksums.
                writer.write(example.SerializeToString(deterministic=True))
    except tf.errors.OpError as error:
        raise InputError(f"{path} cannot be written: {error.message}") from None


def _encode_png(pixels: np.ndarray) -> Iterator[bytes]:
    encoded = tf.data.Dataset.from_tensor_slices(pixels).map(
        tf.io.encode_png, num_parallel_calls=tf.data.AUTOTUNE
    )
    return images.without_autotuning(encoded).as_numpy_iterator()


def _int64(value: int) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))


def _bytes(value: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def find_files(data_dir: str, dataset: str, split: str) -> list[str]:
    """The files `<dataset>_<split>-*` of a folder, sorted.

    Raises:
      InputError: the folder is missing or has no such file.
    """
    folder = pathlib.Path(data_dir)
    check(folder.is_dir(), "`data_dir` must be an existing folder.", data_dir=data_dir)
    files = sorted(str(path) for path in folder.glob(f"{dataset}_{split}-*") if path.is_file())
    if not files:
        present = ", ".join(sorted(path.name for path in folder.iterdir())[:5]) or "nothing"
        pattern = f"{dataset}_{split}-*"
        raise InputError(f"No file matches {pattern} in {data_dir}; found {present}.")
    return files


def read_examples(data_dir: str, info: DatasetInfo, split: str) -> Examples:
    """Reads all records of a split, decoding each image (or row of features) once.

    Records are read as the release wrote them; `image/class/clean_label` and `image/id` may be
    absent.

    Args:
      data_dir: folder with files `<dataset>_<split>-*`.
      info: the data set.
      split: "train" or "test".

    Raises:
      InputError: files are missing, a record is truncated or corrupt, an image cannot be decoded,
        images or rows differ in size, or a label is outside 0..num_classes-1; the message names
        file and record.
    """
    files = find_files(data_dir, info.name, split)
    versions = tuple(map(images.version_of, files))
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        parsed = list(pool.map(lambda file: _read_file(file, info), files))
    columns = {key: np.concatenate([part[key] for part in parsed]) for key in parsed[0]}
    check(
        len(columns["image/id"]) > 0,
        f"No records in {files[0]} or the other record files.",
        files=len(files),
    )
    file = np.repeat(np.arange(len(files)), [len(part["image/id"]) for part in parsed])
    where = _Locator(files, file)
    labels = columns[info.label_key]
    bad = np.flatnonzero((labels < 0) | (labels >= info.num_classes))
    if bad.size:
        value = labels[bad[0]]
        found = "is missing" if value == UNKNOWN else f"is {value}"
        expected = f"must lie in 0..{info.num_classes - 1}"
        raise InputError(f"{where(bad[0])}: the label {info.label_key} {found}; it {expected}.")
    ids = columns["image/id"]
    ids = np.where(ids == UNKNOWN, np.arange(len(ids)), ids)
    lies = file, columns["start"], columns["size"]
    encoded = EncodedImages(tuple(files), versions, *lies, info.num_features)
    if info.num_features is None:
        images.check_claims(columns["claimed_size"], where)
        image_shape = images.decode_one(encoded, 0, where).shape
    else:
        images.check_lengths(columns["size"], info.num_features, where)
        image_shape = (info.num_features,)
    num_bytes = len(encoded) * int(np.prod(image_shape)) * (4 if len(image_shape) == 1 else 1)
    pixels: tf.Tensor | EncodedImages = encoded
    if num_bytes <= MAX_IN_MEMORY:
        with tf.device("CPU:0"):  # Keeps the whole data set in the host's memory.
            pixels = images.decode_all(encoded, image_shape, where)
    clean_labels = columns["image/class/clean_label"]
    trusted = columns["image/trusted"] == 1
    digest = hashlib.sha256(columns["checksum"].tobytes()).hexdigest()
    return Examples(pixels, image_shape, labels, clean_labels, ids, trusted, digest)


class _Locator:
    """Names the file and the record of an example in messages."""

    def __init__(self, files: list[str], file: np.ndarray) -> None:
        self._files, self._file = files, file

    def __call__(self, index: int) -> str:
        file = self._file[index]
        record = index - np.searchsorted(self._file, file)
        return f"{self._files[file]}, record {record}"


def _read_file(file: str, info: DatasetInfo) -> dict[str, np.ndarray]:
    """The columns of one file; for images only their positions and the sizes they claim."""
    integer = tf.io.FixedLenFeature([], tf.int64, default_value=UNKNOWN)
    features = {
        "image/encoded": tf.io.FixedLenFeature([], tf.string, default_value=""),
        info.label_key: integer,
        "image/class/clean_label": integer,
        "image/id": integer,
        "image/trusted": integer,
    }
    names = [*list(features)[1:], "start", "size", "checksum", "claimed_size"]
    parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
    record = end = 0
    chunks = iter(tf.data.TFRecordDataset(file, buffer_size=1 << 20).batch(_CHUNK))
    while True:
        try:
            chunk = next(chunks, None)
        except tf.errors.DataLossError:
            raise InputError(f"{file}, {_first_damaged_record(file)}") from None
        except tf.errors.OpError as error:  # It may not be read, for example.
            raise InputError(f"{file} cannot be read: {first_line(error)}") from None
        if chunk is None:
            break
        try:
            parsed = tf.io.parse_example(chunk, features)
        except (tf.errors.InvalidArgumentError, UnicodeDecodeError):
            # TensorFlow puts the record in its message, which fails if that is not UTF-8.
            raise InputError(f"{file}, {_first_unparsable_record(chunk, record)}") from None
        columns = {key: value.numpy() for key, value in parsed.items()}
        serialized, encoded = chunk.numpy(), columns.pop("image/encoded")
        ends = end + np.cumsum([_FRAME + len(example) for example in serialized])
        pairs = zip(serialized, encoded, strict=True)
        before_end = [len(example) - example.find(data) for example, data in pairs]
        columns["start"] = ends - _CHECKSUM - before_end
        columns["size"] = np.array([len(data) for data in encoded])
        columns["checksum"] = np.array([zlib.crc32(data) for data in encoded])
        columns["claimed_size"] = np.zeros((len(encoded), 2), int)
        if info.num_features is None:
            columns["claimed_size"][:] = [images.claimed_size(data) for data in encoded]
        for name, values in columns.items():
            parts[name].append(values)
        record, end = record + len(serialized), ends[-1]
    empty = {"claimed_size": np.empty((0, 2), int)}
    return {k: np.concatenate([empty.get(k, np.empty(0, int)), *v]) for k, v in parts.items()}


def _first_damaged_record(file: str) -> str:
    number = 0
    try:
        for _ in tf.data.TFRecordDataset(file):
            number += 1
    except tf.errors.DataLossError:
        pass
    return f"record {number}: truncated or corrupt (its checksum does not fit)."


def _first_unparsable_record(chunk: tf.Tensor, start: int) -> str:
    for i, serialized in enumerate(chunk.numpy()):
        try:
            tf.train.Example.FromString(serialized)
        except Exception:  # protobuf's DecodeError has no stable public name.
            return f"record {start + i}: not a tf.train.Example."
    return f"records {start}..{start + len(chunk) - 1}: a key holds values of the wrong type."
