"""Ranks the training samples of one or several runs by how likely their labels are wrong.

    mentornet report RUN_DIR [RUN_DIR ...] [--output_dir=DIR]

This reads runs that were trained with --record_sample_weights and writes labels.csv (every sample)
and labels.html, a page to review the most suspicious ones. Scores of several runs on the same
labels are averaged.
"""

from __future__ import annotations

import pathlib

from absl import flags

from mentornet.cli import script
from mentornet.core.errors import check
from mentornet.runs import layout

FLAGS = flags.FLAGS
ARGUMENTS = ("RUN_DIR...",)


def define_flags() -> None:
    flags.DEFINE_string("output_dir", "", "Folder of the results; by default the first run's.")
    flags.DEFINE_string(
        "data_dir", "", "Training records; by default those on which the run was trained."
    )
    flags.DEFINE_integer(
        "num_shown", 100, "Number of samples shown in labels.html, most suspicious first."
    )
    flags.DEFINE_string(
        "label_studio_dir",
        "",
        "Folder for the same samples as tasks of Label Studio: tasks.json, label_config.xml, "
        "images.",
    )


def main(*run_dirs: str) -> None:
    check(FLAGS.num_shown >= 1, "`num_shown` must be at least 1.", num_shown=FLAGS.num_shown)
    script.load_tensorflow()
    from mentornet.cli import label_files, label_studio
    from mentornet.evaluation import label_errors

    scores = label_errors.score_labels(list(run_dirs), FLAGS.data_dir or None)
    folder = pathlib.Path(FLAGS.output_dir or run_dirs[0])
    label_files.write(scores, folder, FLAGS.num_shown)
    if FLAGS.label_studio_dir:
        label_studio.write(scores, pathlib.Path(FLAGS.label_studio_dir), FLAGS.num_shown)
    noise = scores.noise
    print(
        f"{len(scores.score)} samples, {noise} of the labels estimated wrong, from {noise.source}"
    )
    print(label_files.worst_classes(scores))
    if rows := label_errors.detection_quality(scores):
        print("  ".join(f"{k} {v:.3f}" for k, v in rows[0].items() if isinstance(v, float)))
    print(f"{folder / layout.LABELS_FILE} and {layout.LABELS_PAGE}")
    if FLAGS.label_studio_dir:
        print(f"{FLAGS.label_studio_dir}: tasks for Label Studio")
