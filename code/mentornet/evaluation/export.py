"""Exports trained students in formats that other programs read."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from mentornet.core import files
from mentornet.core.checkpoint_files import is_prefix, reading
from mentornet.core.errors import InputError, check
from mentornet.datasets.augmentation import CHANNEL_DEVIATION, CHANNEL_MEAN, standardize
from mentornet.datasets.catalog import KNOWN, dataset_info
from mentornet.runs import layout
from mentornet.runs.checkpoints import checkpoint_step, find_latest
from mentornet.runs.students import describe_student, load_student
from mentornet.students import registry
from mentornet.students.stock import stock_model
from mentornet.students.tf1_checkpoints import save_tf1_student


@dataclasses.dataclass(frozen=True)
class TrainedStudent:
    """A restored student, with information about its training.

    Attributes:
      model: float32 [batch, height, width, channels], images as `preprocess` returns them, or
        rows of features [batch, num_features], to float32 logits [batch, classes].
      image_shape: (height, width, channels), or (num_features,).
      class_names: one per class; the class numbers if no names are known.
      global_step: number of updates.
      standardization: of the images, see `datasets.augmentation.standardize`.
    """

    model: keras.Model
    image_shape: tuple[int, ...]
    class_names: tuple[str, ...]
    global_step: int
    standardization: str = "image"

    def preprocess(self, images: tf.Tensor) -> tf.Tensor:
        """Preprocesses samples as the evaluation job does.

        Args:
          images: uint8 [n, height, width, channels], or features float32 [n, num_features].

        Returns:
          float32, of the same shape.
        """
        return standardize(images, self.standardization)


def load_trained(
    checkpoint: str,
    *,
    studentnet: str | None = None,
    dataset_name: str | None = None,
    data_dir: str | None = None,
) -> TrainedStudent:
    """Restores the student of a run, ours or the release's; its moving average if the run has one.

    Args:
      checkpoint: a checkpoint's prefix, or a run's train_log_dir (its latest checkpoint).
      studentnet, dataset_name: for checkpoints of the release, which do not record them.
      data_dir: records whose manifest names the classes; by default the run's.

    Returns:
      The student with its preprocessing and the names of its classes.

    Raises:
      InputError: there is no checkpoint, it cannot be read, or it is the release's and
        `studentnet` or `dataset_name` is missing.
    """
    prefix = checkpoint if is_prefix(checkpoint) else find_latest(checkpoint, "checkpoint_dir")
    step = checkpoint_step(prefix)
    with reading(prefix):
        run = describe_student(prefix, studentnet, dataset_name, data_dir)
        model = load_student(prefix, run)
    shape = tuple(run["image_shape"])
    standardization = registry.find_student(run["studentnet"]).recipe.standardization
    return TrainedStudent(model, shape, _class_names(run, data_dir), step, standardization)


def _class_names(run: dict[str, Any], data_dir: str | None) -> tuple[str, ...]:
    """Class names from `data_dir`'s manifest, by default as the run recorded; else numbers."""
    name, num_classes = run["dataset_name"], run["num_classes"]
    names = tuple(run.get("class_names") or ()) if data_dir is None else ()
    try:
        # Earlier versions recorded no names.
        names = names or dataset_info(name, data_dir or run["data_dir"]).class_names
    except InputError:
        if data_dir is not None:
            raise
        # The run's records were removed, or are on another machine.
        names = KNOWN[name].class_names if name in KNOWN else ()
    if not names:
        print("WARNING: class names are unknown; class numbers are used instead.", flush=True)
        return tuple(map(str, range(num_classes)))
    rule = f"The classes of `data_dir` must be the {num_classes} of the student."
    check(len(names) == num_classes, rule, data_dir=data_dir or run["data_dir"], classes=len(names))
    return names


def _classifier(trained: TrainedStudent) -> tuple[keras.Model, Callable[..., Any], Any]:
    """The network, and a function from images to probabilities with its signature."""
    network = stock_model(trained.model)

    def classify(images: tf.Tensor) -> dict[str, tf.Tensor]:
        logits = network(trained.preprocess(images), training=False)
        return {"probabilities": tf.nn.softmax(tf.cast(logits, tf.float32))}

    kind, name = (tf.uint8, "images") if len(trained.image_shape) == 3 else (tf.float32, "features")
    return network, classify, tf.TensorSpec([None, *trained.image_shape], kind, name)


def _write_tf1(trained: TrainedStudent, output: pathlib.Path) -> None:
    rule = "`output` must not be the folder of a run, whose checkpoints have the same names."
    check(not (output / layout.CONFIG_FILE).exists(), rule, output=str(output))
    prefix = layout.checkpoint_prefix(output, trained.global_step)
    save_tf1_student(trained.model, str(prefix), trained.global_step)


def _write_keras(trained: TrainedStudent, output: pathlib.Path) -> None:
    kind = trained.standardization if len(trained.image_shape) == 3 else "none"
    how: dict[str, Any] = {"kind": kind}
    if kind == "channel":  # Of values in 0..255.
        how["mean"] = [255 * value for value in CHANNEL_MEAN]
        how["deviation"] = [255 * value for value in CHANNEL_DEVIATION]
    _whole(output, lambda path: stock_model(trained.model).save(path))
    beside = output.with_name(f"{output.stem}.standardization.json")
    files.write_text(beside, json.dumps(how) + "\n")


def _write_saved_model(trained: TrainedStudent, output: pathlib.Path) -> None:
    rule = "`output` must be a new folder, or hold nothing but an earlier export."
    others = sorted({path.name for path in output.glob("*")} - _SAVED_MODEL)
    check(not others, rule, output=str(output), files=others)
    network, classify, signature = _classifier(trained)
    archive = keras.export.ExportArchive()
    archive.track(network)
    archive.add_endpoint("serve", classify, input_signature=[signature])

    def write(path: str) -> None:
        archive.write_out(path, verbose=False)
        _write_names(trained, pathlib.Path(path) / _CLASS_NAMES)

    _whole(output, write)


def _write_names(trained: TrainedStudent, path: pathlib.Path) -> None:
    files.write_text(path, json.dumps(trained.class_names) + "\n")


def _write_onnx(trained: TrainedStudent, output: pathlib.Path) -> None:
    try:
        import onnx
        import tf2onnx
    except ImportError as error:
        raise InputError(
            f"`format` onnx needs additional packages: pip install onnx tf2onnx. ({error})"
        ) from None
    _, classify, signature = _classifier(trained)
    model, _ = tf2onnx.convert.from_function(
        tf.function(classify, autograph=False), input_signature=[signature], opset=_OPSET
    )
    try:
        onnx.checker.check_model(model)  # Of an unknown operation, the converter only warns.
    except onnx.checker.ValidationError as error:
        raise InputError(f"The student cannot be written as ONNX: {error}") from None
    _whole(output, lambda path: onnx.save(model, path))


def _whole(output: pathlib.Path, write: Callable[[str], None]) -> None:
    """Writes a file or folder in a temporary folder, then moves it in place of an older one."""
    output = pathlib.Path(os.path.abspath(output))  # The folder above "." is not in it.
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export.", dir=output.parent) as temporary:
        path = os.path.join(temporary, output.name or "export")
        write(path)
        if not output.is_dir():
            os.replace(path, output)
            return
        for old in output.iterdir():  # Not the folder itself, which may be a mount point.
            shutil.rmtree(old) if old.is_dir() else old.unlink()
        for name in os.listdir(path):
            shutil.move(os.path.join(path, name), output / name)


_OPSET = 17
_CLASS_NAMES = "class_names.json"
_SAVED_MODEL = {"assets", "fingerprint.pb", "saved_model.pb", "variables", _CLASS_NAMES}
_WRITERS = {
    "tf1": _write_tf1,
    "keras": _write_keras,
    "saved_model": _write_saved_model,
    "onnx": _write_onnx,
}
_ENDINGS = {"keras": ".keras", "onnx": ".onnx"}  # The other formats are folders.


def export(trained: TrainedStudent, output: str, file_format: str) -> None:
    """Writes a student in another format.

    Args:
      trained: see `load_trained`.
      output: a folder for "tf1" and "saved_model", a file for the others. Except for "tf1", the
        class names are written as well, to `class_names.json` in the folder or to
        `<file without its suffix>.class_names.json`; for "keras" also how the images must be
        standardised, to `<file without its suffix>.standardization.json`.
      file_format: "tf1", a checkpoint that the release's cifar_eval.py restores; "keras", the
        network from preprocessed images to logits, of built-in Keras layers; "saved_model" and
        "onnx", from uint8 images [n, height, width, channels], or features float32
        [n, num_features], to float32 probabilities [n, classes].

    Raises:
      InputError: the format is unknown, `output` has the wrong suffix, cannot be written or (for
        "saved_model") holds other files, the release does not have the student, ONNX lacks one of
        its operations, or a package is missing.
    """
    rule = f"`file_format` must be one of {', '.join(_WRITERS)}."
    check(file_format in _WRITERS, rule, file_format=file_format)
    path, ending = pathlib.Path(output), _ENDINGS.get(file_format, "")
    check(path.suffix == ending or not ending, f"`output` must end in {ending}.", output=output)
    rule = "`output` must not be an existing file." if not ending else "`output` must be a file."
    check(not (path.is_dir() if ending else path.is_file()), rule, output=output)
    try:
        _WRITERS[file_format](trained, path)
        if ending:
            _write_names(trained, path.with_name(f"{path.stem}.{_CLASS_NAMES}"))
    except (OSError, tf.errors.OpError) as error:
        raise InputError(f"`output` {output} cannot be written: {error}") from None
