"""Your own images: reading them, messages about them, and training on them."""

import csv
import json
import os
import pathlib
import re
import struct
import sys
import zipfile
import zlib
from typing import Any

import numpy as np
import pytest
from helpers import run
from PIL import Image

import mentornet
from mentornet import InputError
from mentornet.datasets import records, sources, summaries
from mentornet.datasets.catalog import dataset_info
from mentornet.datasets.label_texts import clean_label_texts, label_texts
from mentornet.datasets.prepare import PrepareConfig, prepare
from mentornet.datasets.sources import _custom, _listing, class_folders, tfds
from mentornet.datasets.sources import csv as csv_source
from mentornet.datasets.sources._listing import Listing

SUFFIXES = ("png", "jpg", "bmp", "gif", "webp")


def picture(kind, number, size=(40, 24)):
    """Stripes, wide or narrow, in a colour that does not depend on the class."""
    generator = np.random.default_rng(number)
    width = {"narrow": 2, "wide": 8}[kind]
    stripes = (np.arange(size[0]) // width % 2)[None, :, None] * np.ones((size[1], 1, 3))
    return Image.fromarray(np.uint8(stripes * generator.integers(120, 250, 3)))


@pytest.fixture
def folder(tmp_path):
    """60 images of two classes in five formats: one unreadable, two equal with different labels."""
    root = tmp_path / "pictures"
    for kind in ("narrow", "wide"):
        (root / kind).mkdir(parents=True)
        for number in range(30):
            path = root / kind / f"{number}, {kind}.{SUFFIXES[number % 5]}"
            picture(kind, number, (40 + number, 30)).save(path)
    (root / "narrow" / "notes.txt").write_text("no image")
    return root


def config(tmp_path, source, **values):
    return PrepareConfig("stripes", str(tmp_path / "data"), source=str(source), **values)


def test_a_folder_of_class_folders(tmp_path, folder):
    settings = config(tmp_path, folder, image_size=24)
    manifests = prepare(settings)
    train, test = (manifests[str(f)] for f in (settings.train_folder, settings.test_folder))
    assert settings.train_folder.name == "given"
    assert train["classes"] == test["classes"] == ["narrow", "wide"]
    assert train["examples_per_label"] == [24, 24]
    assert test["examples_per_label"] == [6, 6]
    assert train["share_of_wrong_labels"] is None
    info = dataset_info("stripes", settings.train_folder)
    assert (info.num_classes, info.class_name(1)) == (2, "wide")
    examples = records.read_examples(str(settings.train_folder), info, "train")
    assert examples.image_shape == (24, 24, 3)
    assert (examples.clean_labels == -1).all()
    with (settings.train_folder / "files.csv").open() as file:
        paths = [row["path"] for row in csv.DictReader(file)]
    assert info.augment and all((folder / path).is_file() for path in paths)
    for image, label, path in zip(np.asarray(examples.images), examples.labels, paths, strict=True):
        kind = ("narrow", "wide")[label]
        assert path.startswith(f"{kind}/") and kind in path
        changes = np.abs(np.diff(image.mean(axis=(0, 2)))) > 15
        assert (changes.sum() > 12) == (kind == "narrow")
    with pytest.raises(InputError, match="`dataset_name` must be one of .* that of the manifest"):
        dataset_info("spots", settings.train_folder)


@pytest.mark.parametrize("name", ["test", "val", "Valid", "validation", None])
def test_folders_of_splits(tmp_path, folder, name):
    """`train` is no class if it holds class folders; without a test split, a share is held out."""
    root = tmp_path / "splits"
    root.mkdir()
    folder.rename(root / "train")
    if name is not None:
        (root / name / "wide").mkdir(parents=True)
        picture("wide", 0).save(root / name / "wide" / "1.png")
    source = sources.load("stripes", str(root))
    assert source.class_names == ("narrow", "wide")
    assert len(source.train.labels) == (48 if name is None else 60)
    assert len(source.test.labels) == (12 if name is None else 1)
    for rest in (".thumbs", "__MACOSX", "rest"):
        (root / rest).mkdir()
        picture("wide", 0).save(root / rest / "1.png")
        if name is not None and rest != "rest":
            sources.load("stripes", str(root))
    if name is not None:
        with pytest.raises(InputError, match=r"must hold only .* folders=\['rest'\]"):
            sources.load("stripes", str(root))


def test_splits_without_classes(tmp_path):
    for name in ("train", "test"):
        (tmp_path / name).mkdir()
        picture("wide", 0).save(tmp_path / name / "1.png")
    with pytest.raises(InputError, match="must hold class folders of images"):
        sources.load("stripes", str(tmp_path))


def test_a_class_of_trains(tmp_path):
    for number, name in enumerate(("train/old", "train/new", "plane", "plane/new")):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
        picture("wide", number).save(tmp_path / name / "1.png")
    assert sources.load("stripes", str(tmp_path)).class_names == ("plane", "train")


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_more_than_8_bits(tmp_path, folder, dtype):
    """Which Pillow would clip to white."""
    suffix = "png" if dtype == np.uint16 else "tiff"
    values = np.arange(0, 64000, 1000).reshape(8, 8).astype(dtype)
    Image.fromarray(values).save(folder / f"deep.{suffix}")
    path = tmp_path / "a.csv"
    path.write_text(f"path,label\npictures/deep.{suffix},a\n")
    with pytest.raises(InputError, match=r"deep.* has more than 8 bits per pixel"):
        sources.load("stripes", str(path))


def test_unreadable_and_contradictory_images(tmp_path, folder):
    (folder / "wide" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    picture("wide", 0).save(folder / "wide" / "twin.png")
    picture("wide", 0).save(folder / "narrow" / "twin.png")
    with pytest.raises(InputError, match=r"--skip_bad .*: wide/broken.png"):
        prepare(config(tmp_path, folder))
    flags = ["--dataset_name=stripes", f"--source={folder}", f"--output_dir={tmp_path / 'data'}"]
    status, output = run("code/prepare_data.py", *flags, "--skip_bad")
    assert status == 0, output
    given = tmp_path / "data" / "stripes" / "given"
    assert (given / "unreadable.txt").read_text().startswith("wide/broken.png: ")
    conflicts = (given / "conflicts.txt").read_text()
    assert conflicts == "narrow/twin.png (narrow) = wide/twin.png (wide)\n"
    assert "given: 50 images, 2 classes, clean labels unknown" in output
    assert output.count("WARNING") == 3 and "not an image (.png, " in output
    assert "folder: narrow/notes.txt" in output


def test_an_image_that_claims_to_be_huge(tmp_path, folder):
    """A PNG of 64,000 x 64,000 pixels in a few bytes is rejected before it is decoded."""

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", 64000, 64000, 8, 2, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    (folder / "wide" / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    with pytest.raises(InputError, match="wide/bomb.png"):
        prepare(config(tmp_path, folder))


def test_a_csv_with_clean_labels(tmp_path, folder):
    """Labels are as given; known clean labels are kept, and used for testing."""
    path = folder / "labels.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "clean_label", "split"])
        for number in range(30):
            name = f"narrow/{number}, narrow.{SUFFIXES[number % 5]}"
            given = "wide" if number % 3 == 0 else "narrow"
            clean = "narrow" if number < 15 else ""
            writer.writerow([name, given, clean, "test" if number % 5 == 0 else "train"])
    settings = config(tmp_path, path, num_trusted=4)
    manifests = prepare(settings)
    train = manifests[str(settings.train_folder)]
    assert (train["num_examples"], train["num_known_clean_labels"]) == (24, 12)
    assert train["share_of_wrong_labels"] == pytest.approx(4 / 12)
    info = dataset_info("stripes", settings.train_folder)
    examples = records.read_examples(str(settings.train_folder), info, "train")
    assert examples.trusted.sum() == 4
    assert (examples.clean_labels[examples.trusted] == 0).all()
    tests = records.read_examples(str(settings.test_folder), info, "test")
    assert tests.labels.tolist() == [0, 0, 0, 1, 0, 0]  # Number 15, unknown, is wide as given.
    path.write_text("path,label\nnarrow/0.png, \n")
    with pytest.raises(InputError, match="labels.csv, line 2: must have a path and a label"):
        sources.load("stripes", str(path))
    # Missing cells are empty, as is what follows the last one; texts stay as they are.
    (folder / "'-a.png").write_bytes((folder / "narrow" / "0, narrow.png").read_bytes())
    rows = ["'-a.png,'+"] * 3 + ["'-a.png,'-,'+,"] * 3
    path.write_text("path,label,clean_label\n" + "".join(f"{row}\n" for row in rows))
    found = sources.load("stripes", str(path))
    assert found.class_names == ("'+", "'-")
    assert found.train.clean_labels is not None and set(found.train.clean_labels) == {-1, 0}
    for lines, message in (
        ("path,label,split\na.png,a,valid\nb.png,b,dev\n", "line 3: `split` must be train, test"),
        ("path,label\na.png,dog, brown\n", "line 2: must have 2 cells"),
        ("path,label,label\na.png,a,b\n", "must have different names"),
    ):
        path.write_text(lines)
        with pytest.raises(InputError, match=message):
            sources.load("stripes", str(path))
    # Another column of labels, and a spreadsheet's semicolons.
    names = [f"narrow/{number}, narrow.{SUFFIXES[number % 5]}" for number in range(4)]
    rows = [f'"{name}", {"ab"[number % 2]}{" " * number}\n' for number, name in enumerate(names)]
    path.write_text("path,kind\n" + "".join(rows))
    with pytest.raises(InputError, match="`label_column` must name it. Received: columns=.*kind"):
        sources.load("stripes", str(path))
    found = sources.load("stripes", str(path), sources.Options(label_column="kind"))
    assert found.class_names == ("a", "b") and len(found.train.labels) == 2
    path.write_text("path;label\nnarrow/0.png;a\n")
    with pytest.raises(InputError, match=r"separated by commas.*Received: columns=\['path;label"):
        sources.load("stripes", str(path))


def test_arrays(tmp_path):
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (50, 16, 16), np.uint8)
    labels = np.arange(50) % 11
    np.savez(tmp_path / "a.npz", images=images, labels=labels, clean_labels=np.zeros(50, int))
    source = sources.load(
        "stripes", str(tmp_path / "a.npz"), sources.Options(test_share=0.25, seed=1)
    )
    assert source.class_names == tuple(map(str, range(11)))
    assert len(source.test.labels) == 11  # One of each class.
    assert source.train.images.shape == (39, 16, 16, 3)
    np.testing.assert_array_equal(source.train.clean_labels, 0)
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"images": images}, "labels"),
        ({"images": images.astype(float), "labels": labels}, "uint8"),
        ({"images": images, "labels": labels[:9]}, "must hold"),
        ({"images": images, "labels": np.zeros(50)}, "at least 2 classes"),
        (
            {"images": images, "labels": labels + 0.5},
            "row 0: `labels` must be a string or a whole number",
        ),
        (
            {"images": images, "labels": np.array(["", "a"] * 25)},
            "row 0: `labels` must be a string or",
        ),
        (
            {"images": images, "labels": labels, "clean_labels": labels - 2},
            "row 0: `clean_labels` must",
        ),
    )
    for arrays, message in cases:
        np.savez(tmp_path / "b.npz", **arrays)
        with pytest.raises(InputError, match=message):
            sources.load("stripes", str(tmp_path / "b.npz"))
    (tmp_path / "c.npz").write_bytes(b"PK\x03\x04 damaged")
    with pytest.raises(InputError, match="cannot be read as .npz"):
        sources.load("stripes", str(tmp_path / "c.npz"))


def test_numbers_are_the_same_label_in_every_type(tmp_path):
    """2.0 is 2; a clean label of -1, or none, is unknown, in each kind of source."""
    labels = np.arange(30) % 3
    clean = np.where(labels == 2, -1.0, labels)
    images = np.zeros((30, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "a.npz", images=images, labels=labels + 0.0, clean_labels=clean)
    for number in range(3):
        Image.fromarray(images[0] + 99).save(tmp_path / f"{number}.png")
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows = [f"{number % 3}.png,{number % 3},{'01 '[number % 3]}\n" for number in range(12)]
    names = ["a.npz"]
    for letter, unknown in (("a", "-1"), ("b", ""), ("c", "-1.0")):
        text = "path,label,clean_label\n" + "".join(rows)
        (tmp_path / f"{letter}.csv").write_text(text.replace(" ", unknown))
        (tmp_path / letter).mkdir()
        files = {"file_name": [str(tmp_path / f"{i % 3}.png") for i in range(12)]}
        table: dict[str, Any] = files | {"label": [*"012"] * 4}
        if unknown == "-1":  # Texts
            table["clean_label"] = ["0", "1", "-1"] * 4
        else:  # and fractions.
            cell = float(unknown) if unknown else float("nan")
            table |= {"label": [0, 1, 2] * 4, "clean_label": [0.0, 1.0, cell] * 4}
        lines = [json.dumps({key: column[i] for key, column in table.items()}) for i in range(12)]
        (tmp_path / letter / "metadata.jsonl").write_text("\n".join(lines))
        pq.write_table(pa.table(table), tmp_path / f"{letter}.parquet")
        names += [f"{letter}.csv", letter, f"{letter}.parquet"]
    for name in names:
        source = sources.load("own", str(tmp_path / name))
        assert source.class_names == ("0", "1", "2"), name
        given = source.train.labels
        expected = np.where(given == 2, sources.UNKNOWN, given)
        np.testing.assert_array_equal(source.train.clean_labels, expected, err_msg=name)


@pytest.mark.parametrize("kind", ["npz", "csv", "jsonl", "parquet", "arrays"])
def test_what_is_not_a_label(tmp_path, kind):
    """Numbers below 0 and fractions; -1 as text, too, since csv has nothing but texts."""
    if kind == "parquet":
        pytest.importorskip("pyarrow")

    def load(labels, clean):
        name = tmp_path / f"a.{kind}"
        table = {"file_name": ["a.png"] * 4, "label": labels, "clean_label": clean}
        if kind == "arrays":
            mentornet.find_label_issues(np.zeros((4, 3)), labels)
        elif kind == "npz":
            images = np.zeros((4, 8, 8), np.uint8)
            np.savez(name, images=images, labels=labels, clean_labels=clean)
        elif kind == "csv":
            rows = zip(table["file_name"], labels, clean, strict=True)
            text = "".join(",".join(map(str, row)) + "\n" for row in rows)
            name.write_text(f"path,label,clean_label\n{text}")
        elif kind == "jsonl":
            name = tmp_path
            rows = zip(*table.values(), strict=True)
            lines = [json.dumps(dict(zip(table, row, strict=True))) for row in rows]
            (name / "metadata.jsonl").write_text("\n".join(lines))
        else:
            pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
            pq.write_table(pa.table(table), name)
        return sources.load("own", str(name))

    def wrong(values, column, shown):
        row = "line 4" if kind == "csv" else "row 2"
        shown = repr(str(shown)) if kind == "csv" else repr(shown)
        named = column + "s" * (kind in ("npz", "arrays"))
        rule = f"{row}: `{named}` must be a string or a whole number from 0 on; -1 means unknown."
        with pytest.raises(InputError, match=re.escape(f"{rule} Received: {named}={shown}")):
            load(*((values, [0] * 4) if column == "label" else ([0, 1, 0, 1], values)))

    wrong([0, 1, -1, 1], "label", -1)
    wrong(["a", "b", "-1", "b"], "label", "-1")
    wrong([0.0, 1.0, -1.0, 1.0], "label", -1.0)
    if kind != "csv":  # Where they are texts.
        wrong([0, 1, -2, 1], "label", -2)
        wrong([0, 1, 0.5, 1], "label", 0.5)
        if kind != "arrays":
            wrong([0, 1, -2, 1], "clean_label", -2)
            wrong([0, 1, 0.5, 1], "clean_label", 0.5)


def test_labels_as_text():
    cells = [" a ", "2.0", 2, 2.0, np.float32(3), True, "-2", "+"]
    assert label_texts(cells, "x", "") == ["a", "2.0", "2", "2", "3", "True", "-2", "+"]
    assert label_texts(np.array([b"a", b"b"]), "x", "") == ["a", "b"]
    unknown = [None, float("nan"), "", " ", -1, -1.0, "-1", "-1.0"]
    assert clean_label_texts([*unknown, "2.0"], ["2", "10"], "x", "") == [None] * 8 + ["2"]
    assert clean_label_texts(["2.0", 2.0], ["2", "b"], "x", "") == ["2.0", "2"]
    for cell in ([1], {"a": 1}, b"a", float("inf"), *unknown):
        with pytest.raises(InputError, match="f.csv, line 7: `rule` must be a string or a whole"):
            label_texts([cell], "rule", "f.csv, line", [7])


def test_names_of_arrays(tmp_path):
    """`paths` of any type; those that are missing are the rows'. Identical samples are found."""
    images, labels = np.zeros((6, 8, 8), np.uint8), np.arange(6) % 2
    images[:4] = np.arange(4)[:, None, None]
    tests: dict[str, Any] = {"test_images": images[:2], "test_labels": labels[:2]}
    for paths, expected in (
        (np.arange(6) * 10, [str(10 * i) for i in range(6)]),
        (["a", "", "c", "d", "e", "f"], ["a", "row 1", "c", "d", "e", "f"]),
    ):
        np.savez(tmp_path / "a.npz", images=images, labels=labels, paths=paths, **tests)
        config = PrepareConfig("own", str(tmp_path / expected[0]), str(tmp_path / "a.npz"))
        prepare(config)
        with (config.train_folder / "files.csv").open() as file:
            assert [row["path"] for row in csv.DictReader(file)] == expected
        found = (config.train_folder / "conflicts.txt").read_text().splitlines()
        assert f"{expected[0]} (0) = {expected[5]} (1)" in found


def test_settings_that_do_nothing_are_refused(tmp_path):
    for values, part in (
        ({"noise_type": "file", "noise_file": "a.npy", "noise_fraction": 0.4}, "noise_fraction"),
        ({"noise_file": "a.npy"}, "noise_file"),
        ({"noise_key": "worse"}, "noise_key"),
        ({"image_size": 64}, "image_size"),
        ({"label_column": "kind"}, "label_column"),
        ({"test_share": 0.1}, "test_share"),
        ({"skip_bad": True}, "skip_bad"),
    ):
        with pytest.raises(InputError, match=f"`{part}`.*{part}="):
            PrepareConfig("cifar10", str(tmp_path), **values)


def test_ranges_of_the_settings_of_own_data():
    for name, good, bad, rule in (
        ("image_size", (8, 1024, None), (7, 1025), "must lie in 8..1024"),
        ("test_share", (0.01, 0.99), (0, 1, float("nan")), "must lie between 0 and 1"),
    ):
        for value in good:
            settings: dict[str, Any] = {name: value}
            asked = PrepareConfig("own", source="a.npz", **settings)
            assert getattr(asked.own_options(), name) == value
        for value in bad:
            settings = {name: value}
            with pytest.raises(InputError, match=f"`{name}` {rule}. Received: {name}={value}"):
                PrepareConfig("own", source="a.npz", **settings)


def test_labels_from_a_file_name_a_folder_of_their_own(tmp_path):
    def asked(file, key=None):
        return PrepareConfig("cifar10", "out", noise_type="file", noise_file=file, noise_key=key)

    assert asked("../labels/human.v2.npy").train_folder == pathlib.Path("out/cifar10/human.v2")
    assert asked("val.npz", "worse label").train_folder == pathlib.Path("out/cifar10/worse label")
    for file, key in (
        ("labels/val.npy", None),
        ("a.npz", "val"),
        ("a.npz", "../../etc"),
        ("a.npz", "/etc"),
        ("a.npz", "."),
        ("a.npz", ".."),
        ("a.npz", "b/"),
        ("", None),
    ):
        rule = "must be a plain name other than val. Received: "
        received = re.escape(f"{rule}noise_file={file!r}, noise_key={key!r}")
        with pytest.raises(InputError, match=received):
            asked(file, key)


def test_another_source_in_the_same_folder_is_refused(tmp_path):
    """Nothing is written if either folder holds other data, or data of another source."""
    generator = np.random.default_rng(0)
    for name in "ab":
        images = generator.integers(0, 256, (20, 8, 8, 3), np.uint8)
        np.savez(tmp_path / f"{name}.npz", images=images, labels=np.arange(20) % 2)

    def asked(name, **values):
        return PrepareConfig("own", str(tmp_path), str(tmp_path / f"{name}.npz"), **values)

    made = prepare(asked("a"))
    assert prepare(asked("a")) == made
    noisy = asked("b", noise_fraction=0.3), asked("a", noise_fraction=0.3, seed=1)
    for other, difference in (
        (asked("b"), "the source has other contents"),
        (noisy[0], "the source has other contents"),
        (noisy[1], "seed was 0, is 1"),
    ):
        with pytest.raises(InputError, match=rf"holds other data \({difference}"):
            prepare(other)
        assert not (tmp_path / "own" / "0.3").exists()
    prepare(asked("a", noise_fraction=0.3))


def test_a_file_name_that_is_not_utf8(tmp_path):
    for name in (b"a/x.png", b"b/caf\xe9.png"):
        path = os.fsencode(tmp_path) + b"/" + name
        os.makedirs(os.path.dirname(path))
        with open(path, "wb") as file:
            Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(file, "png")
    with pytest.raises(InputError, match="File names must be UTF-8"):
        sources.load("own", str(tmp_path))


NETWORK = """
import keras
from keras import layers

def build(num_classes):
    parts = [layers.Conv2D(8, 3, 2), layers.BatchNormalization(), layers.ReLU()]
    parts += [layers.Conv2D(8, 3, 2), layers.GlobalAveragePooling2D(), layers.Dropout(0.1)]
    return keras.Sequential([*parts, layers.Dense(num_classes)])
"""


@pytest.mark.slow
def test_from_a_folder_to_a_label_report(tmp_path, folder, train_flags, monkeypatch):
    """With your own network; class names and file names reach every table."""
    (tmp_path / "small_network.py").write_text(NETWORK)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    settings = config(tmp_path, folder)
    prepare(settings)
    flags = train_flags(
        dataset_name="stripes",
        data_dir=settings.train_folder,
        train_log_dir=tmp_path / "run" / "train",
        trained_mentornet_dir="mentornet_pd",
        learning_rate=0.01,
        studentnet="small_network:build",
        max_number_of_steps=30,
        record_sample_weights="true",
    )
    status, output = run("code/cifar_train_mentornet.py", *flags)
    assert status == 0, output
    status, output = run(
        "code/cifar_eval.py",
        "--run_once",
        f"--checkpoint_dir={tmp_path / 'run' / 'train'}",
        f"--eval_dir={tmp_path / 'eval'}",
        f"--data_dir={settings.test_folder}",
    )
    assert status == 0, output
    summary = json.loads((tmp_path / "eval" / "summary.json").read_text())
    assert set(summary["per_class_accuracy"]) == {"narrow", "wide"}
    status, output = run("code/label_report.py", str(tmp_path / "run"))
    assert status == 0, output
    assert "Worst classes: " in output
    with (tmp_path / "run" / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 48
    for row in rows:
        assert row["path"].startswith(f"{row['given_label']}/")
    assert "narrow/" in (tmp_path / "run" / "labels.html").read_text()
    moved = settings.train_folder.rename(tmp_path / "moved")
    flags = [f"--data_dir={moved}", f"--output_dir={tmp_path / 'out'}", "--num_shown=3"]
    flags.append(f"--label_studio_dir={tmp_path / 'review'}")
    status, output = run("code/label_report.py", str(tmp_path / "run"), *flags)
    assert status == 0, output
    assert len(json.loads((tmp_path / "review" / "tasks.json").read_text())) == 3
    assert (tmp_path / "out" / "labels.html").exists()


class FakeTfds:
    """tensorflow_datasets with one data set, whose labels' feature has a name of its own."""

    class Names:
        names = ("cat", "dog")

    def __init__(self, label):
        self.info, self.is_prepared = self, False
        self.splits: tuple[str, ...] = ("train", "test")
        self.supervised_keys = ("image", "animal")
        self.features = {"image": object(), "animal": label}

    def builder(self, _):
        return self

    def download_and_prepare(self):
        self.is_prepared = True

    def as_dataset(self, split, as_supervised):
        assert self.is_prepared and as_supervised
        return [(np.full((4, 4, 3), k, np.uint8), k % 2) for k in range(len(split))]

    def as_numpy(self, data):
        return data


def test_tfds(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", FakeTfds(FakeTfds.Names))
    source = tfds.reader.load("mine", "pets", sources.Options(image_size=4))
    assert source.class_names == ("cat", "dog")
    assert source.train.images.shape == (5, 4, 4, 3)
    assert (source.train.labels.tolist(), source.test.labels.tolist()) == (
        [0, 1, 0, 1, 0],
        [0, 1, 0, 1],
    )
    source = tfds.reader.load("mine", "pets", sources.Options())
    assert source.train.images.shape == (5, 32, 32, 3)
    with pytest.raises(InputError, match="`label_column`"):
        tfds.reader.load("mine", "pets", sources.Options(label_column="kind"))
    library = FakeTfds(FakeTfds.Names)
    library.splits = ("train", "validation")
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", library)
    assert tfds.reader.load("mine", "pets", sources.Options()).test.labels.size == 10
    library.splits = ("train",)
    assert tfds.reader.load("mine", "pets", sources.Options()).test.labels.size == 2
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", FakeTfds(object()))
    with pytest.raises(InputError, match="The labels of tfds:pets must be classes with names"):
        tfds.reader.load("mine", "pets", sources.Options(image_size=4))


def test_other_labels_of_the_same_images_are_another_source(tmp_path):
    images, source = np.zeros((20, 8, 8), np.uint8), tmp_path / "a.npz"
    arrays: dict[str, Any] = {"labels": np.arange(20) % 2, "clean_labels": np.zeros(20, int)}
    arrays |= {"images": images, "test_images": images[:4], "test_labels": np.arange(4) % 2}
    np.savez(source, **arrays)
    asked = PrepareConfig("own", str(tmp_path), str(source))
    prepare(asked)
    for name in ("labels", "clean_labels", "test_labels"):
        np.savez(source, **(arrays | {name: 1 - arrays[name]}))
        with pytest.raises(InputError, match="the source has other contents"):
            prepare(asked)


def test_a_photo_upside_down_with_capital_letters(folder):
    pixels, exif = np.zeros((32, 32, 3), np.uint8), Image.Exif()
    pixels[:16], exif[0x0112] = 255, 3
    Image.fromarray(pixels).save(folder / "wide" / "UP.JPG", exif=exif)
    source: Any = sources.load("stripes", str(folder))
    found: dict[str, Any] = {}
    for split in (source.train, source.test):
        found |= dict(zip(split.paths, split.images, strict=True))
    image = found["wide/UP.JPG"]
    assert image[:12].max() < 60 and image[20:].min() > 195


def test_lines_of_json_end_with_newlines_only(folder):
    """JSON may hold other separators as they are, and the file may begin with a mark."""
    names = [f"odd\u2028{number}.png" for number in range(4)]
    for name in names:
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / name)
    rows = [{"file_name": name, "label": str(number % 2)} for number, name in enumerate(names)]
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    (folder / "metadata.jsonl").write_text("\ufeff" + "\n".join(lines) + "\n", "utf-8")
    source: Any = sources.load("stripes", str(folder))
    paths = [path for split in (source.train, source.test) for path in split.paths]
    assert sorted(paths) == names


def test_what_is_said_of_records(tmp_path, capsys):
    """Clean labels may be known of none, of some or of all; files with problems are named."""
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"share_of_wrong_labels": None}, "8 images, 2 classes, clean labels unknown"),
        (
            {"share_of_wrong_labels": 0.25, "num_known_clean_labels": 4, "image_shape": [8, 8, 3]},
            "8 images, 2 classes, 25.00% of the labels wrong (of the 4 whose clean label is known)",
        ),
        (
            {"share_of_wrong_labels": 0.25, "num_known_clean_labels": 8, "image_shape": [5]},
            "8 rows, 2 classes, 25.00% of the labels wrong",
        ),
    )
    for facts, said in cases:
        summaries.print_manifest("folder", {"num_examples": 8, "num_classes": 2, **facts})
        assert capsys.readouterr().out == f"folder: {said}\n"
    for number in (20, 21):
        facts = {"classes": list("ABCDEFGHIJKLMNOPQRSTU")[:number]}
        facts |= {"examples_per_label": [*range(number)], "share_of_wrong_labels": None}
        summaries.print_manifest("folder", {"num_examples": 210, "num_classes": number, **facts})
        first, *others = capsys.readouterr().out.splitlines()
        assert first == f"folder: 210 images, {number} classes, clean labels unknown"
        assert [line[:15] for line in others] == ["  A 0, B 1, C 2,"[:15]] * (number == 20)
    conflicts = tmp_path / "conflicts.txt"
    conflicts.write_text("a = b\nc = d\n")
    manifest = {"num_examples": 8, "num_classes": 2, **cases[0][0]}
    summaries.print_manifests({str(tmp_path): manifest})
    warning = f"WARNING: see {conflicts} (lines: 2); the first line is: a = b\n"
    assert capsys.readouterr().out == f"{tmp_path}: {cases[0][1]}\n{warning}"


def grey(number):
    """Images of 8 x 8 pixels, each of another grey."""
    return np.arange(number, dtype=np.uint8)[:, None, None] * np.ones((1, 8, 8), np.uint8)


def test_what_is_held_out_kept_and_trusted_is_drawn_as_ever(tmp_path):
    """So that records can be made again; ids and names are those of the whole split."""
    labels = np.arange(40) % 2
    clean = np.where(np.arange(40) % 3 == 0, -1, labels)
    source = tmp_path / "a.npz"
    np.savez(source, images=grey(40), labels=labels, clean_labels=clean)
    generator = np.random.default_rng([5, 3])
    held_out = [generator.permutation(np.flatnonzero(labels == label))[:6] for label in (0, 1)]
    train = np.setdiff1d(np.arange(40), held_out)
    ids = np.sort(np.random.default_rng([5, 1]).permutation(28)[:12])
    known = np.flatnonzero(clean[train[ids]] >= 0)
    order = np.random.default_rng([5, 2]).permutation(len(known))

    def asked(number):
        values: dict[str, Any] = {"num_train": 12, "num_trusted": number, "seed": 5}
        return config(tmp_path / str(number), source, test_share=0.3, **values)

    for number in (4, len(known)):
        folder = asked(number).train_folder
        prepare(asked(number))
        examples = records.read_examples(str(folder), dataset_info("stripes", folder), "train")
        np.testing.assert_array_equal(examples.ids, ids)
        np.testing.assert_array_equal(np.asarray(examples.images)[:, 0, 0, 0], train[ids])
        np.testing.assert_array_equal(np.flatnonzero(examples.trusted), known[order < number])
        rows = [f"{i},row {place}" for i, place in zip(ids, train[ids], strict=True)]
        assert (folder / "files.csv").read_text().splitlines() == ["id,path", *rows]
    with pytest.raises(InputError, match=f"exceed the {len(known)} training images with a clean"):
        prepare(asked(len(known) + 1))


@pytest.mark.parametrize("fraction", [0.0, 0.5])
def test_labels_are_clean_where_noise_is_added_to_them(tmp_path, fraction):
    """But where the source knows better, and in the test split nothing is added."""
    labels, number = np.arange(40) % 2, np.arange(40)
    clean = np.where(number < 10, 1 - labels, -1)
    arrays: dict[str, Any] = {"images": grey(40), "labels": labels, "clean_labels": clean}
    arrays |= {f"test_{name}": values for name, values in arrays.items()}
    np.savez(tmp_path / "a.npz", **arrays)
    settings = config(tmp_path, tmp_path / "a.npz", noise_fraction=fraction)
    prepare(settings)
    info = dataset_info("stripes", settings.train_folder)
    train = records.read_examples(str(settings.train_folder), info, "train")
    assert (train.labels != labels).any() == (fraction > 0)
    expected = np.where((clean < 0) & (fraction > 0), labels, clean)
    np.testing.assert_array_equal(train.clean_labels, expected)
    test = records.read_examples(str(settings.test_folder), info, "test")
    np.testing.assert_array_equal(test.clean_labels, clean)
    np.testing.assert_array_equal(test.labels, np.where(clean < 0, labels, clean))


def test_records_of_an_earlier_version_and_of_renamed_classes(tmp_path):
    """It recorded no checksum of the source, of which the names of the classes are a part."""
    source = tmp_path / "a.npz"
    np.savez(source, images=grey(8), labels=[*"abababab"])
    asked = config(tmp_path, source)
    made = prepare(asked)
    np.savez(source, images=grey(8), labels=[*"acacacac"])
    with pytest.raises(InputError, match="the source has other contents"):
        prepare(asked)
    for folder, manifest in made.items():
        del manifest["source_sha256"], manifest["names_sha256"]
        pathlib.Path(folder, "manifest.json").write_text(json.dumps(manifest))
    assert prepare(asked) == made


@pytest.mark.parametrize(
    "before, after",
    [
        ({"images": grey(8), "paths": [*"abcdefgh"]}, {"paths": [*"abcdefgi"]}),
        ({"features": np.eye(8), "feature_names": [*"abcdefgh"]}, {"feature_names": [*"abcdefgi"]}),
    ],
)
def test_renamed_samples_and_features_are_other_data(tmp_path, before, after):
    """files.csv and the manifest would go on naming what is no longer there."""
    source = tmp_path / "a.npz"
    arrays = before | {"labels": [*"abababab"]}
    np.savez(source, **arrays)
    asked = config(tmp_path, source)
    made = prepare(asked)
    assert prepare(asked) == made
    np.savez(source, **(arrays | after))
    with pytest.raises(InputError, match="files or features have other names"):
        prepare(asked)


def test_class_names_that_are_the_same_number():
    """Their order does not depend on that of a set, which differs between processes."""
    for texts in (["1", "01", "001", "2"], ["2", "001", "01", "1"]):
        assert Listing([], list(texts), [], []).class_names == ["001", "01", "1", "2"]


def test_every_setting_of_own_data_reaches_the_source():
    values: dict[str, Any] = {"image_size": 16, "test_share": 0.3, "skip_bad": True, "seed": 7}
    values["label_column"] = "kind"
    asked = PrepareConfig("own", source="a.csv", **values)
    assert asked.own_options() == sources.Options(**values)


def test_arrays_are_resized_only_if_asked(tmp_path):
    """The middle of wide images is kept."""
    images = np.zeros((4, 16, 24), np.uint8)
    images[:, :, 12:] = 200
    np.savez(tmp_path / "a.npz", images=images, labels=[0, 1, 0, 1])
    for size, shape in ((None, (2, 16, 24, 3)), (8, (2, 8, 8, 3))):
        options = sources.Options(image_size=size)
        found = sources.load("own", str(tmp_path / "a.npz"), options).train.images
        assert found.shape == shape
        assert found[:, :, 0].max() == 0 and found[:, :, -1].min() == 200
        if size:
            assert found[:, :, 3].max() < 60 and found[:, :, 4].min() > 140


@pytest.mark.parametrize("kind", ["npz", "csv", "jsonl", "parquet"])
def test_a_class_that_only_a_clean_label_names(tmp_path, kind):
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "a.png")
    table = {"file_name": ["a.png"] * 4, "label": [*"abab"], "clean_label": ["c", "", "", ""]}
    rows, path = [*zip(*table.values(), strict=True)], tmp_path / f"a.{kind}"
    if kind == "npz":
        arrays: dict[str, Any] = {"labels": table["label"], "clean_labels": table["clean_label"]}
        np.savez(path, images=grey(4), **arrays)
    elif kind == "csv":
        lines = ["path,label,clean_label", *(",".join(row) for row in rows)]
        path.write_text("\n".join(lines) + "\n")
    elif kind == "jsonl":
        path = tmp_path
        lines = [json.dumps(dict(zip(table, row, strict=True))) for row in rows]
        (path / "metadata.jsonl").write_text("\n".join(lines))
    else:
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        pq.write_table(pa.table(table), path)
    source: Any = sources.load("own", str(path))
    assert source.class_names == ("a", "b", "c")
    assert sorted([*source.train.clean_labels, *source.test.clean_labels]) == [-1, -1, -1, 2]


def test_a_csv_as_spreadsheets_save_it(tmp_path):
    """It begins with a mark; people write the names of splits in several ways."""
    picture("wide", 0).save(tmp_path / "1.png")
    splits = ("", "train", " Train ", "test", "VAL", "valid ", "Validation")
    rows = [f"1.png,{'ab'[number % 2]},{split}\n" for number, split in enumerate(splits)]
    (tmp_path / "a.csv").write_text("path,label,split\n" + "".join(rows), "utf-8-sig")
    source = sources.load("own", str(tmp_path / "a.csv"))
    assert source.train.labels.tolist() == [0, 1, 0]
    assert source.test.labels.tolist() == [1, 0, 1, 0]


def test_of_several_test_splits_the_first_is_read(tmp_path, capsys):
    for split in ("train", "val", "test"):
        for kind in ("narrow", "wide"):
            (tmp_path / split / kind).mkdir(parents=True)
            picture(kind, 0).save(tmp_path / split / kind / "1.png")
    source: Any = sources.load("stripes", str(tmp_path))
    assert source.train.paths.tolist() == ["train/narrow/1.png", "train/wide/1.png"]
    assert source.test.paths.tolist() == ["test/narrow/1.png", "test/wide/1.png"]
    told = capsys.readouterr().out
    assert told == "WARNING: val is not read, as test is the test split.\n"


def test_each_class_is_trained_on_and_held_out(tmp_path):
    np.savez(tmp_path / "a.npz", images=grey(9), labels=[0] * 2 + [1] * 7)
    for share, expected in ((0.99, [1, 1]), (0.01, [1, 6])):
        source = sources.load("own", str(tmp_path / "a.npz"), sources.Options(test_share=share))
        assert np.bincount(source.train.labels).tolist() == expected
        assert len(source.test.labels) == 9 - sum(expected)
    np.savez(tmp_path / "a.npz", images=grey(9), labels=[0] + [1] * 8)
    with pytest.raises(InputError, match=r"at least 2 samples, .* classes_of_one=\['0'\]"):
        sources.load("own", str(tmp_path / "a.npz"))


def test_names_of_classes_that_look_wrong(tmp_path, capsys):
    labels = np.repeat(["Dog", "cat", "dog", "NaN"], 2)
    np.savez(tmp_path / "a.npz", images=grey(8), labels=labels)
    assert sources.load("own", str(tmp_path / "a.npz")).class_names == ("Dog", "NaN", "cat", "dog")
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "WARNING: classes that differ only in case: Dog, dog"
    assert told[1] == "WARNING: a class by the name of a missing label: NaN" and len(told) == 2


@pytest.mark.parametrize("name", ["file_name", "filename", "file", "image"])
def test_columns_of_images_in_a_csv(tmp_path, name):
    """The first of several; the files that the rows name count in what was prepared."""
    paths = [f"{number}.png" for number in range(4)]
    for number, path in enumerate(paths):
        picture("narrow", number).save(tmp_path / path)
    lines = [f"{path},{number % 2}\n" for number, path in enumerate(paths)]
    (tmp_path / "a.csv").write_text(f"{name},label\n{''.join(lines)}")
    source: Any = sources.load("own", str(tmp_path / "a.csv"))
    assert sorted([*source.train.paths, *source.test.paths]) == paths
    assert csv_source.reader.files(tmp_path / "a.csv") == [tmp_path / path for path in paths]


def test_a_folder_above_the_class_folders(tmp_path):
    for kind in ("narrow", "wide"):
        (tmp_path / "data" / kind).mkdir(parents=True)
        picture(kind, 0).save(tmp_path / "data" / kind / "1.png")
    with pytest.raises(InputError, match=r"class folders themselves.*folders=\['data'\]"):
        sources.load("own", str(tmp_path))


def test_a_label_column_needs_a_table(tmp_path):
    np.savez(tmp_path / "a.npz", images=grey(4), labels=[0, 0, 1, 1])
    for location in (tmp_path, tmp_path / "a.npz"):
        (tmp_path / "kind").mkdir(exist_ok=True)
        with pytest.raises(InputError, match="`label_column` is for tables"):
            sources.load("own", str(location), sources.Options(label_column="other"))


@pytest.mark.parametrize("names", [("training", "testing"), ("Train", "dev")])
def test_folders_of_splits_are_no_classes(tmp_path, names):
    for split in names:
        for kind in ("narrow", "wide"):
            (tmp_path / split / kind).mkdir(parents=True)
            for number in range(2):
                picture(kind, number).save(tmp_path / split / kind / f"{number}.png")
    with pytest.raises(InputError, match="Splits in `source` must be named train and test or val"):
        sources.load("own", str(tmp_path))


def test_grey_images_of_tfds(monkeypatch):
    class Grey(FakeTfds):
        def as_dataset(self, split, as_supervised):
            rows = super().as_dataset(split, as_supervised)
            return [(image[..., :1], label) for image, label in rows]

    monkeypatch.setitem(sys.modules, "tensorflow_datasets", Grey(FakeTfds.Names))
    source = tfds.reader.load("mine", "pets", sources.Options(image_size=4))
    np.testing.assert_array_equal(source.train.images[:, 0, 0], [[k] * 3 for k in range(5)])


def test_hidden_images_are_left_out(folder):
    before: Any = sources.load("stripes", str(folder))
    (folder / "wide" / ".thumbs").mkdir()
    for name in (".thumbs/1.png", "._1.png"):
        (folder / "wide" / name).write_text("no image")
    after: Any = sources.load("stripes", str(folder))
    assert after.train.paths.tolist() == before.train.paths.tolist()
    reader, _ = sources.find_reader("own", str(folder))
    assert not [path for path in reader.files(folder) if ".thumbs" in path.parts]


@pytest.mark.parametrize(
    ("label", "dtype", "part"),
    [(-1, np.uint8, "split test of tfds:pets must have labels"), (1, np.uint16, "must be uint8")],
)
def test_splits_of_tfds_without_labels_or_of_more_bits(monkeypatch, label, dtype, part):
    class Other(FakeTfds):
        def as_dataset(self, split, as_supervised):
            rows = super().as_dataset(split, as_supervised)
            return [(image.astype(dtype), label if split == "test" else k) for image, k in rows]

    monkeypatch.setitem(sys.modules, "tensorflow_datasets", Other(FakeTfds.Names))
    with pytest.raises(InputError, match=part):
        tfds.reader.load("mine", "pets", sources.Options(image_size=4))


@pytest.mark.parametrize("kind", ["class_folders", "csv", "image_folder"])
def test_the_order_of_classes_whose_names_are_numbers(tmp_path, kind):
    """By value in metadata and arrays; alphabetical in folders and csv. Blank lines are no rows."""
    rows = ""
    for name in ("2", "10"):
        (tmp_path / name).mkdir()
        for number in range(2):
            picture("wide", number).save(tmp_path / name / f"{number}.jpeg")
            rows += f"{name}/{number}.jpeg,{name}\n\n"
    path = tmp_path
    if kind == "csv":
        path = tmp_path / "a.csv"
        path.write_text(f"path,label\n{rows}")
    elif kind == "image_folder":
        (path / "metadata.csv").write_text(f"file_name,label\n{rows}")
    expected = ("2", "10") if kind == "image_folder" else ("10", "2")
    assert sources.load("own", str(path)).class_names == expected


def test_arrays_that_do_not_fit_each_other(tmp_path):
    images, features, labels = np.zeros((4, 8, 8, 3), np.uint8), np.eye(4), [0, 1, 0, 1]
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"images": images, "features": features}, "must hold either `images` or `features`"),
        (
            {"images": np.zeros((4, 8, 8, 4), np.uint8)},
            r"must hold images uint8 \[n, h, w\(, 1 or 3\)\]",
        ),
        (
            {"images": images, "test_images": images[:, :4], "test_labels": labels},
            "all images must have the same shape",
        ),
        (
            {"features": features, "test_features": features[:, :3], "test_labels": labels},
            "all features must have the same shape",
        ),
        (
            {"images": images, "clean_labels": labels[:3]},
            r"must hold one clean label \(and path\) per sample. Received: clean_labels=\(3,\)",
        ),
        (
            {"images": images, "paths": [*"abcde"]},
            r"must hold one clean label \(and path\) per sample. Received: paths=\(5,\)",
        ),
        (
            {"features": features, "feature_names": [*"abc"]},
            r"`feature_names` must name each feature. Received: feature_names=\(3,\)",
        ),
    )
    for arrays, message in cases:
        np.savez(tmp_path / "a.npz", labels=labels, **arrays)
        with pytest.raises(InputError, match=message):
            sources.load("own", str(tmp_path / "a.npz"))


@pytest.mark.parametrize(
    ("skip_bad", "name", "text", "message"),
    [
        (False, "a.csv", "1.png,a,\n2.png,b,\n", r": 2\.png: 40 x 25 pixels are too many\."),
        (False, "a.csv", "no.png,a,\nno.png,b,\nno.png,b,\n", r": no\.png: .* and 2 more\."),
        (True, "a.csv", "no.png,a,\nno.png,b,\n", "no readable image. Received: unreadable=2"),
        (False, "a.csv", "1.png,a,test\n1.png,b,val\n", "training samples. Received: test=2"),
        (
            False,
            "a.csv",
            "1.png,a,\n1.png,a,\n1.png,a,test\n1.png,b,test\n",
            r"training samples of at least 2 classes. Received: classes=\['a'\]",
        ),
        (
            False,
            "metadata.jsonl",
            '{"file_name": "1.png", "label": "a"}\n7\n',
            "each line must be a JSON object. Received: line=7",
        ),
        (
            False,
            "metadata.jsonl",
            '{"file_name": " ", "label": "a"}\n',
            "row 0: `file_name` must name a file. Received: file_name=' '",
        ),
    ],
)
def test_lists_of_images_that_are_refused(tmp_path, monkeypatch, skip_bad, name, text, message):
    monkeypatch.setattr(_listing, "MAX_PIXELS", 40 * 24)
    picture("wide", 1, (40, 24)).save(tmp_path / "1.png")
    picture("wide", 2, (40, 25)).save(tmp_path / "2.png")
    path = tmp_path
    if name == "a.csv":
        path, text = tmp_path / name, f"path,label,split\n{text}"
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        sources.load("own", str(path), sources.Options(skip_bad=skip_bad))


def test_names_and_numbers_of_a_preparation():
    """The name is also used for folders and files."""
    for name in ("pets", "my.pets-2", "a_b_c", "7"):
        asked = PrepareConfig(name, source="a.npz", noise_fraction=1, num_train=1)
        assert asked.test_folder == pathlib.Path("data", name, "val")
    for name in ("", "..", "../pets", "a/b", "_a", "a_", "a__b", ".a", "a b", "a*", "a\n"):
        with pytest.raises(InputError, match="`dataset_name` must consist of letters, digits"):
            PrepareConfig(name, source="a.npz")
    values: Any
    for values, message in (
        ({"num_train": 0}, "`num_train` must be at least 1"),
        ({"num_trusted": -1}, "`num_trusted` must not be negative"),
        ({"seed": -1}, "`seed` must not be negative"),
        ({"noise_fraction": 1.01}, "`noise_fraction` must lie in 0..1"),
        ({"noise_fraction": -0.01}, "`noise_fraction` must lie in 0..1"),
    ):
        with pytest.raises(InputError, match=message):
            PrepareConfig("pets", source="a.npz", **values)


def test_an_empty_cell_of_split():
    """Tables of numbers and texts hold NaN where a cell is empty."""
    for cell in (None, float("nan"), "", " "):
        for otherwise in (False, True):
            assert _custom.is_test_split(cell, "row 1", otherwise) == otherwise
    assert _custom.is_test_split(" Val ", "row 1") and not _custom.is_test_split(
        "Train", "row 1", True
    )


@pytest.mark.parametrize("kind", ["csv", "npz", "parquet"])
def test_an_ending_in_capital_letters(tmp_path, kind):
    path = tmp_path / f"own.{kind.upper()}"
    path.touch()
    assert sources.find_reader("own", str(path)) == (sources.SOURCES.find(kind), str(path))


def test_clean_labels_are_written_as_the_labels_are():
    """Of a column with gaps, whose numbers have become fractions."""
    assert clean_label_texts(["1", "", "0.0"], ["0.0", "1.0"], "x", "") == ["1.0", None, "0.0"]
    assert clean_label_texts(["1"], ["0.0", "1"], "x", "") == ["1"]
    assert clean_label_texts(["cat", "1"], ["0.0", "cat"], "x", "") == ["cat", "1"]


def test_a_row_that_names_the_folder_itself(tmp_path):
    (tmp_path / "metadata.csv").write_text("file_name,label\n.,a\n")
    with pytest.raises(InputError, match="holds unreadable images"):
        sources.load("own", str(tmp_path))


def test_arrays_without_rows(tmp_path):
    labels = np.zeros(0, np.int64)
    np.savez(tmp_path / "a.npz", images=np.zeros((0, 8, 8, 3), np.uint8), labels=labels)
    for size in (None, 16):
        with pytest.raises(InputError, match="a.npz must have rows"):
            sources.load("own", str(tmp_path / "a.npz"), sources.Options(image_size=size))


def test_folders_that_differ_in_capital_letters(tmp_path):
    if (tmp_path / "a").mkdir() or (tmp_path / "A").exists():
        pytest.skip("the file system does not tell them apart")
    for name in ("Train/a/1.png", "train/b/2.png"):
        (tmp_path / "split" / name).parent.mkdir(parents=True, exist_ok=True)
        picture("wide", 1).save(tmp_path / "split" / name)
    with pytest.raises(InputError, match="must not differ only in upper and lower case"):
        sources.load("own", str(tmp_path / "split"))


def test_pictures_of_one_line_keep_their_shape():
    for channels in (1, 3):
        assert tfds._picture(np.zeros((1, 5, channels), np.uint8)).size == (5, 1)


def test_odd_exif_turns_and_transparency_is_white(tmp_path):
    """Only the orientation is read; a tag of the wrong type, as some cameras write, is not."""
    for name in "ab":
        (tmp_path / name).mkdir()
        glyph = np.zeros((16, 16, 4), np.uint8)
        glyph[4:8, 4:8, 3] = 255
        Image.fromarray(glyph).save(tmp_path / name / "glyph.png")
        for turn in range(1, 9):
            pixels = np.zeros((16, 16, 3), np.uint8)
            pixels[:8, :8] = 255
            # Two entries: the orientation, and XResolution, a text instead of a fraction.
            tags = 2, 0x0112, 3, 1, turn, 0, 282, 2, 3, b"72\0", 0
            exif = b"Exif\0\0" + struct.pack("<2sHIHHHIHHHHI4sI", b"II", 42, 8, *tags)
            Image.fromarray(pixels).save(tmp_path / name / f"{turn}.png", exif=exif)
    options = sources.Options(image_size=16)
    source = sources.load("own", str(tmp_path), options)
    images: dict[str, np.ndarray] = {}
    for split in (source.train, source.test):
        assert split.paths is not None
        images |= zip(split.paths.tolist(), split.images, strict=True)
    found = images["a/glyph.png"]
    assert found[:4].min() == 255 and found[5:7, 5:7].max() == 0
    corners = {1: (0, 0), 2: (0, 15), 3: (15, 15), 4: (15, 0), 5: (0, 0), 6: (0, 15)}
    for turn, (row, column) in (corners | {7: (15, 15), 8: (15, 0)}).items():
        bright = images[f"b/{turn}.png"][::15, ::15, 0] > 128
        assert np.argwhere(bright).tolist() == [[row // 15, column // 15]], turn


def test_arrays_that_are_not_used_do_not_matter(tmp_path):
    images = np.arange(6 * 64, dtype=np.uint8).reshape(6, 8, 8)
    labels = np.array(["é".encode(), b"b"] * 3)
    unused: Any = dict.fromkeys(
        ("meta", "feature_names", "test_paths"), np.array([{}, None], object)
    )
    np.savez(tmp_path / "a.npz", images=images, labels=labels, **unused)
    source = sources.load("own", str(tmp_path / "a.npz"))
    assert source.class_names == ("b", "é")
    for values, message in (
        ({"labels": np.array([b"\xff", b"b"] * 3)}, "Labels must be UTF-8"),
        (
            {"paths": np.array([b"\xff", *(b"12345"[i : i + 1] for i in range(5))])},
            "paths. must be",
        ),
        ({"paths": np.array([f"\udce9{i}.png" for i in range(6)])}, "File names must be UTF-8"),
        ({"images": np.zeros((6, 0, 0, 3), np.uint8)}, "must hold images uint8"),
    ):
        np.savez(tmp_path / "b.npz", **({"images": images, "labels": labels} | values))
        with pytest.raises(InputError, match=message):
            sources.load("own", str(tmp_path / "b.npz"))
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as archive:
        archive.writestr("paths", "a\nb\n")
    with pytest.raises(InputError, match="`paths` must be an array"):
        sources.load("own", str(tmp_path / "a.npz"))


def test_classes_without_images(tmp_path, capsys):
    """A folder without any is named; two classes must be left."""
    for name in "abc":
        (tmp_path / name).mkdir()
    for number in range(4):
        Image.new("L", (8, 8)).save(tmp_path / "a" / f"{number}.png")
        (tmp_path / "b" / f"{number}.png").write_bytes(b"no image")
    (tmp_path / "c" / "1.tif").touch()
    with pytest.raises(InputError, match="samples of at least 2 classes.*classes=.'a'."):
        sources.load("own", str(tmp_path), sources.Options(skip_bad=True))
    said = r"WARNING: folders without images .* are ignored: c\n"
    assert re.search(said, capsys.readouterr().out)


def test_images_of_linked_class_folders_count(tmp_path, folder):
    """Those by which it is known whether the data have changed."""
    (tmp_path / "linked").mkdir()
    for kind in ("narrow", "wide"):
        (tmp_path / "linked" / kind).symlink_to(folder / kind)
    found, linked = (
        {path.relative_to(root) for path in class_folders.reader.files(root)}
        for root in (folder, tmp_path / "linked")
    )
    assert found == linked and len(found) == 60


@pytest.mark.parametrize("name", ["label", "labels", "target", "class"])
def test_names_of_the_column_of_labels(tmp_path, name):
    picture("wide", 0).save(tmp_path / "1.png")
    (tmp_path / "a.csv").write_text(f"path,{name}\n" + "1.png,a\n1.png,b\n" * 2)
    assert sources.load("own", str(tmp_path / "a.csv")).class_names == ("a", "b")


def test_smaller_images_are_averages():
    board = np.indices((64, 64)).sum(axis=0) % 2 * 255
    found = _custom.fit_image(Image.fromarray(board.astype(np.uint8)), 32)
    assert found.shape == (32, 32, 3) and 100 <= found.min() <= found.max() <= 156


@pytest.mark.parametrize("method", ["iterdir", "rglob"])
def test_images_are_sorted_however_the_file_system_orders_them(folder, monkeypatch, method):
    found = getattr(pathlib.Path, method)
    monkeypatch.setattr(pathlib.Path, method, lambda *args: sorted(found(*args), reverse=True))
    source: Any = sources.load("stripes", str(folder))
    assert source.train.paths.tolist() == sorted(source.train.paths)
