"""The loop around the training step."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import tensorflow as tf

from mentornet.config.training import AUTO_PRECISION, TrainConfig
from mentornet.config.weighting import UNIFORM
from mentornet.core import files, schedules
from mentornet.core.errors import check
from mentornet.core.processor import bfloat16_instructions
from mentornet.core.schedules import RateSchedule
from mentornet.datasets import records
from mentornet.datasets.catalog import DatasetInfo, dataset_info
from mentornet.datasets.pipeline import (
    Batch,
    Share,
    check_batch_size,
    in_replicas,
    reading,
    training_batches,
)
from mentornet.runs import run_folder, writers
from mentornet.runs.checkpoints import RunCheckpoint, joined
from mentornet.students import registry
from mentornet.training import distribution, hooks, recipe
from mentornet.training.build import make_trainer
from mentornet.training.label_wave import LabelWave
from mentornet.training.mentor_updates import MentorUpdates
from mentornet.training.step import StepResult, Trainer


def train(config: TrainConfig) -> int:
    """Trains a student, resuming from the latest checkpoint in train_log_dir if there is one.

    With deterministic operations on a CPU, the parameters equal those of an uninterrupted run bit
    for bit.

    Returns:
      The number of steps done; less than configured if a signal stopped the run.

    Raises:
      InputError: the data set, the student, the MentorNet or the folder cannot be used; the loss
        is not finite (the message names the step; the last good checkpoint is kept); another
        process uses the folder; the devices or the other workers are unavailable.
      WorkerLostError: lost contact with another worker.
    """
    cluster = distribution.Cluster()
    strategy = distribution.make_strategy(config.num_devices, cluster, config.cluster_timeout_secs)
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    info = dataset_info(config.dataset_name, config.data_dir)
    for name in registry.ignored_flags(config):
        reason = f"{config.studentnet} has another schedule with these settings."
        print(f"WARNING: --{name} has no effect: {reason}", flush=True)
    defaults = recipe.defaults(config, info.augment)
    asked, config = config, recipe.resolve(config, defaults)
    _report_precision(asked.mixed_precision or defaults["mixed_precision"])
    _report_unused(asked, config)
    assert config.batch_size is not None
    examples = records.read_examples(config.data_dir, info, "train")
    check_batch_size(config.batch_size, len(examples), strategy.num_replicas_in_sync)
    with cluster.watched(), strategy.scope():
        trainer = make_trainer(
            config, len(examples), info.num_classes, examples.image_shape, examples=examples
        )
    updates = None
    if config.mentornet_update_epochs:
        updates = MentorUpdates(config, trainer, examples, cluster.is_chief)
    schedule = registry.learning_rate_schedule(config, len(examples))
    wave = _label_wave(config, trainer, schedule)
    state = joined(trainer.state(), wave.state() if wave else {})
    description = run_folder.describe(
        config,
        schedule,
        batch_norm_decays=registry.batch_norm_decays(trainer.student),
        **recipe.fixed(config),
        **_describe_data(info, examples),
        **trainer.facts,
    )
    with contextlib.ExitStack() as stack:
        stack.enter_context(cluster.watched(has_opened=True))
        if cluster.is_chief:
            stack.enter_context(files.held(config.train_log_dir, "train_log_dir"))
            run_folder.open_folder(config, description, defaults)
        distribution.barrier(strategy)
        checkpoint = RunCheckpoint(
            config.train_log_dir,
            trainer.student,
            description,
            state,
            config.max_to_keep,
            versioned=[trainer.history] if trainer.history else [],
        )
        run = _Run(config, cluster, strategy, examples, trainer, checkpoint, updates, wave)
        return run.run()


def _describe_data(info: DatasetInfo, examples: records.Examples) -> dict[str, Any]:
    """Facts about the training split for config.json."""
    return {
        "num_examples": len(examples),
        "num_classes": info.num_classes,
        "class_names": info.class_names,
        "image_shape": examples.image_shape,
        "data_sha256": examples.fingerprint(),
        "images_sha256": examples.images_sha256,
    }


def _label_wave(config: TrainConfig, trainer: Trainer, schedule: RateSchedule) -> LabelWave | None:
    """The criterion of `keep_best`; None if no checkpoint is to be kept."""
    if config.keep_best is None:
        return None
    assert trainer.history is not None and config.batch_size is not None
    steps = config.max_number_of_steps
    first_step = schedules.first_step_of(schedules.last_rise(schedule, steps), steps)
    return LabelWave(trainer.history, steps, config.batch_size, first_step)


def _report_precision(asked: str) -> None:
    """Prints what mixed_precision=auto resolves to, and why."""
    if asked == AUTO_PRECISION:
        found = bfloat16_instructions()
        if found:
            said = f"bfloat16, which the processor supports in hardware ({', '.join(found)})"
        else:
            said = "float32, since the processor does not support bfloat16 in hardware"
        print(f"mixed_precision=auto: {said}.", flush=True)


def _report_unused(asked: TrainConfig, config: TrainConfig) -> None:
    """Prints that lookahead is off in a short training, and which flags have no effect."""
    for name in () if config.augment else recipe.AUGMENTATION:
        if getattr(asked, name) is not None:
            print(f"WARNING: --{name} has no effect: samples are not augmented.", flush=True)
    usual = registry.find_student(config.studentnet).recipe.lookahead_steps
    if asked.lookahead_steps is None and config.lookahead_steps != usual:
        print(f"Lookahead is off, since it needs more than {usual} steps.", flush=True)


@dataclasses.dataclass(frozen=True)
class _Run:
    """A run in one worker."""

    config: TrainConfig
    cluster: distribution.Cluster
    strategy: tf.distribute.Strategy
    examples: records.Examples
    trainer: Trainer
    checkpoint: RunCheckpoint
    updates: MentorUpdates | None
    wave: LabelWave | None

    def run(self) -> int:
        """Trains from the latest checkpoint; returns the last step done."""
        config = self.config
        restored = self.checkpoint.restore_latest()
        first_step = int(self.trainer.global_step.numpy())
        if restored:
            print(f"Resuming from {restored}, step {first_step}.", flush=True)
        rule = "All workers must find the same checkpoint in `train_log_dir`."
        same = distribution.same_everywhere(self.strategy, first_step)
        check(same, rule, train_log_dir=config.train_log_dir, step=first_step)
        last_step = min(
            config.stop_after_step or config.max_number_of_steps, config.max_number_of_steps
        )
        if first_step >= last_step:
            print(f"Nothing to do: {first_step} steps are done.", flush=True)
            return first_step
        standardization = registry.find_student(config.studentnet).recipe.standardization
        augmentation, batch_size = recipe.augmentation(config), config.batch_size
        assert batch_size is not None

        def batches(share: Share) -> tf.data.Dataset:
            return training_batches(
                self.examples,
                batch_size=batch_size,
                seed=config.seed,
                first_step=first_step,
                last_step=last_step,
                augmentation=augmentation,
                standardization=standardization,
                steps_per_loop=config.steps_per_loop,
                share=share,
            )

        steps = f"Training from step {first_step} to {last_step}, {batch_size} samples each"
        print(f"{steps}; the first step takes the longest.", flush=True)
        step = self._loop(in_replicas(batches, self.strategy), first_step, last_step)
        distribution.barrier(self.strategy)  # Let the chief finish saving.
        return step

    def _loop(self, batches: Iterable[Batch], step: int, last_step: int) -> int:
        """Steps until the last step or a signal; returns the last step done."""
        stop = hooks.Stop(distribution.AnyWorker(self.strategy))
        with self._writer(step, last_step) as writer, stop.on_signals():
            actions = self._hooks(writer, stop)
            for batch in reading(batches, "A batch cannot be read; the last checkpoint is kept"):
                result = self._step(batch)
                step += result.num_steps
                moment = hooks.Moment(step, result, is_last=step == last_step)
                for act in actions:
                    act(moment)
                if moment.is_last:
                    break
        if step == self.config.max_number_of_steps:
            of_wave = self.wave.remarks() if self.wave else []
            for remark in [*self.trainer.remarks(), *of_wave]:
                print(remark, flush=True)
        if stop.reason and step < last_step:
            advice = "run the same command again to resume."
            by = f"Stopped by {stop.reason} after step {step}"
            print(f"{by}, which is saved; {advice}", flush=True)
        return step

    def _step(self, batch: Batch) -> StepResult:
        if self.config.steps_per_loop > 1:
            return self.trainer.steps(batch)
        return self.trainer.step(batch["images"], batch["labels"], batch["positions"])

    def _hooks(self, writer: writers.MultiWriter, stop: hooks.Stop) -> list[hooks.Hook]:
        """The hooks, in the order in which they are called."""
        variables = [variable.value for variable in self.trainer.student.trainable_variables]
        is_chief, finite = self.cluster.is_chief, hooks.FiniteLosses(variables)
        checkpoint = self.checkpoint if is_chief else None
        found: list[hooks.Hook] = [stop, finite]  # The others see whether this is the last step.
        if self.wave is not None:
            found.append(hooks.KeepBest(self.wave, checkpoint, finite))
        found.append(hooks.Log(self.config, writer, self.examples, finite))
        if self.updates is not None:
            found.append(self.updates)
        return [*found, hooks.Save(self.config, checkpoint, finite)]

    @contextlib.contextmanager
    def _writer(self, step: int, last_step: int) -> Iterator[writers.MultiWriter]:
        """The writer of logged rows; workers other than the chief write nothing."""
        name, _ = self.config.named_weighting
        label = "baseline" if name == UNIFORM else name
        writer = writers.MultiWriter()
        if self.cluster.is_chief:
            writer = run_folder.open_writers(self.config, step, last_step, label)
        with contextlib.closing(writer):
            yield writer
