"""Data-driven MentorNets that see the loss, or also each sample's history, on the digits.

    python benchmarks/data_driven.py [--noise=0.4,0.8] [--only=history] [--noupdated] [...]

trains a perceptron that memorises, under MentorNets that `learn_curriculum.py` learns from 144
trusted samples, and prints three tables, means over the seeds (of noise and training alike), of all
samples but the trusted ones. The first: AUC of telling right from wrong labels by the weights and
by a threshold on the same student's losses at 30, 60 and 90 % of the training. The second: the last
accuracies on the clean test images, with a frozen MentorNet and with one that is updated. The
third, frozen and updated as well: at 90 %, the mean weight of the wrong labels, the shares of them
that have a weight above 0.05 and that the student predicts as given, and the AUC of the losses.
With --soft_updates the weights of an updated MentorNet may be softer than they were before.

    python benchmarks/data_driven.py --runs=TRAIN_LOG_DIR,...

prints the AUCs after each checkpoint of runs under MentorNets instead.
"""

from __future__ import annotations

import collections
import itertools
import pathlib
import shutil
import tempfile
from typing import Any, NamedTuple

import numpy as np
from absl import flags

from mentornet.cli import script
from mentornet.config.training import TrainConfig
from mentornet.config.weighting import WeightingConfig
from mentornet.core import pages
from mentornet.datasets.prepare_config import PrepareConfig
from mentornet.runs import layout
from mentornet.weighting.features import FURTHER, RELEASE

FLAGS = flags.FLAGS

_MOMENTS = (30, 60, 90)  # Percentages of the training.
_HISTORY = ("mean_loss", "wrong_share", "probability_margin")
_SOURCES: dict[str, dict[str, Any]] = {
    "loss (DD)": {},
    "history": {"mentornet_features": _HISTORY},
    "history, 5 epochs": {"mentornet_features": _HISTORY, "dump_epochs": (18, 36, 54, 72, 90)},
}
_UPDATES = (51, 76)  # After each fall of the learning rate.


class Judgement(NamedTuple):
    """Of the samples that are not trusted: AUCs, and what the wrong labels among them have."""

    of_weights: float
    of_losses: float
    mean_weight: float
    weighted: float  # Share with a weight above 0.05.
    memorised: float  # Share that is predicted as given.


# Fields in the third table and their heads.
_CHANGES = {
    "mean_weight": "mean weight of wrong labels",
    "weighted": "of these, with a weight above 0.05",
    "memorised": "predicted as given",
    "of_losses": "AUC of the losses",
}


def judge(prefix: str) -> Judgement:
    """Judges a checkpoint of a run with fixed_epoch_after_burn_in."""
    import tensorflow as tf
    from sklearn.metrics import roc_auc_score

    from mentornet.datasets import records
    from mentornet.datasets.catalog import dataset_info
    from mentornet.evaluation.predictor import Predictor
    from mentornet.label_noise import history
    from mentornet.runs import checkpoints, students
    from mentornet.students import registry
    from mentornet.weighting.mentor_checkpoints import load_mentornet

    run = checkpoints.read_run_config(prefix)
    info = dataset_info(run["dataset_name"], run["data_dir"])
    examples = records.read_examples(run["data_dir"], info, "train")
    standardization = registry.find_student(run["studentnet"]).recipe.standardization
    predictions = Predictor(students.load_student(prefix), standardization)(examples, 500)
    losses, predicted = predictions.losses, predictions.logits.argmax(axis=1)
    mentor = load_mentornet(run["trained_mentornet_dir"])
    names = [*mentor.tf1_variables, "loss_moving_average", history.VALUES, history.NAMES]
    state = checkpoints.read_state(prefix, names)
    for name, variable in mentor.tf1_variables.items():
        variable.assign(state[name])
    epoch = np.full(len(losses), run["weighting"]["burn_in_epoch"])
    columns = [losses, losses - state["loss_moving_average"], 0 * losses, epoch]
    if mentor.further_features:
        past = history.saved_columns(state)
        columns += [FURTHER[name].compute(past) for name in mentor.features[len(RELEASE) :]]
    weights = mentor.sample_weights(tf.constant(np.stack(columns, axis=1), tf.float32)).numpy()
    rest = ~examples.trusted
    right = examples.labels == examples.clean_labels
    wrong = rest & ~right
    return Judgement(
        float(roc_auc_score(right[rest], weights[rest, 0])),
        float(roc_auc_score(right[rest], -losses[rest])),
        float(weights[wrong].mean()),
        float((weights[wrong] > 0.05).mean()),
        float((predicted == examples.labels)[wrong].mean()),
    )


def measure(data: pathlib.Path, root: pathlib.Path, noise: float, seed: int) -> dict[Any, float]:
    """Accuracies by (MentorNet, whether updated, "accuracy"), and judgements of checkpoints.

    These are by (MentorNet, whether updated, percentage, field of Judgement).
    """
    from mentornet.training import data_driven

    found: dict[Any, float] = {}
    steps = FLAGS.steps
    weighting = WeightingConfig(1 - noise, 18, True, example_dropout_rates="0,100")
    for name in FLAGS.only:
        learning = data_driven.LearnConfig(
            **_SOURCES[name], eval_data_dir=str(data.with_name("val"))
        )
        folder = root / name.replace(" ", "_")
        for updated in (False, True)[: 1 + FLAGS.updated]:
            if updated:  # Only the training under the MentorNet is another.
                shutil.rmtree(folder / "train")
                shutil.rmtree(folder / "eval")
            config = TrainConfig(
                str(data),
                str(folder),
                dataset_name="digits",
                studentnet="automatic:build",
                max_number_of_steps=steps,
                learning_rate_boundaries=(steps // 2, steps * 3 // 4),
                log_every_steps=steps,
                save_interval_steps=steps * 3 // 10,
                max_to_keep=20,
                seed=seed,
            )
            updates = _UPDATES if updated else ()
            summary = data_driven.run(config, weighting, learning, updates)
            found[name, updated, "accuracy"] = summary["last_accuracy"]
            print(noise, seed, name, updated, summary["last_accuracy"], flush=True)
            for percentage in _MOMENTS:
                step = steps * 3 // 10 * (percentage // 30)
                judged = judge(str(layout.checkpoint_prefix(folder / "train", step)))
                for field, value in judged._asdict().items():
                    found[name, updated, percentage, field] = value
    return found


def print_tables(measured: dict[float, dict[Any, list[float]]]) -> None:
    """Prints what `measure` found for each noise, in lists over the seeds."""
    ranks: list[list[Any]] = []
    accuracies: list[list[Any]] = []
    changes: list[list[Any]] = []
    both, last = (False, True)[: 1 + FLAGS.updated], _MOMENTS[-1]
    for noise, found in measured.items():
        means = {key: f"{np.mean(values):.3f}" for key, values in found.items()}
        for name in FLAGS.only:
            aucs = [
                [means[name, False, p, of] for of in ("of_weights", "of_losses")] for p in _MOMENTS
            ]
            ranks.append([noise, name, *map(" / ".join, aucs)])
            keys = [(name, updated, "accuracy") for updated in both]
            told = [f"{means[key]} ± {np.std(found[key]):.3f}" for key in keys]
            accuracies.append([noise, name, *told])
            pairs = [[means[name, updated, last, field] for updated in both] for field in _CHANGES]
            changes.append([noise, name, *map(" / ".join, pairs)])
    heads = [f"{p} %: weights / loss" for p in _MOMENTS]
    print(pages.markdown_table(("noise", "MentorNet sees", *heads), ranks))
    heads = ["accuracy", "updated"][: len(both)]
    print(pages.markdown_table(("noise", "MentorNet sees", *heads), accuracies))
    heads = list(_CHANGES.values())
    print(pages.markdown_table(("noise", "MentorNet sees", *heads), changes), end="")


def main() -> None:
    script.load_tensorflow()
    from mentornet.datasets.prepare import prepare
    from mentornet.learning import teaching
    from mentornet.runs.checkpoints import checkpoint_paths

    if FLAGS.runs:
        paths = [path for folder in FLAGS.runs for path in checkpoint_paths(folder)]
        rows = [[path, *judge(path)[:2]] for path in paths]
        print(pages.markdown_table(("", "weights", "loss"), rows))
        return
    if FLAGS.soft_updates:
        teaching.harden = lambda *_: None
    measured: dict[float, dict[Any, list[float]]] = {}
    with tempfile.TemporaryDirectory() as root:
        for noise, seed in itertools.product(map(float, FLAGS.noise), range(FLAGS.seeds)):
            out = pathlib.Path(root, f"{noise}_{seed}")
            settings: dict[str, Any] = {"noise_fraction": noise, "num_trusted": 144}
            config = PrepareConfig("digits", str(out), seed=seed, **settings)
            prepare(config)
            data = pathlib.Path(config.train_folder)
            of_noise = measured.setdefault(noise, collections.defaultdict(list))
            for key, value in measure(data, out / "runs", noise, seed).items():
                of_noise[key].append(value)
    print_tables(measured)


if __name__ == "__main__":
    flags.DEFINE_list("noise", ["0.4", "0.8"], "Shares of the labels that are redrawn.")
    flags.DEFINE_multi_enum("only", list(_SOURCES), list(_SOURCES), "MentorNets to learn.")
    flags.DEFINE_boolean("updated", True, "Whether to train with an updated MentorNet as well.")
    flags.DEFINE_integer("seeds", 3, "Number of seeds.")
    flags.DEFINE_boolean("soft_updates", False, "Whether updates may make weights softer.")
    flags.DEFINE_integer("steps", 1100, "Steps of 128; 11 are a pass over the data.")
    flags.DEFINE_list("runs", [], "Only judge the weights in the checkpoints of these folders.")
    script.run(main)
