"""Student checkpoints of the 2018 release: loading them, and rejected files."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from helpers import GOLDEN, ROOT, run

from mentornet import InputError, build_student, restore_tf1_student
from mentornet.core.checkpoint_files import reading, write_checkpoint
from mentornet.students import registry

REAL = ROOT.parent / "shared" / "golden" / "release_student"  # Not part of the repository.
SHAPES = json.loads((GOLDEN / "release_checkpoint_variables.json").read_text())
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="a checkpoint of the release is not here")


def save(prefix, values):
    write_checkpoint(prefix, {name: tf.constant(value) for name, value in values.items()})
    return str(prefix)


def mentored(name):
    """A checkpoint of the release's mentored training, by its list of names and shapes.

    Its momentum, of which only the names matter, is 0.
    """
    random = np.random.default_rng(0)
    values = {
        key: np.zeros(shape, np.float32)
        if key.endswith("/Momentum")
        else random.random(shape, np.float32)
        for key, shape in SHAPES[name].items()
    }
    return values | {"global_step": np.int64(7)}


@pytest.fixture(scope="module")
def inception():
    return build_student("inception", 10)


@pytest.mark.parametrize("name", ["inception", pytest.param("resnet101", marks=pytest.mark.slow)])
def test_a_mentored_checkpoint(name, tmp_path):
    student, values = build_student(name, 10), mentored(name)
    restore_tf1_student(student, save(tmp_path / "model.ckpt-7", values))
    variables = registry.tf1_variables(student)
    for tf1_name, variable in variables.items():
        np.testing.assert_array_equal(variable.numpy(), values[tf1_name])
    bookkeeping = values.keys() - variables.keys()
    assert {"mentor_inputs/cumulative", "data_util/nonzero_v", "global_step"} <= bookkeeping


def test_a_baseline_checkpoint(inception, tmp_path):
    """Variables of a MentorNet and its inputs, and other optimizers' slots, are ignored."""
    values = {k: v for k, v in mentored("inception").items() if k.startswith("CifarNet/")}
    more = {
        "global_step": np.int64(7),
        "beta1_power": np.float32(0.9),
        "CifarNet/conv1/weights/ExponentialMovingAverage": values["CifarNet/conv1/weights"],
        "CifarNet/fc3/biases/Adam_1": values["CifarNet/fc3/biases"],
    }
    restore_tf1_student(inception, save(tmp_path / "model", values | more))
    kernel = inception.get_layer("conv1").kernel.numpy()
    np.testing.assert_array_equal(kernel, values["CifarNet/conv1/weights"])


def refused(student, prefix, match):
    before = [variable.numpy() for variable in student.weights]
    with pytest.raises(InputError, match=match):
        restore_tf1_student(student, str(prefix))
    for variable, value in zip(student.weights, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_refused(inception, tmp_path):
    values = mentored("inception")
    lacking = {name: value for name, value in values.items() if name != "CifarNet/fc3/biases"}
    refused(inception, save(tmp_path / "lacking", lacking), "lacks CifarNet/fc3/biases")
    more = values | {"CifarNet/fc5/biases": np.zeros(3, np.float32)}
    refused(inception, save(tmp_path / "more", more), "has unexpected CifarNet/fc5/biases")
    hundred = values | {"CifarNet/logits/biases": np.zeros(100, np.float32)}
    shape = r"CifarNet/logits/biases must have the shape \(10,\)"
    refused(inception, save(tmp_path / "hundred", hundred), shape)
    other = {name: np.zeros(3, np.float32) for name in SHAPES["resnet101"]}
    refused(
        inception, save(tmp_path / "other", other), "is not a checkpoint of inception: it lacks"
    )
    refused(inception, tmp_path / "none", "cannot be read")


def test_a_deeper_network_is_left_over():
    """An additional unit has another scope of the same kind."""
    from mentornet.students import tf1_checkpoints

    own = ["unit_1_0/sub1/conv1/DW", "unit_1_0/sub2/bn2/moving_mean", "logit/DW"]
    debiased = "unit_1_0/sub2/bn2/unit_1_0/sub2/bn2/moving_mean/biased"
    ignored = ["logit/DW/Momentum", debiased, "mentornet/Variable", "global_step"]
    found = tf1_checkpoints._left_over([*own, *ignored, "unit_1_9/sub1/conv1/DW"], own)
    assert found == ["unit_1_9/sub1/conv1/DW"]


@needs_real
def test_a_real_checkpoint(inception):
    restore_tf1_student(inception, str(REAL / "model.ckpt-5"))
    with np.load(REAL / "expected.npz") as expected:
        logits = inception(tf.constant(expected["images"]), training=False)
        np.testing.assert_allclose(logits, expected["logits"], rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def cifar_val(tmp_path_factory):
    """Twenty images of CIFAR-10's size and classes as test records, as the release wrote them."""
    folder = tmp_path_factory.mktemp("cifar")
    random = np.random.default_rng(0)
    with tf.io.TFRecordWriter(str(folder / "cifar10_test-00000-of-00001")) as writer:
        for i in range(20):
            png = tf.io.encode_png(random.integers(0, 256, (32, 32, 3), np.uint8)).numpy()
            feature = {
                "image/encoded": tf.train.Feature(bytes_list=tf.train.BytesList(value=[png])),
                "image/format": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"png"])),
                "image/class/label": tf.train.Feature(
                    int64_list=tf.train.Int64List(value=[i % 10])
                ),
            }
            example = tf.train.Example(features=tf.train.Features(feature=feature))
            writer.write(example.SerializeToString())
    return folder


def test_evaluation_of_a_run_of_the_release(cifar_val, tmp_path):
    """Its folder, moved here from a machine where it had another path."""
    folder = tmp_path / "train"
    if REAL.is_dir():
        shutil.copytree(REAL, folder)
    else:
        save(folder / "model.ckpt-5", mentored("inception"))
    there = "/machine/of/2018/train/model.ckpt-5"
    state = f'model_checkpoint_path: "{there}"\nall_model_checkpoint_paths: "{there}"\n'
    (folder / "checkpoint").write_text(state)
    status, output = run(
        "code/cifar_eval.py",
        "--dataset_name=cifar10",
        "--studentnet=inception",
        "--run_once",
        f"--data_dir={cifar_val}",
        f"--checkpoint_dir={folder}",
        f"--eval_dir={tmp_path}/eval",
    )
    assert status == 0, output
    assert "eval step 5: accuracy=" in output and "(20 images)" in output


def test_what_a_user_can_correct_is_told_as_it_is():
    with pytest.raises(InputError, match="^`a` must be 1.$"), reading("run-1"):
        raise InputError("`a` must be 1.")
    told = pytest.raises(InputError, match="^Checkpoint run-1 cannot be read: cut$")
    with told, reading("run-1"):
        raise ValueError("cut\noff")
