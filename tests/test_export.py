"""Students in other formats, each used in a process without this package."""

import json
import pathlib
import re
import sys
import types
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import ROOT, config, run, saving_config, small_student, warm_server

from mentornet import InputError, build_student, restore_tf1_student
from mentornet.cli.commands import export as export_command
from mentornet.datasets.records import Examples
from mentornet.evaluation import export
from mentornet.evaluation.predictor import Predictor
from mentornet.students import registry
from mentornet.students.batch_normalization import BatchNormalization
from mentornet.students.dropout import Dropout
from mentornet.students.local_response_normalization import LocalResponseNormalization
from mentornet.students.networks import airbench
from mentornet.students.stock import stock_model
from mentornet.training import loop

CLASSES = [str(i) for i in range(10)]
NO_PACKAGE = "import sys; sys.modules['mentornet'] = None\n"


@pytest.fixture(scope="module")
def trained(tmp_path_factory, digits):
    """A run of `inception`, a few steps with a moving average."""
    folder = tmp_path_factory.mktemp("export") / "runs" / "pd" / "train"
    loop.train(config(digits, folder, studentnet="inception", ema_decay=0.9))
    return folder


@pytest.fixture(scope="module")
def images():
    """Images with pairwise different probabilities, one of them uniform."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (6, 32, 32, 3), np.uint8)
    images[:, :20] //= np.arange(1, 7, dtype=np.uint8)[:, None, None, None]
    images[5] = 7
    return images


def logits_of(model, images):
    """The student's logits, standardised by NumPy: mean 0, deviation 1, at least 1 / sqrt(n)."""
    x = images.astype(np.float64)
    axes = (1, 2, 3)
    deviation = np.maximum(x.std(axes, keepdims=True), 1 / np.sqrt(x[0].size))
    standard = (x - x.mean(axes, keepdims=True)) / deviation
    return model(tf.constant(standard, tf.float32), training=False).numpy()


def softmax(logits):
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def blocks(language):
    page = (ROOT / "docs" / "export.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.S | re.M)


def in_another_process(program, folder):
    """Runs a page's Python where `mentornet` cannot be imported; returns what it printed."""
    status, _, output = warm_server().run("-c", NO_PACKAGE + program, folder=folder)
    assert status == 0, output
    return output


@pytest.fixture(scope="module")
def exported(trained, images):
    """The folder in which the commands of docs/export.md were run."""
    folder = trained.parents[2]
    np.save(folder / "images.npy", images)
    lines = blocks("bash")[0].replace("python code/", f"{ROOT}/code/").splitlines()
    commands = [line for line in lines if "onnx" not in line or onnx_is_here()]
    assert len(commands) >= 3
    for command in commands:
        status, _, output = warm_server().run(*command.split(), folder=folder)
        assert status == 0, output
        assert re.fullmatch("Wrote the student of step 4 to exported/.*\n", output), output
    return folder


def onnx_is_here():
    try:
        import onnxruntime  # noqa: F401
        import tf2onnx  # noqa: F401
    except ImportError:
        return False
    return True


SAVE = "\nnp.save('{name}.npy', {name})\n"


def test_saved_model_as_the_page_shows_it(exported, trained, images):
    """The moving average is exported, not the parameters of the last step."""
    program = blocks("python")[0]
    printed = in_another_process(program + SAVE.format(name="probabilities"), exported)
    found = np.load(exported / "probabilities.npy")
    student = export.load_trained(str(trained)).model
    np.testing.assert_allclose(found, softmax(logits_of(student, images)), rtol=0, atol=1e-5)
    best = found[:3].argmax(axis=1)
    assert [line.split()[0] for line in printed.splitlines()] == [CLASSES[c] for c in best]
    assert json.loads((exported / "exported/pd/class_names.json").read_text()) == CLASSES

    reader = tf.train.load_checkpoint(str(trained / "model.ckpt-4"))
    name = next(n for n in reader.get_variable_to_shape_map() if "average" in n and "fc3" in n)
    average = reader.get_tensor(name)
    layer = student.get_layer("fc3")
    value = layer.kernel if average.ndim == 2 else layer.bias
    np.testing.assert_array_equal(value.numpy(), average)


def test_keras_as_the_page_shows_it(exported, trained, images):
    program = blocks("python")[2]
    in_another_process(program + SAVE.format(name="logits"), exported)
    student = export.load_trained(str(trained)).model
    expected = logits_of(student, images)
    np.testing.assert_allclose(np.load(exported / "logits.npy"), expected, rtol=0, atol=1e-5)
    names = json.loads((exported / "exported/pd.class_names.json").read_text())
    assert names == CLASSES


def test_keras_of_an_airbench_student(images, tmp_path, monkeypatch):
    """The page's code passes it what cifar_eval does, which is not standardised by image."""
    student = airbench.build(airbench.Shape((4, 4, 4)), 10, 0, (32, 32, 3))
    kernel = student.get_layer("whitening").kernel
    kernel.assign(np.random.default_rng(0).normal(size=kernel.shape))
    trained = export.TrainedStudent(student, (32, 32, 3), tuple(CLASSES), 1, "channel")
    export.export(trained, str(tmp_path / "exported/pd.keras"), "keras")
    np.save(tmp_path / "images.npy", images)
    monkeypatch.chdir(tmp_path)
    page: dict[str, Any] = {}
    exec(blocks("python")[2], page)
    labels = np.zeros(len(images), np.int64)
    examples = Examples(tf.constant(images), (32, 32, 3), labels, labels, labels, labels == 1)
    expected = Predictor(student, "channel")(examples, 3).logits
    assert np.abs(expected - logits_of(student, images)).max() > 0.1
    np.testing.assert_allclose(page["logits"], expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "error",
    [
        OSError("No space left on device"),
        tf.errors.ResourceExhaustedError(None, None, "No space left on device"),
    ],
)
def test_an_export_is_whole_or_absent(tmp_path, monkeypatch, error):
    """An error leaves the earlier export and nothing else; one that succeeds replaces it."""
    inputs = keras.Input((5,))
    student = keras.Model(inputs, keras.layers.Dense(2)(inputs))
    trained = export.TrainedStudent(student, (5,), ("no", "yes"), 3)
    output = tmp_path / "saved"
    for _ in range(2):
        export.export(trained, str(output), "saved_model")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}

    def fail(_, path):
        pathlib.Path(path).touch()
        raise error

    monkeypatch.setattr(export, "_write_names", fail)
    monkeypatch.setattr(keras.Model, "save", fail)
    for path, file_format in ((output, "saved_model"), (tmp_path / "one.keras", "keras")):
        with pytest.raises(InputError, match="cannot be written: No space left"):
            export.export(trained, str(path), file_format)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    (output / "notes.txt").touch()
    with pytest.raises(InputError, match=r"nothing but an earlier export.*notes.txt"):
        export.export(trained, str(output), "saved_model")


def test_probabilities_are_float32_whatever_the_student_computes_in():
    inputs = keras.Input((5,))
    student = keras.Model(inputs, keras.layers.Dense(2, dtype="mixed_bfloat16")(inputs))
    _, classify, _ = export._classifier(export.TrainedStudent(student, (5,), ("a", "b"), 1))
    assert classify(tf.ones([1, 5]))["probabilities"].dtype == tf.float32


def test_names_of_an_earlier_version_are_those_of_the_data_set(tmp_path):
    """The run recorded none, and its folder holds other data now."""
    run = {"dataset_name": "cifar10", "num_classes": 10, "data_dir": str(tmp_path)}
    manifest = {"dataset_name": "cifar10", "num_classes": 2, "classes": ["a", "b"]}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    assert export._class_names(run, None)[6] == "frog"


@pytest.mark.skipif(not onnx_is_here(), reason="tf2onnx or onnxruntime is not installed")
def test_onnx_as_the_page_shows_it(exported, trained, images):
    program = blocks("python")[1]
    in_another_process(program + SAVE.format(name="probabilities"), exported)
    student = export.load_trained(str(trained)).model
    found = np.load(exported / "probabilities.npy")
    np.testing.assert_allclose(found, softmax(logits_of(student, images)), rtol=0, atol=1e-4)


@pytest.mark.skipif(not onnx_is_here(), reason="tf2onnx or onnxruntime is not installed")
def test_onnx_of_the_fast_student(tmp_path, images):
    """Its activation must consist of operations that ONNX has."""
    student = airbench.build(airbench.Shape((6, 8, 8)), 10, 0, (32, 32, 3))
    trained = export.TrainedStudent(student, (32, 32, 3), tuple("abcdefghij"), 3)
    export.export(trained, str(tmp_path / "one.onnx"), "onnx")
    np.save(tmp_path / "rows.npy", images)
    program = 'import numpy as np\nrows = np.load("rows.npy")\nnp.savez("found.npz")\n'
    in_another_process(program + READ_ONNX.replace('"features"', '"images"'), tmp_path)
    found = np.load(tmp_path / "found.npz")["onnx"]
    logits = student(trained.preprocess(tf.constant(images)), training=False).numpy()
    np.testing.assert_allclose(found, softmax(logits), rtol=0, atol=1e-4)


def test_an_operation_that_onnx_lacks_is_refused(tmp_path):
    inputs = keras.Input((32, 32, 3))
    flat = keras.layers.Flatten()(keras.ops.erfinv(inputs))
    student = keras.Model(inputs, keras.layers.Dense(2)(flat))
    trained = export.TrainedStudent(student, (32, 32, 3), ("a", "b"), 3)
    with pytest.raises(InputError, match="cannot be written as ONNX: .*Erfinv"):
        export.export(trained, str(tmp_path / "one.onnx"), "onnx")
    assert not any(tmp_path.iterdir())


def test_onnx_without_its_packages(trained, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    student = export.load_trained(str(trained))
    with pytest.raises(InputError, match="pip install onnx tf2onnx"):
        export.export(student, str(tmp_path / "x.onnx"), "onnx")


READ_ALL = """
import json, keras, numpy as np, tensorflow as tf
rows = np.load("rows.npy")
classifier = tf.saved_model.load("saved")
served = classifier.serve(rows)["probabilities"].numpy()
logits = keras.saving.load_model("one.keras").predict(rows, verbose=0)
np.savez("found.npz", saved_model=served, keras=tf.nn.softmax(logits).numpy())
for path in ("saved/class_names.json", "one.class_names.json"):
    assert json.load(open(path)) == ["no", "<b>yes</b>"], path
"""
READ_ONNX = """
import onnxruntime
session = onnxruntime.InferenceSession("one.onnx")
(onnx,) = session.run(["probabilities"], {"features": rows})
np.savez("found.npz", onnx=onnx, **np.load("found.npz"))
"""


def test_features_in_every_format(tmp_path):
    """Rows as they come, of any scale: all formats against the network written out in NumPy."""
    random = np.random.default_rng(0)
    rows = (random.normal(size=(40, 5)) * [1, 1e4, 1e-4, 1, 0] + [0, 1e5, 0, -3, 7]).astype("f")
    student = build_student("mlp", 2, image_shape=(5,), seed=1)
    adapt = registry.find_student("mlp").adapt
    assert adapt is not None
    adapt(student, rows)
    x = rows.astype(np.float64)
    x = (x - x.mean(0)) / np.where(x.std(0) == 0, 1, x.std(0))
    for name in ("hidden_1", "hidden_2", "logits"):
        kernel, bias = student.get_layer(name).get_weights()
        x = x @ kernel + bias
        x = np.maximum(x, 0) if name != "logits" else x
    np.save(tmp_path / "rows.npy", rows)
    trained = export.TrainedStudent(student, (5,), ("no", "<b>yes</b>"), 3)
    outputs = {"saved_model": "saved", "keras": "one.keras", "onnx": "one.onnx"}
    if not onnx_is_here():
        del outputs["onnx"]
    for file_format, name in outputs.items():
        export.export(trained, str(tmp_path / name), file_format)
    in_another_process(READ_ALL + (READ_ONNX if "onnx" in outputs else ""), tmp_path)
    with np.load(tmp_path / "found.npz") as found:
        assert {*found} == {*outputs}
        for file_format in outputs:
            np.testing.assert_allclose(found[file_format], softmax(x), atol=1e-4)
    # The network does it itself.
    assert json.loads((tmp_path / "one.standardization.json").read_text()) == {"kind": "none"}


def test_a_checkpoint_of_the_release_and_back(exported, trained):
    """The variables of the release's evaluation graph, and the global step, bit for bit."""
    prefix = tf.train.latest_checkpoint(str(exported / "exported/release"))
    assert prefix.endswith("exported/release/model.ckpt-4")
    student = export.load_trained(str(trained)).model
    golden = np.load(ROOT / "tests/golden/student_inception.npz")
    names = dict(json.loads(golden["variables"].item()))
    reader = tf.train.load_checkpoint(prefix)
    assert reader.get_variable_to_shape_map() == {**names, "global_step": []}
    step = reader.get_tensor("global_step")
    assert (step.dtype, step) == (np.int64, 4)
    again = build_student("inception", 10, seed=9)
    restore_tf1_student(again, prefix)
    for ours, theirs in zip(student.weights, again.weights, strict=True):
        if "seed" not in ours.path:
            np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    described = {"studentnet": "inception", "dataset_name": "cifar10"}
    loaded = export.load_trained(str(exported / "exported/release"), **described)
    assert loaded.global_step == 4 and loaded.class_names[6] == "frog"
    with pytest.raises(InputError, match="`studentnet` and `dataset_name` must describe it"):
        export.load_trained(prefix)


def test_every_layer_of_the_package_has_a_stock_form():
    registered = keras.saving.get_custom_objects()
    layers = {
        name: cls
        for name, cls in registered.items()
        if name.startswith("mentornet>") and issubclass(cls, keras.Layer)
    }
    layers = {n: cls for n, cls in layers.items() if not issubclass(cls, keras.Model)}
    assert len(layers) >= 3
    assert [name for name, cls in layers.items() if not hasattr(cls, "stock")] == []


@pytest.mark.parametrize("name", ["inception", "resnet8", "coteaching_cnn", "airbench93"])
def test_stock_models_compute_the_same(name, images):
    student = build_student(name, 10, seed=1)
    random = np.random.default_rng(0)
    for variable in student.weights:
        if variable.name in ("gamma", "beta", "moving_mean"):
            variable.assign(variable + 0.3 * random.normal(size=variable.shape))
        elif variable.name == "moving_variance":
            variable.assign(random.uniform(0.5, 2, variable.shape))
        elif variable.path == "whitening/kernel":
            variable.assign(random.normal(size=variable.shape))
    stock = stock_model(student)
    assert not [layer for layer in stock.layers if type(layer).__module__.startswith("mentornet")]
    expected = logits_of(student, images)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(logits_of(stock, images) / scale, expected / scale, atol=1e-5)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.parts = [keras.layers.Flatten(), Dropout(0.5, seed=1), keras.layers.Dense(10)]

    def call(self, images):
        for part in self.parts:
            images = part(images)
        return images


def test_a_subclass_with_layers_of_the_package_cannot_be_rebuilt():
    student = Subclassed()
    student(keras.Input((8, 8, 3)))
    with pytest.raises(
        InputError, match="must be functional or Sequential .*studentnet='subclassed"
    ):
        stock_model(student)


def test_a_network_of_ones_own(digits, images, tmp_path):
    """It has no layers of this package, and no names in the release."""
    loop.train(saving_config(digits, tmp_path / "train"))
    trained = export.load_trained(str(tmp_path / "train" / "model.ckpt-2"))
    assert (trained.global_step, trained.class_names) == (2, tuple(CLASSES))
    assert stock_model(small_student(10)).layers
    export.export(trained, str(tmp_path / "own"), "saved_model")
    classifier = tf.saved_model.load(str(tmp_path / "own"))
    found = classifier.serve(images)["probabilities"]
    np.testing.assert_allclose(found, softmax(logits_of(trained.model, images)), atol=1e-5)
    export.export(trained, str(tmp_path / "own.keras"), "keras")
    with pytest.raises(InputError, match="`student` must be one of inception, resnet101"):
        export.export(trained, str(tmp_path / "tf1"), "tf1")


@pytest.mark.parametrize(
    "file_format,output,match",
    [
        ("keras", "x.h5", "`output` must end in .keras"),
        ("onnx", "x", "`output` must end in .onnx"),
        ("tf1", "train", "`output` must not be the folder of a run"),
        ("saved_model", "train/config.json", "`output` must not be an existing file"),
        ("pickle", "x", "`file_format` must be one of tf1, keras, saved_model, onnx"),
    ],
)
def test_what_is_refused(file_format, output, match, trained):
    with pytest.raises(InputError, match=match):
        student = export.load_trained(str(trained))
        export.export(student, str(trained.parent / output), file_format)


def test_a_release_checkpoint_is_described_by_the_data(monkeypatch):
    """Its classes are those of the data set in this folder."""

    def described(*arguments):
        assert arguments == ("model.ckpt-3", "resnet101", "own", "folder")
        raise InputError("described")

    monkeypatch.setattr(export, "describe_student", described)
    monkeypatch.setattr(export, "is_prefix", lambda checkpoint: True)
    names = {"studentnet": "resnet101", "dataset_name": "own", "data_dir": "folder"}
    with pytest.raises(InputError, match="described"):
        export.load_trained("model.ckpt-3", **names)


def test_the_script_ends_in_one_line(tmp_path):
    status, output = run("code/export.py", f"--checkpoint_dir={tmp_path}", "--format=keras")
    assert (status, output.count("\n")) == (2, 1) and "error: `output` must be given." in output
    flags = ["--format=keras", f"--output={tmp_path}/x.keras"]
    status, output = run("code/export.py", f"--checkpoint_dir={tmp_path}", *flags)
    assert (status, output.count("\n")) == (2, 1) and "must hold a checkpoint" in output


def test_the_classes_names(trained, tmp_path, capsys):
    """From another folder's manifest, which must fit; class numbers if there are no names."""
    manifest = {"config": {"dataset_name": "digits"}, "classes": list("abcdefghij")}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    loaded = export.load_trained(str(trained), data_dir=str(tmp_path))
    assert loaded.class_names == tuple("abcdefghij")
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | {"classes": ["a", "b"]}))
    with pytest.raises(InputError, match="must hold the 10 classes of digits"):
        export.load_trained(str(trained), data_dir=str(tmp_path))
    # Without a folder, those that were trained on, whatever has been prepared there since.
    manifest = {"config": {"dataset_name": "mine"}, "classes": ["a", "b"]}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    run = {"dataset_name": "mine", "num_classes": 2, "data_dir": str(tmp_path)}
    assert export._class_names(run, None) == ("a", "b")
    with pytest.raises(InputError, match="must be the 3 of the student"):
        export._class_names(run | {"num_classes": 3}, str(tmp_path))
    assert export._class_names(run | {"class_names": ["cat", "dog"]}, None) == ("cat", "dog")
    gone = {"dataset_name": "mine", "num_classes": 2, "data_dir": str(tmp_path / "gone")}
    assert export._class_names(gone, None) == ("0", "1")
    assert "class names are unknown" in capsys.readouterr().out


def test_registry_names_what_the_release_has():
    with pytest.raises(InputError, match="`student` must be one of"):
        registry.tf1_variables(small_student(10))


def test_what_the_script_exports(monkeypatch, capsys):
    given = {"checkpoint_dir": "run", "studentnet": "net", "dataset_name": "own", "data_dir": "d"}
    asked: list[Any] = []

    def load(checkpoint, **values):
        asked.append({"checkpoint_dir": checkpoint, **values})
        return types.SimpleNamespace(global_step=7)

    values = {**given, "format": "tf1", "output": "o"}
    monkeypatch.setattr(export_command.config_flags, "read_flags", lambda cls: values)
    monkeypatch.setattr(export_command.script, "load_tensorflow", lambda: None)
    monkeypatch.setattr(export, "load_trained", load)
    monkeypatch.setattr(export, "export", lambda trained, *where: asked.append(where))
    export_command.main()
    assert asked == [given, ("o", "tf1")]
    assert capsys.readouterr().out == "Wrote the student of step 7 to o\n"


def test_nothing_of_an_earlier_export_is_left(tmp_path, monkeypatch):
    """But the folder itself, which may be a mount point or the working directory."""
    output = tmp_path / "saved"

    def write(*names):
        def files(path):
            for name in names:
                file = pathlib.Path(path, name)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(name)

        export._whole(pathlib.Path("."), files)

    output.mkdir()
    monkeypatch.chdir(output)
    write("saved_model.pb", "variables/old", "assets/old")
    export._whole(pathlib.Path("variables", ".."), lambda path: pathlib.Path(path).mkdir())
    assert output.is_dir() and not any(output.iterdir())
    write("saved_model.pb", "variables/old", "assets/old")
    folder = output.stat().st_ino
    write("saved_model.pb", "variables/new")
    left = [str(path.relative_to(output)) for path in output.rglob("*") if path.is_file()]
    assert sorted(left) == ["saved_model.pb", "variables/new"]
    assert output.stat().st_ino == folder
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]


def test_a_folder_is_not_emptied_for_a_file(tmp_path):
    folder, nothing = tmp_path / "mine.keras", None
    folder.mkdir()
    (folder / "notes.txt").touch()
    with pytest.raises(InputError, match="`output` must be a file"):
        export.export(nothing, str(folder), "keras")  # type: ignore[arg-type]
    assert (folder / "notes.txt").exists()


def test_a_stock_model_is_trained_on_in_the_same_way():
    own = [LocalResponseNormalization(), BatchNormalization(decay=0.6), Dropout(0.4)]
    stock = stock_model(keras.Sequential([keras.Input((8, 8, 4)), *own]))
    kinds = keras.layers.BatchNormalization, keras.layers.Dropout
    norm, drop = (next(e for e in stock.layers if isinstance(e, kind)) for kind in kinds)
    assert (norm.momentum, drop.rate) == (0.6, 0.4)
    assert len(stock.trainable_variables) == 2  # gamma and beta


def test_a_stock_model_of_a_network_with_parts():
    def layers_of(model):
        for layer in model.layers:
            yield layer
            yield from layers_of(layer) if isinstance(layer, keras.Model) else ()

    part = keras.Sequential([keras.layers.Dense(3), BatchNormalization(), keras.layers.ReLU()])
    model = keras.Sequential([keras.Input((8, 8, 4)), keras.layers.Conv2D(4, 1), part])
    for variable in model.weights:
        variable.assign(tf.random.stateless_uniform(variable.shape, [1, 2], 0.5, 1))
    stock, images = stock_model(model), tf.random.stateless_normal([2, 8, 8, 4], [0, 0])
    modules = {type(layer).__module__.split(".")[0] for layer in layers_of(stock)}
    assert modules == {"keras"}
    np.testing.assert_allclose(stock(images), model(images), rtol=1e-5, atol=1e-5)
