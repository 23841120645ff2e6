"""Features with wrong labels: compares `mlp`, plain and weighted, with scikit-learn's classifiers.

    python benchmarks/features.py --output_dir=DIR [--steps=N] [--num_seeds=N] [--num_rows=N]

The data are the digits' 64 pixels, and rows of make_classification that resemble the forest cover
data (54 columns, 7 classes with the same shares); 30 and 60 % of the training labels are redrawn.
Measures for each method the accuracy on clean test rows, the AUC of the ranking of wrong training
labels, and the time. scikit-learn's classifiers rank by the probability of the given label in
five-fold cross-validation, `mlp` as label_report.py does. The weightings are given the true share
of correct labels. Writes features.md (means over the seeds) and features.json, with data and runs
next to them.
"""

from __future__ import annotations

import json
import pathlib
import time
from typing import Any

import numpy as np
from absl import flags

from mentornet.cli import script
from mentornet.config import options
from mentornet.config.training import TrainConfig
from mentornet.config.weighting import NamedWeighting, WeightingConfig
from mentornet.core import files, pages
from mentornet.datasets.prepare_config import PrepareConfig

FLAGS = flags.FLAGS
flags.DEFINE_string("output_dir", "", "Folder of the results.")
flags.DEFINE_integer("steps", 3000, "Steps of each training.")
flags.DEFINE_integer("num_seeds", 1, "Number of seeds of noise and training.")
flags.DEFINE_integer("num_rows", 6000, "Rows of make_classification, a fifth of them for tests.")

_NOISE = (0.3, 0.6)
_COVER_SHARES = (0.365, 0.488, 0.061, 0.005, 0.016, 0.030, 0.035)
_OURS = ("mlp", "mlp, self_paced", "mlp, MentorNet PD")
_OTHERS = ("logistic regression", "gradient boosting")


def arrays(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows float64 [n, features] and labels [n]."""
    from sklearn import datasets

    if name == "digits":
        return datasets.load_digits(return_X_y=True)
    shape = {"n_samples": FLAGS.num_rows, "n_features": 54, "n_informative": 20, "n_redundant": 10}
    classes = {
        "n_classes": 7,
        "n_clusters_per_class": 3,
        "weights": list(_COVER_SHARES),
        "flip_y": 0,
    }
    return datasets.make_classification(**shape, **classes, random_state=54)


def train_mlp(
    method: str, folder: str, info: Any, seed: int, right: float, tests: Any
) -> tuple[float, np.ndarray]:
    """Test accuracy, and the training samples' scores, of a run on the data in `folder`."""
    from mentornet.cleaning import label_errors
    from mentornet.evaluation.predictor import Predictor, accuracies
    from mentornet.runs.checkpoints import find_latest
    from mentornet.runs.students import load_student
    from mentornet.training.loop import train

    # The percentile of the losses below which those of correct labels should lie.
    settings: dict[str, Any] = {"loss_p_percentile": round(right, 2)}
    settings["example_dropout_rates"] = "0.5,17,0.05,83"
    is_pd, is_closed = method.endswith("PD"), method.endswith("self_paced")
    closed = NamedWeighting("self_paced", settings) if is_closed else None
    run = pathlib.Path(f"{folder}_{method.rpartition(' ')[2]}")
    config = TrainConfig(
        folder,
        str(run / "train"),
        dataset_name=info.name,
        studentnet="mlp",
        weighting=WeightingConfig(**settings) if is_pd else closed,
        trained_mentornet_dir="mentornet_pd" if is_pd else "",
        max_number_of_steps=FLAGS.steps,
        log_every_steps=1000,
        steps_per_loop=20,
        record_sample_weights=True,
        seed=seed,
    )
    train(config)
    predict = Predictor(load_student(find_latest(config.train_log_dir)), "image")
    accuracy = accuracies(predict(tests, 1000), tests, info)["eval/accuracy"]
    return accuracy, label_errors.score_labels([str(run)]).score


def train_sklearn(method: str, examples: Any, tests: Any) -> tuple[float, np.ndarray]:
    """Test accuracy, and the training samples' scores."""
    from sklearn import ensemble, linear_model, model_selection, pipeline, preprocessing

    model: Any = ensemble.HistGradientBoostingClassifier(random_state=0)
    if method == "logistic regression":
        logistic = linear_model.LogisticRegression(max_iter=1000)
        model = pipeline.make_pipeline(preprocessing.StandardScaler(), logistic)
    x, y = np.asarray(examples.images), examples.labels
    folds = model_selection.StratifiedKFold(5, shuffle=True, random_state=0)
    shares = model_selection.cross_val_predict(model, x, y, cv=folds, method="predict_proba")
    model.fit(x, y)
    accuracy = float((model.predict(np.asarray(tests.images)) == tests.labels).mean())
    return accuracy, 1 - shares[np.arange(len(y)), np.searchsorted(np.unique(y), y)]


def measure(folder: pathlib.Path, name: str, noise: float, seed: int) -> list[dict[str, Any]]:
    """One row per method."""
    from sklearn.metrics import roc_auc_score

    from mentornet.datasets import records
    from mentornet.datasets.catalog import dataset_info
    from mentornet.datasets.prepare import prepare

    x, y = arrays(name)
    source, data = folder / f"{name}.npz", str(folder / f"seed_{seed}")
    np.savez(source, features=x, labels=y)
    settings: dict[str, Any] = {"source": str(source), "noise_fraction": noise, "seed": seed}
    train, test = prepare(PrepareConfig(f"{name}-rows", data, **settings))
    info = dataset_info(f"{name}-rows", train)
    examples = records.read_examples(train, info, "train")
    tests = records.read_examples(test, info, "test")
    wrong, rows = examples.labels != examples.clean_labels, []
    for method in _OURS + _OTHERS:
        start = time.monotonic()
        if method in _OTHERS:
            accuracy, score = train_sklearn(method, examples, tests)
        else:
            accuracy, score = train_mlp(method, train, info, seed, 1 - wrong.mean(), tests)
        row = {"data": name, "redrawn": noise, "method": method, "wrong": float(wrong.mean())}
        row |= {"accuracy": accuracy, "AUC": float(roc_auc_score(wrong, score))}
        rows.append(row | {"seconds": time.monotonic() - start})
        print(json.dumps(rows[-1]), flush=True)
    return rows


def main() -> None:
    options.folder("output_dir", FLAGS.output_dir)
    script.load_tensorflow()
    folder = pathlib.Path(FLAGS.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    kinds = [(name, noise) for name in ("digits", "covers") for noise in _NOISE]
    of_seeds = [
        [row for name, noise in kinds for row in measure(folder, name, noise, seed)]
        for seed in range(FLAGS.num_seeds)
    ]
    names, values = ("data", "redrawn", "method"), ("wrong", "accuracy", "AUC", "seconds")
    lines = []
    for same in zip(*of_seeds, strict=True):
        means = [float(np.mean([row[key] for row in same])) for key in values]
        lines.append([*(same[0][key] for key in names), *means])
    table = pages.markdown_table((*names, *values), lines)
    files.write_text(folder / "features.md", table)
    files.write_json(folder / "features.json", of_seeds)
    print(table)


if __name__ == "__main__":
    script.run(main)
