"""Tables, features and Hugging Face's folders: reading, rejecting and training."""

import csv
import io
import json
import pathlib
import sys
import types
import zipfile
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from helpers import run
from PIL import Image

from mentornet import InputError, build_student
from mentornet.cleaning import feature_rows
from mentornet.config.training import TrainConfig
from mentornet.core import files
from mentornet.core.safe_csv import to_csv
from mentornet.datasets import records, sources
from mentornet.datasets.catalog import DatasetInfo, dataset_info
from mentornet.datasets.correct import CorrectConfig, correct
from mentornet.datasets.images import EncodedImages
from mentornet.datasets.prepare import PrepareConfig, prepare
from mentornet.datasets.sources import _custom, _table
from mentornet.datasets.sources import csv as csv_source
from mentornet.students import registry
from mentornet.students.networks import mlp
from mentornet.training.build import make_trainer

HOSTILE = "<script>alert(1)</script>"


def png(value, size=12):
    file = io.BytesIO()
    Image.fromarray(np.full((size, size, 3), value, np.uint8)).save(file, "PNG")
    return file.getvalue()


def rows(number=60, width=5):
    """Rows of two classes, one shifted by 3; the last column is constant."""
    generator = np.random.default_rng(0)
    labels = np.arange(number) % 2
    features = generator.normal(size=(number, width)) + 3 * labels[:, None]
    features[:, -1] = 7
    return features * 100, labels


@pytest.fixture
def parquet(tmp_path):
    """Writes a Parquet file of columns, and returns its path as text."""
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet as pq

    def write(file="t.parquet", /, **columns):
        pq.write_table(pa.table(columns), tmp_path / file)
        return str(tmp_path / file)

    return write


def prepared(tmp_path, source, **values):
    config = PrepareConfig("own", str(tmp_path / "data"), source=str(source), **values)
    manifests = prepare(config)
    info = dataset_info("own", config.train_folder)
    examples = records.read_examples(str(config.train_folder), info, "train")
    return config, manifests[str(config.train_folder)], info, examples


def names_of(split):
    return split.paths.tolist()


def paths_of(folder):
    with (folder / "files.csv").open(newline="") as file:
        return [row["path"] for row in csv.DictReader(file)]


@pytest.mark.parametrize("max_in_memory", [960, 959])  # 48 rows of 5 numbers of 4 bytes.
def test_features_come_back_bit_for_bit(tmp_path, monkeypatch, max_in_memory):
    """In memory or read when needed, each row has its name."""
    monkeypatch.setattr(records, "MAX_IN_MEMORY", max_in_memory)
    features, labels = rows()
    np.savez(tmp_path / "a.npz", features=features, labels=labels, feature_names=list("abcde"))
    config, manifest, info, examples = prepared(tmp_path, tmp_path / "a.npz")
    assert manifest["image_shape"] == [5]
    assert (info.num_features, info.feature_names, info.augment) == (5, tuple("abcde"), False)
    places = [int(path.removeprefix("row ")) for path in paths_of(config.train_folder)]
    assert isinstance(examples.images, EncodedImages) == (max_in_memory < 960)
    read = records.images.reader(examples.images)(np.arange(len(examples)))
    np.testing.assert_array_equal(read, features[places].astype(np.float32))
    np.testing.assert_array_equal(examples.labels, labels[places])
    manifest["image_shape"] = [4]
    (config.train_folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="record 0: must hold 4 float32 values.*bytes=20"):
        records.read_examples(
            str(config.train_folder), dataset_info("own", config.train_folder), "train"
        )


@pytest.mark.parametrize("kind", [np.int64, np.float64, np.float16, bool])
def test_numbers_of_any_kind(tmp_path, kind):
    features = (np.arange(40).reshape(20, 2) % 7).astype(kind)
    arrays: dict[str, Any] = {"features": features, "labels": np.array(list("ab") * 10)}
    arrays |= {"test_features": features[:4], "test_labels": np.array(list("abab"))}
    np.savez(tmp_path / "a.npz", **arrays)
    source = sources.load("own", str(tmp_path / "a.npz"))
    assert source.train.images.dtype == np.float32 and source.class_names == ("a", "b")
    np.testing.assert_array_equal(source.train.images, features)
    np.testing.assert_array_equal(source.test.images, features[:4])


def test_features_that_are_refused(tmp_path, monkeypatch):
    features, labels = rows(10)
    nan, infinite, huge = features.copy(), features.copy(), features.copy()
    nan[3, 1], infinite[4, 2], huge[5, 0] = np.nan, -np.inf, 1e300
    cases = (
        (nan, labels, "row 3, column 1: features must be finite float32 numbers.*nan"),
        (infinite, labels, "row 4, column 2: .*-inf"),
        (huge, labels, "row 5, column 0: .*1e\\+300"),
        (features.astype(str), labels, "features must be numbers"),
        (features[:, 0], labels, r"must hold features \[n, d\] and labels"),
        (features[:1], labels[:1], "at least 2 classes"),
        (features, np.where(labels, 1, np.nan), "must be a string or a whole number"),
        (features[:, :0], labels, "1 to 65536 features per row.*features=0"),
        (features, np.array(["a", None] * 5, object), r"save texts with `.astype\(str\)`"),
    )
    for x, y, message in cases:
        np.savez(tmp_path / "a.npz", features=x, labels=y)
        with pytest.raises(InputError, match=message):
            prepared(tmp_path, tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", features=features, labels=labels)
    with pytest.raises(InputError, match="`image_size` is for images"):
        prepared(tmp_path, tmp_path / "a.npz", image_size=32)
    monkeypatch.setattr(_custom, "MAX_FEATURES", 4)
    with pytest.raises(InputError, match="must have 1 to 4 features per row. Received: features=5"):
        prepared(tmp_path, tmp_path / "a.npz")
    assert not (tmp_path / "data").exists()


def test_a_million_columns_take_no_memory(tmp_path):
    """The header decides: this file claims 8 terabytes and holds none of them."""
    header = {"descr": "<f8", "fortran_order": False, "shape": (10**6, 10**6)}
    with (
        zipfile.ZipFile(tmp_path / "a.npz", "w") as archive,
        archive.open("features.npy", "w") as f,
    ):
        np.lib.format.write_array_header_1_0(f, header)
    with pytest.raises(InputError, match="features=1000000"):
        sources.load("own", str(tmp_path / "a.npz"))


def test_parquet_of_columns_and_of_lists(parquet):
    features, labels = rows()
    text = ["no", HOSTILE]
    columns = {f"f{i}": features[:, i] for i in range(5)}
    wide = parquet("w.parquet", **columns, id=range(60), target=[text[y] for y in labels])
    lists = parquet("l.parquet", embedding=list(features), name=labels, path=list(map(str, labels)))
    source = sources.load("own", wide)
    assert source.feature_names == tuple(columns) and set(source.class_names) == {*text}
    other = sources.load("own", lists, sources.Options(label_column="name"))
    assert source.train.images.shape == other.train.images.shape == (48, 5)
    places = [int(path.removeprefix("row ")) for path in names_of(source.train)]
    np.testing.assert_array_equal(source.train.images, features[places].astype(np.float32))
    assert names_of(other.train) == other.train.labels.astype(str).tolist()
    for y, place in zip(source.train.labels, places, strict=True):
        assert source.class_names[y] == text[labels[place]]


def test_parquet_that_is_refused(tmp_path, parquet, monkeypatch):
    x = [1.0, 2.0, 3.0, 4.0]
    label = ["a", "b", "a", "b"]
    cases = (
        ({"x": x, "y": label}, r"column label or labels.*columns=\['x', 'y'\]"),
        ({"x": x, "label": label, "target": label}, "must have one column"),
        ({"x": x, "label": ["a", None, "a", "b"]}, "row 1: `label` must be a string.*label=None"),
        ({"x": x, "label": [0.5, 1, 0, 1]}, "row 0: `label` must be a string or a whole number"),
        ({"x": [1.0, None, 2.0, 3.0], "label": label}, "row 1: `x` must not be empty"),
        ({"x": [1.0, 2.0, np.nan, 3.0], "label": label}, "row 2, column 'x': .*finite"),
        ({"x": x, "city": label, "label": label}, "encode or drop.*'city': 'string'"),
        ({"e": [[1.0], [2.0, 3.0], [1.0], [1.0]], "label": label}, "row 1: `e` must have 1 values"),
        ({"e": [[1.0], [None], [1.0], [1.0]], "label": label}, "row 1: `e` must not hold nulls"),
        ({"image": [png(1), None, png(2), png(3)], "label": label}, "row 1: the image must not be"),
        (
            {"image": [png(1), b"?", png(2), png(3)], "label": label},
            "unreadable.*row 1: not an image",
        ),
        ({"path": ["no.png"] * 4, "label": label}, "lacks images that are listed .*no.png"),
        ({"x": x[:1], "label": label[:1]}, "at least 2 classes"),
        ({"label": label}, "must have a column `image`, or features"),
    )
    for columns, message in cases:
        with pytest.raises(InputError, match=message):
            prepared(tmp_path, parquet(**columns))
    (tmp_path / "t.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        prepared(tmp_path, tmp_path / "t.parquet")
    monkeypatch.setattr(_custom, "MAX_FEATURES", 1)
    with pytest.raises(InputError, match="features=2"):
        prepared(tmp_path, parquet(e=[[1.0, 2.0]] * 4, label=label))
    assert not (tmp_path / "data").exists()


def test_parquet_without_pyarrow(tmp_path, monkeypatch):
    (tmp_path / "t.parquet").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match="needs pyarrow: pip install pyarrow"):
        sources.load("own", str(tmp_path / "t.parquet"))


def test_images_in_parquet(tmp_path, parquet):
    """Bytes, and Hugging Face's structs, whose path names the image or is its file."""
    (tmp_path / "9.png").write_bytes(png(90))
    structs = [{"bytes": png(10 * i), "path": f"{i}.jpg"} for i in range(9)]
    structs.append({"bytes": None, "path": "9.png"})
    split = ["train"] * 8 + ["test"] * 2
    label = [0, 10, 2, 0, 10, 2, 0, 10, 2, 2]
    for images in ([png(10 * i) for i in range(10)], structs):
        path = parquet(img=images, label=label, split=split, clean_label=[None, 2, *[-1] * 8])
        source = sources.load("own", path)
        assert source.class_names == ("0", "2", "10")
        assert source.train.images.shape == (8, 32, 32, 3)
        np.testing.assert_array_equal(source.train.images[:, 0, 0, 0], 10 * np.arange(8))
        np.testing.assert_array_equal(source.test.images[:, 0, 0, 0], [80, 90])
        np.testing.assert_array_equal(source.train.clean_labels, [-1, 1] + [-1] * 6)
    assert names_of(source.test) == ["8.jpg", "9.png"]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_image_folder(tmp_path, parquet, suffix):
    """Metadata in the folders of the splits; paths are relative to them."""
    for split, count in (("train", 6), ("test", 2)):
        folder = tmp_path / "root" / split
        folder.mkdir(parents=True)
        table = [{"file_name": f"{i}.png", "label": ["b", HOSTILE][i % 2]} for i in range(count)]
        for i in range(count):
            (folder / f"{i}.png").write_bytes(png(i))
        if suffix == "csv":
            text = "".join(f"{row['file_name']},{row['label']}\n" for row in table)
            (folder / "metadata.csv").write_text(f"file_name,label\n{text}")
        elif suffix == "jsonl":
            (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, table)))
        else:
            columns = {key: [row[key] for row in table] for key in table[0]}
            parquet(f"root/{split}/metadata.parquet", **columns)
    config, manifest, _, examples = prepared(tmp_path, tmp_path / "root")
    assert manifest["num_examples"] == 6 and manifest["classes"] == [HOSTILE, "b"]
    assert examples.labels.tolist() == [1, 0, 1, 0, 1, 0]
    assert paths_of(config.train_folder) == [f"train/{i}.png" for i in range(6)]
    (tmp_path / "root" / "train" / "3.png").unlink()
    with pytest.raises(
        InputError, match=r"lacks images that are listed .*train/3.png: no such file"
    ):
        sources.load("own", str(tmp_path / "root"))


def test_image_folders_that_are_refused(tmp_path):
    path = tmp_path / "metadata.csv"
    for text, message in (
        ("file,label\n1.png,a\n", r"column file_name. Received: columns=\['file', 'label'\]"),
        ("file_name,kind\n1.png,a\n", "`label_column` must name it.*kind"),
        ("file_name,label\n1.png,\n", "row 0: `label` must be a string"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=message):
            sources.load("own", str(tmp_path))
    path.unlink()
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "1.png"')
    with pytest.raises(InputError, match=r"metadata.jsonl cannot be read"):
        sources.load("own", str(tmp_path))


class FakeSplit:
    """The part of a split of `datasets` that is used."""

    def __init__(self, pa, table, names):
        info = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
        schema = table.schema.with_metadata({b"huggingface": json.dumps(info).encode()})
        self.features, self._table = types.SimpleNamespace(arrow_schema=schema), table

    def with_format(self, name):
        assert name == "arrow"
        return self

    def __getitem__(self, rows):
        return self._table


def test_hugging_face(tmp_path, monkeypatch):
    """With a stand-in for the package: the classes' names and their order are the data set's."""
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match="needs datasets: pip install datasets"):
        sources.load("own", "hf:some/name")
    pa = pytest.importorskip("pyarrow")
    table = pa.table({"image": [{"bytes": png(i), "path": None} for i in range(6)]})
    table = table.append_column("label", pa.array([0, 1, 0, 1, 1, 1]))
    split = FakeSplit(pa, table, ["zebra", "ant", "unseen"])
    loaded = {"train": split, "validation": split, "test": split}
    asked: list[tuple[str, ...]] = []

    def load_dataset(*names: str) -> dict[str, FakeSplit]:
        asked.append(names)
        return loaded

    fake = types.SimpleNamespace(load_dataset=load_dataset, load_from_disk=None)
    monkeypatch.setitem(sys.modules, "datasets", fake)
    source = sources.load("own", "hf:some/name")
    assert source.class_names == ("zebra", "ant", "unseen")
    assert source.train.labels.tolist() == [0, 1, 0, 1, 1, 1]
    assert len(source.test.labels) == 6
    for labels, clean, message in (
        ([0, 1] * 3, [None] * 6, "row 1: `label` must .* in 0..0. Received: label=1"),
        ([0, -1] * 3, [None] * 6, "row 1: `label` must be a string or .* Received: label=-1"),
        ([0] * 6, ["a"] * 5 + ["b"], "row 5: `clean_label` must be a class by name, .*='b'"),
    ):
        wrong = pa.table({"image": table["image"], "label": labels, "clean_label": clean})
        loaded["train"] = FakeSplit(pa, wrong, ["a"])
        loaded["test"] = loaded["validation"] = loaded["train"]
        with pytest.raises(InputError, match=message):
            sources.load("own", "hf:some/name:part")
    assert asked == [("some/name",), *[("some/name", "part")] * 3]
    (tmp_path / "a:b").mkdir()  # A folder may have a colon in its name.
    with pytest.raises(InputError, match="`clean_label` must be a class"):
        sources.load("own", f"hf:{tmp_path / 'a:b'}")
    assert asked[4:] == [(str(tmp_path / "a:b"),)]
    fake.load_dataset = lambda *names: (_ for _ in ()).throw(
        ValueError("Config name is missing.\nPlease pick one among: ['first', 'second']")
    )
    with pytest.raises(InputError, match=r"Config name is missing. .* \['first', 'second'\]"):
        sources.load("own", "hf:some/name")


@pytest.mark.parametrize("scale", [1, 1e-5])
def test_mlp_standardizes_by_the_training_rows(scale):
    features = rows()[0] * scale
    student = build_student("mlp", 2, image_shape=(5,))
    adapt = registry.find_student("mlp").adapt
    assert adapt is not None
    adapt(student, features.astype(np.float32))
    layer = student.get_layer("standardization")
    result = np.asarray(layer(features.astype(np.float32)))
    expected = (features[:, :4] - features[:, :4].mean(0)) / features[:, :4].std(0)
    np.testing.assert_allclose(result[:, :4], expected, atol=1e-5)
    np.testing.assert_array_equal(result[:, 4], 0)
    student(features.astype(np.float32), training=True)
    np.testing.assert_allclose(layer.moving_mean, features.mean(0), rtol=1e-6)
    with pytest.raises(InputError, match="`studentnet` must be mlp, or your own, for features"):
        build_student("resnet8", 2, image_shape=(5,))
    images = build_student("mlp", 3, image_shape=(4, 4, 3))
    assert images.output_shape == (None, 3)


def test_mlp_reads_its_training_rows_in_parts(tmp_path, monkeypatch):
    """Never all of them at once, if they are larger than memory."""
    monkeypatch.setattr(records, "MAX_IN_MEMORY", 100)
    monkeypatch.setattr(mlp, "_AT_ONCE", 7)
    features, labels = rows()
    np.savez(tmp_path / "a.npz", features=features, labels=labels)
    config, _, _, examples = prepared(tmp_path, tmp_path / "a.npz")
    places = [int(path.removeprefix("row ")) for path in paths_of(config.train_folder)]
    read, sizes = EncodedImages.read, []

    def spy(self, indices):
        sizes.append(len(indices))
        return read(self, indices)

    monkeypatch.setattr(EncodedImages, "read", spy)
    settings = TrainConfig("-", "-", studentnet="mlp", batch_size=8)
    trainer = make_trainer(settings, len(examples), 2, (5,), examples=examples)
    assert max(sizes) == 7
    layer, expected = trainer.student.get_layer("standardization"), features[places]
    np.testing.assert_allclose(layer.moving_mean, expected.mean(0), rtol=1e-5)
    variance = np.append(expected.var(0)[:4], 1)
    np.testing.assert_allclose(layer.moving_variance, variance, rtol=1e-5)


def test_from_rows_to_corrected_rows(tmp_path, train_flags):
    """Train, evaluate, report, correct, export; names are escaped in HTML."""
    import keras

    features, labels = rows(100)
    names = np.array(["no", HOSTILE])
    given = labels.copy()
    given[:10] = 1 - given[:10]
    arrays: dict[str, Any] = {"features": features, "labels": names[given]}
    arrays |= {"clean_labels": names[labels]}
    np.savez(tmp_path / "a.npz", **arrays, feature_names=[HOSTILE, *"bcde"])
    config, _, info, before = prepared(tmp_path, tmp_path / "a.npz")
    run_dir, folder = tmp_path / "run", str(config.train_folder)
    flags = train_flags(
        dataset_name="own",
        data_dir=folder,
        train_log_dir=run_dir / "train",
        studentnet="mlp",
        max_number_of_steps=60,
        record_sample_weights="true",
    )
    status, output = run("code/cifar_train_baseline.py", *flags)
    assert status == 0, output
    status, output = run("code/cifar_train_baseline.py", *flags, "--augment", "--overwrite")
    assert status == 2 and "`augment` must be off for features" in output
    status, output = run(
        "code/cifar_eval.py",
        "--run_once",
        f"--checkpoint_dir={run_dir / 'train'}",
        f"--eval_dir={tmp_path / 'eval'}",
        f"--data_dir={config.test_folder}",
    )
    assert status == 0, output
    assert json.loads((tmp_path / "eval" / "summary.json").read_text())["last_accuracy"] > 0.9
    status, output = run("code/label_report.py", str(run_dir))
    assert status == 0, output
    page = (run_dir / "labels.html").read_text()
    assert HOSTILE not in page and "Labels of the nearest rows (10): " in page
    wrong = before.labels != before.clean_labels
    decided = [
        (n, "", info.class_name(y), info.class_name(c), 0.9)
        for n, y, c in np.stack([before.ids, before.labels, before.clean_labels], 1)[wrong]
    ]
    header = ("id", "path", "given_label", "corrected_label", "score")
    (tmp_path / "corrections.csv").write_text(to_csv([header, *decided]))
    target = tmp_path / "corrected"
    correct(CorrectConfig(folder, str(tmp_path / "corrections.csv"), str(target)))
    info = dataset_info("own", target)
    after = records.read_examples(str(target), info, "train")
    np.testing.assert_array_equal(after.images, before.images)
    np.testing.assert_array_equal(after.labels, before.clean_labels)
    assert info.feature_names == (HOSTILE, *"bcde")
    path = tmp_path / "student.keras"
    flags = ["--format=keras", f"--output={path}", f"--checkpoint_dir={run_dir / 'train'}"]
    status, output = run("code/export.py", *flags)
    assert status == 0, output
    logits = keras.models.load_model(path).predict(features.astype(np.float32), verbose=0)
    found = [info.class_name(label) for label in logits.argmax(axis=1)]
    assert np.mean(np.array(found) == names[labels]) > 0.9


def test_a_row_is_described_by_its_neighbours(tmp_path):
    """Compared with distances worked by hand; the most unusual values are shown."""
    from mentornet.cleaning import feature_rows

    generator = np.random.default_rng(1)
    features = generator.normal(size=(40, 20)).astype(np.float32)
    features[3, 7] = 50
    labels = np.arange(40) % 2
    np.savez(tmp_path / "a.npz", features=features, labels=labels)
    _, _, info, examples = prepared(tmp_path, tmp_path / "a.npz")
    values = np.asarray(examples.images)
    z = (values - values.mean(0)) / values.std(0)
    place = int(np.argmax(values[:, 7]))
    distances = np.square(z - z[place]).sum(axis=1)
    distances[place] = np.inf
    nearest = examples.labels[np.argsort(distances)[:10]]
    (text,) = feature_rows.RowDescriptions(info, examples).describe(np.array([place]))
    lines = text.splitlines()
    for label in np.unique(nearest):
        assert f"{label} {(nearest == label).sum()}" in lines[0]
    assert lines[2].startswith("feature 7: 50 (+") and len(lines) == 2 + 12 + 1
    assert lines[-1] == "Not shown, as nearer their mean: 8"


def test_a_folder_is_whole_or_absent(tmp_path):
    with files.whole_folder(tmp_path / "a" / "b") as folder:
        (folder / "file").write_text("x")
        assert not (tmp_path / "a" / "b").exists()
    assert (tmp_path / "a" / "b" / "file").read_text() == "x"
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o755
    with pytest.raises(KeyboardInterrupt), files.whole_folder(tmp_path / "c"):
        raise KeyboardInterrupt
    (tmp_path / "d").write_text("a file")
    with (
        pytest.raises(InputError, match="`output_dir` .*d/e cannot be written"),
        files.whole_folder(tmp_path / "d" / "e"),
    ):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "d"]


def test_the_index_of_pandas_is_no_feature(parquet):
    features, labels = rows(20)
    columns = {"a": features[:, 0], "b": features[:, 1], "__index_level_0__": range(20)}
    assert sources.load("own", parquet(**columns, label=labels)).feature_names == ("a", "b")
    table = parquet(**columns, label=labels, noisy=labels)  # Nor is another column of labels.
    found = sources.load("own", table, sources.Options(label_column="noisy"))
    assert found.feature_names == ("a", "b")


def test_of_many_rows_some_are_compared(tmp_path, monkeypatch):
    """Each with its own label: the nearest are of the same of two distant classes."""
    monkeypatch.setattr(feature_rows, "_MOST_COMPARED", 20)
    monkeypatch.setattr(feature_rows, "_NUM_NEAREST", 2)
    features, labels = rows(100)
    np.savez(tmp_path / "a.npz", features=features + 1000 * labels[:, None], labels=labels)
    _, _, info, examples = prepared(tmp_path, tmp_path / "a.npz")
    made = feature_rows.RowDescriptions(info, examples)
    assert len(made._others) == 20 < len(examples)
    told = made.describe(np.arange(len(examples)))
    for text, label in zip(told, examples.labels, strict=True):
        assert text.startswith(f"Labels of the nearest rows (2): {label} 2\n")


def test_columns_whose_variance_float32_cannot_hold():
    scales = np.array([1e-18, 1e-10, 1.0, 1e10, 1e18])
    samples = np.random.default_rng(0).normal(size=(50, 5)) * scales
    _, variance = mlp.statistics(samples)
    np.testing.assert_allclose(variance, samples.var(axis=0), rtol=1e-5)
    for factor, columns in ((1e-3, [0]), (1e3, [4])):
        with pytest.raises(InputError, match=f"between 1e-19 and 1e19.*columns=\\{columns}"):
            mlp.statistics(samples * factor)


def test_splits_must_have_the_same_columns_and_classes():
    pa = pytest.importorskip("pyarrow")
    columns = _table.Columns("label", None, ("a",), None, ("clean_label",))
    described = {"info": {"features": {"label": {"names": ["x", "y"]}}}}
    whole = {"a": [1.0, 2.0], "label": [0, 1], "clean_label": [0, 1]}
    first = pa.table(whole).replace_schema_metadata({"huggingface": json.dumps(described)})
    lacking = first.select(["a", "label"])
    other_type = first.set_column(0, "a", pa.array(["1", "2"]))
    described["info"]["features"]["label"]["names"].reverse()
    other_classes = first.replace_schema_metadata({"huggingface": json.dumps(described)})
    for second, part in (
        (lacking, "all splits must have the same columns.*'clean_label': None"),
        (other_type, "all splits must have the same columns.*'a': 'string'"),
        (other_classes, "all splits must have the same class names"),
    ):
        tables = [(first, False), (second, True)]
        with pytest.raises(InputError, match=part):
            _table.read_tables(tables, columns, pathlib.Path(), sources.Options(), "here")


def test_fewer_rows_than_are_named_as_neighbours():
    """All but the row itself are."""
    labels, zero = np.array([0, 1, 1, 1]), np.zeros(4, np.int64)
    columns = tf.constant([[0.0, 1], [5, 2], [2, 9], [7, 4]])
    examples = records.Examples(columns, (2,), labels, labels, np.arange(4), zero == 1)
    info = DatasetInfo("own", 2, ("a", "b"), num_features=2)
    told = feature_rows.RowDescriptions(info, examples).describe(np.arange(4))
    first, *others = (text.partition("\n")[0] for text in told)
    assert first == "Labels of the nearest rows (3): b 3"
    assert others == ["Labels of the nearest rows (3): b 2, a 1"] * 3


def test_hugging_faces_saved_folders(tmp_path, monkeypatch):
    """Of splits, or of one data set; without a test split, the column `split` decides."""
    pa = pytest.importorskip("pyarrow")
    table = pa.table({"a": np.arange(6.0), "label": [0, 1] * 3, "split": [""] * 4 + ["val"] * 2})
    split = FakeSplit(pa, table, ["x", "y"])
    cases: dict[str, tuple[Any, list[int]]] = {
        "several": ({"other": split, "train": split, "val": split}, [0, 1, 2, 3, 4, 5]),
        "no test": ({"other": split, "train": split}, [4, 5]),
        "alone": ({"all": split}, [4, 5]),
        "one": (split, [4, 5]),
    }

    def load_from_disk(path):
        return cases[pathlib.Path(path).name][0]

    fake = types.SimpleNamespace(load_from_disk=load_from_disk, load_dataset=None)
    monkeypatch.setitem(sys.modules, "datasets", fake)
    for name, (_, expected) in cases.items():
        (tmp_path / name).mkdir()
        file = "state.json" if name == "one" else "dataset_dict.json"
        (tmp_path / name / file).write_text("{}")
        source = sources.load("own", f"hf:{tmp_path / name}")
        assert source.test.images[:, 0].tolist() == expected, name
        assert len(source.train.labels) == (6 if name == "several" else 4)
    cases["alone"] = ({"a": split, "b": split}, [])
    with pytest.raises(InputError, match=r"must have a split `train`.*splits=\['a', 'b'\]"):
        sources.load("own", f"hf:{tmp_path / 'alone'}")


def test_hugging_faces_own_library(tmp_path):
    """Pictures in a folder that it saved; the classes' names and their order are the data set's."""
    hf = pytest.importorskip("datasets")
    columns = {"image": hf.Image(), "label": hf.ClassLabel(names=["zebra", "ant", "unseen"])}
    for split, count in (("train", 6), ("validation", 2)):
        pictures = [{"bytes": png(i), "path": None} for i in range(count)]
        rows = {"image": pictures, "label": [0, 1] * (count // 2)}
        made = hf.Dataset.from_dict(rows, features=hf.Features(columns))
        hf.DatasetDict({split: made}).save_to_disk(str(tmp_path / split))
    both = {name: hf.load_from_disk(str(tmp_path / name))[name] for name in ("train", "validation")}
    hf.DatasetDict(both).save_to_disk(str(tmp_path / "both"))
    source = sources.load("own", f"hf:{tmp_path / 'both'}")
    assert source.class_names == ("zebra", "ant", "unseen")
    assert source.train.labels.tolist() == [0, 1] * 3 and source.test.labels.tolist() == [0, 1]
    assert [np.unique(image).tolist() for image in source.train.images] == [[i] for i in range(6)]
    with pytest.raises(InputError, match="`source` hf:.* cannot be loaded"):
        (tmp_path / "train" / "dataset_dict.json").write_text("{")
        sources.load("own", f"hf:{tmp_path / 'train'}")


def test_types_of_columns():
    """Those that are called large are polars'."""
    pa = pytest.importorskip("pyarrow")

    def roles(**columns):
        schema = pa.schema(columns | {"label": pa.int8()})
        found = _table.find_columns(schema, sources.Options(), "here")
        return found.image, found.features, found.file

    number, large = pa.float32(), pa.large_string()
    for text in (pa.string(), large, pa.string_view(), pa.dictionary(pa.int8(), pa.string())):
        for name in ("image", "img"):
            assert roles(**{name: text, "other": number}) == (name, (), None)
        assert roles(file_name=text, other=number) == ("file_name", (), None)
    pair = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    for encoded in (pa.binary(), pa.large_binary(), pair):
        assert roles(x=encoded, path=large) == ("x", (), "path")
    for numbers in (pa.list_(number), pa.large_list(number), pa.list_(number, 2)):
        assert roles(x=numbers, path=large) == (None, ("x",), "path")
    assert roles(x=pa.bool_(), y=pa.uint8(), z=number) == (None, ("x", "y", "z"), None)


def test_splits_in_the_metadata_of_a_folder(tmp_path):
    """They come before the names of folders, the first of which decides where there are none."""
    for name in ("1.png", "test/1.png", "Test/1.png", "cat/test/1.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(png(1))
    rows = "1.png,a,test\n1.png,b,\ntest/1.png,a,train\ntest/1.png,b,\n"
    rows += "Test/1.png,b,\ncat/test/1.png,a,\n"
    (tmp_path / "metadata.csv").write_text(f"file_name,label,split\n{rows}")
    source = sources.load("own", str(tmp_path))
    assert source.train.labels.tolist() == [1, 0, 0]
    assert source.test.labels.tolist() == [0, 1, 1]


def test_a_column_may_have_a_dot_in_its_name(parquet):
    features, labels = rows(20)
    for name, values in (("clip.embedding", features.tolist()), ("sepal.length", features[:, 0])):
        source = sources.load("own", parquet(**{name: values, "label": labels}))
        assert source.train.images.shape[1] == (5 if name == "clip.embedding" else 1)


def test_what_else_is_refused_in_parquet(parquet):
    """Rows are named also where lists have several values."""
    label = [*"abab"]
    struct, nothing = {"bytes": png(1), "path": "1.png"}, {"bytes": None, "path": None}
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"e": [[1.0]] * 4, "f": [[2.0]] * 4}, r"one column of lists of numbers.*\['e', 'f'\]"),
        (
            {"e": [[1.0, 2.0], [3.0, 4.0], [5.0, None], [7.0, 8.0]]},
            "row 2: `e` must not hold nulls",
        ),
        (
            {"image": ["1.png", None, "1.png", "1.png"]},
            "row 1: the image must not be empty. Received: path=None",
        ),
        ({"image": [struct, struct, nothing, struct]}, "row 2: the image must not be empty"),
        ({"x": np.zeros(0), "label": np.zeros(0, np.int64)}, "must have rows. Received: rows=0"),
    )
    for columns, message in cases:
        with pytest.raises(InputError, match=message):
            sources.load("own", parquet(**({"label": label} | columns)))


def test_rows_without_a_name_and_rows_that_are_equal(parquet):
    """They are named by their number; equal ones with different labels are a conflict."""
    features = [[1.0, 2.0], [3.0, 4.0], [1.0, 2.0], [5.0, 6.0]]
    names = ["a.png", None, "", "d.png"]
    source: Any = sources.load("own", parquet(e=features, label=[*"abba"], path=names))
    found = [*names_of(source.train), *names_of(source.test)]
    assert sorted(found) == ["a.png", "d.png", "row 1", "row 2"]
    assert source.conflicts == ("a.png (a) = row 2 (b)",)


def test_a_folder_that_another_process_has_made_stays(tmp_path):
    refused = pytest.raises(FileExistsError, match="`output_dir` .*a was made by another process")
    with refused, files.whole_folder(tmp_path / "a") as folder:
        (folder / "file").write_text("own")
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "file").write_text("other")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a" / "file").read_text() == "other"


def test_mlp_standardizes_in_float32_whatever_the_compute_type():
    """Raw features may lie far from 0."""
    samples = 1000 + np.arange(8, dtype=np.float32)[:, None]
    student = build_student("mlp", 2, image_shape=(1,), dtype_policy="mixed_bfloat16")
    mlp.adapt(student, samples)
    found = np.asarray(student.get_layer("standardization")(samples))
    expected = (samples - samples.mean()) / samples.std()
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_rows_that_are_read_when_needed_stay_rows_in_a_part(tmp_path):
    path, values = tmp_path / "rows", np.arange(6, dtype=np.float32).reshape(3, 2)
    path.write_bytes(b"".join(records.images.encode_rows(values)))
    version = records.images.version_of(str(path))
    places = np.zeros(3, int), 8 * np.arange(3), np.full(3, 8)
    part = EncodedImages((str(path),), (version,), *places, num_features=2).take(np.array([2, 0]))
    np.testing.assert_array_equal(records.images.reader(part)(np.arange(2)), values[[2, 0]])


def test_values_far_below_the_mean_are_unusual_too():
    values = np.random.default_rng(0).normal(size=(30, 13)).astype(np.float32)
    values[0, 4] = -50
    labels = np.arange(30) % 2
    examples = records.Examples(
        tf.constant(values), (13,), labels, labels, np.arange(30), labels > 1
    )
    info = DatasetInfo("own", 2, ("a", "b"), num_features=13)
    (text,) = feature_rows.RowDescriptions(info, examples).describe(np.array([0]))
    z = (-50 - values[:, 4].mean()) / values[:, 4].std()
    assert text.splitlines()[2] == f"feature 4: -50 ({z:+.1f} sd)"


def test_a_column_that_is_constant_but_for_rounding():
    samples = np.full((50, 1), 1000, np.float32)
    samples[::2] = np.nextafter(np.float32(1000), np.float32(2000))
    assert mlp.statistics(samples)[1].tolist() == [1]


def described(values):
    """Texts of rows, each of a class of its own."""
    labels = np.arange(len(values))
    shape, none = (values.shape[1],), labels < 0
    examples = records.Examples(tf.constant(values), shape, labels, labels, labels, none)
    info = DatasetInfo("own", len(values), tuple(map(str, labels)), num_features=values.shape[1])
    return list(feature_rows.RowDescriptions(info, examples).describe(labels))


def test_rows_are_compared_with_some_of_all_classes(monkeypatch):
    """Records are often sorted by class."""
    monkeypatch.setattr(feature_rows, "_MOST_COMPARED", 20)
    monkeypatch.setattr(feature_rows, "_NUM_NEAREST", 1)
    texts = described(np.arange(100, dtype=np.float32)[:, None])
    nearest = [int(text.splitlines()[0].split(": ")[1].split()[0]) for text in texts]
    assert min(nearest) < 50 < max(nearest)


def test_the_nearest_row_is_not_the_largest(monkeypatch):
    monkeypatch.setattr(feature_rows, "_NUM_NEAREST", 1)
    values = np.array([-100, -90, 10, 11, 100], np.float32)[:, None]
    nearest = [text.splitlines()[0].split(": ")[1] for text in described(values)]
    assert nearest == ["1 1", "0 1", "3 1", "2 1", "3 1"]


def test_twelve_values_are_all_shown_in_their_order():
    values = np.random.default_rng(0).normal(size=(30, 12)).astype(np.float32)
    lines = described(values)[0].splitlines()[2:]
    assert [line.split(":")[0] for line in lines] == [f"feature {i}" for i in range(12)]


def test_a_table_depends_on_the_files_that_it_names(parquet, tmp_path):
    """Of its columns of paths; bytes, and a file that is no table, name none."""
    table = parquet(
        image=["a.png", None], file_name=["b.png", "c.png"], label=[0, 1], note=["x"] * 2
    )
    files = sources.find_reader("own", table)[0].files(pathlib.Path(table))
    assert {file.relative_to(tmp_path).name for file in files} == {"a.png", "b.png", "c.png"}
    table = parquet(image=[b"a", b"b"], label=[0, 1])
    reader = sources.find_reader("own", table)[0]
    assert not list(reader.files(pathlib.Path(table)))
    (tmp_path / "t.parquet").write_bytes(b"no table")
    assert not list(reader.files(pathlib.Path(table)))


def test_a_csv_of_numbers(tmp_path):
    """As pandas writes it: with an unnamed index, and a text column among the numbers refused."""
    path = tmp_path / "table.csv"
    lines = [f"{i},{i / 8},{10 * i},{i % 2 + 9},{9 if i == 1 else ''}" for i in range(20)]
    path.write_text("\n".join([",width,age,kind,clean_label", *lines]))
    config, manifest, info, examples = prepared(tmp_path, path, label_column="kind")
    assert (info.num_features, info.class_names) == (2, ("9", "10"))
    assert manifest["feature_names"] == ["width", "age"]
    assert set(paths_of(config.train_folder)) < {f"row {i}" for i in range(20)}
    source = sources.load("own", str(path), sources.Options(label_column="kind", test_share=0.1))
    numbers = [int(name.split()[1]) for name in names_of(source.train)]
    assert (len(numbers), len(examples.labels)) == (18, 16)
    expected = np.array([[i / 8, 10 * i] for i in numbers], np.float32)
    np.testing.assert_array_equal(source.train.images, expected)
    np.testing.assert_array_equal(source.train.labels, [i % 2 for i in numbers])
    parts = (source.train, source.test)
    known = {n for part in parts for n in np.array(names_of(part))[part.clean_labels == 0].tolist()}
    assert known == {"row 1"}
    assert csv_source.reader.files(path) == []  # The index names no files.


def test_columns_of_a_csv_that_are_no_features(tmp_path):
    """A second column of labels would tell what is to be learned."""
    path = tmp_path / "table.csv"
    lines = [f"{i},{i},{i % 2 == 1},{'ab'[i % 2]},{i % 2}" for i in range(10)]
    path.write_text("\n".join(["Unnamed: 0,id,is_red,noisy,label", *lines]))
    found = sources.load("own", str(path), sources.Options(label_column="noisy", test_share=0.1))
    assert found.feature_names == ("is_red",)
    np.testing.assert_array_equal(found.train.images[:, 0], found.train.labels)


@pytest.mark.parametrize(
    "text, message",
    [
        ("x,label\n1,a\nlow,b\n", "line 3: .* must hold numbers, and x does not; .*x='low'"),
        ("photo,label\n1.png,a\n2.png,b\n", "without a column path, .*photo='1.png'"),
        ("x,label\n1,a\n,b\n", "line 3: .*x=''"),
        ("x,label\n1_2,a\n2,b\n", "line 2: .*x='1_2'"),
        ("x,label\n1,a\ninf,b\n", "row 1, column 'x': features must be finite"),
        ("x,label\n1,a\n2, \n", "line 3: must have a label"),
        ("id,label\n1,a\n2,b\n", "column path, of the images' files, or columns of numbers"),
        ("x,label\n", "must have rows"),
    ],
)
def test_csv_of_numbers_that_are_refused(tmp_path, text, message):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        sources.load("own", str(tmp_path / "a.csv"))
