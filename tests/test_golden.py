"""The outputs of the 2018 release under TensorFlow 1.8."""

import subprocess
import sys

import numpy as np
import pytest
from helpers import GOLDEN, MENTORNET, ROOT

PARITY = (sys.executable, ROOT / "tests" / "parity.py", "--mentornet", MENTORNET, "--golden")


@pytest.mark.parametrize(
    "name",
    [
        "mentornet_forward",
        "weighting",
        "curricula_and_schedules",
        "student_inception",
        pytest.param("student_resnet101", marks=pytest.mark.slow),
    ],
)
def test_agrees_with_the_release(name):
    result = subprocess.run([*PARITY, GOLDEN / f"{name}.npz"], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert " ok\n" in result.stdout


@pytest.mark.parametrize(
    "name,quantity", [("mentornet_forward", "logits"), ("student_inception", "baseline_total")]
)
def test_parity_fails_on_a_wrong_golden_file(name, quantity, tmp_path):
    with np.load(GOLDEN / f"{name}.npz") as file:
        golden = dict(file)
    golden[quantity][-1] += 1e-3
    np.savez(tmp_path / "wrong.npz", **golden)
    result = subprocess.run([*PARITY, tmp_path / "wrong.npz"], capture_output=True, text=True)
    assert result.returncode == 1
    assert "FAILED" in result.stdout
