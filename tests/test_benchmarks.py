"""The benchmarks run without errors; their measurements are not checked."""

import json

import pytest
from helpers import ROOT, warm_server

STUDENT = "helpers:small_network"
RATIOS = {
    f"{STUDENT}_over_arithmetic",
    f"{STUDENT}_bfloat16_over_arithmetic",
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


def run(name, folder):
    """Memory and start-up, which it measures, are those of programs that are warm."""
    server = warm_server()
    script, flags = ROOT / f"benchmarks/{name}.py", ["--quick", f"--output_dir={folder}"]
    environment = {"WARM_PYTHON": server.python()}
    environment |= {"BENCHMARK_BATCH": "16", "BENCHMARK_STUDENT": STUDENT}
    status, _, output = server.run(script, *flags, seconds=900, **environment)
    assert status == 0, output


def test_scaling(tmp_path):
    run("scaling", tmp_path)
    rows = json.loads((tmp_path / "scaling.json").read_text())["rows"]
    kinds = ("batch 64", "1000 classes", "2 devices", "bfloat16, resnet8", "weighting", "streaming")
    assert all(any(row[0].startswith(kind) for row in rows) for kind in kinds)


def test_ratios(tmp_path):
    run("run", tmp_path)
    ratios = json.loads((tmp_path / "benchmarks.json").read_text())["ratios"]
    assert ratios.keys() >= RATIOS
    may_be_negative = {"recomputed_memory_saved", "streamed_more_mb"}  # Of so small a measurement.
    assert all(ratios[name] > 0 for name in RATIOS - may_be_negative)
