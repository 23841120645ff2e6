"""Test helpers: paths, running scripts as processes, comparing runs, opening pages in a browser."""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import warm_client

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
    """Number of tries of a test: `full` with MENTORNET_FAULTS=full."""
    return full if os.environ.get("MENTORNET_FAULTS") == "full" else quick


class Program:
    """A program in a fork of a `WarmServer`, with the methods of `subprocess.Popen`."""

    def __init__(
        self,
        server: str,
        arguments: Sequence[str],
        folder: str | os.PathLike[str],
        environment: Mapping[str, str],
        seconds: int,
    ) -> None:
        self.args = arguments
        self.returncode: int | None = None
        self.memory = 0  # Bytes at the peak, known at the end.
        self._output, self._text = tempfile.TemporaryFile(), ""  # noqa: SIM115
        output = self._output.fileno()
        with open(os.devnull) as nothing:
            self._connection, self.pid = warm_client.ask(
                server,
                arguments,
                (nothing.fileno(), output, output),
                folder=str(folder),
                environment=environment,
                seconds=seconds,
            )

    def _look(self, timeout: float | None) -> int | None:
        if self.returncode is None:
            self._connection.settimeout(timeout)
            with contextlib.suppress(TimeoutError, BlockingIOError):
                self.returncode, self.memory = json.loads(self._connection.recv(100))
                self._connection.close()
                with self._output as output:
                    output.seek(0)
                    self._text = output.read().decode(errors="replace")
        return self.returncode

    def poll(self) -> int | None:
        return self._look(0)

    def wait(self, timeout: float | None = None) -> int:
        if (status := self._look(timeout)) is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float | None = None) -> tuple[str, None]:
        """Output (standard error included) once it has ended."""
        self.wait(timeout)
        return self._text, None


class WarmServer:
    """Runs programs in a process that has imported TensorFlow, see tests/warm_server.py.

    Args:
      modules: what else it imports in advance; then it must run no script of another copy.
    """

    def __init__(self, *modules: str) -> None:
        self._folder = tempfile.mkdtemp()  # The server removes it.
        self._socket = os.path.join(self._folder, "socket")
        self._process = subprocess.Popen(
            [sys.executable, str(ROOT / "tests" / "warm_server.py"), self._socket, *modules],
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
        )
        assert self._process.stdout is not None and self._process.stdout.readline()

    def start(
        self,
        *arguments: str | os.PathLike[str],
        folder: str | os.PathLike[str] = ROOT,
        seconds: int = 600,
        **environment: str,
    ) -> Program:
        """Starts what `python ARGUMENT ...` would, for at most some seconds."""
        where = folder, {**os.environ, **environment}
        return Program(self._socket, [*map(str, arguments)], *where, seconds)

    def run(self, *arguments: str | os.PathLike[str], **options: Any) -> tuple[int, int, str]:
        """Exit status, peak memory in bytes, and output (standard error included) of a program."""
        program = self.start(*arguments, **options)
        output, _ = program.communicate()
        return program.wait(), program.memory, output

    def python(self) -> str:
        """A file that can be executed in the place of Python's; its folder holds no other."""
        file = pathlib.Path(self._folder, "bin", "python")
        if not file.exists():
            file.parent.mkdir()
            client = ROOT / "tests" / "warm_client.py"
            file.write_text(f'#!/bin/sh\nexec {sys.executable} -SE {client} {self._socket} "$@"\n')
            file.chmod(0o755)
        return str(file)

    def close(self) -> None:
        self._process.communicate(timeout=60)


@functools.cache
def warm_server() -> WarmServer:
    """One for all tests, with what most programs import; it ends with them."""
    server = WarmServer("pytest", "sklearn.metrics", "tensorboard.summary.v2")
    atexit.register(server.close)
    return server


def start(script: str, *flags: str, **environment: str) -> Program:
    """Starts a script of the repository as a user would, from its top level."""
    options: Any = environment
    return warm_server().start(ROOT / script, *flags, **options)


def run(script: str | pathlib.Path, *flags: str) -> tuple[int, str]:
    """Like `run_anew`, but faster: in a fork of a process that has imported TensorFlow."""
    status, _, output = warm_server().run(ROOT / script, *flags)
    return status, output


def run_anew(script: str, *flags: str) -> tuple[int, str]:
    """Exit status and output (standard error included) of a script, run in a new process."""
    command = [sys.executable, str(ROOT / script), *flags]
    streams: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    done = subprocess.run(command, cwd=ROOT, timeout=300, **streams)
    return done.returncode, done.stdout


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


def wait_for_step(process: Program, folder: pathlib.Path, step: int) -> None:
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
        "studentnet": "helpers:small_network",
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


def small_network(num_classes: int) -> keras.Model:
    """A hidden layer with drop-out, for tests that train in several processes or replicas."""
    import keras

    from mentornet.students.dropout import Dropout

    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Flatten()(keras.layers.Rescaling(0.01)(inputs))
    x = keras.layers.Dense(16, activation="relu")(x)
    return keras.Model(inputs, keras.layers.Dense(num_classes)(Dropout(0.5, seed=0)(x)))


def linear_network(num_classes: int) -> keras.Model:
    """A layer on pixels averaged over 4 x 4; the same in every run."""
    import keras

    layers = [keras.layers.AveragePooling2D(4), keras.layers.Flatten()]
    logits = keras.layers.Dense(num_classes, name="logits")
    return keras.Sequential([*layers, logits], name="linear")


def normalized_network(num_classes: int) -> keras.Model:
    """Two convolutions, each followed by batch normalisation."""
    import keras

    from mentornet.students.batch_normalization import BatchNormalization

    x = inputs = keras.Input((None, None, 3))
    for _ in range(2):
        x = keras.layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(x)
        x = keras.layers.ReLU()(BatchNormalization()(x))
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(num_classes)(x))


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
