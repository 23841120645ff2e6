"""The tables of runs that launch.py works through, and what is known of each run."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import pathlib
import shlex
from collections.abc import Callable

from mentornet.core import files
from mentornet.core.errors import InputError, check
from mentornet.runs import layout

_FACTS = {"method", "noise_fraction", "data", "script", "flags", "train_log_dir"}
_FACTS |= {"loss_p_percentile_as_written"}

# What the launcher sets or relies on.
_OF_THE_LAUNCHER = {"max_number_of_steps", "train_log_dir", "data_dir", "stop_after_step"}
_OF_THE_LAUNCHER |= {"overwrite", "flagfile"}


def _steps(text: str) -> list[int]:
    return [int(step) for step in text.split(",") if step]


# Cells whose form is checked when the table is read.
_READ: dict[str, Callable[[str], object]] = {
    "learning_rate_boundaries": _steps,
    "num_epochs_per_decay": lambda text: float(text or 0),
    "flags": shlex.split,
}


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
        rows = layout.read_evaluations(self.folder / layout.EVAL_FOLDER)
        accuracy = {row["step"]: row["eval/accuracy"] for row in rows if layout.KEPT not in row}
        if self.steps not in accuracy:
            return None
        return {"last_accuracy": accuracy[self.steps], "best_accuracy": max(accuracy.values())}

    def last_step(self) -> int:
        """The last step that the training has logged; 0 before the first."""
        rows = files.read_json_lines(self.folder / layout.TRAIN_FOLDER / layout.METRICS_FILE)
        return rows[-1]["step"] if rows else 0

    def saved_step(self) -> int:
        """The step of the latest checkpoint; 0 before the first."""
        return max(layout.checkpoint_steps(self.folder / layout.TRAIN_FOLDER), default=0)

    def progress(self) -> str:
        """How far the training is, for people."""
        metrics = self.folder / layout.BURN_IN_FOLDER / layout.METRICS_FILE
        if not self.last_step() and (rows := files.read_json_lines(metrics)):
            return f"burn-in, step {rows[-1]['step']:,}"
        return f"step {self.last_step():,} of {self.steps:,}"

    def steps_left(self) -> int:
        """Number of steps that are still to be trained."""
        return 0 if self.result() else max(0, self.steps - self.last_step())


def read_table(path: str) -> list[dict[str, str]]:
    """The rows of a csv file, as text.

    Raises:
      InputError: it cannot be read, or lacks what every run needs.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"`table` {pathlib.Path(path).absolute()} cannot be read: {error}"
        ) from None
    needed = {"dataset_name", "studentnet", "method", "train_log_dir", "max_number_of_steps"}
    missing = sorted(needed - rows[0].keys()) if rows else sorted(needed)
    check(not missing, f"`table` {path} must have rows and these columns.", missing=missing)
    folders = set[pathlib.Path]()
    for number, row in enumerate(rows, start=1):
        where, steps = f"`table` {path}, row {number}:", row["max_number_of_steps"] or ""
        check(None not in row, f"{where} must not have more cells than the header.", row=row)
        missing = sorted(name for name in needed if not row[name])
        check(not missing, f"{where} must not leave these cells empty.", missing=missing)
        folder = pathlib.Path(row["train_log_dir"])
        rule = f"{where} `train_log_dir` must be like runs/NAME/train, and differ in each row."
        is_right = len(folder.parts) > 2 and folder.name == "train" and folder not in folders
        check(is_right, rule, train_log_dir=str(folder))
        folders.add(folder)
        rule = f"{where} `max_number_of_steps` must be a positive whole number."
        check(steps.isdecimal() and int(steps) > 0, rule, max_number_of_steps=steps)
        named = bool(row.get("data") or row.get("noise_fraction"))
        check(named, f"{where} must have `data` or `noise_fraction`.", row=row)
        for name, read in _READ.items():
            try:
                read(row.get(name) or "")
            except ValueError as error:
                raise InputError(f"{where} `{name}` cannot be read: {error}") from None
    return rows


def _scaled(
    row: dict[str, str], script: str, weighting: str | None, scale: float
) -> dict[str, str]:
    """The row with steps and schedule scaled in proportion, but for the column `flags`.

    Imports TensorFlow.
    """
    from mentornet.students import recipes, registry

    recipe = registry.find_student(row["studentnet"]).recipe
    steps = max(1, round(int(row["max_number_of_steps"]) * scale))
    row = row | {"max_number_of_steps": str(steps)}
    epochs = row.get("num_epochs_per_decay")
    # Weightings other than a MentorNet have the baseline's schedule.
    plain = script.endswith("cifar_train_baseline.py")
    mentored = not plain and weighting in (None, "", "mentornet")
    given = _steps(row.get("learning_rate_boundaries") or "")
    if boundaries := given or (mentored and recipe.mentored_boundaries):
        scaled = sorted({max(1, round(step * scale)) for step in boundaries})
        row["learning_rate_boundaries"] = ",".join(map(str, scaled))
        if not given:  # The student's own boundaries have their own factor.
            row["learning_rate_decay_factor"] = ""
    elif epochs or recipe.schedule is recipes.staircase:
        row["num_epochs_per_decay"] = f"{float(epochs or recipes.EPOCHS_PER_DECAY) * scale:g}"
    return row


def _given(flags: list[str]) -> dict[str, str]:
    """Names and values of flags, written as --name=value or --name value."""
    given = {}
    for flag, following in itertools.pairwise([*flags, ""]):
        if flag.startswith("-"):
            name, equals, value = flag.lstrip("-").partition("=")
            given[name] = value if equals or following.startswith("-") else following
    return given


def _flag(name: str, value: str) -> str:
    words = {"True": f"--{name}", "False": f"--no{name}"}
    return words.get(value, f"--{name}={value}")


def make_run(
    row: dict[str, str],
    *,
    data: str,
    runs: str,
    scale: float = 1,
    percentile: str = "as_written",
    flags: str = "",
) -> Run:
    """The commands of a row.

    Args:
      row: of `read_table`.
      data: folder that holds <dataset>/<noise>, or the folder that the column `data` names.
      runs: replaces the first component of train_log_dir.
      scale: factor of steps and schedule.
      percentile: "as_written", or "release" for the value that the release actually used.
      flags: further flags of the training.

    Raises:
      InputError: the row's flags, or the further ones, include one that the launcher sets.
    """
    kind = "baseline" if row["method"] == "baseline" else "mentornet"
    script = row.get("script") or f"code/cifar_train_{kind}.py"
    further = [*shlex.split(row.get("flags") or ""), *shlex.split(flags)]
    given = _given(further)
    if scale != 1:
        row = _scaled(row, script, given.get("weighting", row.get("weighting")), scale)
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
    rule = f"{row['train_log_dir']}: `flags` must leave these to the table and the launcher."
    refused = sorted(given.keys() & _OF_THE_LAUNCHER)
    check(not refused, rule, given=refused)
    return Run(
        str(folder.relative_to(runs)),
        folder,
        int(row["max_number_of_steps"]),
        (script, *(_flag(*item) for item in values.items()), *further),
        ("code/cifar_eval.py", *(_flag(*item) for item in evaluate.items())),
    )
