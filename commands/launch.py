"""Runs the training and evaluation commands of a table, several at a time.

    python commands/launch.py --table=commands/published_runs.csv --gpus=0,1,2

Each row is a run: a training job with an evaluation job alongside. Paths are relative to the top of
the repository. Finished runs are skipped, interrupted ones resume; on Ctrl-C or SIGTERM, the
running jobs save and end. Output goes to train.log and eval.log next to each run's `train` folder.

A column is a flag of the training script, and an empty cell means the flag's default. Exceptions
are `method` and `noise_fraction`, which name the run (and its data, unless `data` does), `flags`
for further flags, `script` for another training script than cifar_train_mentornet.py (or, for the
method baseline, cifar_train_baseline.py), and `loss_p_percentile_as_written` for the published
spelling.
"""

from __future__ import annotations

import csv
import dataclasses
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import time

from absl import flags

from mentornet.cli import script
from mentornet.core import files
from mentornet.core.errors import InputError, check
from mentornet.runs import layout

FLAGS = flags.FLAGS

_FACTS = {"method", "noise_fraction", "data", "script", "flags", "train_log_dir"}
_FACTS |= {"loss_p_percentile_as_written"}


@dataclasses.dataclass(frozen=True)
class Run:
    """A row of the table: the run's folder, its steps, and the two commands without a device."""

    name: str
    folder: pathlib.Path
    steps: int
    train: tuple[str, ...]
    evaluate: tuple[str, ...]

    def result(self) -> dict[str, float] | None:
        """Last and best accuracy, once the last step has been evaluated."""
        rows = files.read_json_lines(self.folder / layout.EVAL_FOLDER / layout.EVALUATIONS_FILE)
        accuracy = {row["step"]: row["eval/accuracy"] for row in rows}
        if self.steps not in accuracy:
            return None
        return {"last_accuracy": accuracy[self.steps], "best_accuracy": max(accuracy.values())}


def read_table(path: str) -> list[dict[str, str]]:
    """The rows of a csv file, as text.

    Raises:
      InputError: it cannot be read, or lacks what every run needs.
    """
    try:
        with open(path, newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"`table` {path} cannot be read: {error}") from None
    needed = {"dataset_name", "studentnet", "method", "train_log_dir", "max_number_of_steps"}
    missing = sorted(needed - rows[0].keys()) if rows else sorted(needed)
    check(not missing, f"`table` {path} must have rows and these columns.", missing=missing)
    for number, row in enumerate(rows, start=1):
        where, steps = f"`table` {path}, row {number}:", row["max_number_of_steps"] or ""
        check(None not in row, f"{where} must not have more cells than the header.", row=row)
        missing = sorted(name for name in needed if not row[name])
        check(not missing, f"{where} must have these cells.", missing=missing)
        train_log_dir = row["train_log_dir"]
        rule = f"{where} `train_log_dir` must look like runs/NAME/train."
        check(len(pathlib.Path(train_log_dir).parts) > 2, rule, train_log_dir=train_log_dir)
        rule = f"{where} `max_number_of_steps` must be a positive whole number."
        check(steps.isdecimal() and int(steps) > 0, rule, max_number_of_steps=steps)
        named = bool(row.get("data") or row.get("noise_fraction"))
        check(named, f"{where} must have `data` or `noise_fraction`.", row=row)
    return rows


def _scaled(row: dict[str, str], script: str, scale: float) -> dict[str, str]:
    """The row with steps and schedule scaled in proportion; imports TensorFlow."""
    from mentornet.students import recipes, registry

    recipe = registry.find_student(row["studentnet"]).recipe
    steps = max(1, round(int(row["max_number_of_steps"]) * scale))
    row = row | {"max_number_of_steps": str(steps)}
    epochs = row.get("num_epochs_per_decay")
    # Weightings other than a MentorNet have the baseline's schedule.
    plain = script.endswith("cifar_train_baseline.py")
    mentored = not plain and row.get("weighting") in (None, "", "mentornet")
    if mentored and recipe.mentored_boundaries:
        boundaries = sorted({max(1, round(step * scale)) for step in recipe.mentored_boundaries})
        row["learning_rate_boundaries"] = ",".join(map(str, boundaries))
    elif epochs or recipe.schedule is recipes.staircase:
        row["num_epochs_per_decay"] = f"{float(epochs or recipes.EPOCHS_PER_DECAY) * scale:g}"
    return row


def _flag(name: str, value: str) -> str:
    words = {"True": f"--{name}", "False": f"--no{name}"}
    return words.get(value, f"--{name}={value}")


def make_run(
    row: dict[str, str], *, data: str, runs: str, scale: float = 1, percentile: str = "as_written"
) -> Run:
    """The commands of a row.

    Args:
      row: of `read_table`.
      data: folder that holds <dataset>/<noise>, or the folder that the column `data` names.
      runs: replaces the first component of train_log_dir.
      scale: factor of steps and schedule.
      percentile: "as_written", or "release" for the value that the release actually used.
    """
    kind = "baseline" if row["method"] == "baseline" else "mentornet"
    script = row.get("script") or f"code/cifar_train_{kind}.py"
    row = row if scale == 1 else _scaled(row, script, scale)
    folder = pathlib.Path(runs, *pathlib.Path(row["train_log_dir"]).parts[1:]).parent
    records = row.get("data") or f"{row['dataset_name']}/{row['noise_fraction']}"
    values = {name: value for name, value in row.items() if value and name not in _FACTS}
    if written := row.get("loss_p_percentile_as_written"):
        if percentile == "release":
            values["loss_p_percentile"] = "0.7"  # Whatever its commands say.
        else:
            values["loss_p_precentile"] = written
    test = str(pathlib.Path(data, records).with_name("val"))
    # learn_curriculum.py makes the folder `train` itself.
    own_folders = script.endswith("learn_curriculum.py")
    values["data_dir"] = f"{data}/{records}"
    values["train_log_dir"] = str(folder if own_folders else folder / layout.TRAIN_FOLDER)
    if own_folders:
        values["eval_data_dir"] = test
    evaluate = {
        "dataset_name": row["dataset_name"],
        "studentnet": row["studentnet"],
        "data_dir": test,
        "checkpoint_dir": f"{folder / layout.TRAIN_FOLDER}",
        "eval_dir": f"{folder / layout.EVAL_FOLDER}",
    }
    return Run(
        str(folder.relative_to(runs)),
        folder,
        int(row["max_number_of_steps"]),
        (script, *(_flag(*item) for item in values.items()), *shlex.split(row.get("flags") or "")),
        ("code/cifar_eval.py", *(_flag(*item) for item in evaluate.items())),
    )


class Pair:
    """A run's two processes, on one device."""

    def __init__(self, run: Run, device: str) -> None:
        self.run, self.started_at = run, time.monotonic()
        run.folder.mkdir(parents=True, exist_ok=True)
        common = [f"--device_id={device}"]
        self.train = self._start("train", [*run.train, *common])
        patience = ["--eval_interval_secs=5", "--batch_size=100"]
        self.evaluation = self._start("eval", [*run.evaluate, *patience, *common])

    def _start(self, name: str, command: list[str]) -> subprocess.Popen[bytes]:
        with (self.run.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, *command],
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C reaches only the launcher, which stops the jobs in order.
                start_new_session=True,
            )

    def ended(self) -> bool:
        """Whether both have ended; stops the evaluation if its training job has failed."""
        if self.train.poll() is None:
            return False
        rows = files.read_json_lines(self.run.folder / layout.TRAIN_FOLDER / layout.METRICS_FILE)
        if not rows or rows[-1]["step"] < self.run.steps:
            self.evaluation.terminate()
        return self.evaluation.poll() is not None

    def stop(self) -> None:
        """Stops both jobs, after the training has saved."""
        for process in (self.train, self.evaluation):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in (self.train, self.evaluation):
            process.wait()


class Launcher:
    """Works through runs, with one pair of jobs per device at a time."""

    def __init__(self, runs: list[Run], devices: list[str]) -> None:
        self._waiting, self._total = list(runs), len(runs)
        self._free, self._pairs = list(devices), dict[str, Pair]()
        self._told = set[str]()
        self._failed = 0

    def _say(self, run: Run, message: str) -> None:
        left = len(self._waiting) + len(self._pairs)
        print(f"[{self._total - left}/{self._total}] {run.name}: {message}", flush=True)

    def _start_next(self) -> None:
        run = self._waiting.pop(0)
        if summary := run.result():
            self._say(run, f"is done, last accuracy {summary['last_accuracy']:.4f}")
            return
        if process := files.holder(run.folder / layout.TRAIN_FOLDER):
            self._waiting.append(run)
            if run.name not in self._told:
                self._told.add(run.name)
                self._say(run, f"is being trained by process {process}, which is left running")
            return
        device = self._free.pop(0)
        self._pairs[device] = Pair(run, device)
        self._say(run, f"started on device {device}")

    def _collect(self) -> None:
        for device, pair in list(self._pairs.items()):
            if not pair.ended():
                continue
            del self._pairs[device]
            self._free.append(device)
            minutes = (time.monotonic() - pair.started_at) / 60
            if summary := pair.run.result():
                accuracies = (summary[f"{kind}_accuracy"] for kind in ("last", "best"))
                text = "last accuracy {:.4f}, best {:.4f}".format(*accuracies)
                self._say(pair.run, f"{text}, {minutes:.1f} minutes")
            else:
                self._failed += 1
                self._say(pair.run, f"FAILED, see {pair.run.folder}/train.log and eval.log")

    def work(self) -> int:
        """Runs everything; returns the number of runs that failed."""
        try:
            while self._waiting or self._pairs:
                for _ in range(len(self._waiting)):  # Others may train some: each once a turn.
                    if self._free:
                        self._start_next()
                self._collect()
                time.sleep(0.2)
        finally:
            for pair in self._pairs.values():
                pair.stop()
        return self._failed


def define_flags() -> None:
    """Defines the flags; called only by the script, so that it can be imported without them."""
    flags.DEFINE_string("table", "", "CSV file with one run per row.")
    flags.DEFINE_list("gpus", ["0"], "GPUs; one run at a time on each. Keep the default on a CPU.")
    flags.DEFINE_multi_string("filter", [], "Only runs whose name contains each of these strings.")
    flags.DEFINE_float("scale", 1, "Factor of steps and schedules: compresses the curriculum.")
    flags.DEFINE_enum(
        "percentile",
        "as_written",
        ["as_written", "release"],
        "The published percentile as written, or 0.7, which the release used whatever was written.",
    )
    flags.DEFINE_string("data_dir", "data", "Folder of the data sets.")
    flags.DEFINE_string("runs_dir", "cifar_models", "Folder of the runs.")
    flags.DEFINE_boolean("dry_run", False, "Print the commands without running them.")


def main() -> None:
    check(FLAGS.scale > 0, "`scale` must be positive.", scale=FLAGS.scale)
    check(bool(FLAGS.gpus), "`gpus` must name at least one.", gpus=FLAGS.gpus)
    # Scripts and shipped MentorNets are named from the top of the repository.
    os.chdir(pathlib.Path(__file__).resolve().parents[1])
    rows, folders = read_table(FLAGS.table), {"data": FLAGS.data_dir, "runs": FLAGS.runs_dir}
    if FLAGS.scale != 1:
        script.load_tensorflow()
    how = {"scale": FLAGS.scale, "percentile": FLAGS.percentile}
    runs = [make_run(row, **folders, **how) for row in rows]
    runs = [run for run in runs if all(re.search(part, run.name) for part in FLAGS.filter)]
    check(bool(runs), "`filter` must match at least one run.", filter=FLAGS.filter)
    if FLAGS.dry_run:
        for run in runs:
            for command in (run.train, run.evaluate):
                print(shlex.join(("python", *command)))
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    failed = Launcher(runs, list(dict.fromkeys(FLAGS.gpus))).work()
    check(failed == 0, f"{failed} of {len(runs)} runs failed.", runs_dir=FLAGS.runs_dir)


if __name__ == "__main__":
    define_flags()
    script.run(main)
