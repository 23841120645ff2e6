"""Changes one setting of MentorNet PD at a time, for a fast student, without test images.

    python benchmarks/settings.py RUNS_DIR [--data_dir=data_1/narrow/cifar10] [--labels=0.4] [...]

The student is airbench93 with a quarter of its channels, trained for 20 passes. A setting is
judged by what the student predicts, at each sample's last visit, where the label is wrong: the
clean label, the given one or another. No training sees these clean labels, but the data must not be
those whose results are reported: draw the wrong labels with another seed. Runs that are finished
are not repeated; with --output_dir each row is also written to settings.json, in which the rows of
other settings stay.
"""

from __future__ import annotations

import dataclasses
import pathlib
import re
from typing import TYPE_CHECKING, Any

from absl import flags
from measuring import keep_rows, machine, wrong_labels

from mentornet.cli import script
from mentornet.config.training import TrainConfig
from mentornet.config.weighting import WeightingConfig
from mentornet.core import files, pages
from mentornet.core.errors import check

if TYPE_CHECKING:
    from mentornet.datasets.records import Examples

FLAGS = flags.FLAGS
HEAD = ("labels", "setting", "predicted right", "as given", "right labels, predicted as given")
_BATCH, _PASSES = 512, 20
_WIDTHS = (16, 32, 32)  # A quarter of airbench93's.
# About the share of right labels; the burn-in is that of the table of runs.
_PERCENTILES = {"0.2": 0.8, "0.4": 0.65, "0.8": 0.28, "worse_label": 0.6}
_LATE_BURN_IN = {"0.8": 50}
_PUBLISHED_DROPOUT = "0.5,17,0.05,83"  # Of MentorNet PD.


def settings(labels: str, steps: int) -> dict[str, dict[str, Any]]:
    """What each setting is, in trainings of `steps` steps: fields of TrainConfig."""
    from mentornet.students.networks import airbench

    base = WeightingConfig(
        _PERCENTILES[labels], _LATE_BURN_IN.get(labels, 30), example_dropout_rates="0,100"
    )

    def weighted(**values: Any) -> dict[str, Any]:
        return {"weighting": dataclasses.replace(base, **values)}

    found: dict[str, dict[str, Any]] = {"no weighting": {}, "PD": weighted()}
    for burn_in in sorted({10, 30, 50, 70} - {base.burn_in_epoch}):
        found[f"PD, burn-in {burn_in} %"] = weighted(burn_in_epoch=burn_in)
    for difference in (-0.1, 0.1):
        share = round(_PERCENTILES[labels] + difference, 2)
        found[f"PD, percentile {share:g}"] = weighted(loss_p_percentile=share)
    found["PD, published example dropout"] = weighted(example_dropout_rates=_PUBLISHED_DROPOUT)
    recipe = airbench.student["airbench93"].recipe
    rate = recipe.learning_rate * _BATCH / recipe.batch_size
    for name in ("no weighting", "PD"):
        other = found[name]
        found[f"{name}, no label smoothing"] = other | {"label_smoothing": 0.0}
        for factor in (0.7, 1.5, 2.0):
            found[f"{name}, learning rate x {factor:g}"] = other | {"learning_rate": factor * rate}
        found[f"{name}, {2 * _PASSES} passes"] = other | {"max_number_of_steps": 2 * steps}
    return found


def line(labels: str, name: str, config: TrainConfig, examples: Examples) -> list[Any]:
    """The setting's line of the table, after its training unless that is finished.

    Raises:
      InputError: the training was stopped.
    """
    from mentornet.cleaning import labelled_runs
    from mentornet.training import loop

    is_done = loop.train(config) == config.max_number_of_steps
    check(is_done, "Interrupted; the same command continues.", run=config.train_log_dir)
    found = labelled_runs.read_run(config.train_log_dir)[1]["prediction"]
    wrong = wrong_labels(examples, config.train_log_dir)
    as_given = found == examples.labels
    right = (found == examples.clean_labels)[wrong].mean()
    shares = right, as_given[wrong].mean(), as_given[~wrong].mean()
    return [labels, name, *(round(float(share), 4) for share in shares)]


def main(runs_dir: str) -> None:
    known = set(FLAGS.labels) <= set(_PERCENTILES)
    check(known, f"`labels` must be among {', '.join(_PERCENTILES)}.", labels=FLAGS.labels)
    script.load_tensorflow()
    from mentornet.datasets import records
    from mentornet.datasets.catalog import dataset_info
    from mentornet.students.networks import airbench

    airbench.student["airbench93"] = airbench.make_student(airbench.Shape(_WIDTHS))
    rows: list[list[Any]] = []
    for labels in FLAGS.labels:
        data = str(pathlib.Path(FLAGS.data_dir, labels))
        examples = records.read_examples(data, dataset_info("cifar10", data), "train")
        steps = _PASSES * len(examples) // _BATCH
        for name, changed in settings(labels, steps).items():
            folder = "_".join(re.findall(r"[a-z0-9.]+", f"{labels} {name}".lower()))
            values = {"max_number_of_steps": steps} | changed
            config = TrainConfig(
                data,
                str(pathlib.Path(runs_dir, folder, "train")),
                dataset_name="cifar10",
                studentnet="airbench93",
                batch_size=_BATCH,
                log_every_steps=50,
                trained_mentornet_dir="mentornet_pd" if "weighting" in values else None,
                record_sample_weights=True,
                **values,
            )
            rows.append(line(labels, name, config, examples))
            print(*rows[-1], sep="  ", flush=True)
            if FLAGS.output_dir:
                path = pathlib.Path(FLAGS.output_dir, "settings.json")
                path.parent.mkdir(parents=True, exist_ok=True)
                kept = keep_rows(path, rows, lambda row: tuple(row[:2]))
                files.write_json(path, {"machine": machine(), "head": HEAD, "rows": kept})
    print(pages.markdown_table(HEAD, rows))


if __name__ == "__main__":
    flags.DEFINE_string("data_dir", "data_1/narrow/cifar10", "Folder of the folders of records.")
    flags.DEFINE_list("labels", ["0.4"], "Folders of records: the noise of each.")
    flags.DEFINE_string("output_dir", None, "Folder of settings.json.")
    script.run(main, "RUNS_DIR")
