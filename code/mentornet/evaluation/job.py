"""The evaluation job: evaluates each checkpoint of a folder once."""

from __future__ import annotations

import contextlib
import itertools
import operator
import os
import pathlib
import time
from collections.abc import Callable
from typing import Any

from mentornet.config.evaluation import EvalConfig
from mentornet.core import files
from mentornet.core.checkpoint_files import READ_ERRORS
from mentornet.core.errors import InputError, check, first_line
from mentornet.datasets import records
from mentornet.datasets.catalog import DatasetInfo, dataset_info
from mentornet.evaluation.predictor import Predictor, accuracies, check_fits
from mentornet.runs import layout, writers
from mentornet.runs.checkpoints import (
    checkpoint_identity,
    checkpoint_paths,
    checkpoint_step,
    read_run_config,
)
from mentornet.runs.students import describe_student, rebuild_student, restore_student
from mentornet.students import registry

_VIEWS = "test_time_augmentation"  # Its key in a row.
# By which rows are sorted: a checkpoint that was unreadable at first may follow a later one.
_STEP = operator.itemgetter("step")


class _Job:
    """The evaluation job's state: the rows written so far, and the last student built."""

    def __init__(self, config: EvalConfig) -> None:
        self._config = config
        self._said: set[str] = set()
        self._gone: set[int] = set()
        self._predictor: Predictor | None = None
        self._built_from: tuple[str, int] | None = None
        self._examples: tuple[DatasetInfo, records.Examples] | None = None
        self._facts: dict[str, Any] = {}  # What a row depends on besides the checkpoint.
        self._max_number_of_steps: int | None = None
        self._kept_step: int | None = None
        folder = pathlib.Path(config.eval_dir)
        self._file = folder / layout.EVALUATIONS_FILE
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._rows_writer = writers.JsonLinesWriter(self._file)
        except OSError as error:
            raise InputError(f"`eval_dir` {folder} cannot be written: {error}") from None
        self._board = writers.TensorBoardWriter(config.eval_dir, 10)
        self.rows = layout.read_evaluations(folder)

    @property
    def own_rows(self) -> list[dict[str, Any]]:
        """The rows without those of checkpoints that the training set aside."""
        return [row for row in self.rows if layout.KEPT not in row]

    def close(self) -> None:
        self._board.close()
        self._rows_writer.close()

    def new_checkpoints(self) -> list[str]:
        """Checkpoints that have not been evaluated yet, oldest first.

        Rows of other checkpoints, data or settings are set aside.
        """
        paths = checkpoint_paths(self._config.checkpoint_dir)
        if self._are_of_another_run(paths):
            self._set_rows_aside("checkpoints")
        if self._differ_in_data(paths):
            self._set_rows_aside("data, or with another test_time_augmentation")
        # A run that was started anew may have them again.
        self._gone -= {checkpoint_step(p) for p in paths if os.path.exists(f"{p}.index")}
        done = {row["step"] for row in self.own_rows} | self._gone
        return [path for path in paths if checkpoint_step(path) not in done]

    def _are_of_another_run(self, paths: list[str]) -> bool:
        """Whether a row's checkpoint has changed, or is missing although there is an older one."""
        by_step = {checkpoint_step(path): path for path in paths}
        for row in self.own_rows:
            if path := by_step.get(row["step"]):
                found = checkpoint_identity(path)  # Rows of earlier versions have none.
                if found not in (None, row.get("checkpoint") or found):
                    return True
            elif row["step"] > min(by_step, default=row["step"]):  # Only the oldest are deleted.
                return True
        return False

    def _differ_in_data(self, paths: list[str]) -> bool:
        """Whether a row of an earlier process is not of the data and views that are asked for."""
        for path in paths[::-1]:
            if not self.rows or self._facts:
                break
            try:
                self._open(path)
            except READ_ERRORS as error:  # Another one may be whole.
                if isinstance(error, InputError):
                    raise
        if self.rows and not self._facts:
            self.say_once(f"WARNING: no checkpoint can be read: {self._file} may be of other data.")
        # Earlier versions recorded no data; without averaging, no version records the views.
        return bool(self._facts) and any(
            row.get("data", self._facts["data"]) != self._facts["data"]
            or row.get(_VIEWS) != self._facts.get(_VIEWS)
            for row in self.rows
        )

    def _set_rows_aside(self, others: str) -> None:
        """Starts a new file, as the rows are of another run or data; they are kept in another."""
        names = (self._file.with_stem(f"{self._file.stem}-{n}") for n in itertools.count(1))
        aside = next(name for name in names if not name.exists())
        self._rows_writer.close()
        self._file.rename(aside)
        self._rows_writer = writers.JsonLinesWriter(self._file)
        self.rows, self._gone, self._max_number_of_steps = [], set(), None
        told = f"{self._file} held evaluations of other {others}; they were moved to {aside.name}."
        print(told, flush=True)

    def say_once(self, message: str) -> None:
        if message not in self._said:
            self._said.add(message)
            print(message, flush=True)

    def evaluate(self, prefix: str, kept: bool = False) -> bool:
        """Evaluates one checkpoint, unless it turns out to be deleted or damaged.

        Returns:
          False if the checkpoint is damaged and must be tried again, else True.
        """
        step, identity = checkpoint_step(prefix), checkpoint_identity(prefix)
        try:
            self._restore(prefix)
        except READ_ERRORS as error:
            if isinstance(error, InputError):
                raise
            if not os.path.exists(f"{prefix}.index"):
                self._gone.add(step)
                self.say_once(f"Step {step}: the checkpoint was deleted before it was evaluated.")
                return True
            reason = first_line(error)
            self.say_once(f"WARNING: step {step}: {prefix} cannot be read yet: {reason}")
            return False
        assert self._predictor and self._examples
        info, examples = self._examples
        row = accuracies(self._predictor(examples, self._config.batch_size), examples, info)
        row |= self._facts | {"checkpoint": identity} | ({layout.KEPT: True} if kept else {})
        self._rows_writer.write_scalars(step, row)
        self.rows = sorted([*self.rows, {"step": step, **row}], key=_STEP)
        self._board.write_scalars(step, {k: row[k] for k in ("eval/accuracy", "total_loss")})
        shown = f"accuracy={row['eval/accuracy']:.4f} total_loss={row['total_loss']:.4f}"
        print(f"eval step {step}: {shown} ({row['num_examples']} images)", flush=True)
        return True

    def _open(self, prefix: str) -> dict[str, Any]:
        """The run that wrote a checkpoint; reads the data with which it is to be evaluated."""
        config = self._config
        run = describe_student(prefix, config.studentnet, config.dataset_name, config.data_dir)
        self._max_number_of_steps = run.get("max_number_of_steps")
        for name in ("studentnet", "dataset_name"):
            asked = getattr(config, name)
            if asked is not None and asked != run[name]:
                told = f"WARNING: --{name}={asked} is ignored: the checkpoint has {run[name]}."
                self.say_once(told)
        if self._examples is None:
            info = dataset_info(run["dataset_name"], config.data_dir)
            examples = records.read_examples(config.data_dir, info, config.split_name)
            self._examples = info, examples
        info, examples = self._examples
        check_fits(run, info, examples, config.data_dir)
        asked = config.test_time_augmentation
        default = registry.find_student(run["studentnet"]).recipe.test_time_augmentation
        augments = default if asked is None else asked
        self._facts = {"data": examples.identity(), **({_VIEWS: True} if augments else {})}
        return run

    def _restore(self, prefix: str) -> None:
        run = self._open(prefix)
        built_from = run["studentnet"], run["num_classes"]
        if self._predictor is None or self._built_from != built_from:
            recipe = registry.find_student(run["studentnet"]).recipe
            augments = _VIEWS in self._facts
            self._predictor = Predictor(rebuild_student(run), recipe.standardization, augments)
            self._built_from = built_from
        restore_student(self._predictor.student, prefix)

    def evaluate_kept(self) -> None:
        """Evaluates the checkpoint that the training set aside, unless that was done."""
        folder = pathlib.Path(self._config.checkpoint_dir, layout.KEPT_FOLDER)
        for path in checkpoint_paths(str(folder)):
            self._kept_step = checkpoint_step(path)
            if self._kept_step not in {row["step"] for row in self.rows}:
                self.evaluate(path, kept=True)

    def finished(self) -> bool:
        """Whether the last step of the run has been evaluated, by this or an earlier process."""
        if not self.own_rows:
            return False
        paths = checkpoint_paths(self._config.checkpoint_dir)
        if self._max_number_of_steps is None and paths:
            with contextlib.suppress(*READ_ERRORS):
                self._max_number_of_steps = read_run_config(paths[-1])["max_number_of_steps"]
        return self._max_number_of_steps in {row["step"] for row in self.own_rows}

    def summarize(self) -> dict[str, Any]:
        """Prints the last and best accuracy, and the classes'; writes and returns the summary."""
        if not self.own_rows:
            print("Nothing was evaluated.", flush=True)
            return {}
        last = self.own_rows[-1]  # One that was set aside may be later, if the run was killed.
        best = max(self.own_rows, key=lambda row: row["eval/accuracy"])
        classes = last["per_class_accuracy"]
        summary = {
            "last_step": last["step"],
            "last_accuracy": last["eval/accuracy"],
            "best_step": best["step"],
            "best_accuracy": best["eval/accuracy"],
            "num_examples": last["num_examples"],
            "per_class_accuracy": classes,
        }
        for kept in (row for row in self.rows if row["step"] == self._kept_step):
            summary["label_wave_step"] = kept["step"]
            summary["label_wave_accuracy"] = kept["eval/accuracy"]
        path = pathlib.Path(self._config.eval_dir) / layout.SUMMARY_FILE
        files.write_json(path, summary)
        for name in ("last", "best", "label_wave"):
            if f"{name}_step" in summary:
                accuracy, step = summary[f"{name}_accuracy"], summary[f"{name}_step"]
                print(f"{name.replace('_', ' ')} accuracy {accuracy:.4f} (step {step})")
        width = max(len("class"), *map(len, classes))
        print(f"{'class':<{width}}  accuracy (step {last['step']})")
        for name, value in classes.items():
            print(f"{name:<{width}}  {value:.4f}")
        return summary


def run(
    config: EvalConfig,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, Any]:
    """Evaluates each checkpoint of a folder exactly once, waiting for new ones.

    Stops after evaluating the run's last step, after `timeout_secs` without a new checkpoint, or,
    with `run_once`, after the existing checkpoints. Steps in eval.jsonl are not evaluated again.

    Rows belong to an earlier run, which has been overwritten, if the checkpoint of a step is not
    the one that was evaluated, or is missing although the run has an older one. The file is then
    renamed and a new one is started. The same happens if rows are of other data or of another
    `test_time_augmentation`.

    Args:
      config: the job.
      clock: returns seconds; replaced in tests.
      sleep: likewise.

    Returns:
      What summary.json holds; nothing if no checkpoint was evaluated.

    Raises:
      InputError: the data cannot be read, or have other classes or another shape than those of the
        training; eval_dir cannot be written; with `run_once`, there is no checkpoint; another
        process evaluates into eval_dir.
    """
    rule = "`data_dir` must be an existing folder."
    check(os.path.isdir(config.data_dir), rule, data_dir=config.data_dir)
    rule = "`checkpoint_dir` must be an existing folder."
    is_there = not config.run_once or os.path.isdir(config.checkpoint_dir)
    check(is_there, rule, checkpoint_dir=config.checkpoint_dir)
    with files.held(config.eval_dir, "eval_dir"), contextlib.closing(_Job(config)) as job:
        new_at, is_idle = clock(), False
        while True:
            for path in (new := job.new_checkpoints()):
                if job.evaluate(path):
                    new_at = clock()
            if config.run_once and not job.own_rows:
                raise InputError(f"No readable checkpoint in {config.checkpoint_dir}.")
            if config.run_once or job.finished():
                break
            limit = float("inf") if config.timeout_secs is None else config.timeout_secs
            left = limit - (clock() - new_at)
            if left <= 0:
                print(f"No new checkpoint for {limit:g} seconds.", flush=True)
                break
            if not job.own_rows:
                job.say_once(f"Waiting for the first checkpoint in {config.checkpoint_dir}.")
            elif is_idle and not new and files.was_held(config.checkpoint_dir):
                job.say_once(f"Waiting, but no process trains in {config.checkpoint_dir}.")
            is_idle = not new
            sleep(min(config.eval_interval_secs, left))
        if job.own_rows:
            job.evaluate_kept()
        return job.summarize()
