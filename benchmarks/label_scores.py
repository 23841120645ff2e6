"""Which score of the sample history finds wrong labels best, and how many it says there are.

    python benchmarks/label_scores.py RUN_DIR [RUN_DIR ...] [--output_dir=DIR] [--last]

This reads runs with --record_sample_weights on data whose clean labels are known, and prints AUC
and average precision of every candidate on each, and their means; then the share of wrong labels,
estimated without clean labels, and the actual one. With --output_dir it also writes label_scores.md
and label_scores.json, in which other rows stay.

The history is the one that `label_report.py` uses: where labels are memorised, that of the
checkpoint kept before, if there is one. With --last it is the last one.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from absl import flags
from measuring import keep_rows, setting, wrong_labels

from mentornet.cli import script
from mentornet.core import files, pages
from mentornet.core.errors import check
from mentornet.label_noise import noise_rate, ranking

FLAGS = flags.FLAGS

Columns = Mapping[str, np.ndarray]


# From the history's columns and the given labels to a score that is larger for labels that are more
# likely to be wrong.
CANDIDATES: dict[str, Callable[[Columns, np.ndarray], np.ndarray]] = {
    "decayed loss": lambda c, _: c["mean_loss"],
    "wrong events": lambda c, _: c["num_wrong"] / np.maximum(c["num_counted"], 1),
    "mean probability": lambda c, _: -c["mean_given"],
    "mean margin of probabilities": lambda c, _: c["mean_other"] - c["mean_given"],
    "mean margin of logits (AUM)": lambda c, _: -c["mean_margin"],
    "label score without anchors": lambda c, _: ranking.pooled([c]).rank_score,
    "label score (used)": lambda c, labels: ranking.pooled([c], labels).rank_score,
}


def evaluate(run_dir: str, last: bool) -> list[dict[str, Any]]:
    """Rows "run", "wrong", "visits", "score", "AUC", "average precision" of a run.

    A last row has "estimate" in place of scores, an estimated `NoiseRate`, and "by class", how far
    it lies from the truth in the mean over the given classes.

    Raises:
      InputError: the run's history lacks the undecayed columns, or a clean label is unknown.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    from mentornet.cleaning import labelled_runs

    config, history = labelled_runs.read_run(run_dir)
    columns: Columns = history
    if not last:
        columns, note = labelled_runs.ranking_history(run_dir, config, history)
        if note:
            print(note)
    rule = "The run's history must have the columns of this version."
    check(not ranking.COLUMNS - columns.keys(), rule, run=run_dir)
    examples = labelled_runs.read_labels([config], [run_dir], None)[1]
    wrong = wrong_labels(examples, run_dir)
    check(bool(wrong.any()), "Some labels must be wrong.", run=run_dir)
    folder = labelled_runs.train_folder(run_dir).absolute().parent
    grid = "grid/" if "grid" in folder.parts else ""  # Its runs are named like those of the table.
    facts = {
        "run": f"{grid}{setting(config)}/{folder.name}",
        "wrong": float(wrong.mean()),
        "visits": float(columns["num_counted"].mean()),
    }
    rows: list[dict[str, Any]] = []
    for name, score in CANDIDATES.items():
        values = score(columns, examples.labels)
        auc, precision = roc_auc_score(wrong, values), average_precision_score(wrong, values)
        found = {"score": name, "AUC": float(auc), "average precision": float(precision)}
        rows.append(facts | found)
    classes = config["num_classes"]
    visits = ranking.pooled([columns], examples.labels)
    noise = noise_rate.estimate(examples.labels, classes, visits)
    truth = noise_rate.class_means(wrong.astype(float), examples.labels, classes)
    found = {"estimate": noise.rate, "from": noise.low, "to": noise.high}
    return [*rows, facts | found | {"by class": float(np.abs(noise.by_class - truth).mean())}]


def table(rows: list[dict[str, Any]], measure: str) -> str:
    """A row per run, a column per candidate; the last two rows are mean and largest deficit.

    A cell is empty if the candidate is younger than the run; then the last rows are left out.
    """
    rows = [row for row in rows if measure in row]
    values = {(row["run"], row["score"]): row[measure] for row in rows}
    facts = {row["run"]: (f"{row['wrong']:.1%}", f"{row['visits']:.0f}") for row in rows}
    lines: list[list[Any]] = [
        [run, *facts[run], *(values.get((run, name), "") for name in CANDIDATES)] for run in facts
    ]
    if all((run, name) in values for run in facts for name in CANDIDATES):
        found = np.array([line[3:] for line in lines])
        behind = (found.max(axis=1, keepdims=True) - found).max(axis=0)
        lines.append(["mean", "", "", *map(float, found.mean(axis=0))])
        lines.append(["furthest behind the best", "", "", *map(float, behind)])
    return pages.markdown_table((measure, "wrong", "visits", *CANDIDATES), lines)


def estimates_table(rows: list[dict[str, Any]]) -> str:
    """One line a run: the estimated share of wrong labels, its stated range, and the truth."""
    names = ("estimate", "from", "to", "wrong", "by class")
    lines = [
        [row["run"], f"{row['visits']:.0f}", *(f"{row[name]:.1%}" for name in names)]
        for row in rows
        if "estimate" in row
    ]
    header = ("estimated", "from", "to", "in truth", "mean error by class")
    return pages.markdown_table(("share of wrong labels", "visits", *header), lines)


def tables(rows: list[dict[str, Any]]) -> str:
    scores = [table(rows, measure) for measure in ("AUC", "average precision")]
    return "\n".join([*scores, estimates_table(rows)])


def main(*run_dirs: str) -> None:
    script.load_tensorflow()
    rows = [row for run_dir in run_dirs for row in evaluate(run_dir, FLAGS.last)]
    print(tables(rows), end="")
    if FLAGS.output_dir:
        folder = pathlib.Path(FLAGS.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        kept = folder / "label_scores.json"
        rows = keep_rows(kept, rows, lambda row: (row["run"], row.get("score")))
        rows.sort(key=lambda row: row["run"])  # Stable: the scores of a run keep their order.
        files.write_json(kept, {"rows": rows})
        files.write_text(folder / "label_scores.md", tables(rows))


if __name__ == "__main__":
    flags.DEFINE_string(
        "output_dir", "", "Folder of the results; by default they are only printed."
    )
    flags.DEFINE_boolean("last", False, "Use the last history even where labels are memorised.")
    script.run(main, "RUN_DIR...")
