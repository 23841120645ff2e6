"""Test helpers: paths, running scripts as processes, comparing runs, opening pages in a browser."""

from __future__ import annotations

import functools
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from mentornet.core.files import read_json_lines

if TYPE_CHECKING:  # TensorFlow is imported where it is needed: many tests only start processes.
    import keras

    from mentornet.config.training import TrainConfig

ROOT = pathlib.Path(__file__).resolve().parents[1]
GOLDEN = pathlib.Path(__file__).resolve().parent / "golden"
MENTORNET = str(GOLDEN / "mentornet_random")
MENTORED = {"trained_mentornet_dir": MENTORNET, "example_dropout_rates": "0.5,50,0,50"}
SCRIPT = "code/cifar_train_mentornet.py"


def times(quick: int, full: int) -> int:
    """Number of tries of a test in tests/faults: `full` with MENTORNET_FAULTS=full."""
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


def run_anew(script: str, *flags: str) -> tuple[int, str]:
    """Exit status and output (standard error included) of a script, run in a new process."""
    process = start(script, *flags)
    output, _ = process.communicate(timeout=300)
    return process.returncode, output


class WarmServer:
    """Runs scripts in a process that has imported TensorFlow, see tests/warm_server.py.

    Args:
      modules: what else it imports in advance; then it must run no script of another copy.
      folder: where relative names lead.
    """

    def __init__(self, *modules: str, folder: pathlib.Path = ROOT) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(ROOT / "tests" / "warm_server.py"), *modules],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # As `cli.script` sets them before it imports TensorFlow.
            env={
                **os.environ,
                "PYTHONUNBUFFERED": "1",
                "TF_CPP_MIN_LOG_LEVEL": "2",
                "CUDA_VISIBLE_DEVICES": "-1",
            },
            text=True,
        )

    def run(
        self, script: str | pathlib.Path, *flags: str, seconds: int = 300
    ) -> tuple[int, int, str]:
        """Exit status, peak memory in bytes, and output (standard error included) of a script."""
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        command = {"script": str(ROOT / script), "flags": flags, "seconds": seconds}
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        stdin.write(json.dumps(command | {"environment": environment}) + "\n")
        stdin.flush()
        status, memory, output = json.loads(stdout.readline())
        return status, memory, output

    def close(self) -> None:
        self._process.communicate(timeout=60)


_warm_server = functools.cache(WarmServer)  # Ends with the tests, when its input ends.


def run(script: str | pathlib.Path, *flags: str) -> tuple[int, str]:
    """Like `run_anew`, but faster: in a fork of a process that has imported TensorFlow."""
    status, _, output = _warm_server().run(script, *flags)
    return status, output


def latest_state(folder: pathlib.Path) -> dict[str, np.ndarray]:
    """Every tensor of a run's latest checkpoint except its configuration."""
    import tensorflow as tf

    from mentornet.runs.checkpoints import find_latest

    reader = tf.train.load_checkpoint(find_latest(str(folder)))
    names = set(reader.get_variable_to_shape_map())
    names -= {"_CHECKPOINTABLE_OBJECT_GRAPH", "config/.ATTRIBUTES/VARIABLE_VALUE"}
    return {n: reader.get_tensor(n) for n in names if not n.startswith("save_counter")}


def assert_same_state(a: pathlib.Path, b: pathlib.Path) -> None:
    """The latest checkpoints of two runs agree bit for bit."""
    first, second = latest_state(a), latest_state(b)
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


def wait_for_step(process: subprocess.Popen[str], folder: pathlib.Path, step: int) -> None:
    """Waits until a running training has logged `step`."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        rows = read_json_lines(folder / "metrics.jsonl")
        if rows and rows[-1]["step"] >= step:
            return
        time.sleep(0.01)
    pytest.fail(f"no step {step}: {process.communicate()[0]}")


def config(digits: pathlib.Path, folder: pathlib.Path | str, **values: Any) -> TrainConfig:
    """A baseline of four steps on the digits, logged at each; keywords take precedence."""
    from mentornet.config.training import TrainConfig

    defaults: dict[str, Any] = {
        "dataset_name": "digits",
        "studentnet": "inception",
        "batch_size": 16,
        "max_number_of_steps": 4,
        "log_every_steps": 1,
    }
    return TrainConfig(str(digits / "0.4"), str(folder), **(defaults | values))


def small_student(num_classes: int) -> keras.Model:
    """A linear model, for tests that save and load often."""
    import keras

    layers = [keras.layers.Flatten(), keras.layers.Dense(num_classes)]
    return keras.Sequential([keras.Input((32, 32, 3)), *layers])


def saving_config(digits: pathlib.Path, folder: pathlib.Path | str, **values: Any) -> TrainConfig:
    """Four steps of the linear model with a checkpoint at each."""
    from mentornet.config.training import TrainConfig

    return TrainConfig(
        str(digits / "0.4"),
        str(folder),
        dataset_name="digits",
        studentnet="helpers:small_student",
        batch_size=16,
        max_number_of_steps=4,
        save_interval_steps=1,
        **values,
    )


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
