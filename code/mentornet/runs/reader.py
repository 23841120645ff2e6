"""Reads finished runs: their configurations, training logs and evaluations."""

from __future__ import annotations

import collections
import dataclasses
import pathlib
from typing import Any

import numpy as np

from mentornet.config.options import fields
from mentornet.config.training import TrainConfig
from mentornet.config.weighting import AUTO
from mentornet.core import files
from mentornet.core.errors import check
from mentornet.core.ordering import natural_order
from mentornet.runs import layout

Curve = tuple[np.ndarray, np.ndarray]

# Settings that do not distinguish variants of a method: those by which runs are grouped and methods
# named, the seed, what is only recorded, and what changes only rounding or random draws.
_SAME_VARIANT = {
    *("data_dir", "dataset_name", "studentnet", "max_number_of_steps"),
    *("trained_mentornet_dir", "mixed_precision", "seed", "record_sample_weights", "keep_best"),
    *("deterministic", "jit_compile"),
}
# The other settings that must stay as they are when a run goes on, besides those of the weighting
# and of mixup.
_VARIANT = {
    field.name
    for field in fields(TrainConfig)
    if not (field.is_nested or field.option.may_change or field.name in _SAME_VARIANT)
}


@dataclasses.dataclass(frozen=True)
class Result:
    """One run: its configuration, rows of metrics.jsonl and rows of eval.jsonl.

    `kept` are the rows of checkpoints that the training set aside; `evaluation` is without them.
    `variant` names the settings in which it differs from other runs of the same method.
    """

    name: str
    config: dict[str, Any]
    training: list[dict[str, Any]]
    evaluation: list[dict[str, Any]]
    variant: str = ""
    kept: tuple[dict[str, Any], ...] = ()

    @property
    def method(self) -> str:
        """Name of the method, as in the report's tables."""
        precision = self.config.get("mixed_precision", "float32")
        shown = "" if precision == "float32" else f", {precision}"
        return self.plain_method + self.variant + shown

    @property
    def plain_method(self) -> str:
        """Name of the method, as in the published tables."""
        weighting = self.config["weighting"] or {}
        options = weighting.get("options") or {}
        if self.method_without_options == "mentormix":
            options = {"percentile": weighting["loss_p_percentile"]}
        return self.method_without_options + "".join(f", {k} {v}" for k, v in options.items())

    @property
    def method_without_options(self) -> str:
        """Name of the method, whatever the options of its weighting."""
        weighting, is_mixed = self.config["weighting"], self.config.get("mixup") is not None
        if weighting is None:
            return "mixup" if is_mixed else "baseline"
        if "name" in weighting:
            return ("mixup, " if is_mixed else "") + weighting["name"]
        if is_mixed:
            return "mentormix"
        path = pathlib.PurePath(self.config["trained_mentornet_dir"])
        # Curricula of one's own are learned in folders such as `steady/model`.
        name = path.parent.name if path.name == "model" and path.parent.name else path.name
        updated = ", updated" if self.config["mentornet_update_epochs"] else ""
        auto = ", auto" if weighting["loss_p_percentile"] == AUTO else ""
        return name.removesuffix("_mentornet") + auto + updated

    @property
    def setting(self) -> tuple[str, str, str, int, int]:
        """Data set, noise (the folder's name), student, number of training images, steps."""
        config = self.config
        noise = pathlib.PurePath(config["data_dir"]).name
        size = config["num_examples"], config["max_number_of_steps"]
        return (config["dataset_name"], noise, config["studentnet"], *size)

    @property
    def epochs(self) -> int:
        """Passes over the training images, rounded."""
        config = self.config
        return round(config["max_number_of_steps"] * config["batch_size"] / config["num_examples"])

    @property
    def last_step(self) -> int:
        """The step of the last evaluation."""
        return self.evaluation[-1]["step"]

    @property
    def is_done(self) -> bool:
        """Whether the run's last step was evaluated."""
        return self.last_step == self.config["max_number_of_steps"]

    @property
    def accuracies(self) -> np.ndarray:
        """Accuracy of each evaluation, float64 [evaluations]."""
        return np.array([row["eval/accuracy"] for row in self.evaluation])

    @property
    def kept_accuracy(self) -> float | None:
        """Accuracy of the checkpoint that keep_best kept, if one was kept and evaluated."""
        _, steps = self.curve("label_wave/kept_step")
        evaluated = (*self.evaluation, *self.kept)
        rows = [row for row in evaluated if len(steps) and row["step"] == steps[-1]]
        return rows[0]["eval/accuracy"] if rows else None

    def minutes(self) -> float:
        """Training time: the sum over rows of their images divided by images per second."""
        batch = self.config["batch_size"]
        steps = np.diff([0, *(row["step"] for row in self.training)])
        rates = [row["images_per_second"] for row in self.training]
        return float(np.sum(steps * batch / np.array(rates))) / 60

    def images_per_second(self) -> float:
        """Median speed of the training."""
        return float(np.median([row["images_per_second"] for row in self.training]))

    def last(self, key: str) -> float | None:
        """The last value of an entry of the training's rows; None without one.

        Mean weights of steps in which example dropout drops all samples do not count.
        """
        counts_always = not key.startswith("sample_weights/")
        rows = [
            row for row in self.training if counts_always or row.get("debug/dropout_rate", 0) < 1
        ]
        values = [row[key] for row in rows if key in row]
        return values[-1] if values else None

    def curve(self, key: str) -> Curve:
        """Steps and values of an entry of the rows, from training or evaluation."""
        rows = [row for row in (*self.training, *self.evaluation) if key in row]
        return np.array([row["step"] for row in rows]), np.array([row[key] for row in rows])


def configurations(folder: pathlib.Path) -> list[pathlib.Path]:
    """The configuration files of all runs below a folder."""
    found = folder.glob(f"**/{layout.TRAIN_FOLDER}/{layout.CONFIG_FILE}")
    return sorted(found, key=lambda path: natural_order(str(path)))


def read_results(folder: pathlib.Path) -> list[Result]:
    """All runs below a folder that were evaluated at least once.

    Raises:
      InputError: there are none, or a file of a run is damaged.
      OSError: a file cannot be read.
    """
    results = []
    for path in configurations(folder):
        run = path.parent.parent
        rows = layout.read_evaluations(run / layout.EVAL_FOLDER)
        evaluation = [row for row in rows if layout.KEPT not in row]
        training = files.read_json_lines(path.with_name(layout.METRICS_FILE))
        config = layout.read_config(path.parent)
        for name in ("weighting", "mixup"):
            is_object = isinstance(config.get(name) or {}, dict)
            check(is_object, f"{path}: `{name}` must be a JSON object.", **{name: config.get(name)})
        if evaluation and training:
            kept = tuple(row for row in rows if layout.KEPT in row)
            name = str(run.relative_to(folder))
            results.append(Result(name, config, training, evaluation, kept=kept))
    check(bool(results), "The folder must hold evaluated runs.", folder=str(folder))
    return _with_variants(results)


def _settings(config: dict[str, Any]) -> dict[str, Any]:
    """The settings that make variants of a method."""
    found = {k: v for k, v in config.items() if k in _VARIANT}
    for name in ("weighting", "mixup"):
        found |= config.get(name) or {}
    return found


def _with_variants(results: list[Result]) -> list[Result]:
    """The runs, named by what differs where it is more than the seed."""
    same = collections.defaultdict(list)
    for result in results:
        same[result.setting, result.plain_method].append(_settings(result.config))
    named = []
    for result in results:
        settings, others = _settings(result.config), same[result.setting, result.plain_method]
        # A run of an earlier version did not record all of them; then it is not told there.
        varying = [
            name
            for name, value in sorted(settings.items())
            if any(other.get(name, value) != value for other in others)
        ]
        text = "".join(f", {n.removeprefix('loss_p_')} {settings[n]}" for n in varying)
        named.append(dataclasses.replace(result, variant=text))
    return named
