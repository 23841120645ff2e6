"""A new student, weighting, noise type or source is one new file.

Dropped into a copy of the scripts and the package, it is listed and used.
"""

import json
import shutil

import pytest
from helpers import ROOT, run

STUDENT = '''"""One dense layer on the pixels."""

import keras
from mentornet.students.recipes import Recipe, Student

def build(num_classes, seed, image_shape):
    inputs = keras.Input(image_shape)
    initializer = keras.initializers.GlorotUniform(seed)
    layer = keras.layers.Dense(num_classes, kernel_initializer=initializer)
    return keras.Model(inputs, layer(keras.layers.Flatten()(inputs)), name="linear")

student = Student(build, Recipe(crop_padding=0, momentum=0.0))
'''

WEIGHTING = '''"""Weight 1 below a threshold of the loss, else 0. Option `threshold`."""

import tensorflow as tf

def make(context, *, threshold=1.0):
    return lambda batch: tf.cast(batch.losses < threshold, tf.float32)
'''

NOISE = '''"""A label becomes the class opposite."""

def corrupt(corruption):
    return corruption.replace(lambda rng: corruption.num_classes - 1 - corruption.labels)
'''
SOURCE = '''"""Images of one colour; `grey:<n>` makes n of each class."""

import numpy as np
from mentornet.datasets.sources import Reader, Source, Split

def load(dataset, location, options):
    labels = np.arange(2 * int(location)) % 2
    images = np.uint8(100 * labels)[:, None, None, None] * np.ones((1, 8, 8, 3), np.uint8)
    return Source(Split(images, labels), Split(images[:4], labels[:4]), ("dark", "light"))

reader = Reader(load)
'''


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of scripts and package with an additional file in each folder of entries."""
    code = tmp_path_factory.mktemp("copy") / "code"
    shutil.copytree(ROOT / "code", code, ignore=shutil.ignore_patterns("__pycache__"))
    (code / "mentornet/students/networks/linear.py").write_text(STUDENT)
    (code / "mentornet/weighting/methods/cut.py").write_text(WEIGHTING)
    (code / "mentornet/datasets/noise/opposite.py").write_text(NOISE)
    (code / "mentornet/datasets/sources/grey.py").write_text(SOURCE)
    return code


def test_a_student_and_a_weighting(copy, train_flags, tmp_path):
    _, output = run(copy / "cifar_train_baseline.py", "--help")
    assert "linear: One dense layer on the pixels." in output
    assert "cut: Weight 1 below a threshold of the loss, else 0. Option `threshold`." in output
    flags = train_flags(studentnet="linear", max_number_of_steps=5, train_log_dir=tmp_path)
    options = ["--weighting=cut", "--weighting_options=threshold=0"]
    status, output = run(copy / "cifar_train_baseline.py", *flags, *options)
    assert status == 0, output
    rows = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert json.loads(rows[-1])["step"] == 5
    assert json.loads(rows[-1])["data_util/batch_sum_v"] == 0


def test_a_source_and_a_noise_type(copy, tmp_path):
    script = copy / "cifar_prepare_data.py"
    _, output = run(script, "--help")
    assert "opposite: A label becomes the class opposite." in output
    assert "grey: Images of one colour; `grey:<n>` makes n of each class." in output
    flags = ["--dataset_name=greys", "--source=grey:50", f"--output_dir={tmp_path}"]
    status, output = run(script, *flags, "--noise_type=opposite", "--noise_fraction=0.5")
    assert status == 0, output
    manifest = json.loads((tmp_path / "greys" / "opposite_0.5" / "manifest.json").read_text())
    assert manifest["classes"] == ["dark", "light"]
    counts = manifest["transition_matrix"]
    assert sum(map(sum, counts)) == 100
    assert 10 < counts[0][1] < 40 and 10 < counts[1][0] < 40
