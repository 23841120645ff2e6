"""Helpers of the tests: golden files, small data sets, scripts run as processes."""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
from collections.abc import Callable

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
GOLDEN = pathlib.Path(__file__).resolve().parent / "golden"
MENTORNET = str(GOLDEN / "mentornet_random")


def times(quick: int, full: int) -> int:
    """How often a test of tests/faults tries: `full` times under MENTORNET_FAULTS=full."""
    return full if os.environ.get("MENTORNET_FAULTS") == "full" else quick


def start(script: str, *flags: str, **environment: str) -> subprocess.Popen[str]:
    """Starts a script of the repository as a user would, from its top level."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / script), *flags],
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(script: str, *flags: str) -> tuple[int, str]:
    """Exit status and output (standard error included) of a script."""
    process = start(script, *flags)
    output, _ = process.communicate(timeout=300)
    return process.returncode, output


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder with digits/0.4 (200 training images) and digits/val."""
    from mentornet.datasets.prepare import PrepareConfig, prepare

    folder = tmp_path_factory.mktemp("data")
    prepare(PrepareConfig("digits", str(folder), noise_fraction=0.4, num_train=200))
    return folder / "digits"


@pytest.fixture(scope="session")
def train_flags(digits: pathlib.Path) -> Callable[..., list[str]]:
    """Flags of a training script on the digits; keywords are added or take precedence."""

    def flags(**values: object) -> list[str]:
        defaults = {
            "dataset_name": "digits",
            "data_dir": digits / "0.4",
            "studentnet": "inception",
            "batch_size": 16,
            "max_number_of_steps": 40,
            "log_every_steps": 5,
        }
        return [f"--{name}={value}" for name, value in (defaults | values).items()]

    return flags


_WRAPPER = """<!DOCTYPE html><body><pre id="found"></pre><script>
const frames = [1280, 400].map((width) => {
  const frame = document.createElement("iframe");
  frame.style.cssText = `width: ${width}px; height: 900px; border: 0`;
  frame.srcdoc = %s;
  document.body.append(frame);
  return new Promise((loaded) => { frame.onload = () => loaded([width, frame]); });
});
Promise.all(frames).then((all) => {
  document.getElementById("found").textContent = JSON.stringify(all.map(([width, frame]) => {
    const page = frame.contentDocument;
    const broken = [...page.images].filter((image) => !image.complete || !image.naturalWidth);
    return [width, page.documentElement.scrollWidth, broken.length];
  }));
});
</script></body>"""


def look_at(page: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """Opens a page 1280 and 400 pixels wide in Chromium: nothing overflows, no console message.

    Without Chromium the test that asks is skipped.
    """
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("needs Chromium")
    wrapper = tmp_path / "wrapper.html"
    wrapper.write_text(_WRAPPER % json.dumps(page.read_text()).replace("</", "<\\/"))
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    flags += [f"--user-data-dir={tmp_path / 'chromium'}", "--window-size=1400,2000"]
    flags += ["--virtual-time-budget=20000", "--dump-dom", wrapper.as_uri()]
    result = subprocess.run([browser, *flags], capture_output=True, text=True, timeout=120)
    assert "CONSOLE" not in result.stderr, result.stderr
    found = re.search(r'<pre id="found">(.*?)</pre>', result.stdout)
    assert found and found[1], result.stdout[:500]
    for width, needed, broken in json.loads(found[1]):
        assert needed <= width, f"{page} needs {needed} of {width} pixels"
        assert broken == 0, f"{page}: {broken} pictures cannot be shown"
