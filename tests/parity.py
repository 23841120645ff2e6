"""Compares this project with outputs of the 2018 release.

    python tests/parity.py --golden FILE.npz --mentornet PREFIX

FILE is any file in the formats of tests/golden/README.md; its kind is recognised from its keys.
Prints the largest absolute and relative error of each quantity and exits with 1 where one is
beyond its tolerance.
"""

from __future__ import annotations

import argparse
import functools
import json
import re
import sys
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from mentornet.config.training import TrainConfig
from mentornet.config.weighting import WeightingConfig
from mentornet.core import schedules
from mentornet.evaluation.predictor import Predictor
from mentornet.learning import curricula
from mentornet.students import registry
from mentornet.training.build import make_trainer
from mentornet.training.step import Trainer
from mentornet.weighting import mentor_checkpoints
from mentornet.weighting.sample_weighting import SampleWeighting

Golden = dict[str, np.ndarray]


class Comparison:
    """Prints one line per quantity and records whether all were within their tolerances."""

    def __init__(self) -> None:
        self.passed = True

    def __call__(self, name: str, ours: Any, theirs: Any, tolerance: float, relative: bool) -> None:
        """Largest error; the relative one is relative to the largest magnitude of `theirs`."""
        theirs = np.asarray(theirs, np.float64)
        ours = np.asarray(ours, np.float64).reshape(theirs.shape)
        absolute = float(np.max(np.abs(ours - theirs), initial=0))
        scale = float(np.max(np.abs(theirs), initial=0)) or 1.0
        errors = f"{name:<34} abs {absolute:.2e}  rel {absolute / scale:.2e}"
        error = absolute / scale if relative else absolute
        ok = bool(np.isfinite(ours).all()) and error <= tolerance
        self.passed &= ok
        rule = f"{'relative' if relative else 'absolute'} <= {tolerance:g}"
        print(f"{errors}  ({rule}) {'ok' if ok else 'FAILED'}")


def forward(golden: Golden, mentornet: str, compare: Comparison) -> None:
    mentor = mentor_checkpoints.load_mentornet(mentornet)
    logits = mentor(tf.constant(golden["features"], tf.float32))
    compare("logits", logits, golden["logits"], 1e-5, False)
    compare("weights", tf.sigmoid(logits), golden["weights"], 1e-5, False)


def sample_weighting(golden: Golden, mentornet: str, compare: Comparison) -> None:
    for i, config in enumerate(json.loads(golden["configs"].item())):
        module = SampleWeighting(
            mentor_checkpoints.load_mentornet(mentornet),
            loss_p_percentile=config["p"],
            burn_in_epoch=config["burn_in_epoch"],
            fixed_epoch_after_burn_in=config["fixed_epoch_after_burn_in"],
            loss_moving_average_decay=config["loss_moving_average_decay"],
            example_dropout_rates="0.0,100",
        )
        step = tf.function(module.weigh)
        weights, averages = [], []
        sequence = zip(golden[f"loss_{i}"], golden[f"epoch_{i}"], strict=True)
        for number, (loss, epoch) in enumerate(sequence):
            weights.append(step(tf.constant(loss), tf.constant(epoch), tf.constant(number)).weights)
            averages.append(float(module.loss_moving_average))
        compare(f"weights_{i}", weights, golden[f"weights_{i}"], 1e-5, False)
        compare(f"moving_average_{i}", averages, golden[f"moving_average_{i}"], 1e-5, False)


@functools.cache  # Two trainers start from them.
def _initial_value(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The weights that the golden students start from (see tests/golden/README.md)."""
    r = np.random.RandomState(zlib.crc32(name.encode()) & 0x7FFFFFFF).randn(*shape)
    kind = name.rsplit("/", 1)[1]
    if kind == "gamma":
        value = 1 + 0.1 * r
    elif kind == "moving_variance":
        value = 1 + 0.5 * np.tanh(r)
    elif kind in ("beta", "moving_mean", "biases"):
        value = 0.1 * r
    elif kind == "DW" and len(shape) == 4:
        value = r * np.sqrt(2 / (shape[0] * shape[1] * shape[3]))
    else:
        value = 0.03 * r
    return value.astype(np.float32)


def _trainer(name: str, kind: str, mentornet: str, golden: Golden, num_classes: int) -> Trainer:
    inception = name == "inception"
    config = TrainConfig(
        data_dir="-",
        train_log_dir="-",
        studentnet=name,
        max_number_of_steps=120000 if inception else 39000,
        num_epochs_per_decay=200 if inception else 50,
        trained_mentornet_dir=mentornet,
        weighting=WeightingConfig(0.75, example_dropout_rates="0.0,100")
        if kind == "mentornet"
        else None,
    )
    trainer = make_trainer(config, 50000, num_classes, (32, 32, 3), dropout_rate=0.0)
    for tf1_name, variable in registry.tf1_variables(trainer.student).items():
        variable.assign(_initial_value(tf1_name, tuple(variable.shape)))
    trainer.global_step.assign(int(golden[f"{kind}_start_step"]))
    return trainer


# The largest error of each of the four steps, and whether it is relative. 56 layers in float32
# amplify rounding from step to step.
_STEP_TOLERANCES = {
    "inception": ((1e-6, 1e-6, 1e-6, 1e-6), False),
    "resnet101": ((1e-4, 1e-3, 1e-2, 1e-2), True),
}
# The baseline's updates are larger: a change of 1e-7 in the images moves the losses of its
# samples by 1.1e-3 at step 2 and 3.1e-2 at step 3, relative; hence a wider bound there.
_BASELINE_FACTOR = {"inception": 1, "resnet101": 5}
_NORM_TOLERANCES = {"inception": 1e-6, "resnet101": 1e-3}


def student(golden: Golden, mentornet: str, compare: Comparison) -> None:
    theirs = dict(json.loads(golden["variables"].item()))
    name = "inception" if any(v.startswith("CifarNet/") for v in theirs) else "resnet101"
    num_classes = golden["eval_logits"].shape[1]
    random = np.random.RandomState(int(golden["images_seed"]))
    labels = golden["labels"]
    images = tf.constant(random.randn(len(labels), 32, 32, 3).astype(np.float32))
    np.testing.assert_array_equal(random.randint(0, num_classes, len(labels)), labels)
    for kind in ("mentornet", "baseline"):
        trainer = _trainer(name, kind, mentornet, golden, num_classes)
        variables = registry.tf1_variables(trainer.student)
        shapes = {tf1_name: list(variable.shape) for tf1_name, variable in variables.items()}
        if shapes != theirs:
            raise SystemExit(f"The variables differ: {sorted(shapes.items() ^ theirs.items())}")
        if kind == "mentornet":
            predictor = Predictor(trainer.student, "image")
            _, logits = predictor.forward(images, tf.constant(labels))
            compare("eval_logits", logits, golden["eval_logits"], 1e-3, True)
        wider = _BASELINE_FACTOR[name] if kind == "baseline" else 1
        for i in range(len(golden[f"{kind}_total"])):
            outputs = trainer.step(images, tf.constant(labels))
            tolerances, relative = _STEP_TOLERANCES[name]
            for key, output, bound in (
                ("total", outputs.total_loss, tolerances[i]),
                ("loss", outputs.samples.losses, wider * tolerances[i]),
                ("logits", outputs.samples.logits, wider * tolerances[i]),
                ("weights", outputs.samples.weights, 0.0 if kind == "baseline" else tolerances[i]),
            ):
                expected = golden[f"{kind}_{key}"][i]
                compare(f"{kind} step {i + 1} {key}", output, expected, bound, relative)
            rate = golden[f"{kind}_lr"][i]
            compare(f"{kind} step {i + 1} lr", outputs.scalars["learning_rate"], rate, 1e-6, True)
        names = json.loads(golden[f"{kind}_final_names"].item())
        final = [variables[n].numpy().astype(np.float64).ravel() for n in names]
        ratios = [np.linalg.norm(values) for values in final] / golden[f"{kind}_final_norm"]
        bound = wider * _NORM_TOLERANCES[name]
        compare(f"{kind} final norms (ratio to 1)", ratios, np.ones(len(ratios)), bound, True)
        sizes = [np.linalg.norm(values) / np.sqrt(values.size) for values in final]
        for key, found in (("mean", np.mean), ("first", lambda values: values[0])):
            values = np.array([*map(found, final)]) / sizes
            expected = golden[f"{kind}_final_{key}"] / sizes
            wide = 10 * bound if key == "first" else bound  # A single value strays further.
            compare(f"{kind} final {key} (of the root mean square)", values, expected, wide, False)


def curricula_and_schedules(golden: Golden, mentornet: str, compare: Comparison) -> None:
    del mentornet
    features, steps = golden["features"], golden.get("schedule_steps", np.zeros(0, int))
    for key, expected in golden.items():
        base, _, gamma = key.partition("_gamma_")
        if base in curricula.CURRICULA:
            target = curricula.CURRICULA[base](features, float(gamma) if gamma else None)
            compare(key, target, expected, 1e-12, False)
        elif key == "dropout_list":
            rates = schedules.dropout_rates("0.5,17,0.05,78,1.0,5")
            compare(key, rates, expected, 1e-12, False)
        elif key == "schedule_piecewise":
            schedule = schedules.decay_at((19531, 25000, 30000), 0.1, 0.1)
            compare(key, [schedule(int(s)) for s in steps], expected, 1e-6, True)
        elif found := re.fullmatch(r"schedule_exponential_(\d+)", key):
            schedule = schedules.staircase(0.1, 0.1, int(found[1]), int(steps.max()) + 1)
            compare(key, [schedule(int(s)) for s in steps], expected, 1e-6, True)
        elif found := re.fullmatch(r"schedule_epoch_percentage_(\d+)", key):
            epochs = [schedules.epoch_percentage(int(s), int(found[1])) for s in steps]
            compare(key, epochs, expected, 0, False)
        elif key not in ("features", "schedule_steps"):
            raise SystemExit(f"Unknown key {key}.")


def _kinds() -> Iterator[tuple[set[str], Any]]:
    yield {"features", "logits", "weights"}, forward
    yield {"configs"}, sample_weighting
    yield {"eval_logits", "variables"}, student
    yield {"features"}, curricula_and_schedules


def run(path: str, mentornet: str) -> bool:
    """Whether all quantities of a golden file agree."""
    with np.load(path, allow_pickle=False) as file:
        golden = dict(file)
    check = next((function for keys, function in _kinds() if keys <= golden.keys()), None)
    if check is None:
        raise SystemExit(f"{path} is of no known kind; its keys are {sorted(golden)}.")
    compare = Comparison()
    check(golden, mentornet, compare)
    return compare.passed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--golden", required=True)
    parser.add_argument("--mentornet", required=True, help="checkpoint prefix of the MentorNet")
    args = parser.parse_args()
    sys.exit(0 if run(args.golden, args.mentornet) else 1)


if __name__ == "__main__":
    main()
