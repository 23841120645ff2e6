"""Training on several devices and machines with strategies of tf.distribute."""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import socket
import time
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from mentornet.core import replicas
from mentornet.core.errors import InputError, WorkerLostError, check

# Errors that TensorFlow raises in a worker that has lost contact with another one.
_LOST = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
    tf.errors.UnavailableError,
)
_EXAMPLE = '{"cluster": {"worker": ["HOST:PORT", ...]}, "task": {"type": "worker", "index": 0}}'


class Cluster:
    """The machines that TF_CONFIG names, one worker each; this machine if it is unset.

    Attributes:
      workers: "host:port" of each; the "chief" of TF_CONFIG, if there is one, is the first.
      index: which of them this process is; the first is the chief, the only one that writes.

    Raises:
      InputError: TF_CONFIG does not have the required form.
    """

    def __init__(self) -> None:
        self.workers, self.index = ["this machine"], 0
        if text := os.environ.get("TF_CONFIG"):
            with _checked(text):
                config = json.loads(text)
                cluster, task = config["cluster"], config["task"]
                jobs = {kind: cluster.get(kind, []) for kind in ("chief", "worker")}
                if cluster.keys() - jobs.keys() or len(jobs["chief"]) > 1:
                    raise ValueError
                places = [(kind, i) for kind, found in jobs.items() for i in range(len(found))]
                self.workers = [str(jobs[kind][i]) for kind, i in places]
                self.index = places.index((task["type"], int(task["index"])))
                for worker in self.workers:
                    _address(worker)

    def __len__(self) -> int:
        return len(self.workers)

    @property
    def is_chief(self) -> bool:
        """Whether this process is the first worker, which alone writes."""
        return self.index == 0

    @contextlib.contextmanager
    def watched(self, has_opened: bool = False) -> Iterator[None]:
        """Converts TensorFlow's errors for a lost worker to WorkerLostError.

        Args:
          has_opened: see WorkerLostError.

        Raises:
          WorkerLostError: contact with another worker was lost.
        """
        try:
            yield
        except _LOST as error:
            if len(self) == 1:
                raise
            raise WorkerLostError(type(error).__name__, has_opened) from None


@contextlib.contextmanager
def _checked(text: str) -> Iterator[None]:
    try:
        yield
    except (AttributeError, LookupError, TypeError, ValueError):
        raise InputError(f"`TF_CONFIG` must look like {_EXAMPLE}. Received: {text}") from None


def make_strategy(
    num_devices: int, cluster: Cluster, timeout_secs: float
) -> tf.distribute.Strategy:
    """The strategy for some devices of this machine, or for all workers of a cluster.

    It must be called before TensorFlow computes anything.

    Args:
      num_devices: replicas on this machine: GPUs, or logical CPUs if there is no GPU.
      cluster: the machines; if there are several, all must have the same number of devices.
      timeout_secs: how long to wait for the other workers.

    Raises:
      InputError: there are fewer GPUs, TensorFlow is already in use with other devices, or a worker
        did not start in time.
      WorkerLostError: contact with a worker was lost after it had started.
    """
    kind = _devices(num_devices)
    if len(cluster) > 1:
        rule = "`num_devices` above 1 needs GPUs where TF_CONFIG names several workers."
        check(num_devices == 1 or kind == "GPU", rule, num_devices=num_devices)
        _wait_for_workers(cluster, timeout_secs)
        # A worker may still fail after it has answered.
        faulthandler.dump_traceback_later(timeout_secs, exit=True)
        try:
            with cluster.watched():
                return tf.distribute.MultiWorkerMirroredStrategy()
        except tf.errors.OpError as error:
            raise InputError(
                f"The workers of TF_CONFIG cannot connect to each other: {error.message}"
            ) from None
        finally:
            faulthandler.cancel_dump_traceback_later()
    if num_devices == 1:
        return tf.distribute.get_strategy()
    return tf.distribute.MirroredStrategy([f"{kind}:{i}" for i in range(num_devices)])


def barrier(strategy: tf.distribute.Strategy) -> None:
    """Barrier across workers."""
    same_everywhere(strategy, 0)


def same_everywhere(strategy: tf.distribute.Strategy, value: int) -> bool:
    """Whether all workers have the same value; also a barrier across workers."""
    return bool((_gatherer(strategy)(value) == value).all())


def _gatherer(strategy: tf.distribute.Strategy) -> Callable[[int], np.ndarray]:
    """A function from this worker's value to those of all replicas, int64 [replicas]."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return lambda value: np.array([value])  # One worker, whose replicas have the same.

    @tf.function(autograph=False)
    def gather(value: tf.Tensor) -> tf.Tensor:
        values = strategy.run(lambda: replicas.gather(value[None]))
        return strategy.experimental_local_results(values)[0]

    return lambda value: gather(tf.constant(value, tf.int64)).numpy()


class AnyWorker:
    """Whether a condition holds in any worker; all workers must call it at the same time."""

    def __init__(self, strategy: tf.distribute.Strategy) -> None:
        self._gather = _gatherer(strategy)

    def __call__(self, value: bool) -> bool:
        return bool(self._gather(int(value)).any())


def _devices(num_devices: int) -> str:
    """Checks that there are enough devices, and returns their kind: "GPU" or "CPU"."""
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        rule = "`num_devices` must not exceed the GPUs that the process sees (--device_id)."
        check(num_devices <= len(gpus), rule, num_devices=num_devices, gpus=len(gpus))
        return "GPU"
    if num_devices > 1:
        cpu = tf.config.list_physical_devices("CPU")[0]
        logical = [tf.config.LogicalDeviceConfiguration()] * num_devices
        try:
            tf.config.set_logical_device_configuration(cpu, logical)
        except RuntimeError:  # TensorFlow is already initialised: its devices cannot change.
            found = len(tf.config.list_logical_devices("CPU"))
            rule = "`num_devices` must be set before TensorFlow is used."
            check(found >= num_devices, rule, num_devices=num_devices, devices=found)
    return "CPU"


def _wait_for_workers(cluster: Cluster, timeout_secs: float) -> None:
    """Returns once the port of every other worker has answered; TensorFlow would wait forever."""
    own_port = _address(cluster.workers[cluster.index])[1]
    silent = [w for number, w in enumerate(cluster.workers) if number != cluster.index]
    deadline = time.monotonic() + timeout_secs
    try:
        listening = socket.create_server(("", own_port))  # Answers the other workers' checks.
    except OSError as error:
        raise InputError(
            f"Port {own_port}, which TF_CONFIG names, cannot be used: {error}"
        ) from None
    with listening:
        while silent := [worker for worker in silent if not _answers(worker)]:
            rule = "All workers that TF_CONFIG names must be started within `cluster_timeout_secs`."
            check(time.monotonic() < deadline, rule, seconds=timeout_secs, not_reached=silent)
            time.sleep(0.2)


def _address(worker: str) -> tuple[str, int]:
    host, _, port = worker.rpartition(":")
    if not 0 < int(port) < 65536:
        raise ValueError(port)
    return host, int(port)


def _answers(worker: str) -> bool:
    try:
        with socket.create_connection(_address(worker), timeout=2):
            return True
    except OSError:
        return False
