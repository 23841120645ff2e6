#!/usr/bin/env python3
"""Which labels are wrong: a ranking of the training samples of one run, or of several.

    python code/label_report.py RUN_DIR [RUN_DIR ...] [--output_dir=DIR]

reads runs that were trained with --record_sample_weights and writes labels.csv (every sample) and
labels.html (the most suspicious, with images). Scores of several runs on the same labels are
averaged.
"""

from __future__ import annotations

import csv
import io
import pathlib
from typing import TYPE_CHECKING

from absl import flags

from mentornet.cli import pages, script
from mentornet.core import files
from mentornet.core.errors import InputError, check
from mentornet.runs import layout

if TYPE_CHECKING:
    from mentornet.evaluation.label_errors import LabelScores

FLAGS = flags.FLAGS

flags.DEFINE_string("output_dir", "", "Folder of the results; by default the first run's.")
flags.DEFINE_string("data_dir", "", "Training records; by default where the run found them.")
flags.DEFINE_integer("num_shown", 100, "Samples in labels.html.")

_STYLE = """
.samples { display: grid; gap: 0.75rem;
  grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)); }
.samples figure { margin: 0; padding: 0.5rem; border: 1px solid var(--line); border-radius: 4px; }
.samples img { width: 96px; height: 96px; image-rendering: pixelated; display: block; }
.samples figcaption { font-size: 0.8rem; overflow-wrap: anywhere; }
input { font: inherit; max-width: 100%; box-sizing: border-box; padding: 0.3rem 0.5rem; }
[hidden] { display: none; }
"""
_SCRIPT = """
<script>
const field = document.getElementById("filter");
const samples = document.querySelectorAll(".samples figure");
field.addEventListener("input", () => {
  const wanted = field.value.trim().toLowerCase();
  let shown = 0;
  for (const sample of samples) {
    sample.hidden = !sample.dataset.classes.toLowerCase().includes(wanted);
    shown += !sample.hidden;
  }
  document.getElementById("shown").textContent = shown;
});
</script>
"""


def to_csv(scores: LabelScores) -> str:
    """One line a sample, the most suspicious first; with its path, if it was made from a file."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    columns = ["id", "given", "suggested", "score", "mean_weight", "mean_loss"]
    writer.writerow(columns + (["path"] if scores.paths else []))
    name = scores.info.class_name
    for i in scores.order:
        labels = name(scores.examples.labels[i]), name(scores.suggested[i])
        numbers = scores.score[i], scores.mean_weight[i], scores.mean_loss[i]
        number = int(scores.examples.ids[i])
        path = [scores.paths[number]] if scores.paths else []
        writer.writerow([number, *labels, *(f"{x:.5f}" for x in numbers), *path])
    return file.getvalue()


def _figures(scores: LabelScores, count: int) -> str:
    """The most suspicious samples as HTML."""
    import tensorflow as tf

    from mentornet.datasets.images import reader

    parts, name = [], scores.info.class_name
    chosen = scores.order[:count]
    for pixels, i in zip(reader(scores.examples.images)(chosen), chosen, strict=True):
        number = int(scores.examples.ids[i])
        given, suggested = name(scores.examples.labels[i]), name(scores.suggested[i])
        picture = pages.picture(tf.io.encode_png(pixels).numpy(), f"sample {number}")
        classes = pages.text(f"{given} {suggested}")
        caption = f"<b>{pages.text(given)}</b> given<br>{pages.text(suggested)} suggested<br>"
        where = scores.paths[number] if scores.paths else f"id {number}"
        caption += f"mean loss {scores.mean_loss[i]:.1f}, {pages.text(where)}"
        figure = f"{picture}<figcaption>{caption}</figcaption>"
        parts.append(f'<figure data-classes="{classes}">{figure}</figure>\n')
    return '<div class="samples">\n' + "".join(parts) + "</div>\n"


def _tables(scores: LabelScores) -> str:
    from mentornet.evaluation import label_errors

    body = ""
    if rows := label_errors.detection_quality(scores):
        body += "<h2>How well wrong labels are found</h2>\n<p>Against the clean labels on record; "
        body += (
            "precision and recall of as many suspects as labels are estimated to be wrong.</p>\n"
        )
        header = [key.replace("_", " ") for key in rows[0]]
        body += pages.html_table(header, [list(row.values()) for row in rows])
    names = [scores.info.class_name(c) for c in range(scores.info.num_classes)]
    body += "<h2>Estimated confusion</h2>\n<p>Of each given class, the share that seems to be of "
    body += "another; samples that are not suspects count as right.</p>\n"
    matrix = [
        [n, *map(float, row)] for n, row in zip(names, label_errors.confusion(scores), strict=True)
    ]
    return body + pages.html_table(("given", *names), matrix)


def to_html(scores: LabelScores, count: int) -> str:
    """The page of the most suspicious samples."""
    number = len(scores.suspects)
    body = f"<p>{len(scores.score)} training samples; the labels of about {number} of them, "
    body += f"{scores.noise_rate:.1%}, are estimated to be wrong.</p>\n"
    count = min(count, len(scores.score))
    body += "<h2>The most suspicious samples</h2>\n"
    field = '<input id="filter" type="search" placeholder="class name">'
    body += f'<p><label>Show classes with {field}</label> <span id="shown">{count}</span> '
    body += f"of {count} shown.</p>\n"
    body += _figures(scores, count) + _tables(scores) + _SCRIPT
    return pages.page("Labels that may be wrong", body, _STYLE)


def main(*run_dirs: str) -> None:
    check(FLAGS.num_shown >= 1, "`num_shown` must be at least 1.", num_shown=FLAGS.num_shown)
    script.load_tensorflow()
    from mentornet.evaluation import label_errors

    scores = label_errors.score_labels(list(run_dirs), FLAGS.data_dir or None)
    folder = pathlib.Path(FLAGS.output_dir or run_dirs[0])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files.write_text(folder / layout.LABELS_FILE, to_csv(scores))
        files.write_text(folder / layout.LABELS_PAGE, to_html(scores, FLAGS.num_shown))
    except OSError as error:
        raise InputError(f"`output_dir` {folder} cannot be written: {error}") from None
    print(f"{len(scores.score)} samples, {scores.noise_rate:.1%} of the labels estimated wrong")
    if rows := label_errors.detection_quality(scores):
        print("  ".join(f"{k} {v:.3f}" for k, v in rows[0].items() if isinstance(v, float)))
    print(f"{folder / layout.LABELS_FILE} and {layout.LABELS_PAGE}")


if __name__ == "__main__":
    script.run(main, "RUN_DIR...")
