"""The outputs of the 2018 release under TensorFlow 1.8."""

import numpy as np
import pytest
from helpers import GOLDEN, MENTORNET, run

PARITY = ("tests/parity.py", f"--mentornet={MENTORNET}")


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
    status, output = run(*PARITY, f"--golden={GOLDEN / name}.npz")
    assert status == 0, output
    assert " ok\n" in output


@pytest.mark.parametrize(
    "name,quantities",
    [
        ("mentornet_forward", ["logits"]),
        (
            "student_inception",
            ["baseline_total", "mentornet_final_mean", "mentornet_final_first"],
        ),
    ],
)
def test_parity_fails_on_a_wrong_golden_file(name, quantities, tmp_path):
    with np.load(GOLDEN / f"{name}.npz") as file:
        golden = dict(file)
    for quantity in quantities:
        golden[quantity][-1] += 1e-3
    np.savez(tmp_path / "wrong.npz", **golden)
    status, output = run(*PARITY, f"--golden={tmp_path / 'wrong.npz'}")
    assert status == 1
    assert "FAILED" in output
