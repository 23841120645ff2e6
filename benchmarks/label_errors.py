"""Finding wrong labels: compares a run's own scores with cleanlab's.

    python benchmarks/label_errors.py RUN_DIR [RUN_DIR ...] --output_dir=DIR [--full_folds]

This takes each run that was trained with --record_sample_weights, and trains the same student
without weights on five folds; the predicted probabilities of the held-out parts go to cleanlab,
once for each data set, student and number of steps. By default each fold has a fifth of the run's
steps (learning rates in proportion), so that both methods cost the same. Writes label_errors.md and
label_errors.json, in which other rows stay. Needs the extra `bench`.
"""

from __future__ import annotations

import pathlib
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import flags
from measuring import keep_rows, setting, wrong_labels

from mentornet.cli import script
from mentornet.config import options
from mentornet.config.training import TrainConfig
from mentornet.core import files, pages
from mentornet.core.errors import InputError

FLAGS = flags.FLAGS

_FOLDS = 5


def _share() -> int:
    """By how much the steps of a fold are fewer than the run's."""
    return 1 if FLAGS.full_folds else _FOLDS


def fold_config(run: dict[str, Any], share: int) -> TrainConfig:
    """A run's configuration, without weights and mixup, and with 1 / share of its steps."""
    from mentornet.students import recipes, registry

    steps = run["max_number_of_steps"] // share
    values = run | {"weighting": None, "mentornet_update_epochs": ()}
    values |= {"record_sample_weights": False, "max_number_of_steps": steps}
    values |= {"keep_best": None, "mixup": None}
    boundaries = {max(1, step // share) for step in run["learning_rate_boundaries"]}
    values["learning_rate_boundaries"] = sorted(boundaries)
    epochs = run["num_epochs_per_decay"]
    schedule = registry.find_student(run["studentnet"]).recipe.schedule
    if schedule is recipes.staircase and not boundaries:
        epochs = epochs or recipes.EPOCHS_PER_DECAY
    if epochs:  # Of the samples that a fold leaves.
        values["num_epochs_per_decay"] = epochs / share * _FOLDS / (_FOLDS - 1)
    return options.from_json(TrainConfig, values)


def out_of_fold(
    config: TrainConfig, examples: Any, num_classes: int, augment: bool
) -> dict[str, np.ndarray]:
    """Each sample's class probabilities from a student that was not trained on it.

    Returns:
      Name -> float64 [samples, classes]: of one view of each image and, where the student's recipe
      says so, averaged over several.
    """
    import tensorflow as tf

    from mentornet.datasets import pipeline
    from mentornet.evaluation.predictor import Predictor
    from mentornet.students import registry
    from mentornet.training import recipe
    from mentornet.training.build import make_trainer

    folds = np.random.default_rng(config.seed).permutation(len(examples)) % _FOLDS
    config = recipe.resolve(config, recipe.defaults(config, augment))
    assert config.batch_size is not None
    student = registry.find_student(config.studentnet).recipe
    ways = {"": False} | ({", six views": True} if student.test_time_augmentation else {})
    probabilities = {way: np.zeros((len(examples), num_classes)) for way in ways}
    for fold in range(_FOLDS):
        seen = examples.take(np.flatnonzero(folds != fold))
        shape = examples.image_shape
        model = make_trainer(config, len(seen), num_classes, shape, examples=seen)
        for batch in pipeline.training_batches(
            seen,
            batch_size=config.batch_size,
            seed=config.seed,
            first_step=0,
            last_step=config.max_number_of_steps,
            augmentation=recipe.augmentation(config),
            standardization=student.standardization,
        ):
            model.step(batch["images"], batch["labels"])
        held_out = np.flatnonzero(folds == fold)
        for way, averages in ways.items():
            predict = Predictor(model.student, student.standardization, averages)
            logits = predict(examples.take(held_out), 100).logits
            probabilities[way][held_out] = tf.nn.softmax(logits).numpy()
        print(f"fold {fold + 1} of {_FOLDS}", flush=True)
    return probabilities


def cleanlab_scores(run: dict[str, Any], scores: Any) -> dict[str, np.ndarray]:
    """cleanlab's scores, higher for labels that are more likely to be wrong."""
    from cleanlab.rank import get_label_quality_scores

    augment = scores.info.augment if run["augment"] is None else run["augment"]
    start = time.monotonic()
    config = fold_config(run, _share())
    probabilities = out_of_fold(config, scores.examples, scores.info.num_classes, augment)
    print(f"{_FOLDS} folds trained in {(time.monotonic() - start) / 60:.1f} minutes", flush=True)
    labels = scores.examples.labels
    return {
        f"cleanlab, {method}{way}": 1 - get_label_quality_scores(labels, own, method=method)
        for method in ("self_confidence", "normalized_margin")
        for way, own in probabilities.items()
    }


def compare(run_dirs: Sequence[str], data_dir: str | None) -> list[dict[str, Any]]:
    """AUC and average precision of finding wrong labels; cleanlab once for runs alike in length."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    from mentornet.cleaning import label_errors, labelled_runs
    from mentornet.runs import layout

    rows, done = [], set[tuple[str, str, int]]()
    for run_dir in run_dirs:
        scores = label_errors.score_labels([run_dir], data_dir)
        examples = scores.examples
        wrong = wrong_labels(examples, run_dir)
        run = layout.read_config(labelled_runs.train_folder(run_dir))
        name = labelled_runs.train_folder(run_dir).parent.name
        candidates = {name: scores.score}
        alike = setting(run), run["data_sha256"], run["max_number_of_steps"]
        if alike not in done:
            done.add(alike)
            candidates |= cleanlab_scores(run, scores)
        for name, score in candidates.items():
            row: dict[str, Any] = {"data": setting(run), "wrong": f"{wrong.mean():.1%}"}
            steps = run["max_number_of_steps"]
            if name.startswith("cleanlab"):
                steps = _FOLDS * (steps // _share())
            row |= {"scores": name, "steps": steps}
            row["AUC"] = float(roc_auc_score(wrong, score))
            row["average precision"] = float(average_precision_score(wrong, score))
            rows.append(row)
    return rows


def _key(row: dict[str, Any]) -> tuple[str, str, int, str]:
    """Draws of the same noise differ in the share of wrong labels."""
    return row["data"], row["wrong"], row["steps"], row["scores"]


def table(rows: Sequence[dict[str, Any]]) -> str:
    return pages.markdown_table(list(rows[0]), [list(row.values()) for row in rows])


def main(*run_dirs: str) -> None:
    options.folder("output_dir", FLAGS.output_dir)
    script.load_tensorflow()
    try:
        import cleanlab
    except ImportError:
        raise InputError('cleanlab is not installed: pip install -e ".[bench]"') from None
    rows = compare(run_dirs, FLAGS.data_dir or None)
    folder = pathlib.Path(FLAGS.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "label_errors.json"
    rows = keep_rows(kept, rows, _key)
    rows.sort(key=lambda row: (row["data"], row["steps"]))
    facts = {"cleanlab": cleanlab.__version__, "folds": _FOLDS, "rows": rows}
    files.write_json(kept, facts)
    files.write_text(folder / "label_errors.md", table(rows))
    print(table(rows), end="")


if __name__ == "__main__":
    flags.DEFINE_string("output_dir", "", "Folder of the results.")
    flags.DEFINE_string(
        "data_dir", "", "Training records; by default those on which the runs were trained."
    )
    flags.DEFINE_boolean("full_folds", False, "Train each fold as long as the run.")
    script.run(main, "RUN_DIR...")
