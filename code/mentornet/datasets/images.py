"""Encoded images, or rows of features: their positions in files, and decoding them."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import io
import os
import struct
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from mentornet.core.errors import InputError, check
from mentornet.datasets.sources import MAX_PIXELS

_AT_ONCE = 256

Shape = tuple[int, ...]  # (height, width, channels) of images, (num_features,) of rows.


@dataclasses.dataclass(frozen=True)
class EncodedImages:
    """Images, or rows of features, that are read from their files each time they are needed.

    Attributes:
      files: paths.
      versions: for each file its size and modification time, (bytes, ns).
      file: int64 [n], the index in `files` of each image's file.
      start: int64 [n], the offset in bytes of each image in its file.
      size: int64 [n], the number of bytes of each image.
      num_features: of each row; None for images.
    """

    files: tuple[str, ...]
    versions: tuple[tuple[int, int], ...]
    file: np.ndarray
    start: np.ndarray
    size: np.ndarray
    num_features: int | None = None

    def __len__(self) -> int:
        return len(self.file)

    def take(self, indices: np.ndarray) -> EncodedImages:
        """The images at `indices`, int [m]."""
        columns = (self.file[indices], self.start[indices], self.size[indices])
        return EncodedImages(self.files, self.versions, *columns, self.num_features)

    def read(self, indices: np.ndarray) -> np.ndarray:
        """The bytes of the images at `indices`, int [m] -> object [m].

        Raises:
          InputError: a file is missing, or has changed since its records were read.
        """
        result = np.empty(len(indices), object)
        sizes, starts, files = self.size[indices], self.start[indices], self.file[indices]
        for file in np.unique(files):
            path = self.files[file]
            try:
                with open(path, "rb", buffering=0) as opened:
                    rule = f"{path} must not change while it is in use."
                    check(version_of(opened.fileno()) == self.versions[file], rule)
                    for i in np.flatnonzero(files == file):
                        result[i] = os.pread(opened.fileno(), sizes[i], starts[i])
            except OSError as error:
                raise InputError(f"{path} can no longer be read: {error}") from None
        return result


def version_of(file: str | int) -> tuple[int, int]:
    """Size in bytes and modification time in ns of a path or file descriptor."""
    status = os.stat(file)
    return status.st_size, status.st_mtime_ns


def encode_rows(rows: np.ndarray) -> Iterator[bytes]:
    """Each row of features, float32 [n, num_features], as the little-endian bytes of its values."""
    return (row.tobytes() for row in rows.astype("<f4"))


def decode_image(encoded: tf.Tensor) -> tf.Tensor:
    """PNG, JPEG, GIF or BMP bytes to uint8 [height, width, 3]."""
    return tf.io.decode_image(encoded, channels=3, expand_animations=False)


def _decode(encoded: tf.Tensor, num_features: int | None) -> tf.Tensor:
    """String [m] to images uint8 [m, height, width, 3], or to rows float32 [m, num_features]."""
    if num_features is not None:
        return tf.io.decode_raw(encoded, tf.float32, fixed_length=4 * num_features)
    return tf.map_fn(decode_image, encoded, fn_output_signature=tf.uint8)


# Not a pipeline of tf.data: that would be traced, and wait for its threads, for each data set.
_decode_some = tf.function(_decode, autograph=False, reduce_retracing=True)


def reader(images: tf.Tensor | EncodedImages) -> Callable[[tf.Tensor], tf.Tensor]:
    """A function for input pipelines, from int64 [m] to images uint8 [m, height, width, 3].

    Rows of features are float32 [m, num_features].
    """
    if not isinstance(images, EncodedImages):
        return lambda indices: tf.gather(images, indices)

    @tf.autograph.experimental.do_not_convert
    def read(indices: tf.Tensor) -> tf.Tensor:
        # If it were stateful, it would not run in parallel under deterministic operations.
        encoded = tf.numpy_function(images.read, [indices], tf.string, stateful=False)
        return _decode(encoded, images.num_features)

    return read


def without_autotuning(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Turns the autotuning of tf.data off; AUTOTUNE then means the number of cores.

    With autotuning, the end of the data waits for the tuning thread to wake up: a fifth of the time
    to evaluate 8,000 images, and about a second at the end of a training.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


def decode_all(images: EncodedImages, image_shape: Shape, where: Callable[[int], str]) -> tf.Tensor:
    """All images in memory, uint8 [n, height, width, 3], or rows, float32 [n, num_features].

    Raises:
      InputError: one cannot be decoded, or has another shape; `where` names it.
    """
    kind = np.uint8 if images.num_features is None else np.float32
    decoded = np.empty((len(images), *image_shape), kind)

    def decode(start: int) -> None:
        part = decoded[start : start + _AT_ONCE]
        encoded = images.read(np.arange(start, start + len(part)))
        with tf.device("CPU:0"):
            part[:] = _decode_some(tf.constant(encoded), images.num_features)

    starts = range(0, len(images), _AT_ONCE)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        parts = [pool.submit(decode, start) for start in starts]
    for start, part in zip(starts, parts, strict=True):
        try:
            part.result()
        except (tf.errors.InvalidArgumentError, ValueError):
            for i in range(start, len(images)):
                shape = decode_one(images, i, where).shape
                rule = f"{where(i)}: the image must be {image_shape}, like the first one."
                check(shape == image_shape, rule, shape=shape)
            raise
    return tf.constant(decoded)


def decode_one(images: EncodedImages, index: int, where: Callable[[int], str]) -> np.ndarray:
    """One image, uint8 [height, width, 3].

    Raises:
      InputError: it cannot be decoded; `where` names it.
    """
    try:
        return decode_image(images.read(np.array([index]))[0]).numpy()
    except tf.errors.InvalidArgumentError:
        raise InputError(f"{where(index)}: the image cannot be decoded.") from None


def check_claims(sizes: np.ndarray, where: Callable[[int], str]) -> None:
    """Rejects images whose headers claim invalid sizes, before memory is allocated for them.

    Args:
      sizes: int [n, 2], see `claimed_size`.
      where: names an image.

    Raises:
      InputError: an image cannot be decoded, is too large, or differs in size from the first.
    """
    pixels = sizes.astype(np.float64).prod(axis=1)
    bad = np.flatnonzero((pixels == 0) | (pixels > MAX_PIXELS) | (sizes != sizes[0]).any(axis=1))
    if bad.size:
        i = bad[0]
        size, (width, height) = tuple(map(int, sizes[i])), sizes[0]
        check(pixels[i] > 0, f"{where(i)}: the image cannot be decoded.", size=size)
        rule = f"{where(i)}: images must have at most {MAX_PIXELS} pixels."
        check(pixels[i] <= MAX_PIXELS, rule, size=size)
        rule = f"{where(i)}: the image must be {width} x {height}, like the first one."
        raise InputError(f"{rule} Received: size={size}")


def check_lengths(sizes: np.ndarray, num_features: int, where: Callable[[int], str]) -> None:
    """Rejects rows of features whose `sizes`, int [n] bytes, do not match `num_features`.

    Raises:
      InputError: `where` names the first of them.
    """
    bad = np.flatnonzero(sizes != 4 * num_features)
    if bad.size:
        rule = f"{where(bad[0])}: must hold {num_features} float32 values, as the manifest says."
        raise InputError(f"{rule} Received: bytes={sizes[bad[0]]}")


def claimed_size(data: bytes) -> tuple[int, int]:
    """Width and height in an image's header; (0, 0) if it has none."""
    if data.startswith(b"\x89PNG") and len(data) >= 24:  # Faster: records hold PNG.
        return struct.unpack(">II", data[16:24])
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "GIF", "BMP")) as image:
                return image.size
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            return (0, 0)
