"""A new student is one new file: dropped into a copy of the scripts, it is listed and used."""

import json
import shutil

import pytest
from conftest import ROOT, run

STUDENT = '''"""One dense layer on the pixels."""

import keras
from mentornet.students.recipes import Recipe, Student

def build(num_classes, seed, image_shape, dropout_rate):
    inputs = keras.Input(image_shape)
    initializer = keras.initializers.GlorotUniform(seed)
    layer = keras.layers.Dense(num_classes, kernel_initializer=initializer)
    return keras.Model(inputs, layer(keras.layers.Flatten()(inputs)), name="linear")

student = Student(build, Recipe(padding=0, momentum=0.0))
'''


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The scripts and the package with a file more in each folder of entries."""
    code = tmp_path_factory.mktemp("copy") / "code"
    shutil.copytree(ROOT / "code", code, ignore=shutil.ignore_patterns("__pycache__"))
    (code / "mentornet/students/networks/linear.py").write_text(STUDENT)
    return code


def test_a_student(copy, train_flags, tmp_path):
    _, output = run(copy / "cifar_train_baseline.py", "--help")
    assert "linear: One dense layer on the pixels." in output
    flags = train_flags(studentnet="linear", max_number_of_steps=5, train_log_dir=tmp_path)
    status, output = run(copy / "cifar_train_baseline.py", *flags)
    assert status == 0, output
    rows = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert json.loads(rows[-1])["step"] == 5
