"""The loop around the training step: data, logs, checkpoints, signals."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import time
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any

import numpy as np
import tensorflow as tf

from mentornet.config.training import TrainConfig
from mentornet.core import files
from mentornet.core.errors import InputError, check
from mentornet.datasets import records
from mentornet.datasets.catalog import dataset_info
from mentornet.datasets.pipeline import (
    Batch,
    Share,
    check_batch_size,
    in_replicas,
    training_batches,
)
from mentornet.runs import run_folder, statistics, writers
from mentornet.runs.checkpoints import RunCheckpoint
from mentornet.students import registry
from mentornet.training import distribution, recipe
from mentornet.training.build import make_trainer
from mentornet.training.step import Outputs, Trainer
from mentornet.training.updates import MentorUpdates, Relearn
from mentornet.weighting.mentor_checkpoints import mentornet_fingerprint

_NOT_LOGGED = {"logits", "losses", "sample_weights", "positions", "stop"}


def train(config: TrainConfig, relearn: Relearn | None = None) -> int:
    """Trains a student, going on from the latest checkpoint in train_log_dir if there is one.

    With deterministic operations on a CPU, the parameters are bit for bit those of a run that
    was never stopped.

    Args:
      config: the run.
      relearn: how a MentorNet is learned further, for `mentornet_update_epochs`.

    Returns:
      The number of steps done, fewer than asked for if a signal stopped the run.

    Raises:
      InputError: see the errors of the data set, the student, the MentorNet and the folder; the
        loss is not finite (the step is named, the last good checkpoint stays); another process
        trains there; the devices or the other workers are not there.
      WorkerLostError: another worker is gone.
    """
    cluster = distribution.Cluster()
    strategy = distribution.make_strategy(config.num_devices, cluster, config.cluster_timeout_secs)
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    info = dataset_info(config.dataset_name, config.data_dir)
    for name in registry.ignored_flags(config, mentored=config.weighting is not None):
        reason = f"{config.studentnet} with a MentorNet has a schedule of its own (as released)."
        print(f"WARNING: --{name} has no effect: {reason}", flush=True)
    defaults = recipe.defaults(config.studentnet, info.augment)
    config = recipe.resolve(config, defaults)
    examples = records.read_examples(config.data_dir, info, "train")
    check_batch_size(config.batch_size, len(examples), strategy.num_replicas_in_sync)
    with cluster.watched(), strategy.scope():
        trainer = make_trainer(config, len(examples), info.num_classes, examples.image_shape)
    updates = None
    if config.mentornet_update_epochs:
        assert relearn is not None
        updates = MentorUpdates(config, trainer, examples, relearn)
    mentor = trainer.weighting.mentor if trainer.weighting else None
    description = run_folder.describe(
        config,
        registry.learning_rate_schedule(
            config, len(examples), mentored=config.weighting is not None
        ),
        num_examples=len(examples),
        num_classes=info.num_classes,
        image_shape=list(examples.image_shape),
        data_sha256=examples.fingerprint(),
        mentornet_sha256=mentornet_fingerprint(mentor) if mentor else None,
    )
    with contextlib.ExitStack() as stack:
        stack.enter_context(cluster.watched())
        if cluster.is_chief:
            stack.enter_context(files.held(config.train_log_dir, "train_log_dir"))
            run_folder.open_folder(config, description, defaults)
        distribution.meet(strategy)
        checkpoint = RunCheckpoint(
            config.train_log_dir, trainer.student, description, trainer.state(), config.max_to_keep
        )
        run = _Run(config, cluster, strategy, examples, trainer, checkpoint, updates)
        return run.go_on()


@dataclasses.dataclass(frozen=True)
class _Run:
    """What a worker needs to train."""

    config: TrainConfig
    cluster: distribution.Cluster
    strategy: tf.distribute.Strategy
    examples: records.Examples
    trainer: Trainer
    checkpoint: RunCheckpoint
    updates: MentorUpdates | None

    def go_on(self) -> int:
        """Trains from the latest checkpoint on, and returns the last step done."""
        config = self.config
        restored = self.checkpoint.restore_latest()
        first_step = int(self.trainer.global_step.numpy())
        if restored:
            print(f"Going on from {restored}, step {first_step}.", flush=True)
        rule = "All workers must find the same checkpoint in `train_log_dir`."
        same = distribution.same_everywhere(self.strategy, first_step)
        check(same, rule, train_log_dir=config.train_log_dir, step=first_step)
        last_step = min(
            config.stop_after_step or config.max_number_of_steps, config.max_number_of_steps
        )
        if first_step >= last_step:
            print(f"Nothing to do: {first_step} steps are done.", flush=True)
            return first_step
        padding = registry.find_student(config.studentnet).recipe.padding

        def batches(share: Share) -> tf.data.Dataset:
            return training_batches(
                self.examples,
                batch_size=config.batch_size,
                seed=config.seed,
                first_step=first_step,
                last_step=last_step,
                padding=padding if config.augment else None,
                steps_per_loop=config.steps_per_loop,
                share=share,
            )

        step = self._loop(in_replicas(batches, self.strategy), first_step, last_step)
        distribution.meet(self.strategy)  # Who leaves early disturbs the chief, which still saves.
        return step

    def _loop(self, batches: Iterable[Batch], step: int, last_step: int) -> int:
        """Steps, logs and saves until the last step or a signal; returns the last step done."""
        config, trainer, is_chief = self.config, self.trainer, self.cluster.is_chief
        label = "mentornet" if trainer.weighting else "baseline"
        writer = writers.MultiWriter()
        if is_chief:
            writer = run_folder.open_writers(config, step, last_step, label)
        recent: list[Outputs] = []  # Since the last row was written.
        saved_at = logged_at = time.monotonic()
        with contextlib.closing(writer), _stop_on_signals() as received:
            for batch in _read(batches):
                if received:
                    trainer.stop()
                if config.steps_per_loop == 1:
                    outputs = trainer.step(batch["images"], batch["labels"], batch["positions"])
                else:
                    outputs = trainer.steps(batch)
                recent.append(outputs)
                step += outputs["mentornet/total_loss"].shape.num_elements()  # Waits for no value.
                stopped = bool(received)
                if len(self.cluster) > 1:
                    stopped = bool(np.any(outputs["stop"]))  # All workers after the same step.
                last = step == last_step or stopped
                save = last or time.monotonic() - saved_at >= config.save_interval_secs
                if config.save_interval_steps:
                    save = save or step % config.save_interval_steps == 0
                log = step % config.log_every_steps == 0 or step == config.max_number_of_steps
                if save or log:
                    _check_finite(recent, step)
                if log:
                    row, seconds = self._row(recent), time.monotonic() - logged_at
                    images = sum(outputs["losses"].shape.num_elements() for outputs in recent)
                    writer.write_scalars(step, row | {"images_per_second": images / seconds})
                    recent.clear()
                    logged_at = time.monotonic()
                if self.updates and step in self.updates.steps:
                    self.updates(step, save=is_chief)
                if save and is_chief:
                    self.checkpoint.save()
                if save:
                    saved_at = time.monotonic()
                if last:
                    break
        if stopped and step < last_step:
            by = received[0] if received else "a signal to another worker"
            advice = "start the same command again to go on."
            print(f"Stopped by {by} after step {step}, which is saved; {advice}", flush=True)
        return step

    def _row(self, recent: list[Outputs]) -> writers.Scalars:
        """The last step's scalars, and statistics of all samples since the row before."""
        last = recent[-1]
        scalars = {k: float(np.ravel(v)[-1]) for k, v in last.items() if k not in _NOT_LOGGED}
        positions, weights = (
            np.concatenate([np.ravel(outputs[name]) for outputs in recent])
            for name in ("positions", "sample_weights")
        )
        predictions = np.concatenate(
            [np.ravel(np.argmax(outputs["logits"], axis=-1)) for outputs in recent]
        )
        labels = self.examples.labels[positions], self.examples.clean_labels[positions]
        scalars |= statistics.prediction_statistics(predictions, *labels)
        return scalars | statistics.weight_statistics(weights, *labels)


def _read(batches: Iterable[Batch]) -> Iterator[Batch]:
    """The batches; that one cannot be read (a file is gone, say) is the user's to mend."""
    iterator = iter(batches)
    while True:
        try:
            batch = next(iterator, None)
        except (tf.errors.InvalidArgumentError, tf.errors.UnknownError) as error:
            reason = error.message.splitlines()[0]
            raise InputError(
                f"A batch cannot be read; the last checkpoint stays: {reason}"
            ) from None
        if batch is None:
            return
        yield batch


def _check_finite(recent: list[Outputs], step: int) -> None:
    totals = np.concatenate([np.ravel(outputs["mentornet/total_loss"]) for outputs in recent])
    bad = np.flatnonzero(~np.isfinite(totals))
    if bad.size:
        number = step - len(totals) + int(bad[0]) + 1
        raise InputError(
            f"The loss of step {number} is {totals[bad[0]]}: nothing of it was saved, the last "
            "checkpoint stays. A lower `learning_rate` may help."
        )


@contextlib.contextmanager
def _stop_on_signals() -> Iterator[list[str]]:
    """Collects the names of SIGTERM and SIGINT; a second one acts as it would without us."""
    received: list[str] = []
    before: dict[int, Any] = {}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        received.append(signal.Signals(number).name)
        restore()

    for caught in (signal.SIGTERM, signal.SIGINT):
        before[caught] = signal.signal(caught, note)
    try:
        yield received
    finally:
        restore()
