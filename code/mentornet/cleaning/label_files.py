"""The files of `label_report.py`: the ranking as CSV, and the page to review it."""

from __future__ import annotations

import base64
import functools
import hashlib
import importlib.resources
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from mentornet.cleaning import feature_rows, label_errors
from mentornet.cleaning.label_errors import LabelScores
from mentornet.core import files, pages, safe_csv
from mentornet.core.errors import InputError
from mentornet.datasets.corrections import SCORE_DECIMALS
from mentornet.runs import layout

CHUNK = 200  # Images in one of the page's blocks, which are decoded one at a time.
_HARDLY_ANY_RIGHT = 0.9  # Share of wrong labels above which an estimate is doubtful.
_LARGEST = 256  # Pixels per side of the images in the page.
_LARGEST_MATRIX, _NUM_PAIRS = 50, 200  # Classes of the confusion matrix; above, this many pairs.
_LARGEST_PNG = 64  # Larger images are only for people to look at, for which JPEG suffices.


def write(scores: LabelScores, folder: pathlib.Path, count: int) -> None:
    """Writes labels.csv and labels.html, which shows the `count` most suspicious samples.

    Raises:
      InputError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files.write_text(folder / layout.LABELS_FILE, to_csv(scores))
        files.write_text(folder / layout.LABELS_PAGE, to_html(scores, count))
    except OSError as error:
        raise InputError(f"`output_dir` {folder} cannot be written: {error}") from None


def table(scores: LabelScores) -> dict[str, np.ndarray]:
    """The columns of labels.csv between id and path, [n] each, in the order of the records.

    The first four, `is_label_issue` to `predicted_label`, are named as in cleanlab's Datalab;
    `label_score` is 0..1, low is bad.
    """
    names = np.array(scores.info.all_class_names)
    return {
        "is_label_issue": scores.is_suspect,
        "label_score": 1 - scores.score,
        "given_label": names[scores.examples.labels],
        "predicted_label": names[scores.suggested],
        "mean_weight": scores.mean_weight,
        "mean_loss": scores.mean_loss,
    }


def to_csv(scores: LabelScores) -> str:
    """One line per sample, the most suspicious first; with its file or row, if it has one.

    See `table` for the columns.
    """
    columns, ids, paths = table(scores), scores.examples.ids.tolist(), scores.paths
    rows: list[Sequence[object]] = [("id", *columns, *(("path",) if paths else ()))]
    for i in scores.order.tolist():
        cells = [column[i].item() for column in columns.values()]
        row = [f"{cell:.{SCORE_DECIMALS}f}" if isinstance(cell, float) else cell for cell in cells]
        rows.append([ids[i], *row, *([paths[ids[i]]] if paths else [])])
    return safe_csv.to_csv(rows)


def to_html(scores: LabelScores, count: int) -> str:
    """The page in which the `count` most suspicious samples are reviewed."""
    shown = scores.order[:count]
    number = len(scores.suspects)
    body = [
        f"<p>{len(scores.score)} training samples; the labels of about {number} of them, "
        f"{scores.noise}, are estimated to be wrong, from {scores.noise.source}. Below are the "
        f"{len(shown)} most suspicious.</p>\n",
        _part("review.html"),
        _tables(scores),
        pages.json_block("review-data", _data(scores, shown)),
    ]
    starts = range(0, len(shown), CHUNK)
    draw: Callable[[np.ndarray], Iterable[str]] = functools.partial(_images, scores)
    if scores.examples.are_features:
        draw = feature_rows.RowDescriptions(scores.info, scores.examples).describe
    for block, start in enumerate(starts):
        images = list(draw(shown[start : start + CHUNK]))
        body.append(pages.json_block(f"images-{block}", images))
    program = "\n".join(map(_part, ("csv.js", "store.js", "samples.js", "review.js")))
    style = _part("review.css")
    program = f'"use strict";\n{program}'
    return pages.page("Labels that may be wrong", "".join(body), style, program)


def _part(name: str) -> str:
    return (importlib.resources.files("mentornet.cleaning") / "review" / name).read_text("utf-8")


def _data(scores: LabelScores, shown: np.ndarray) -> dict[str, Any]:
    """The input of samples.js; ids and scores as text, since it writes them to a file unchanged."""
    examples, info = scores.examples, scores.info
    ids = [str(number) for number in examples.ids[shown].tolist()]
    return {
        "key": _key(scores),
        "classes": info.all_class_names,
        "ids": ids,
        "given": examples.labels[shown].tolist(),
        "predicted": scores.suggested[shown].tolist(),
        "scores": [f"{score:.{SCORE_DECIMALS}f}" for score in scores.score[shown]],
        "losses": [f"{loss:.2f}" for loss in scores.mean_loss[shown]],
        "paths": [scores.paths[int(number)] for number in ids] if scores.paths else None,
        "chunk": CHUNK,
        "image_type": _image_type(examples.image_shape),
        "image_size": max(examples.image_shape[:2]),
    }


def _key(scores: LabelScores) -> str:
    """Names data and labels: reports of several runs on them share the decisions in a browser."""
    examples = scores.examples
    digest = hashlib.sha256(examples.fingerprint().encode())
    names = (scores.info.name, *scores.info.all_class_names)
    digest.update("\0".join(names).encode())
    first = np.arange(min(16, len(examples)))  # Other images may have the same ids and labels.
    digest.update(np.asarray(examples.read(first)).tobytes())
    return digest.hexdigest()[:32]


def _is_large(shape: tuple[int, ...]) -> bool:
    return max(shape[:2]) > _LARGEST_PNG


def _image_type(shape: tuple[int, ...]) -> str | None:
    """The media type of images; None for rows of features, which are shown as text."""
    if len(shape) == 1:
        return None
    return "image/jpeg" if _is_large(shape) else "image/png"


def _images(scores: LabelScores, chosen: np.ndarray) -> Iterator[str]:
    """Images in base64, reduced to what a person needs."""
    large = _is_large(scores.examples.image_shape)
    for pixels in scores.examples.read(chosen):
        height, width = pixels.shape[:2]
        if (most := max(height, width)) > _LARGEST:
            size = [max(1, round(side * _LARGEST / most)) for side in (height, width)]
            small = tf.image.resize(pixels, size, "area")
            pixels = tf.cast(tf.round(small), tf.uint8)
        encoded = tf.io.encode_jpeg(pixels, quality=90) if large else tf.io.encode_png(pixels)
        yield base64.b64encode(encoded.numpy()).decode()


def _tables(scores: LabelScores) -> str:
    """How well wrong labels are found, if clean labels are known, and the estimated confusion."""
    body = ""
    if rows := label_errors.detection_quality(scores):
        body += "<h2>How well wrong labels are found</h2>\n<p>Against the clean labels on record; "
        body += "precision and recall if as many are suspected as are estimated to be wrong.</p>\n"
        header = [key.replace("_", " ") for key in rows[0]]
        body += pages.html_table(header, [list(row.values()) for row in rows])
    return body + "<h2>Estimated confusion</h2>\n" + _confusion(scores)


def _confusion(scores: LabelScores) -> str:
    """A matrix or, of many classes, a list of the pairs that are confused most often."""
    name, number = scores.info.class_name, scores.info.num_classes
    if number > _LARGEST_MATRIX:
        pairs = label_errors.confused_pairs(scores)[:_NUM_PAIRS]
        rows = [[name(given), name(other), count] for given, other, count in pairs]
        return (
            "<p>The most frequent pairs of given and suggested class among the suspects (at most "
            f"{_NUM_PAIRS}).</p>\n" + pages.html_table(("given", "suggested", "suspects"), rows)
        )
    shares = label_errors.confusion(scores)
    matrix = [
        [name(label), scores.noise.of_class(label), *map(float, shares[label])]
        for label in _given(scores)
    ]
    return (
        "<p>For each given class, the share of samples that seem to belong to each class; samples "
        "that are not suspects count as correct. Wrong: the estimated share of wrong labels.</p>\n"
        + pages.html_table(("given", "wrong", *scores.info.all_class_names), matrix)
    )


def _given(scores: LabelScores) -> np.ndarray:
    """The classes that are the label of a sample, int64 ascending."""
    return np.unique(scores.examples.labels)


def worst_classes(scores: LabelScores) -> str:
    """The five given classes with the largest shares of wrong labels, in words."""
    given = _given(scores)
    worst = given[np.argsort(-scores.noise.by_class[given])][:5]
    shares = [f"{scores.info.class_name(c)} {scores.noise.of_class(c)}" for c in worst]
    text = f"Worst classes: {', '.join(shares)}."
    if scores.noise.by_class[worst[0]] > _HARDLY_ANY_RIGHT:
        text += " Where nearly all labels seem wrong, the student may not know the class."
    return text
