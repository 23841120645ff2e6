"""TFRecords in the layout of the 2018 release, and the images read back from them."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
import pathlib
import struct
import warnings
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from mentornet.config import InputError, check
from mentornet.datasets import DatasetInfo
from mentornet.datasets.sources import MAX_PIXELS, UNKNOWN

_CHUNK = 2048


@dataclasses.dataclass(frozen=True)
class Examples:
    """The records of one split, in memory.

    Attributes:
      images: uint8 [n, height, width, 3] where the decoded images fit into half of the free
        memory, else the encoded images, string [n].
      image_shape: (height, width, 3).
      labels: int64 [n], the labels given (perhaps wrong).
      clean_labels: int64 [n], -1 where not recorded.
      ids: int64 [n], stable across noise settings; the position in the split where not recorded.
      trusted: bool [n], whether the sample was marked as one whose clean label may be used.
    """

    images: tf.Tensor
    image_shape: tuple[int, int, int]
    labels: np.ndarray
    clean_labels: np.ndarray
    ids: np.ndarray
    trusted: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: np.ndarray) -> Examples:
        """The samples at `indices`, int [m], and nothing of the others."""
        with tf.device("CPU:0"):
            images = tf.gather(self.images, indices)
        columns = (self.labels, self.clean_labels, self.ids, self.trusted)
        return Examples(images, self.image_shape, *(column[indices] for column in columns))

    def fingerprint(self) -> str:
        """SHA-256 over ids and given labels."""
        return hashlib.sha256(self.ids.tobytes() + self.labels.tobytes()).hexdigest()


def write_records(
    path: str | pathlib.Path,
    images: np.ndarray,
    features: dict[str, np.ndarray],
) -> None:
    """Writes PNG-encoded examples, under a temporary name until the file is complete.

    Args:
      path: the file to make.
      images: uint8 [n, height, width, 3].
      features: int64 [n] each, under the record's key.

    Raises:
      InputError: the disk is full or the folder cannot be written.
    """
    encoded = tf.data.Dataset.from_tensor_slices(images).map(
        tf.io.encode_png, num_parallel_calls=tf.data.AUTOTUNE
    )
    temporary = f"{path}.tmp{os.getpid()}"
    try:
        with tf.io.TFRecordWriter(temporary) as writer:
            for i, png in enumerate(encoded.as_numpy_iterator()):
                feature = {key: _int64(values[i]) for key, values in features.items()}
                feature["image/encoded"] = _bytes(png)
                feature["image/format"] = _bytes(b"png")
                example = tf.train.Example(features=tf.train.Features(feature=feature))
                # Without `deterministic` equal records differ in their bytes, and checksums lie.
                writer.write(example.SerializeToString(deterministic=True))
    except tf.errors.OpError as error:
        raise InputError(f"{path} cannot be written: {error.message}") from None
    os.replace(temporary, path)


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
    files = sorted(
        str(path)
        for path in folder.glob(f"{dataset}_{split}-*")
        if path.is_file() and ".tmp" not in path.name
    )
    if not files:
        present = ", ".join(sorted(path.name for path in folder.iterdir())[:5]) or "nothing"
        pattern = f"{dataset}_{split}-*"
        raise InputError(f"No file matches {pattern} in `data_dir` {data_dir}; found {present}.")
    return files


def read_examples(data_dir: str, info: DatasetInfo, split: str) -> Examples:
    """Reads all records of a split, decoding each image once.

    Records are read as the release wrote them; `image/class/clean_label` and `image/id` may be
    absent.

    Args:
      data_dir: folder with files `<dataset>_<split>-*`.
      info: the data set.
      split: "train" or "test".

    Raises:
      InputError: missing files, a truncated or corrupt record, an image that cannot be decoded,
        images of different sizes, or a label outside 0..num_classes-1; file and record are named.
    """
    files = find_files(data_dir, info.name, split)
    parsed = [chunk for file in files for chunk in _read_file(file, info)]
    check(bool(parsed), f"No records in {files[0]} and its like.", files=len(files))
    columns = {key: np.concatenate([chunk[key] for chunk in parsed]) for key in parsed[0]}
    labels = columns[info.label_key]
    where = _Locator(columns["file"], columns["record"])
    bad = np.flatnonzero((labels < 0) | (labels >= info.num_classes))
    if bad.size:
        value = labels[bad[0]]
        found = "is missing" if value == UNKNOWN else f"is {value}"
        expected = f"must lie in 0..{info.num_classes - 1}"
        raise InputError(f"{where(bad[0])}: the label {info.label_key} {found}; it {expected}.")
    ids = columns["image/id"]
    ids = np.where(ids == UNKNOWN, np.arange(len(ids)), ids)
    images, image_shape = _decode_all(columns["image/encoded"], where)
    clean_labels = columns["image/class/clean_label"]
    trusted = columns["image/trusted"] == 1
    return Examples(images, image_shape, labels, clean_labels, ids, trusted)


class _Locator:
    """Names the file and the record of an example in messages."""

    def __init__(self, files: np.ndarray, records: np.ndarray) -> None:
        self._files, self._records = files, records

    def __call__(self, index: int) -> str:
        return f"{self._files[index]}, record {self._records[index]}"


def _read_file(file: str, info: DatasetInfo) -> Iterator[dict[str, np.ndarray]]:
    """Yields the parsed columns of one file, chunk by chunk."""
    integer = tf.io.FixedLenFeature([], tf.int64, default_value=UNKNOWN)
    features = {
        "image/encoded": tf.io.FixedLenFeature([], tf.string, default_value=""),
        info.label_key: integer,
        "image/class/clean_label": integer,
        "image/id": integer,
        "image/trusted": integer,
    }
    start = 0
    chunks = iter(tf.data.TFRecordDataset(file, buffer_size=1 << 20).batch(_CHUNK))
    while True:
        try:
            chunk = next(chunks, None)
        except tf.errors.DataLossError:
            raise InputError(f"{file}, {_first_damaged_record(file)}") from None
        if chunk is None:
            return
        try:
            parsed = tf.io.parse_example(chunk, features)
        except (tf.errors.InvalidArgumentError, UnicodeDecodeError):
            # TensorFlow puts the record into its message, which must then be UTF-8.
            raise InputError(f"{file}, {_first_unparsable_record(chunk, start)}") from None
        columns = {key: value.numpy() for key, value in parsed.items()}
        size = len(columns["image/id"])
        columns["file"] = np.full(size, file, object)
        columns["record"] = np.arange(start, start + size)
        start += size
        yield columns


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
    return f"records {start}..{start + len(chunk) - 1}: a key holds values of another type."


def decode_image(encoded: tf.Tensor) -> tf.Tensor:
    """PNG, JPEG, GIF or BMP bytes to uint8 [height, width, 3]."""
    return tf.io.decode_image(encoded, channels=3, expand_animations=False)


def _decode_all(encoded: np.ndarray, where: _Locator) -> tuple[tf.Tensor, tuple[int, int, int]]:
    """Decodes every image if memory allows, else returns them as they are."""
    _check_claims(encoded, where)
    image_shape = _decode_one(encoded, 0, where).shape
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with tf.device("CPU:0"):  # The whole data set stays in the host's memory.
        if len(encoded) * int(np.prod(image_shape)) > free // 2:
            return tf.constant(encoded), image_shape
        decoded = tf.data.Dataset.from_tensor_slices(encoded).map(
            lambda e: tf.ensure_shape(decode_image(e), image_shape),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        images = np.empty((len(encoded), *image_shape), np.uint8)
        start = 0
        try:
            for chunk in decoded.batch(_CHUNK).as_numpy_iterator():
                images[start : start + len(chunk)] = chunk
                start += len(chunk)
        except tf.errors.InvalidArgumentError:
            for i in range(start, len(encoded)):
                shape = _decode_one(encoded, i, where).shape
                rule = f"{where(i)}: the image must be {image_shape} as the first is."
                check(shape == image_shape, rule, shape=shape)
            raise
        return tf.constant(images), image_shape


def _check_claims(encoded: np.ndarray, where: _Locator) -> None:
    """Refuses images whose headers claim too much, before memory is given to them."""
    sizes = np.array([_claimed_size(data) for data in encoded], np.float64)
    pixels = sizes.prod(axis=1)
    bad = np.flatnonzero((pixels == 0) | (pixels > MAX_PIXELS) | (sizes != sizes[0]).any(axis=1))
    if bad.size:
        i = bad[0]
        width, height = map(int, sizes[0])
        check(pixels[i] > 0, f"{where(i)}: the image cannot be decoded.", bytes=len(encoded[i]))
        rule = f"{where(i)}: images must have at most {MAX_PIXELS} pixels."
        check(pixels[i] <= MAX_PIXELS, rule, size=_claimed_size(encoded[i]))
        rule = f"{where(i)}: the image must be {width} x {height} as the first is."
        raise InputError(f"{rule} Received: size={_claimed_size(encoded[i])}")


def _claimed_size(data: bytes) -> tuple[int, int]:
    """Width and height in an image's header; (0, 0) if it has none."""
    if data.startswith(b"\x89PNG") and len(data) >= 24:  # Quicker: this is what records hold.
        return struct.unpack(">II", data[16:24])
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "GIF", "BMP")) as image:
                return image.size
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            return (0, 0)


def _decode_one(encoded: np.ndarray, index: int, where: _Locator) -> np.ndarray:
    try:
        return decode_image(encoded[index]).numpy()
    except tf.errors.InvalidArgumentError:
        raise InputError(f"{where(index)}: the image cannot be decoded.") from None
