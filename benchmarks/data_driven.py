"""Data-driven MentorNets that see the loss, or also each sample's history, on the digits.

    python benchmarks/data_driven.py [--noise=0.4,0.8] [--only=history] [--noupdated] [...]

trains a perceptron that memorises, under MentorNets that `learn_curriculum.py` learns from 144
trusted samples, and prints two tables, means over the seeds (of noise and training alike). The
first: AUC of telling right from wrong labels, of all samples but the trusted ones, by the weights
and by a threshold on the same student's losses at 30, 60 and 90 % of the training. The second: the
last accuracies on the clean test images, with a frozen MentorNet and with one that is updated.

    python benchmarks/data_driven.py --runs=TRAIN_LOG_DIR,...

prints the AUCs after each checkpoint of runs under MentorNets instead.
"""

from __future__ import annotations

import collections
import pathlib
import shutil
import tempfile
from typing import Any

import numpy as np
from absl import flags

from mentornet.cli import pages, script
from mentornet.config.training import TrainConfig
from mentornet.config.weighting import WeightingConfig
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


def aucs_of(prefix: str) -> tuple[float, float]:
    """AUC of the weights and of the losses in a checkpoint, over the samples that are not trusted.

    The run must have fixed_epoch_after_burn_in.
    """
    import tensorflow as tf
    from sklearn.metrics import roc_auc_score

    from mentornet.datasets import records
    from mentornet.datasets.catalog import dataset_info
    from mentornet.evaluation.predictor import Predictor
    from mentornet.runs import checkpoints
    from mentornet.weighting import history
    from mentornet.weighting.mentor_checkpoints import load_mentornet

    run = checkpoints.read_run_config(prefix)
    info = dataset_info(run["dataset_name"], run["data_dir"])
    examples = records.read_examples(run["data_dir"], info, "train")
    losses = Predictor(checkpoints.load_student(prefix))(examples, 500).losses
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
    weights = mentor.sample_weights(tf.constant(np.stack(columns, axis=1), tf.float32))
    rest = ~examples.trusted
    right = (examples.labels == examples.clean_labels)[rest]
    of_weights = roc_auc_score(right, weights.numpy()[rest, 0])
    return float(of_weights), float(roc_auc_score(right, -losses[rest]))


def measure(data: pathlib.Path, root: pathlib.Path, noise: float, seed: int) -> dict[Any, float]:
    """Accuracies by (MentorNet, whether updated), and AUCs by (MentorNet, percentage, of what)."""
    from mentornet.cli.commands import learn

    found: dict[Any, float] = {}
    steps = FLAGS.steps
    weighting = WeightingConfig(1 - noise, 18, True, example_dropout_rates="0,100")
    for name in FLAGS.only:
        sources = learn.Sources(**_SOURCES[name])
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
            test = str(data.with_name("val"))
            summary = learn.run(config, weighting, test, sources, updates)
            found[name, updated] = summary["last_accuracy"]
            print(noise, seed, name, updated, summary["last_accuracy"], flush=True)
            if updated:
                continue
            for percentage in _MOMENTS:
                step = steps * 3 // 10 * (percentage // 30)
                aucs = aucs_of(str(layout.checkpoint_prefix(folder / "train", step)))
                found[name, percentage, "weights"], found[name, percentage, "loss"] = aucs
    return found


def main() -> None:
    script.load_tensorflow()
    from mentornet.datasets.prepare import prepare
    from mentornet.runs.checkpoints import checkpoint_paths

    if FLAGS.runs:
        paths = [path for folder in FLAGS.runs for path in checkpoint_paths(folder)]
        print(pages.markdown_table(("", "weights", "loss"), [[p, *aucs_of(p)] for p in paths]))
        return
    aucs: list[list[Any]] = []
    accuracies: list[list[Any]] = []
    with tempfile.TemporaryDirectory() as root:
        for noise in map(float, FLAGS.noise):
            found = collections.defaultdict(list)
            for seed in range(FLAGS.seeds):
                out = pathlib.Path(root, f"{noise}_{seed}")
                settings: dict[str, Any] = {"noise_fraction": noise, "num_trusted": 144}
                config = PrepareConfig("digits", str(out), seed=seed, **settings)
                prepare(config)
                data = pathlib.Path(config.train_folder)
                for key, value in measure(data, out / "runs", noise, seed).items():
                    found[key].append(value)
            for name in FLAGS.only:
                pairs = [[found[name, p, of] for of in ("weights", "loss")] for p in _MOMENTS]
                means = (np.mean(pair, axis=1) for pair in pairs)
                aucs.append([noise, name, *("{:.3f} / {:.3f}".format(*mean) for mean in means)])
                both = [
                    found[name, updated] for updated in (False, True) if (name, updated) in found
                ]
                told = [f"{np.mean(values):.3f} ± {np.std(values):.3f}" for values in both]
                accuracies.append([noise, name, *told])
    heads = [f"{p} %: weights / loss" for p in _MOMENTS]
    print(pages.markdown_table(("noise", "MentorNet sees", *heads), aucs))
    heads = ["accuracy", "updated"][: 1 + FLAGS.updated]
    print(pages.markdown_table(("noise", "MentorNet sees", *heads), accuracies), end="")


if __name__ == "__main__":
    flags.DEFINE_list("noise", ["0.4", "0.8"], "Shares of the labels that are redrawn.")
    flags.DEFINE_multi_enum("only", list(_SOURCES), list(_SOURCES), "MentorNets to learn.")
    flags.DEFINE_boolean("updated", True, "Whether to train with an updated MentorNet as well.")
    flags.DEFINE_integer("seeds", 3, "Number of seeds.")
    flags.DEFINE_integer("steps", 1100, "Steps of 128; 11 are a pass over the data.")
    flags.DEFINE_list("runs", [], "Only judge the weights in the checkpoints of these folders.")
    script.run(main)
