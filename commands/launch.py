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

import dataclasses
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import time

from run_table import Run, make_run, read_table

from mentornet.cli import config_flags, script
from mentornet.config.options import REQUIRED, check_fields, not_empty, option, positive
from mentornet.core import files
from mentornet.core.errors import InputError, check
from mentornet.runs import layout

_REPORT_EVERY = 300  # Seconds between two reports of a run that goes on.


def _check_patterns(name: str, values: tuple[str, ...]) -> None:
    for value in values:
        try:
            re.compile(value)
        except re.error as error:
            rule = f"`{name}` must hold regular expressions: {error}."
            raise InputError(f"{rule} Received: {name}={value!r}") from None


def _check_flags(name: str, value: str) -> None:
    try:
        shlex.split(value)
    except ValueError as error:
        rule = f"`{name}` must hold flags as in a shell: {error}."
        raise InputError(f"{rule} Received: {name}={value!r}") from None


@dataclasses.dataclass(frozen=True)
class LaunchConfig:
    """Which runs are launched, and where: each field is a flag.

    Raises:
      InputError: a value is outside its range.
    """

    table: str = option(REQUIRED, "CSV file with one run per row.")
    gpus: tuple[str, ...] = option(
        (),
        "GPUs, with one run at a time on each; by default those of CUDA_VISIBLE_DEVICES, or else "
        "0. On a CPU, as many runs at a time as there are names here.",
    )
    filter: tuple[str, ...] = option(
        (),
        "Regular expressions that a run's name must all match.",
        check=_check_patterns,
        repeated=True,
    )
    scale: float = option(
        1.0, "Factor of steps and schedules: compresses the curriculum.", check=positive
    )
    percentile: str = option(
        "as_written",
        "The published percentile as written, or 0.7, which the release used whatever was written; "
        "the two need different `runs_dir`s.",
        choices=("as_written", "release"),
    )
    flags: str = option(
        "",
        "Further flags of every training, such as '--mixed_precision=auto'; they override the "
        "table's. Finished runs are skipped whatever their flags were: other flags need another "
        "runs_dir.",
        check=_check_flags,
    )
    data_dir: str = option("data", "Folder of the data sets.", check=not_empty)
    runs_dir: str = option("cifar_models", "Folder of the runs.", check=not_empty)
    dry_run: bool = option(False, "Print the commands without running them.")

    def __post_init__(self) -> None:
        check_fields(self)


class Pair:
    """A run's two processes, on one device."""

    def __init__(self, run: Run, device: str) -> None:
        self.run = run
        self.started_at = self.reported_at = self._trains_since = time.monotonic()
        # What was logged after the latest checkpoint is trained again.
        self.first_step = min(run.last_step(), run.saved_step())
        run.folder.mkdir(parents=True, exist_ok=True)
        self._common = [f"--device_id={device}"]
        self.train = self._start("train", [*run.train, *self._common])
        self.evaluation, self._again = self._evaluate(), False

    def _evaluate(self) -> subprocess.Popen[bytes]:
        polling = ["--eval_interval_secs=5", "--batch_size=100"]
        return self._start("eval", [*self.run.evaluate, *polling, *self._common])

    def _start(self, name: str, command: list[str]) -> subprocess.Popen[bytes]:
        with (self.run.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, *command],
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C reaches only the launcher, which stops the jobs in order.
                start_new_session=True,
            )

    def trained(self) -> tuple[float, int]:
        """Seconds and steps of training; the time before a first step counts only in part."""
        steps = max(0, self.run.last_step() - self.first_step)
        if not steps:  # It starts, or learn_curriculum.py is at the burn-in.
            self._trains_since = time.monotonic()
            return 0.0, 0
        return time.monotonic() - self._trains_since, steps

    def ended(self) -> bool:
        """Whether both have ended.

        If the training has failed, the evaluation is stopped. An evaluation that has failed is
        started again once, after the training.
        """
        if self.train.poll() is None:
            return False
        if self.train.returncode or self.run.last_step() < self.run.steps:
            self.evaluation.terminate()
        elif self.evaluation.poll() and not self._again:
            self.evaluation, self._again = self._evaluate(), True
        return self.evaluation.poll() is not None

    def stop(self) -> None:
        """Asks both jobs to end, the training after it has saved."""
        for process in (self.train, self.evaluation):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)

    def wait(self) -> None:
        """Waits until both jobs have ended."""
        self.train.wait()
        self.evaluation.wait()


class Launcher:
    """Works through runs, with one pair of jobs per device at a time."""

    def __init__(self, runs: list[Run], devices: list[str]) -> None:
        self._waiting, self._total = list(runs), len(runs)
        self._free, self._pairs = list(devices), dict[str, Pair]()
        self._reported = set[str]()
        self._failed = 0
        self._seconds, self._steps = 0.0, 0  # Of the runs that were trained here.

    def _say(self, run: Run, message: str) -> None:
        left = len(self._waiting) + len(self._pairs)
        print(f"[{self._total - left}/{self._total}] {run.name}: {message}", flush=True)

    def _time_left(self) -> str:
        """An estimate from what was trained here, as if every step took the same time."""
        pairs = self._pairs.values()
        left = sum(run.steps_left() for run in [*self._waiting, *(pair.run for pair in pairs)])
        trained = [(self._seconds, self._steps), *(pair.trained() for pair in pairs)]
        seconds, steps = map(sum, zip(*trained, strict=True))
        if not (left and steps):
            return ""
        at_once = min(len(self._free) + len(self._pairs), len(self._waiting) + len(self._pairs))
        hours = left * seconds / steps / at_once / 3600
        time_left = f"{hours:.1f} hours" if hours >= 1 else f"{60 * hours:.0f} minutes"
        return f", about {time_left} left"

    def _report_progress(self) -> None:
        for pair in self._pairs.values():
            if time.monotonic() - pair.reported_at >= _REPORT_EVERY:
                pair.reported_at = time.monotonic()
                self._say(pair.run, f"{pair.run.progress()}{self._time_left()}")

    def _start_next(self) -> None:
        run = self._waiting.pop(0)
        if summary := run.result():
            self._say(run, f"is done, last accuracy {summary['last_accuracy']:.4f}")
            return
        stages = [layout.TRAIN_FOLDER, layout.BURN_IN_FOLDER]
        if run.last_step() == run.steps:  # What is left is its evaluation.
            stages.append(layout.EVAL_FOLDER)
        held = [files.holder(run.folder / stage) for stage in stages]
        process = next((number for number in held if number is not None), None)
        if process is not None:
            self._waiting.append(run)
            if run.name not in self._reported:
                self._reported.add(run.name)
                by = f"process {process}" if process else "another process"
                self._say(run, f"is being trained or evaluated by {by}, which is left running")
            return
        device = self._free.pop(0)
        self._pairs[device] = Pair(run, device)
        self._say(run, "started" if device == "-1" else f"started on device {device}")

    def _collect(self) -> None:
        for device, pair in list(self._pairs.items()):
            if not pair.ended():
                continue
            del self._pairs[device]
            self._free.append(device)
            if summary := pair.run.result():
                seconds, steps = pair.trained()
                self._seconds += seconds
                self._steps += steps
                seconds = time.monotonic() - pair.started_at
                accuracies = (summary[f"{kind}_accuracy"] for kind in ("last", "best"))
                text = "last accuracy {:.4f}, best {:.4f}".format(*accuracies)
                self._say(pair.run, f"{text}, {seconds / 60:.1f} minutes{self._time_left()}")
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
                self._report_progress()
                time.sleep(0.2)
        except KeyboardInterrupt:
            print("Stopping; run the same command again to continue.", flush=True)
            raise
        finally:
            for pair in self._pairs.values():
                pair.stop()
            for pair in self._pairs.values():
                pair.wait()
        return self._failed


def define_flags() -> None:
    """Defines the flags; called only by the script, so that it can be imported without them."""
    config_flags.define_flags(LaunchConfig)


def main() -> None:
    config = LaunchConfig(**config_flags.read_flags(LaunchConfig))
    # Before `load_tensorflow` changes the variable.
    gpus = config.gpus or os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")
    # Scripts and shipped MentorNets are named from the top of the repository.
    os.chdir(pathlib.Path(__file__).resolve().parents[1])
    rows = read_table(config.table)
    if config.scale != 1:
        script.load_tensorflow()
    runs = [
        make_run(
            row,
            data=config.data_dir,
            runs=config.runs_dir,
            scale=config.scale,
            percentile=config.percentile,
            flags=config.flags,
        )
        for row in rows
    ]
    runs = [run for run in runs if all(re.search(part, run.name) for part in config.filter)]
    check(bool(runs), "`filter` must match at least one run.", filter=config.filter)
    if config.dry_run:
        for run in runs:
            for command in (run.train, run.evaluate):
                print(shlex.join(("python", *command)))
        return
    left = [run.steps_left() for run in runs]
    done = sum(run.result() is not None for run in runs)
    print(f"{done} of {len(runs)} runs are done; {sum(left):,} steps are left", flush=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    failed = Launcher(runs, list(dict.fromkeys(gpus))).work()
    check(failed == 0, f"{failed} of {len(runs)} runs failed.", runs_dir=config.runs_dir)


if __name__ == "__main__":
    define_flags()
    script.run(main)
