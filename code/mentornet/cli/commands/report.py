"""Ranks the training samples of one or several runs by how likely their labels are wrong.

    mentornet report RUN_DIR [RUN_DIR ...] [--output_dir=DIR]

This reads runs that were trained with --record_sample_weights and writes labels.csv (every sample)
and labels.html, a page to review the most suspicious ones. What several runs on the same labels
have seen of a sample is pooled.
"""

from __future__ import annotations

import dataclasses
import pathlib

from mentornet.cli import config_flags, script
from mentornet.config.cleaning import NUM_SHOWN
from mentornet.config.options import at_least, check_fields, option
from mentornet.runs import layout

ARGUMENTS = ("RUN_DIR...",)


@dataclasses.dataclass(frozen=True)
class LabelReportConfig:
    """What the report shows, and where it is written: each field is a flag.

    Raises:
      InputError: a value is outside its range.
    """

    output_dir: str = option("", "Folder of the results; by default the first run's.")
    data_dir: str = option("", "Training records; by default those on which the run was trained.")
    num_shown: int = option(
        NUM_SHOWN,
        "Number of samples shown in labels.html, most suspicious first.",
        check=at_least(1),
    )
    label_studio_dir: str = option(
        "",
        "Folder for the same samples as tasks of Label Studio: tasks.json, label_config.xml, "
        "images.",
    )

    def __post_init__(self) -> None:
        check_fields(self)


def define_flags() -> None:
    config_flags.define_flags(LabelReportConfig)


def main(*run_dirs: str) -> None:
    config = LabelReportConfig(**config_flags.read_flags(LabelReportConfig))
    script.load_tensorflow()
    from mentornet.cleaning import label_errors, label_files, label_studio

    scores = label_errors.score_labels(list(run_dirs), config.data_dir or None)
    folder = pathlib.Path(config.output_dir or run_dirs[0])
    label_files.write(scores, folder, config.num_shown)
    if config.label_studio_dir:
        label_studio.write(scores, pathlib.Path(config.label_studio_dir), config.num_shown)
    noise = scores.noise
    for note in scores.notes:
        print(note)
    print(
        f"{len(scores.score)} samples, {noise} of the labels estimated wrong, from {noise.source}"
    )
    print(label_files.worst_classes(scores))
    if rows := label_errors.detection_quality(scores):
        print("  ".join(f"{k} {v:.3f}" for k, v in rows[0].items() if isinstance(v, float)))
    print(f"{folder / layout.LABELS_FILE} and {layout.LABELS_PAGE}")
    if config.label_studio_dir:
        print(f"{config.label_studio_dir}: tasks for Label Studio")
