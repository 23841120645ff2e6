"""Noise, sources, records and the input pipeline."""

import dataclasses
import hashlib
import io
import json
import os
import pathlib
import pickle
import tarfile
import types

import numpy as np
import pytest
import tensorflow as tf
from helpers import ROOT, run
from PIL import Image

from mentornet import InputError
from mentornet.datasets import augmentation, noise, pipeline, records, sources, summaries
from mentornet.datasets.augmentation import Augmentation, Augmenter
from mentornet.datasets.catalog import DatasetInfo, dataset_info
from mentornet.datasets.images import EncodedImages
from mentornet.datasets.prepare import PrepareConfig, prepare

SHARED = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="module")
def labels():
    return np.random.default_rng(0).integers(0, 10, 20000)


def corrupt(labels, noise_type, fraction=0.4, seed=0, dataset="cifar10", **values):
    corruption = noise.Corruption(labels, 10, fraction, seed, dataset, **values)
    return noise.NOISE_TYPES.find(noise_type)(corruption)


@pytest.mark.parametrize(
    ("noise_type", "wrong"), [("uniform", 0.36), ("symmetric", 0.4), ("pair", 0.4)]
)
def test_noise_rate(labels, noise_type, wrong):
    noisy = corrupt(labels, noise_type)
    assert np.mean(noisy != labels) == pytest.approx(wrong, abs=0.01)
    changed = noisy[noisy != labels]
    counts = np.bincount((changed - labels[noisy != labels]) % 10, minlength=10)
    if noise_type == "pair":
        assert counts[1] == len(changed)
    else:
        assert counts[0] == 0
        assert counts[1:].min() > 0.8 * len(changed) / 9


def test_asymmetric_noise(labels):
    noisy = corrupt(labels, "asymmetric")
    matrix = summaries.transition_matrix(labels, noisy, 10)
    off = {(int(a), int(b)) for a, b in zip(*np.nonzero(matrix), strict=True) if a != b}
    assert off == {(9, 1), (2, 0), (4, 7), (3, 5), (5, 3)}
    assert matrix[3, 5] / matrix[3].sum() == pytest.approx(0.4, abs=0.04)
    with pytest.raises(InputError, match="cifar10 only"):
        corrupt(labels, "asymmetric", dataset="digits")


def test_noise_against_numpy():
    """Labels are those of earlier versions: PCG64 draws who changes first, then what into."""
    clean = np.arange(50) % 10
    for noise_type, others in (
        ("uniform", lambda rng: rng.integers(0, 10, 50)),
        ("symmetric", lambda rng: (clean + rng.integers(1, 10, 50)) % 10),
        ("pair", lambda rng: 5 * [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]),
        ("asymmetric", lambda rng: 5 * [0, 1, 0, 5, 7, 3, 6, 7, 8, 1]),
    ):
        noisy = corrupt(clean, noise_type, fraction=0.6, seed=7)
        rng = np.random.default_rng(7)
        expected = np.where(rng.random(50) < 0.6, others(rng), clean)
        np.testing.assert_array_equal(noisy, expected)
        assert noisy.dtype == np.int64
        assert (corrupt(clean, noise_type, fraction=0.0) == clean).all()
    counts = summaries.transition_matrix(np.array([0, 0, 2, 0]), np.array([1, 1, 2, 0]), 3)
    assert counts.tolist() == [[1, 2, 0], [0, 0, 0], [0, 0, 1]]


@pytest.mark.parametrize("noise_type", sorted({*noise.NOISE_TYPES.names()} - {"file"}))
def test_every_noise_type(labels, noise_type):
    """Whole labels of the classes; the same for the same seed; none changes at fraction 0."""
    noisy = corrupt(labels, noise_type)
    assert noisy.shape == labels.shape and noisy.dtype == np.int64
    assert (noisy != labels).any() and 0 <= noisy.min() <= noisy.max() < 10
    np.testing.assert_array_equal(corrupt(labels, noise_type), noisy)
    np.testing.assert_array_equal(corrupt(labels, noise_type, fraction=0.0), labels)


WRONG_LABELS = (lambda c: c.labels[:5], lambda c: c.labels + 1, lambda c: list(c.labels + 0.5))


@pytest.mark.parametrize("returned", WRONG_LABELS)
def test_a_noise_type_must_return_a_label_for_each_sample(tmp_path, monkeypatch, returned):
    monkeypatch.setattr(noise.NOISE_TYPES, "find", lambda name: returned)
    with pytest.raises(InputError, match="`noise_type` must return a label in 0..9 for each"):
        prepare(PrepareConfig("digits", str(tmp_path)))


def test_noise_is_a_function_of_its_seed(labels):
    draws = [corrupt(labels, "uniform", seed=seed) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert (draws[0] != draws[2]).any()


def from_file(path, key=None, count=5, num_classes=10):
    zeros = np.zeros(count, np.int64)
    corruption = noise.Corruption(zeros, num_classes, 0.0, 0, "cifar10", str(path), key)
    return noise.NOISE_TYPES.find("file")(corruption)


def test_labels_from_file(tmp_path):
    np.savez(tmp_path / "l.npz", a=np.arange(5), b=np.zeros(5, np.uint8))
    np.testing.assert_array_equal(from_file(tmp_path / "l.npz", "a"), np.arange(5))
    for key, count, classes, part in (
        (None, 5, 10, "one of a, b"),
        ("a", 4, 10, "4 whole numbers"),
        ("a", 5, 4, "must lie in 0..3"),
    ):
        with pytest.raises(InputError, match=part):
            from_file(tmp_path / "l.npz", key, count, classes)
    np.save(tmp_path / "p.npy", np.array([{}], object))
    (tmp_path / "z.npz").write_bytes(b"PK\x03\x04 damaged")
    for name in ("p.npy", "z.npz", "none.npy"):
        with pytest.raises(InputError, match="cannot be read"):
            from_file(tmp_path / name)


def write_cifar(folder, dataset, layout, per_batch=4):
    """A tiny data set in an official layout.

    Returns images, labels and coarse labels of the training and the test split, in its order.
    """
    random = np.random.default_rng(0)
    folder.mkdir()
    num_batches = 5 if dataset == "cifar10" else 1
    images = random.integers(0, 256, (num_batches + 1, per_batch, 3072), dtype=np.uint8)
    fine = random.integers(0, 10, (num_batches + 1, per_batch))
    coarse = fine // 5
    names = {
        ("cifar10", "python"): [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"],
        ("cifar10", "binary"): [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"],
        ("cifar100", "python"): ["train", "test"],
        ("cifar100", "binary"): ["train.bin", "test.bin"],
    }[dataset, layout]
    for name, x, y, c in zip(names, images, fine, coarse, strict=True):
        if layout == "python":
            batch = {b"data": x, b"filenames": [b"a.png"] * per_batch}
            batch |= (
                {b"labels": y.tolist()}
                if dataset == "cifar10"
                else {b"fine_labels": y.tolist(), b"coarse_labels": c.tolist()}
            )
            (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
        else:
            columns = [y[:, None]] if dataset == "cifar10" else [c[:, None], y[:, None]]
            rows = np.hstack([column.astype(np.uint8) for column in columns] + [x])
            (folder / name).write_bytes(rows.tobytes())
    pixels = images.reshape(-1, per_batch, 3, 32, 32).transpose(0, 1, 3, 4, 2)
    return [
        tuple(np.concatenate(column[part]) for column in (pixels, fine, coarse))
        for part in (slice(-1), slice(-1, None))
    ]


@pytest.mark.parametrize("layout", ["python", "binary"])
@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
@pytest.mark.parametrize("packed", [False, True])
def test_official_layouts(tmp_path, dataset, layout, packed):
    folder = tmp_path / "official"
    written = write_cifar(folder, dataset, layout)
    source = folder
    if packed:
        source = tmp_path / "official.tar.gz"
        with tarfile.open(source, "w:gz") as tar:
            tar.add(folder, "official")
    loaded = sources.load(dataset, str(source))
    for split, (images, fine, coarse) in zip((loaded.train, loaded.test), written, strict=True):
        np.testing.assert_array_equal(split.images, images)
        np.testing.assert_array_equal(split.labels, fine)
        if dataset == "cifar100":
            np.testing.assert_array_equal(split.coarse_labels, coarse)


class Evil:
    def __reduce__(self):
        return os.system, ("echo executed > pickle_was_executed",)


def test_other_pickles_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_cifar(tmp_path / "official", "cifar10", "python")
    (tmp_path / "official" / "data_batch_3").write_bytes(pickle.dumps({b"data": Evil()}, 2))
    with pytest.raises(InputError, match=r"data_batch_3.*posix.system is not allowed"):
        sources.load("cifar10", str(tmp_path / "official"))
    assert not (tmp_path / "pickle_was_executed").exists()


def test_damaged_sources(tmp_path):
    write_cifar(tmp_path / "official", "cifar10", "binary")
    (tmp_path / "official" / "test_batch.bin").write_bytes(b"abc")
    with pytest.raises(InputError, match=r"test_batch.bin.*whole number of records of 3073"):
        sources.load("cifar10", str(tmp_path / "official"))
    (tmp_path / "official" / "test_batch.bin").unlink()
    with pytest.raises(InputError, match="test_batch.bin"):
        sources.load("cifar10", str(tmp_path / "official"))
    (tmp_path / "no.tar.gz").write_bytes(b"no archive")
    with pytest.raises(InputError, match="cannot be read as an archive"):
        sources.load("cifar10", str(tmp_path / "no.tar.gz"))
    with pytest.raises(InputError, match="an existing file or folder, or one of keras"):
        sources.load("cifar10", str(tmp_path / "nothing"))
    with pytest.raises(InputError, match="must name the archive or folder of cifar10"):
        sources.load("cifar10", None)


def test_a_source_by_its_name(tmp_path):
    """The source is recognised from a path, or from the data set's name."""
    (images, _, _), _ = write_cifar(tmp_path / "official", "cifar10", "python")
    loaded = sources.load("cifar10", f"cifar_archive:{tmp_path / 'official'}")
    np.testing.assert_array_equal(loaded.train.images, images)
    by_name, by_default = (sources.load("digits", source) for source in ("digits", None))
    np.testing.assert_array_equal(by_name.train.images, by_default.train.images)
    assert len(by_name.test.labels) == 360
    for dataset, source, rule in (
        ("cifar10", "digits", "`source` digits holds digits, not cifar10"),
        ("mine", "keras", "keras holds cifar10 or cifar100, not data of your own"),
        ("cifar10", "npz:a.npz", "npz holds data of your own, not cifar10"),
        ("digits", "digits:8x8", "`source` digits takes no location"),
        ("mine", __file__, "cannot be read as data of your own: it must be class_folders, csv,"),
        ("mine", "class_folders", "class_folders needs a path, as in class_folders:PATH"),
    ):
        with pytest.raises(InputError, match=rule):
            sources.load(dataset, source)


@pytest.mark.parametrize("flags", [["--source=digits"], []])
def test_the_digits_by_command(tmp_path, flags):
    """`--source=digits` is accepted."""
    asked = [f"--output_dir={tmp_path}", "--num_train=20", *flags]
    status, output = run("code/cifar_prepare_data.py", "--dataset_name=digits", *asked)
    assert status == 0, output
    assert f"{tmp_path / 'digits' / '0'}: 20 images" in output


def test_the_digits_under_another_name(tmp_path):
    flags = ["--source=digits", f"--output_dir={tmp_path}"]
    status, output = run("code/cifar_prepare_data.py", *flags)
    assert status == 2
    assert "holds digits, not cifar10. Received: dataset_name='cifar10'" in output


def test_each_noise_has_its_folder(tmp_path):
    folders = set()
    for noise_type in ("uniform", "symmetric", "pair"):
        config = PrepareConfig("digits", str(tmp_path), noise_type=noise_type, noise_fraction=0.4)
        manifests = prepare(config)
        folders |= {path for path in manifests if "val" not in path}
        assert manifests[str(config.train_folder)]["config"]["noise_type"] == noise_type
    assert folders == {
        str(tmp_path / "digits" / name) for name in ("0.4", "symmetric_0.4", "pair_0.4")
    }


def test_a_folder_named_by_earlier_versions_is_kept(tmp_path):
    """They named the folder by the fraction only, for noise of every type."""
    config = PrepareConfig("digits", str(tmp_path), noise_type="pair", noise_fraction=0.4)
    made = prepare(config)[str(config.train_folder)]
    earlier = config.train_folder.rename(tmp_path / "digits" / "0.4")
    manifests = prepare(config)
    assert manifests[str(earlier)] == made
    assert not config.train_folder.exists()
    other = dataclasses.replace(config, seed=1)
    assert prepare(other)[str(other.train_folder)]["config"]["seed"] == 1
    assert other.train_folder.name == "pair_0.4"
    uniform = dataclasses.replace(config, noise_type="uniform")
    with pytest.raises(InputError, match="noise_type was 'pair', is 'uniform'"):
        prepare(uniform)


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the real images beside the project")
def test_human_labels_fit_the_real_data():
    with np.load(SHARED / "cifar10n-labels.npz") as file:
        clean = file["clean_label"].astype(np.int64)
    worse = from_file(SHARED / "cifar10n-labels.npz", "worse_label", 50000)
    assert np.mean(worse != clean) == pytest.approx(0.402, abs=0.001)


def test_prepare(tmp_path):
    source = tmp_path / "official"
    (images, fine, coarse), _ = write_cifar(source, "cifar100", "binary", per_batch=40)
    config = PrepareConfig("cifar100", str(tmp_path), str(source), noise_fraction=0.4, seed=3)
    manifest = prepare(config)[str(tmp_path / "cifar100" / "0.4")]
    info = dataset_info("cifar100", config.train_folder)
    examples = records.read_examples(str(config.train_folder), info, "train")
    np.testing.assert_array_equal(examples.images, images)
    np.testing.assert_array_equal(examples.clean_labels, fine)
    np.testing.assert_array_equal(examples.ids, np.arange(40))
    wrong = np.mean(examples.labels != fine)
    assert 0 < wrong == pytest.approx(manifest["share_of_wrong_labels"])
    expected = summaries.transition_matrix(fine, examples.labels, 100)
    assert manifest["transition_matrix"] == expected.tolist()
    file = config.train_folder / "cifar100_train-00000-of-00001"
    raw = next(iter(tf.data.TFRecordDataset(str(file)))).numpy()
    keys = tf.train.Example.FromString(raw).features.feature
    assert keys["image/format"].bytes_list.value[0] == b"png"
    assert keys["image/class/coarse_label"].int64_list.value[0] == coarse[0]

    before = file.stat().st_mtime_ns
    prepare(config)
    assert file.stat().st_mtime_ns == before
    with pytest.raises(InputError, match="seed was 3, is 4"):
        prepare(PrepareConfig("cifar100", str(tmp_path), str(source), noise_fraction=0.4, seed=4))
    assert file.stat().st_mtime_ns == before


def test_subset_keeps_the_labels_of_the_whole(tmp_path):
    whole = PrepareConfig("digits", str(tmp_path / "a"), noise_fraction=0.4)
    part = PrepareConfig("digits", str(tmp_path / "b"), noise_fraction=0.4, num_train=100)
    info = dataset_info("digits", "-")
    examples = []
    for config in (whole, part):
        prepare(config)
        examples.append(records.read_examples(str(config.train_folder), info, "train"))
    assert [len(e) for e in examples] == [1437, 100]
    np.testing.assert_array_equal(examples[0].labels[examples[1].ids], examples[1].labels)
    np.testing.assert_array_equal(
        np.asarray(examples[0].images)[examples[1].ids], np.asarray(examples[1].images)
    )


def test_a_killed_preparation_leaves_nothing(tmp_path, monkeypatch):
    def fail(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(records.os, "replace", fail)
    with pytest.raises(KeyboardInterrupt):
        prepare(PrepareConfig("digits", str(tmp_path)))
    assert list((tmp_path / "digits").iterdir()) == []


def write_release_records(path, images, labels, encode, **more):
    """Records as the release wrote them: neither ids nor clean labels."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for image, label in zip(images, labels, strict=True):
            feature = {
                "image/encoded": records._bytes(encode(image).numpy()),
                "image/format": records._bytes(b"x"),
                "image/class/label": records._int64(label),
            }
            feature |= {key: records._int64(value) for key, value in more.items()}
            example = tf.train.Example(features=tf.train.Features(feature=feature))
            writer.write(example.SerializeToString())


@pytest.fixture
def release(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    path = tmp_path / "cifar10_train-00000-of-00001"
    write_release_records(path, images, [0, 1, 2, 3, 9], tf.io.encode_png)
    return path, images


def read(path):
    return records.read_examples(str(path.parent), dataset_info("cifar10", "-"), "train")


def test_another_process_may_prepare_the_same_images(tmp_path, monkeypatch):
    """It writes both folders while this one writes its first; its data must be the same."""
    write = records.write_records

    def overtaken(other):
        def write_and_prepare(*arguments):
            monkeypatch.setattr(records, "write_records", write)
            prepare(other)
            write(*arguments)

        monkeypatch.setattr(records, "write_records", write_and_prepare)

    asked = PrepareConfig("digits", str(tmp_path))
    overtaken(asked)
    found = prepare(asked)
    assert found == prepare(asked)
    assert sorted(path.name for path in (tmp_path / "digits").iterdir()) == ["0", "val"]
    asked = dataclasses.replace(asked, output_dir=str(tmp_path / "other"))
    overtaken(dataclasses.replace(asked, num_train=100))
    with pytest.raises(InputError, match="holds other data"):
        prepare(asked)


def test_records_of_the_release(release):
    path, images = release
    examples = read(path)
    np.testing.assert_array_equal(examples.images, images)
    np.testing.assert_array_equal(examples.labels, [0, 1, 2, 3, 9])
    np.testing.assert_array_equal(examples.clean_labels, [-1] * 5)
    np.testing.assert_array_equal(examples.ids, range(5))


def test_jpeg_records_and_several_files(release, monkeypatch):
    """However the file system orders them."""
    path, _ = release
    glob = pathlib.Path.glob
    monkeypatch.setattr(pathlib.Path, "glob", lambda *args: sorted(glob(*args), reverse=True))
    flat = np.full((2, 32, 32, 3), 100, np.uint8)
    second = path.with_name("cifar10_train-00001-of-00002")
    write_release_records(second, flat, [4, 5], tf.io.encode_jpeg)
    examples = read(path)
    np.testing.assert_array_equal(examples.labels, [0, 1, 2, 3, 9, 4, 5])
    assert np.abs(examples.images.numpy()[5:].astype(int) - 100).max() <= 2


def test_many_images_are_read_as_they_are_needed(release, monkeypatch):
    """From two files, PNG and JPEG: the same batches as from memory."""
    path, images = release
    second = path.with_name("cifar10_train-00001-of-00002")
    write_release_records(second, images[::-1], [4, 5, 6, 7, 8], tf.io.encode_jpeg)
    whole = read(path)
    monkeypatch.setattr(records, "MAX_IN_MEMORY", 10 * 32 * 32 * 3 - 1)
    streamed = read(path)
    assert isinstance(streamed.images, EncodedImages)
    assert not isinstance(whole.images, EncodedImages)
    taken = [examples.take(np.array([7, 0, 3])) for examples in (whole, streamed)]
    for pair in ((whole, streamed), taken):
        columns = [list(batches(e, padding=4, batch_size=3, last_step=9)) for e in pair]
        for expected, batch in zip(*columns, strict=True):
            for name in expected:
                np.testing.assert_array_equal(batch[name], expected[name])
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(tf.errors.OpError, match="must not change while it is in use"):
        list(batches(streamed, padding=4))


def test_damaged_records_name_file_and_record(release):
    path, images = release
    good = path.read_bytes()
    size = len(good)
    path.write_bytes(good[: size // 2])
    with pytest.raises(InputError, match=r"train-00000-of-00001, record 2: truncated or corrupt"):
        read(path)
    flipped = bytearray(good)
    flipped[size * 7 // 10] ^= 255
    path.write_bytes(bytes(flipped))
    with pytest.raises(InputError, match="record 3: truncated or corrupt"):
        read(path)
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(b"\xff\xff\xff no example")
    with pytest.raises(InputError, match="record 0: not a tf.train.Example"):
        read(path)
    for label, part in ((10, "is 10; it must lie in 0..9"), (-7, "is -7")):
        write_release_records(path, images[:2], [3, label], tf.io.encode_png)
        with pytest.raises(InputError, match=f"record 1: .*{part}"):
            read(path)
    for data in (tf.constant(b"no image"), tf.constant(b"\x89PNG\r\n\x1a\n")):
        write_release_records(path, images[:2], [3, 4], lambda x, data=data: data)
        with pytest.raises(InputError, match="record 0: the image cannot be decoded"):
            read(path)
    shapes = [images[0], images[1][:16]]
    write_release_records(path, shapes, [3, 4], tf.io.encode_png)
    with pytest.raises(InputError, match=r"record 1: the image must be 32 x 32, like the first"):
        read(path)


def test_missing_files(tmp_path):
    with pytest.raises(InputError, match="existing folder"):
        records.find_files(str(tmp_path / "none"), "cifar10", "train")
    (tmp_path / "cifar10_test-00000-of-00001").write_bytes(b"")
    with pytest.raises(InputError, match=r"No file matches cifar10_train-\*.*cifar10_test"):
        records.find_files(str(tmp_path), "cifar10", "train")


def test_unknown_data_set_lists_the_known():
    with pytest.raises(InputError, match="cifar10, cifar100, digits"):
        dataset_info("imagenet", "-")


def test_broken_manifest(tmp_path):
    path = tmp_path / "manifest.json"
    for text, message in (
        ("[1]", f"{path} is not a valid manifest: it must hold a JSON object."),
        (
            '{"config": 1}',
            f"{path} must hold an object `config`, and lists classes, image_shape, feature_names.",
        ),
        ("{", f"{path} is not a valid manifest: Expecting property name"),
        (
            '{"classes": ["a", "b", "c"]}',
            f"`data_dir` {tmp_path} must hold the 10 classes of digits. "
            "Received: found=('a', 'b', 'c')",
        ),
    ):
        path.write_text(text)
        with pytest.raises(InputError) as caught:
            dataset_info("digits", tmp_path)
        assert str(caught.value).split(" enclosed")[0] == message


# The input pipeline.


def batches(examples, padding=None, first_step=0, last_step=8, batch_size=4, seed=0, **settings):
    return pipeline.training_batches(
        examples,
        batch_size=batch_size,
        seed=seed,
        first_step=first_step,
        last_step=last_step,
        augmentation=None if padding is None else Augmentation(padding),
        standardization="image",
        **settings,
    )


def test_images_are_cropped_and_flipped_before_they_are_standardised(release):
    """So what is padded is black, and counts among the pixels, as in the release."""
    examples, step = read(release[0]), tf.constant(0, tf.int64)
    (batch,) = batches(examples, padding=2, last_step=1)
    drawn = augmentation.draw_offsets(4, 2, 0, step), augmentation.draw_flips(4, 0, step)
    raw = augmentation.crop_and_flip(examples.read(batch["positions"]), *drawn, 2)
    expected = augmentation.standardize(raw, "image")
    np.testing.assert_allclose(batch["images"], expected, atol=1e-5)


def test_every_pass_holds_every_sample_once(release):
    examples = read(release[0])
    seen = [b["positions"] for b in batches(examples, last_step=25)]
    passes = np.concatenate(seen).reshape(20, 5)
    assert (np.sort(passes, 1) == np.arange(5)).all()
    assert len({tuple(row) for row in passes}) > 5


def test_order_is_shuffled_well():
    indices = pipeline.sample_indices(tf.constant(0, tf.int64), 1000, 1000, 0).numpy()
    assert (np.sort(indices) == np.arange(1000)).all()
    assert abs(np.corrcoef(indices, np.arange(1000))[0, 1]) < 0.1
    assert np.mean(np.abs(np.diff(indices)) == 1) < 0.02


def test_any_step_can_be_reached_directly(release):
    examples = read(release[0])
    whole = list(batches(examples, padding=4))
    for first in (1, 5):
        for a, b in zip(whole[first:], batches(examples, padding=4, first_step=first), strict=True):
            for key in a:
                np.testing.assert_array_equal(a[key], b[key])
    other = next(iter(batches(examples, padding=4, seed=1)))
    assert (other["images"].numpy() != whole[0]["images"].numpy()).any()


def test_stacks_of_batches_end_at_multiples(release):
    examples = read(release[0])
    seen, stacks = (
        [batch["positions"].numpy().tolist() for batch in batches(examples, None, 2, 10, **values)]
        for values in ({}, {"steps_per_loop": 3})
    )
    assert stacks == [seen[:1], seen[1:4], seen[4:7], seen[7:]]


def test_batch_larger_than_the_data_set(release):
    with pytest.raises(InputError, match="must not exceed the 5 training samples"):
        batches(read(release[0]), batch_size=6)


def test_augmentation_is_a_crop_of_the_padded_image_perhaps_mirrored():
    images = np.random.default_rng(0).integers(1, 256, (64, 8, 8, 3), dtype=np.uint8)
    augmenter = Augmenter(Augmentation(2), 64, (8, 8, 3), 64, 0)
    arguments = tf.constant(images), tf.range(64, dtype=tf.int64), tf.constant(5, tf.int64)
    augmented = tf.function(augmenter.crop_and_flip)(*arguments).numpy()
    np.testing.assert_array_equal(augmented, augmenter.crop_and_flip(*arguments))
    padded = np.pad(images, [(0, 0), (2, 2), (2, 2), (0, 0)])
    seen = set()
    for before, after in zip(padded, augmented, strict=True):
        found = [
            (y, x, mirrored)
            for y in range(5)
            for x in range(5)
            for mirrored in (False, True)
            if (before[y : y + 8, x : x + 8][:, :: -1 if mirrored else 1] == after).all()
        ]
        assert len(found) == 1
        seen.update(found)
    assert {y for y, _, _ in seen} == {x for _, x, _ in seen} == set(range(5))
    assert {mirrored for *_, mirrored in seen} == {False, True}


def test_standardize_against_numpy():
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    images[2] = 7
    values = images.astype(np.float64)
    mean = values.mean((1, 2, 3), keepdims=True)
    deviation = np.maximum(values.std((1, 2, 3), keepdims=True), 1 / np.sqrt(8 * 8 * 3))
    expected = (values - mean) / deviation
    np.testing.assert_allclose(
        pipeline.standardize(tf.constant(images), "image"), expected, atol=1e-4
    )


def test_evaluation_takes_every_sample_once_in_order(release):
    examples = read(release[0])
    found = list(pipeline.evaluation_batches(examples, 2, "image"))
    assert [batch["labels"].shape[0] for batch in found] == [2, 2, 1]
    labels, images = (np.concatenate([b[name] for b in found]) for name in ("labels", "images"))
    np.testing.assert_array_equal(labels, examples.labels)
    expected = pipeline.standardize(examples.read(np.arange(5)), "image")
    np.testing.assert_allclose(images, expected, atol=1e-5)


def test_which_images_are_augmented_unless_asked():
    names = ("cifar10", "cifar100", "digits")
    assert [dataset_info(name, "-").augment for name in names] == [True, True, False]


def test_records_with_labels_from_a_file(tmp_path):
    given = np.arange(1437) % 10
    np.save(tmp_path / "one.npy", given)
    np.savez(tmp_path / "single.npz", only=given)
    np.savez(tmp_path / "two.npz", a=given, b=0 * given)
    info = dataset_info("digits", "-")
    for name, key in (("one.npy", None), ("single.npz", None), ("two.npz", "a")):
        config = PrepareConfig(
            "digits",
            str(tmp_path / name.partition(".")[0]),
            noise_type="file",
            noise_file=str(tmp_path / name),
            noise_key=key,
        )
        prepare(config)
        examples = records.read_examples(str(config.train_folder), info, "train")
        np.testing.assert_array_equal(examples.labels, given)
    np.savez(tmp_path / "text.npz", labels=given.astype(object))
    for name, labels, part in (
        ("half.npy", np.full(1437, 0.5), "must hold 1437 whole numbers"),
        ("low.npy", given - 1, r"must lie in 0..9. Received: smallest=-1, largest=8$"),
        ("high.npy", given + 1, r"must lie in 0..9. Received: smallest=1, largest=10$"),
        ("text.npz", None, "text.npz cannot be read as .npy or .npz: Object arrays"),
    ):
        file = tmp_path / name
        if labels is not None:
            np.save(file, labels)
        other = dataclasses.replace(config, noise_file=str(file), noise_key=None)
        with pytest.raises(InputError, match=part):
            prepare(dataclasses.replace(other, output_dir=str(tmp_path / "half")))


@pytest.mark.parametrize("layout", ["python", "binary"])
@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
def test_class_names_of_archives(tmp_path, dataset, layout):
    folder = tmp_path / "official"
    write_cifar(folder, dataset, layout)
    usual = "airplane automobile bird cat deer dog frog horse ship truck"
    expected = usual.split() if dataset == "cifar10" else list(map(str, range(100)))
    assert sources.load(dataset, str(folder)).class_names == tuple(expected)
    fine = "fine_" * (dataset == "cifar100")
    file = {"cifar10": "batches.meta", "cifar100": "meta"}[dataset]
    names = [f"x{i}".encode() for i in range(10)]
    data = pickle.dumps({f"{fine}label_names".encode(): names}, 2)
    if layout == "binary":
        file, data = "fine_label_names.txt" if fine else "batches.meta.txt", b"\n".join(names)
    (folder / file).write_bytes(data)
    assert sources.load(dataset, str(folder)).class_names == tuple(f"x{i}" for i in range(10))


def test_archives_without_class_names(tmp_path):
    write_cifar(tmp_path / "official", "cifar10", "python")
    (tmp_path / "official" / "batches.meta").write_bytes(pickle.dumps({b"other": 1}, 2))
    with pytest.raises(InputError, match="batches.meta lacks label_names. .*other"):
        sources.load("cifar10", str(tmp_path / "official"))


def test_another_noise_file_under_the_same_name(tmp_path):
    file = tmp_path / "labels.npy"
    config = PrepareConfig("digits", str(tmp_path), noise_type="file", noise_file=str(file))
    np.save(file, np.arange(1437) % 10)
    first = prepare(config)
    assert prepare(config) == first
    np.save(file, np.arange(1437) % 9)
    with pytest.raises(InputError, match=r"other data \(the noise file has other labels\)"):
        prepare(config)


def test_labels_of_archives_must_be_classes(tmp_path):
    write_cifar(tmp_path / "binary", "cifar10", "binary")
    test = tmp_path / "binary" / "test_batch.bin"
    rows = np.frombuffer(test.read_bytes(), np.uint8).reshape(-1, 3073).copy()
    rows[1, 0] = 10
    test.write_bytes(rows.tobytes())
    with pytest.raises(InputError, match=r"binary: labels must lie in 0..9. .*most=10"):
        sources.load("cifar10", str(tmp_path / "binary"))
    write_cifar(tmp_path / "python", "cifar10", "python")
    batch = tmp_path / "python" / "data_batch_3"
    for labels, message in (
        ([0, -1, 2, 3], r"python: labels must lie in 0..9. .*least=-1"),
        ([0, "x", 2, 3], "data_batch_3 must hold uint8 images .* and n labels, whole numbers"),
        ([0, 0.5, 2, 3], "data_batch_3 must hold uint8 images .* and n labels, whole numbers"),
    ):
        batch.write_bytes(pickle.dumps({b"data": rows[:, 1:], b"labels": labels}, 2))
        with pytest.raises(InputError, match=message):
            sources.load("cifar10", str(tmp_path / "python"))


def test_the_download_by_keras(monkeypatch):
    import keras

    images = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), np.uint8)
    labels = np.arange(6)[:, None]
    splits = (images[:4], labels[:4]), (images[4:], labels[4:])
    monkeypatch.setattr(keras.datasets.cifar10, "load_data", lambda: splits)
    found = sources.load("cifar10", "keras")
    assert (found.train.labels.tolist(), found.test.labels.tolist()) == ([0, 1, 2, 3], [4, 5])
    np.testing.assert_array_equal(found.test.images, images[4:])
    assert len(found.class_names) == 10


def test_subsets_of_cifar100(tmp_path):
    """Under the release's names, each with its own labels; at most all images."""
    source = tmp_path / "official"
    (_, fine, coarse), _ = write_cifar(source, "cifar100", "binary", per_batch=40)
    config = PrepareConfig("cifar100", str(tmp_path), str(source), num_train=10)
    prepare(config)
    (file,) = config.train_folder.glob("cifar100_train-*")
    keys = [f"image/{name}" for name in ("id", "class/fine_label", "class/coarse_label")]
    rows = []
    for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
        feature = tf.train.Example.FromString(record).features.feature
        rows.append([feature[key].int64_list.value[0] for key in keys])
    ids = np.sort(np.random.default_rng([0, 1]).permutation(40)[:10])
    np.testing.assert_array_equal(rows, np.stack([ids, fine[ids], coarse[ids]], axis=1))
    prepare(dataclasses.replace(config, output_dir=str(tmp_path / "whole"), num_train=40))
    with pytest.raises(InputError, match="`num_train` must not exceed the 40 training images"):
        prepare(dataclasses.replace(config, output_dir=str(tmp_path / "more"), num_train=41))


def test_pickles_of_numpy_1(tmp_path):
    """As in the official archives: its modules have other names."""
    (images, fine, _), _ = write_cifar(tmp_path / "official", "cifar10", "python")
    for path in (tmp_path / "official").iterdir():
        data = path.read_bytes().replace(b"numpy._core.", b"numpy.core.")
        assert b"numpy.core.multiarray" in data
        path.write_bytes(data)
    loaded = sources.load("cifar10", str(tmp_path / "official"))
    np.testing.assert_array_equal(loaded.train.images, images)
    np.testing.assert_array_equal(loaded.train.labels, fine)


def test_an_unfinished_file_is_no_part_of_the_records(release):
    path, _ = release
    path.with_name(f".{path.name}.123").write_bytes(b"half a record")
    assert records.find_files(str(path.parent), "cifar10", "train") == [str(path)]


def test_a_bad_label_in_the_second_file(release):
    path, images = release
    second = path.with_name("cifar10_train-00001-of-00002")
    write_release_records(second, images[:3], [4, 5, 10], tf.io.encode_png)
    with pytest.raises(InputError, match="train-00001-of-00002, record 2: the label .* is 10"):
        read(path)


def test_images_that_claim_too_many_pixels():
    """All of them do, so that none differs from the first."""
    records.images.check_claims(np.array([[10_000, 10_000]] * 2), str)
    with pytest.raises(InputError, match="0: images must have at most 100000000 pixels"):
        records.images.check_claims(np.array([[10_000, 10_001]] * 2), str)


def test_records_are_numbered_in_the_whole_file(release, monkeypatch):
    """However many are parsed at a time; a file without any is named, too."""
    path, images = release
    monkeypatch.setattr(records, "_CHUNK", 2)
    np.testing.assert_array_equal(read(path).images, images)
    rows = [row.numpy() for row in tf.data.TFRecordDataset(str(path))]
    feature = {"image/class/label": records._bytes(b"3")}
    text = tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()
    for damaged, part in (
        (b"\xff\xff\xff no example", "record 5: not a tf.train.Example"),
        (text, "records 4..5: a key holds values of the wrong type"),
    ):
        with tf.io.TFRecordWriter(str(path)) as writer:
            for row in (*rows, damaged):
                writer.write(row)
        with pytest.raises(InputError, match=f"train-00000-of-00001, {part}"):
            read(path)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="No records in .*train-00000-of-00001"):
        read(path)


def test_what_is_prepared_may_be_moved_and_has_its_checksum(tmp_path):
    """The source, too."""
    source, images = tmp_path / "a.npz", np.arange(256, dtype=np.uint8).reshape(4, 8, 8)
    np.savez(source, images=images, labels=np.array([0, 0, 1, 1]))
    config = PrepareConfig("own", str(tmp_path / "a"), str(source))
    made = prepare(config)
    for folder in (config.train_folder, config.test_folder):
        (file,) = folder.glob("own_*")
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        assert made[str(folder)]["sha256"] == {file.name: digest}
    (tmp_path / "a").rename(tmp_path / "b")
    source.rename(tmp_path / "b.npz")
    output, source = tmp_path / "b", tmp_path / "b.npz"
    moved = prepare(dataclasses.replace(config, output_dir=str(output), source=str(source)))
    assert list(moved.values()) == list(made.values())


def test_a_manifest_must_say_how_many_features_there_are(tmp_path):
    manifest: dict[str, object] = {"config": {"dataset_name": "own"}, "classes": ["a", "b"]}
    for size in (0, -1, 2.5, "5", None):
        (tmp_path / "manifest.json").write_text(json.dumps(manifest | {"image_shape": [size]}))
        with pytest.raises(InputError, match="must be the number of features. Received: image_sh"):
            dataset_info("own", tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | {"image_shape": [1]}))
    assert dataset_info("own", tmp_path).num_features == 1


def test_the_brightness_of_the_digits(monkeypatch):
    """Their 17 levels are spread over 0..255."""
    levels, target = np.repeat(np.arange(17.0), 2), np.arange(34) % 2
    images = np.tile(levels[:, None, None], (1, 8, 8))
    found = types.SimpleNamespace(images=images, target=target)
    monkeypatch.setattr("sklearn.datasets.load_digits", lambda: found)
    source = sources.load("digits", None)
    pixels = np.concatenate([source.train.images, source.test.images]).reshape(34, 32 * 32 * 3)
    assert (pixels == pixels[:, :1]).all()
    expected = [0, 16, 32, 48, 64, 80, 96, 112, 128, 143, 159, 175, 191, 207, 223, 239, 255]
    assert sorted(pixels[:, 0].tolist()) == sorted(expected * 2)


@pytest.mark.parametrize("mode", ["w:gz", "w"])
def test_an_archive_that_was_cut_off(tmp_path, mode):
    """Of an interrupted download; the end of a gzip file is found while a batch is read."""
    write_cifar(tmp_path / "official", "cifar10", "python")
    archive = tmp_path / "cifar.tar"
    with tarfile.open(archive, mode) as tar:
        tar.add(tmp_path / "official", "cifar-10-batches-py")
    sources.load("cifar10", str(archive))
    whole = archive.read_bytes()
    for share in (0.3, 0.5, 0.7):
        archive.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(InputError, match="cannot be read as an archive"):
            sources.load("cifar10", str(archive))


def test_records_that_may_not_be_read(monkeypatch):
    def chunks(size):
        raise tf.errors.PermissionDeniedError(None, None, "of another account")
        yield

    opened = types.SimpleNamespace(batch=chunks)
    monkeypatch.setattr(records.tf.data, "TFRecordDataset", lambda *_, **__: opened)
    with pytest.raises(InputError, match="of another account"):
        records._read_file("a-00000-of-00001", DatasetInfo("digits", 10))


def test_a_folder_without_a_manifest_is_left_unchanged(tmp_path):
    file = tmp_path / "digits" / "0" / "notes.txt"
    file.parent.mkdir(parents=True)
    file.write_text("own")
    with pytest.raises(InputError, match="The folder exists and has no manifest"):
        prepare(PrepareConfig("digits", str(tmp_path)))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [file]


def test_the_same_share_of_each_digit_is_held_out():
    source = sources.load("digits", None)
    train, test = (np.bincount(split.labels) for split in (source.train, source.test))
    assert np.abs(test - 0.2 * (train + test)).max() < 1


def test_equal_records_are_equal_bytes(tmp_path):
    columns = {f"feature {i}": np.zeros(2, np.int64) for i in range(40)}
    for name, features in (("a", columns), ("b", dict(reversed(columns.items())))):
        records.write_records(tmp_path / name, np.zeros((2, 3), np.float32), features)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(("kind", "mode"), [("PNG", "L"), ("GIF", "L"), ("BMP", "RGB")])
def test_grey_records(release, kind, mode):
    """Of an animation, the first picture."""
    path, images = release

    def encode(image):
        file, more = io.BytesIO(), [Image.new(mode, (32, 32))]
        picture = Image.fromarray(image[..., 0]).convert(mode)
        picture.save(file, kind, save_all=kind == "GIF", append_images=more)
        return tf.constant(file.getvalue())

    write_release_records(path, images, [0, 1, 2, 3, 9], encode)
    np.testing.assert_array_equal(read(path).images, np.repeat(images[..., :1], 3, axis=-1))


def test_classes_that_no_sample_has_are_counted():
    facts = summaries.manifest_facts(np.array([0, 0]), np.array([0, -1]), "abc", (8, 8, 3))
    assert facts["examples_per_label"] == [2, 0, 0]


def test_no_folder_is_not_the_current_one(tmp_path, monkeypatch):
    (tmp_path / "manifest.json").write_text('{"classes": ["a", "b", "c"]}')
    monkeypatch.chdir(tmp_path)
    assert dataset_info("digits", "").class_names == tuple("0123456789")
