"""A new student, weighting, noise type or source is one new file: the examples of CONTRIBUTING.md.

Dropped into a copy of the scripts and the package, they are listed and used.
"""

import json
import re
import shutil

import pytest
from helpers import ROOT, run

STUDENT, WEIGHTING, NOISE, SOURCE = re.findall(
    r"^```python\n(\"\"\".*?)^```", (ROOT / "CONTRIBUTING.md").read_text(), re.S | re.M
)


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
    assert "opposite: A label becomes the opposite class." in output
    assert "grey: Images of one colour; `grey:<n>` makes n of each class." in output
    flags = ["--dataset_name=greys", "--source=grey:50", f"--output_dir={tmp_path}"]
    status, output = run(script, *flags, "--noise_type=opposite", "--noise_fraction=0.5")
    assert status == 0, output
    manifest = json.loads((tmp_path / "greys" / "opposite_0.5" / "manifest.json").read_text())
    assert manifest["classes"] == ["dark", "light"]
    counts = manifest["transition_matrix"]
    assert sum(map(sum, counts)) == 100
    assert 10 < counts[0][1] < 40 and 10 < counts[1][0] < 40
