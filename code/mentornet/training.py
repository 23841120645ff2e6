"""The loop around the training step: data, logs, checkpoints, signals (layer 3)."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

import numpy as np
import tensorflow as tf

from mentornet import files, metrics, runs, students
from mentornet.checkpoints import RunCheckpoint
from mentornet.config import InputError, TrainConfig
from mentornet.datasets import dataset_info, records
from mentornet.datasets.pipeline import check_batch_size, training_batches
from mentornet.tf1_checkpoints import mentornet_fingerprint
from mentornet.trainer import Outputs, Trainer, make_trainer
from mentornet.updates import MentorUpdates, Relearn


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
        trains there.
    """
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    info = dataset_info(config.dataset_name, config.data_dir)
    for name in students.ignored_flags(config):
        reason = f"{config.studentnet} with a MentorNet has a schedule of its own (as released)."
        print(f"WARNING: --{name} has no effect: {reason}", flush=True)
    examples = records.read_examples(config.data_dir, info, "train")
    check_batch_size(config.batch_size, len(examples))
    trainer = make_trainer(config, len(examples), info.num_classes, examples.image_shape)
    updates = None
    if config.mentornet_update_epochs:
        assert relearn is not None
        updates = MentorUpdates(config, trainer, examples, relearn)
    mentor = trainer.weighting.mentor if trainer.weighting else None
    description = runs.describe(
        config,
        num_examples=len(examples),
        num_classes=info.num_classes,
        image_shape=list(examples.image_shape),
        data_sha256=examples.fingerprint(),
        mentornet_sha256=mentornet_fingerprint(mentor) if mentor else None,
    )
    with files.held(config.train_log_dir, "train_log_dir"):
        runs.open_folder(config, description)
        checkpoint = RunCheckpoint(
            config.train_log_dir, trainer.student, description, trainer.state(), config.max_to_keep
        )
        return _go_on(config, info.augment, examples, trainer, checkpoint, updates)


def _go_on(
    config: TrainConfig,
    augment: bool,
    examples: records.Examples,
    trainer: Trainer,
    checkpoint: RunCheckpoint,
    updates: MentorUpdates | None,
) -> int:
    """Trains from the latest checkpoint on; `augment` is what suits the data set."""
    restored = checkpoint.restore_latest()
    first_step = int(trainer.global_step.numpy())
    if restored:
        print(f"Going on from {restored}, step {first_step}.", flush=True)
    last_step = min(
        config.stop_after_step or config.max_number_of_steps, config.max_number_of_steps
    )
    if first_step >= last_step:
        print(f"Nothing to do: {first_step} steps are done.", flush=True)
        return first_step
    spec = students.find_student(config.studentnet)
    if config.augment is not None:
        augment = config.augment
    batches = training_batches(
        examples,
        batch_size=config.batch_size,
        seed=config.seed,
        first_step=first_step,
        last_step=last_step,
        padding=spec.padding if augment else None,
        steps_per_loop=config.steps_per_loop,
    )
    return _loop(config, trainer, batches, checkpoint, updates, first_step, last_step)


def _loop(
    config: TrainConfig,
    trainer: Trainer,
    batches: tf.data.Dataset,
    checkpoint: RunCheckpoint,
    updates: MentorUpdates | None,
    step: int,
    last_step: int,
) -> int:
    """Steps, logs and saves until the last step or a signal; returns the last step done."""
    label = "mentornet" if trainer.weighting else "baseline"
    writer = runs.open_writers(config, step, last_step, label)
    recent: list[Outputs] = []  # Since the last row was written.
    saved_at = logged_at = time.monotonic()
    with contextlib.closing(writer), _stop_on_signals() as received:
        for batch in batches:
            if config.steps_per_loop == 1:
                outputs = trainer.step(batch["images"], batch["labels"], batch["positions"])
            else:
                outputs = trainer.steps(batch)
            recent.append(outputs | {name: batch[name] for name in ("labels", "clean_labels")})
            step += outputs["mentornet/total_loss"].shape.num_elements()  # Waits for no value.
            last = step == last_step or bool(received)
            save = last or time.monotonic() - saved_at >= config.save_interval_secs
            if config.save_interval_steps:
                save = save or step % config.save_interval_steps == 0
            log = step % config.log_every_steps == 0 or step == config.max_number_of_steps
            if save or log:
                _check_finite(recent, step)
            if log:
                row, seconds = _row(recent), time.monotonic() - logged_at
                images = sum(outputs["losses"].shape.num_elements() for outputs in recent)
                writer.write_scalars(step, row | {"images_per_second": images / seconds})
                recent.clear()
                logged_at = time.monotonic()
            if updates and step in updates.steps:
                updates(step)
            if save:
                checkpoint.save()
                saved_at = time.monotonic()
            if last:
                break
    if received and step < last_step:
        advice = "start the same command again to go on."
        print(f"Stopped by {received[0]} after step {step}, which is saved; {advice}", flush=True)
    return step


# What a step's outputs say of its samples; all else are scalars.
_OF_SAMPLES = {"logits", "losses", "sample_weights", "labels", "clean_labels"}


def _check_finite(recent: list[Outputs], step: int) -> None:
    totals = np.concatenate([np.ravel(outputs["mentornet/total_loss"]) for outputs in recent])
    bad = np.flatnonzero(~np.isfinite(totals))
    if bad.size:
        number = step - len(totals) + int(bad[0]) + 1
        raise InputError(
            f"The loss of step {number} is {totals[bad[0]]}: nothing of it was saved, the last "
            "checkpoint stays. A lower `learning_rate` may help."
        )


def _row(recent: list[Outputs]) -> metrics.Scalars:
    """The last step's scalars, and statistics of all samples since the row before."""
    scalars = {k: float(np.ravel(v)[-1]) for k, v in recent[-1].items() if k not in _OF_SAMPLES}
    weights, labels, clean_labels = (
        np.concatenate([np.ravel(outputs[name]) for outputs in recent])
        for name in ("sample_weights", "labels", "clean_labels")
    )
    predictions = np.concatenate(
        [np.ravel(np.argmax(outputs["logits"], axis=-1)) for outputs in recent]
    )
    scalars |= metrics.prediction_statistics(predictions, labels, clean_labels)
    return scalars | metrics.weight_statistics(weights, labels, clean_labels)


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
