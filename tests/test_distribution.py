"""Training on several devices and machines gives the same run."""

import json
import signal
import socket
import time
from typing import Any
from unittest import mock

import numpy as np
import pytest
from helpers import SCRIPT, assert_same_state, latest_state, start, warm_server

from mentornet import InputError
from mentornet.config.training import TrainConfig
from mentornet.core.files import read_json_lines
from mentornet.datasets.pipeline import check_batch_size
from mentornet.label_noise.history import COLUMNS
from mentornet.students import registry
from mentornet.training import distribution

MENTORED = {
    "studentnet": "helpers:small_network",
    "trained_mentornet_dir": "mentornet_pd",
    "example_dropout_rates": "0.5,50,0,50",
    "max_number_of_steps": 20,
    "save_interval_steps": 2,
    "log_every_steps": 2,  # Where a run is resumed, a row begins.
    "learning_rate": 0.02,
    "augment": True,
    "record_sample_weights": True,
}
MIXED = {"mixup_alpha": 2, "second_reweight": True, "ema_decay": 0.9}
pytestmark = pytest.mark.slow


def differences(a, b):
    """The largest of each array's differences, by name."""
    a, b = latest_state(a), latest_state(b)
    assert a.keys() == b.keys()
    seeds = "seed_generator_state"
    names = [n for n in a if a[n].size and a[n].dtype.kind in "fiu" and seeds not in n]
    found = {n: np.abs(a[n].astype(float) - b[n]) for n in names}
    # MentorNet's curve is steep: it amplifies the rounding of the losses tenfold.
    found["state/sample_history/.ATTRIBUTES/VARIABLE_VALUE"][
        :, list(COLUMNS).index("mean_weight")
    ] /= 10
    return {name: values.max() for name, values in found.items()}


def assert_close(a, b, tolerance=1e-5):
    found = differences(a, b)
    assert len(found) > 20
    worst = max(found, key=found.get)
    assert found[worst] <= tolerance, f"{worst}: {found[worst]}"


def assert_same_rows(a, b):
    """Two runs logged the same weights, losses and shares of samples."""
    rows = read_json_lines(a / "metrics.jsonl"), read_json_lines(b / "metrics.jsonl")
    assert len(rows[0]) == len(rows[1]) > 0
    for one, other in zip(*rows, strict=True):
        assert one.keys() == other.keys()
        for name in one.keys() - {"images_per_second"}:
            assert other[name] == pytest.approx(one[name], rel=1e-4, abs=1e-5), name


def train(flags):
    process = start(SCRIPT, *flags)
    output, _ = process.communicate()
    assert process.returncode == 0, output


@pytest.fixture(scope="module")
def alone(tmp_path_factory, train_flags):
    """The run on one device, plain and mixed."""
    folder = tmp_path_factory.mktemp("alone")
    for name, values in (("plain", {}), ("mixed", MIXED)):
        train(train_flags(train_log_dir=folder / name, **MENTORED, **values))
    return folder


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("plain", {"num_devices": 4, "steps_per_loop": 2}),
        ("mixed", {"num_devices": 2, "recompute_gradients": True}),
    ],
    ids=["four", "mixed"],
)
def test_devices_do_not_change_the_run(alone, train_flags, tmp_path, kind, values):
    """With augmentation, dropout of samples and units, and history: parameters to 1e-5."""
    more = MIXED if kind == "mixed" else {}
    train(train_flags(train_log_dir=tmp_path, **(MENTORED | more | values)))
    assert_close(alone / kind, tmp_path)
    assert_same_rows(alone / kind, tmp_path)


class Workers:
    """Two worker processes on loopback."""

    def __init__(self, flags):
        self.flags, self.ports = flags, []
        for _ in range(2):
            with socket.create_server(("127.0.0.1", 0)) as server:
                self.ports.append(server.getsockname()[1])
        self.processes = [self.start(0), self.start(1)]

    def start(self, index):
        workers = [f"127.0.0.1:{port}" for port in self.ports]
        task = {"type": "worker", "index": index}
        config = {"cluster": {"worker": workers}, "task": task}
        return start(SCRIPT, *self.flags, TF_CONFIG=json.dumps(config))

    def wait_for(self, path):
        deadline = time.monotonic() + 120
        while not path.exists():
            assert time.monotonic() < deadline and self.processes[0].poll() is None
            time.sleep(0.02)

    def finish(self):
        """Exit statuses and outputs."""
        try:
            outputs = [process.communicate(timeout=200)[0] for process in self.processes]
        finally:
            for process in self.processes:
                process.kill()
        return [process.returncode for process in self.processes], outputs


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, train_flags):
    """The run of two workers: its folder, and the outputs of both."""
    folder = tmp_path_factory.mktemp("workers") / "train"
    statuses, outputs = Workers(train_flags(train_log_dir=folder, **MENTORED)).finish()
    assert statuses == [0, 0], outputs
    return folder, outputs


def test_two_workers(alone, undisturbed):
    folder, outputs = undisturbed
    assert_close(alone / "plain", folder)
    assert_same_rows(alone / "plain", folder)
    # Only the chief wrote.
    assert "mentornet 20/20" in outputs[0] and "mentornet 20/20" not in outputs[1]
    names = sorted(path.name.split(".vm")[0] for path in folder.iterdir())
    assert sum("tfevents" in name for name in names) == 1
    expected = sorted(f"model.ckpt-{step}" for step in range(2, 22, 2))
    endings = "data-00000-of-00001", "index"
    assert [name for name in names if name.startswith("model")] == [
        f"{name}.{ending}" for name in expected for ending in endings
    ]


def test_killed_workers_come_back(undisturbed, train_flags, tmp_path):
    """The other restarts and waits; parameters and log equal those of an undisturbed job.

    One worker is killed, then the chief. What was saved is not overwritten, although the job was
    told to overwrite an earlier run.
    """
    flags = train_flags(train_log_dir=tmp_path, **MENTORED)
    workers = Workers([*flags, "--overwrite"])
    workers.flags = flags
    killed, newest = "", 0
    for victim in (1, 0):
        workers.wait_for(tmp_path / f"model.ckpt-{newest + 2}.index")
        workers.processes[victim].kill()
        killed, _ = workers.processes[victim].communicate()
        newest = max(int(file.stem.partition("-")[2]) for file in tmp_path.glob("*.index"))
        workers.processes[victim] = workers.start(victim)
    statuses, outputs = workers.finish()
    assert statuses == [0, 0], outputs
    for output in (killed, outputs[1]):  # Of the first chief, and of the other that stayed.
        assert "Restarting from the latest checkpoint" in output
    assert all("Resuming from" in output for output in outputs)
    assert_same_state(undisturbed[0], tmp_path)
    assert_same_rows(undisturbed[0], tmp_path)


def test_a_signal_to_one_worker_stops_all(undisturbed, train_flags, tmp_path):
    flags = train_flags(train_log_dir=tmp_path, **MENTORED)
    workers = Workers(flags)
    workers.wait_for(tmp_path / "model.ckpt-2.index")
    workers.processes[1].send_signal(signal.SIGTERM)
    statuses, outputs = workers.finish()
    assert statuses == [0, 0], outputs
    assert "Stopped by SIGTERM after step" in outputs[1]
    assert "Stopped by a signal to another worker after step" in outputs[0]
    assert Workers(flags).finish()[0] == [0, 0]
    assert_same_state(undisturbed[0], tmp_path)


def test_a_worker_that_never_comes(train_flags, tmp_path):
    flags = train_flags(train_log_dir=tmp_path / "train", cluster_timeout_secs=2, **MENTORED)
    for index in (0, 1):
        workers = Workers(flags)
        workers.processes[1 - index].kill()
        statuses, outputs = workers.finish()
        assert statuses[index] == 2, outputs
        assert "must be started within `cluster_timeout_secs`" in outputs[index]
        assert f"not_reached=['127.0.0.1:{workers.ports[1 - index]}']" in outputs[index]
        assert "Traceback" not in outputs[index]
    assert not (tmp_path / "train").exists()


@pytest.mark.parametrize(
    "text",
    [
        "workers",
        "{}",
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
        '{"cluster": {"worker": ["a"]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "chief", "index": 0}}',
        '{"cluster": {"ps": ["a:1"], "worker": ["b:1"]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"chief": ["a:1", "b:1"]}, "task": {"type": "chief", "index": 0}}',
        '{"cluster": ["a:1"], "task": {"type": "worker", "index": 0}}',
        '{"cluster": null, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": ["a:1", "b:65536"]}, "task": {"type": "worker", "index": 0}}',
    ],
)
def test_other_clusters_are_refused(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(InputError, match="`TF_CONFIG` must look like"):
        distribution.Cluster()


@pytest.mark.parametrize(("kind", "number", "index"), [("chief", 0, 0), ("worker", 1, 2)])
def test_a_cluster_may_have_a_chief(monkeypatch, kind, number, index):
    cluster = {"worker": ["b:1", "c:1"], "chief": ["a:1"]}
    config = {"cluster": cluster, "task": {"type": kind, "index": number}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    found = distribution.Cluster()
    assert (found.workers, found.index) == (["a:1", "b:1", "c:1"], index)
    assert found.is_chief == (index == 0)


def test_what_is_refused(monkeypatch):
    with pytest.raises(InputError, match="`batch_size` must be a multiple of the 3 replicas"):
        check_batch_size(16, 200, 3)
    refused: tuple[tuple[dict[str, Any], str], ...] = (
        ({"num_devices": 0}, "`num_devices` must be at least 1"),
        ({"num_devices": 2, "jit_compile": True, "deterministic": False}, "needs num_devices=1"),
        (
            {"steps_per_loop": 5, "jit_compile": True, "deterministic": False},
            "and steps_per_loop=1",
        ),
    )
    for values, message in refused:
        with pytest.raises(InputError, match=message):
            TrainConfig("data", "train", **values)
    with pytest.raises(InputError, match="needs a student with batch normalisation"):
        registry.synchronize_batch_norm(registry.build_student("inception", 10))
    workers = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(workers))
    monkeypatch.setattr(distribution, "_devices", lambda number: "CPU")
    with pytest.raises(InputError, match="`num_devices` above 1 needs GPUs"):
        distribution.make_strategy(2, distribution.Cluster(), 1)


# Trains on noise of 8 x 8 pixels with each number of devices, and saves the students.
SMALL = """
import sys
import numpy as np
import tensorflow as tf
from mentornet.config.training import TrainConfig
from mentornet.config.weighting import WeightingConfig
from mentornet.datasets.augmentation import Augmentation
from mentornet.datasets.pipeline import in_replicas, training_batches
from mentornet.datasets.records import Examples
from mentornet.students.networks import resnet101
from mentornet.training import distribution
from mentornet.training.build import make_trainer

name, counts, num_steps, precision, folder = sys.argv[1:]
counts = [int(count) for count in counts.split(",")]
distribution.make_strategy(max(counts), distribution.Cluster(), 1)  # Devices cannot be added later.
resnet101._UNITS_PER_STAGE = 1
resnet101._STAGES = tuple((width // 8, stride) for width, stride in resnet101._STAGES)
random = np.random.default_rng(0)
images = tf.constant(random.integers(0, 256, (32, 8, 8, 3), np.uint8))
labels, unknown = random.integers(0, 10, 32), np.zeros(32, np.int64)
examples = Examples(images, (8, 8, 3), labels, unknown, unknown, unknown == 1)
for count in counts:
    config = TrainConfig(
        "-", "-", studentnet=name, batch_size=8, learning_rate=0.01, sync_batch_norm=True,
        trained_mentornet_dir="mentornet_pd", mixed_precision=precision, num_devices=count,
        weighting=WeightingConfig(example_dropout_rates="0.2,100"), recompute_gradients=count == 4,
    )
    strategy = distribution.make_strategy(count, distribution.Cluster(), 1)
    with strategy.scope():
        trainer = make_trainer(config, 32, 10, (8, 8, 3))
    for layer in trainer.student.layers:
        if name == "resnet101" and hasattr(layer, "negative_slope"):
            layer.negative_slope = 1.0
    batches = in_replicas(lambda share: training_batches(
        examples, batch_size=8, seed=0, first_step=0, last_step=int(num_steps),
        augmentation=Augmentation(2), standardization="image", share=share,
    ), strategy)
    for batch in batches:
        outputs = trainer.step(batch["images"], batch["labels"], batch["positions"])
    parameters = [np.ravel(v) for v in trainer.student.weights if v.dtype == "float32"]
    results = {"weights": outputs.samples.weights, "parameters": np.concatenate(parameters)}
    np.savez(f"{folder}/{count}.npz", **results)
"""


@pytest.mark.parametrize(
    ("name", "counts", "num_steps", "precision", "tolerance"),
    [
        ("helpers:normalized_network", "1,4", 20, "float32", 1e-5),
        ("helpers:normalized_network", "1,2", 3, "mixed_float16", 1e-2),
        ("resnet101", "1,2", 3, "float32", 1e-5),
    ],
)
def test_synchronized_batch_norm(tmp_path, name, counts, num_steps, precision, tolerance):
    """Parameters and moving averages, as the norm of the difference over their own norm.

    `resnet101` is an eighth as wide, with one unit in each stage, and without the kinks of its
    activations: with them, a value that rounding takes across 0 changes the gradient of all layers
    below.
    """
    arguments = name, counts, str(num_steps), precision, tmp_path
    status, _, output = warm_server().run("-c", SMALL, *arguments)
    assert status == 0, output[-2000:]
    alone, other = (dict(np.load(tmp_path / f"{count}.npz")) for count in counts.split(","))
    np.testing.assert_allclose(other["weights"], alone["weights"], atol=tolerance)
    difference = np.linalg.norm(other["parameters"] - alone["parameters"])
    assert difference <= tolerance * np.linalg.norm(alone["parameters"])


TWO_WORKERS = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}


def test_a_worker_that_has_connected_is_not_ended_later(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", json.dumps(TWO_WORKERS))
    calls = mock.Mock()
    monkeypatch.setattr(distribution, "faulthandler", calls)
    monkeypatch.setattr(distribution, "_wait_for_workers", calls.wait)
    monkeypatch.setattr(
        distribution.tf.distribute, "MultiWorkerMirroredStrategy", lambda: "strategy"
    )
    assert distribution.make_strategy(1, distribution.Cluster(), 7) == "strategy"
    names = [name for name, *_ in calls.mock_calls]
    assert names == ["wait", "dump_traceback_later", "cancel_dump_traceback_later"]
    calls.dump_traceback_later.assert_called_once_with(7, exit=True)


def test_an_error_on_one_machine_is_no_lost_worker(monkeypatch):
    fault = distribution.tf.errors.InternalError(None, None, "fault")
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(type(fault)), distribution.Cluster().watched():
        raise fault
    monkeypatch.setenv("TF_CONFIG", json.dumps(TWO_WORKERS))
    lost = pytest.raises(distribution.WorkerLostError, match="InternalError")
    with lost as caught, distribution.Cluster().watched(has_opened=True):
        raise fault
    assert caught.value.has_opened


@pytest.mark.parametrize(("other", "same"), [(5, True), (4, False)])
def test_all_workers_must_have_the_same_value(monkeypatch, other, same):
    monkeypatch.setattr(distribution, "_gatherer", lambda _: lambda own: np.array([own, other]))
    strategy: Any = None
    assert distribution.same_everywhere(strategy, 5) == same


def test_no_more_devices_than_gpus(monkeypatch):
    monkeypatch.setattr(
        distribution.tf.config, "list_physical_devices", lambda kind: ["first", "second"]
    )
    assert [distribution._devices(number) for number in (1, 2)] == ["GPU", "GPU"]
    with pytest.raises(InputError, match="must not exceed the GPUs .* gpus=2"):
        distribution._devices(3)


def test_workers_that_cannot_connect(monkeypatch):
    """One line says so, or the script restarts; either way no timer is left to end it."""
    monkeypatch.setenv("TF_CONFIG", json.dumps(TWO_WORKERS))
    calls = mock.Mock()
    monkeypatch.setattr(distribution, "faulthandler", calls)
    monkeypatch.setattr(distribution, "_wait_for_workers", calls.wait)
    errors = distribution.tf.errors
    cases: tuple[tuple[Exception, type[Exception], str], ...] = (
        (
            errors.InvalidArgumentError(None, None, "no such host"),
            InputError,
            "workers of TF_CONFIG cannot connect to each other: no such host",
        ),
        (
            errors.UnavailableError(None, None, "gone"),
            distribution.WorkerLostError,
            "UnavailableError",
        ),
    )
    for number, (error, expected, said) in enumerate(cases, start=1):
        connect = mock.Mock(side_effect=error)
        monkeypatch.setattr(distribution.tf.distribute, "MultiWorkerMirroredStrategy", connect)
        with pytest.raises(expected, match=said):
            distribution.make_strategy(1, distribution.Cluster(), 7)
        assert calls.cancel_dump_traceback_later.call_count == number


def test_devices_cannot_be_added_once_tensorflow_is_in_use(monkeypatch):
    distribution.tf.zeros([])  # Now it is.
    found = distribution.tf.config.list_physical_devices("CPU")
    devices = lambda kind: found if kind == "CPU" else []  # noqa: E731
    monkeypatch.setattr(distribution.tf.config, "list_physical_devices", devices)
    rule = "`num_devices` must be set before TensorFlow is used. Received: num_devices=9, devices="
    with pytest.raises(InputError, match=rule):
        distribution._devices(9)


def test_ports_of_workers():
    for port in (1, 65535):
        assert distribution._address(f"a:{port}") == ("a", port)
    for port in (-1, 0, 65536):
        with pytest.raises(ValueError, match=f"^{port}$"):
            distribution._address(f"a:{port}")


def test_an_own_port_that_is_in_use(monkeypatch):
    with socket.create_server(("", 0)) as other:
        port = other.getsockname()[1]
        cluster = {"worker": [f"127.0.0.1:{port}", "127.0.0.1:1"]}
        config = {"cluster": cluster, "task": {"type": "worker", "index": 0}}
        monkeypatch.setenv("TF_CONFIG", json.dumps(config))
        rule = f"^Port {port}, which TF_CONFIG names, cannot be used: "
        with pytest.raises(InputError, match=rule):
            distribution._wait_for_workers(distribution.Cluster(), 0)


def test_gpus_on_one_machine_and_on_several(monkeypatch):
    made: list[Any] = []
    monkeypatch.delenv("TF_CONFIG", raising=False)
    monkeypatch.setattr(distribution, "_devices", lambda number: "GPU")
    monkeypatch.setattr(distribution, "faulthandler", mock.Mock())
    monkeypatch.setattr(distribution, "_wait_for_workers", lambda *_: None)
    strategies = distribution.tf.distribute
    monkeypatch.setattr(strategies, "MirroredStrategy", made.append)
    monkeypatch.setattr(strategies, "MultiWorkerMirroredStrategy", lambda: "all")
    distribution.make_strategy(2, distribution.Cluster(), 1)
    assert made == [["GPU:0", "GPU:1"]]
    monkeypatch.setenv("TF_CONFIG", json.dumps(TWO_WORKERS))
    assert distribution.make_strategy(2, distribution.Cluster(), 1) == "all"


@pytest.mark.parametrize(
    "name", ["Aborted", "Cancelled", "DeadlineExceeded", "Internal", "Unavailable"]
)
def test_each_error_of_a_lost_worker(monkeypatch, name):
    monkeypatch.setenv("TF_CONFIG", json.dumps(TWO_WORKERS))
    fault = getattr(distribution.tf.errors, f"{name}Error")(None, None, "gone")
    lost = pytest.raises(distribution.WorkerLostError, match=f"{name}Error")
    with lost, distribution.Cluster().watched():
        raise fault
