"""The benchmarks run without errors; their measurements are not checked."""

import json

import pytest
from helpers import run_anew as run  # Memory and start-up are among what is measured.

RATIOS = {
    "inception_over_arithmetic",
    "inception_bfloat16_over_arithmetic",
    "resnet8_over_arithmetic",
    "airbench93_bfloat16_over_arithmetic",
    "mentored_over_unweighted",
    "mentored_over_stock",
    "script_over_bare",
    "eval_over_forward",
    "pipeline_images_per_s",
    "weighting_ms",
    "help_s",
    "first_step_s",
    "resnet101_mentored_over_bare",
    "recomputed_over_kept",
    "recomputed_memory_saved",
    "streamed_over_memory",
    "streamed_more_mb",
}


pytestmark = pytest.mark.slow


def test_scaling(tmp_path):
    status, output = run("benchmarks/scaling.py", "--quick", f"--output_dir={tmp_path}")
    assert status == 0, output
    rows = json.loads((tmp_path / "scaling.json").read_text())["rows"]
    kinds = ("batch 64", "1000 classes", "2 devices", "bfloat16, resnet8", "weighting", "streaming")
    assert all(any(row[0].startswith(kind) for row in rows) for kind in kinds)


def test_ratios(tmp_path):
    status, output = run("benchmarks/run.py", "--quick", f"--output_dir={tmp_path}")
    assert status == 0, output
    ratios = json.loads((tmp_path / "benchmarks.json").read_text())["ratios"]
    assert ratios.keys() >= RATIOS
    may_be_negative = {"recomputed_memory_saved", "streamed_more_mb"}  # Of so small a measurement.
    assert all(ratios[name] > 0 for name in RATIOS - may_be_negative)
