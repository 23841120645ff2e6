"""Mutated records, tables and manifests: a clean error or a correct result, in bounded memory."""

import contextlib
import csv
import json
import resource
import shutil
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from helpers import times
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mentornet import InputError
from mentornet.datasets import records, sources
from mentornet.datasets.catalog import dataset_info

EXAMPLES = times(quick=150, full=2000)
MUTATE = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def peak_memory():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@st.composite
def mutations(draw):
    """Up to three changes, each (kind, place in 0..1, bytes)."""
    change = st.tuples(
        st.sampled_from(["flip", "cut", "insert", "repeat"]),
        st.floats(0, 1, exclude_max=True),
        st.binary(min_size=1, max_size=9),
    )
    return draw(st.lists(change, min_size=1, max_size=3))


def mutate(data, changes):
    for kind, where, extra in changes:
        at = int(where * len(data))
        if kind == "flip":
            flipped = bytes(a ^ b for a, b in zip(data[at : at + len(extra)], extra, strict=False))
            data = data[:at] + flipped + data[at + len(flipped) :]
        elif kind == "cut":
            data = data[:at]
        elif kind == "insert":
            data = data[:at] + extra + data[at:]
        else:
            data = data[:at] + data[at : at + 50] * 20 + data[at:]
    return data


@pytest.fixture(scope="module")
def folder(digits, tmp_path_factory):
    """A copy of the records with its parts at hand."""
    copy = tmp_path_factory.mktemp("mutated") / "0.4"
    shutil.copytree(digits / "0.4", copy)
    return copy


@pytest.fixture(scope="module")
def first_records(folder):
    path = next(folder.glob("digits_train-*"))
    return [item.numpy() for item in tf.data.TFRecordDataset(str(path)).take(20)]


@pytest.fixture(scope="module")
def memory_before(folder):
    read(folder)
    return peak_memory()


def read(folder):
    info = dataset_info("digits", folder)
    return records.read_examples(str(folder), info, "train")


def check_result(examples):
    assert len(examples) == len(examples.ids) == len(examples.clean_labels) > 0
    assert examples.labels.min() >= 0 and examples.labels.max() < 10
    assert examples.images.shape == (len(examples), *examples.image_shape)


@contextlib.contextmanager
def damaged(path, memory_before):
    """Changes a file: what follows succeeds, or ends with one line, in bounded memory."""
    before = path.read_bytes()
    try:
        yield before
    except InputError as error:
        assert len(str(error)) < 1000
    finally:
        path.write_bytes(before)
    assert peak_memory() - memory_before < 300e6


@MUTATE
@given(changes=mutations())
def test_record_files(folder, memory_before, changes):
    """The file as a whole: mostly what the checksums find."""
    path = next(folder.glob("digits_train-*"))
    with damaged(path, memory_before) as before:
        path.write_bytes(mutate(before, changes))
        check_result(read(folder))


@MUTATE
@given(changes=mutations(), record=st.integers(0, 19))
def test_records_with_valid_checksums(folder, first_records, memory_before, changes, record):
    """One record's content: what the checksums cannot find."""
    path = next(folder.glob("digits_train-*"))
    contents = list(first_records)
    contents[record] = mutate(contents[record], changes)
    with damaged(path, memory_before):
        with tf.io.TFRecordWriter(str(path)) as writer:
            for content in contents:
                writer.write(content)
        check_result(read(folder))


@MUTATE
@given(changes=mutations())
def test_manifests(folder, memory_before, changes):
    path = folder / "manifest.json"
    with damaged(path, memory_before) as before:
        path.write_bytes(mutate(before, changes))
        for name in ("digits", "own"):
            dataset_info(name, folder)


@pytest.mark.parametrize(
    "manifest",
    [
        {},
        {"classes": 3},
        {"classes": "abc"},
        {"config": []},
        {"config": {"dataset_name": "own"}},
        {"config": {"dataset_name": "own"}, "classes": 3},
        {"config": {"dataset_name": "own"}, "classes": ["a", "b"], "image_shape": 5},
    ],
)
def test_manifests_of_another_shape(tmp_path, manifest):
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError):
        dataset_info("own", tmp_path)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A csv with 40 small images."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("table")
    for i in range(40):
        Image.fromarray(np.full((9, 9, 3), 6 * i, np.uint8)).save(folder / f"{i}.png")
    with (folder / "own.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "clean_label", "split"])
        for i in range(40):
            writer.writerow([f"{i}.png", "ab"[i % 2], "ab"[i // 2 % 2], "test" * (i > 30)])
    return folder / "own.csv"


@MUTATE
@given(changes=mutations(), skip_bad=st.booleans())
def test_csv_files(table, memory_before, changes, skip_bad):
    with damaged(table, memory_before) as before:
        table.write_bytes(mutate(before, changes))
        options = sources.Options(image_size=8, skip_bad=skip_bad)
        source = sources.load("own", str(table), options)
        assert len(source.train.images) == len(source.train.labels)
        assert source.train.labels.max() < len(source.class_names)


def png(width, height):
    """A few bytes that claim to be an image of that size."""

    def chunk(kind, data):
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(100_000), 9)
    chunks = chunk(b"IHDR", header), chunk(b"IDAT", pixels), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize("position", [0, 5])
@pytest.mark.parametrize("size", [(20_000, 20_000), (2**31 - 1, 2**31 - 1), (0, 0)])
def test_pictures_that_claim_too_much(
    folder, first_records, memory_before, tmp_path, size, position
):
    """In records; tests/test_own_data.py has one in a folder of images."""
    path = next(folder.glob("digits_train-*"))
    contents = first_records[:8]
    example = tf.train.Example.FromString(contents[position])
    example.features.feature["image/encoded"].bytes_list.value[0] = png(*size)
    contents[position] = example.SerializeToString()
    with tf.io.TFRecordWriter(str(tmp_path / path.name)) as writer:
        for content in contents:
            writer.write(content)
    with pytest.raises(InputError, match=f"record {position if position else '[0-9]'}"):
        read(tmp_path)
    assert peak_memory() - memory_before < 300e6


def test_mutations_reach_both_outcomes(folder):
    """The test harness itself: unchanged bytes pass, a wrong byte in a record does not."""
    path = next(folder.glob("digits_train-*"))
    before = path.read_bytes()
    check_result(read(folder))
    path.write_bytes(mutate(before, [("flip", 0.5, b"\xff")]))
    with pytest.raises(InputError):
        read(folder)
    path.write_bytes(before)
    assert mutate(before, [("flip", 0.3, b"\0")]) == before
