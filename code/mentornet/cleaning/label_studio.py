"""The most suspicious samples as tasks for Label Studio, with the prediction as pre-annotation.

`label_report.py --label_studio_dir` writes them; `mentornet.datasets.label_studio` reads back what
was decided. The formats are documented at https://labelstud.io/guide/predictions and
https://labelstud.io/guide/storage.
"""

from __future__ import annotations

import json
import pathlib
import urllib.parse
from typing import Any
from xml.etree import ElementTree

import tensorflow as tf

from mentornet.cleaning.label_errors import LabelScores
from mentornet.core import files
from mentornet.core.errors import InputError, check
from mentornet.datasets.label_studio import LABEL, NOT_USABLE_CHOICE, SAMPLE, USABLE

TASKS_FILE, CONFIG_FILE, IMAGES_FOLDER = "tasks.json", "label_config.xml", "images"
_MODEL_VERSION = "mentornet"
_CHUNK = 200  # Images that are decoded at a time.


def write(scores: LabelScores, folder: pathlib.Path, count: int) -> None:
    """Writes tasks.json, label_config.xml and images/ID.png of the `count` most suspicious samples.

    The folder is what LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT must be set to.

    Raises:
      InputError: the samples are rows of features, or the folder cannot be written.
    """
    rule = "`label_studio_dir` must be empty where samples are rows of features, not images."
    check(not scores.examples.are_features, rule, label_studio_dir=str(folder))
    chosen = scores.order[:count]
    images = folder / IMAGES_FOLDER
    try:
        images.mkdir(parents=True, exist_ok=True)
        for start in range(0, len(chosen), _CHUNK):
            part = chosen[start : start + _CHUNK]
            ids = scores.examples.ids[part].tolist()
            for number, pixels in zip(ids, scores.examples.read(part), strict=True):
                (images / f"{number}.png").write_bytes(tf.io.encode_png(pixels).numpy())
        files.write_text(folder / CONFIG_FILE, labelling_config(scores))
        tasks = [task(scores, place) for place in chosen.tolist()]
        text = json.dumps(tasks, indent=1, ensure_ascii=False) + "\n"
        files.write_text(folder / TASKS_FILE, text)
    except OSError as error:
        raise InputError(f"`label_studio_dir` {folder} cannot be written: {error}") from None


def task(scores: LabelScores, place: int) -> dict[str, Any]:
    """One task: the sample's data, and what the student predicts as the pre-annotation.

    Its score is how likely the given label is wrong, 1 - label_score of labels.csv, to 5 places.
    """
    name, number = scores.info.class_name, int(scores.examples.ids[place])
    score = round(float(scores.score[place]), 5)
    path = urllib.parse.quote(f"{IMAGES_FOLDER}/{number}.png")
    data = {
        "image": f"/data/local-files/?d={path}",
        SAMPLE: number,
        "given_label": name(scores.examples.labels[place]),
        "predicted_label": name(scores.suggested[place]),
        "score": score,
    }
    if scores.paths:
        data["path"] = scores.paths[number]
    choice = {
        "from_name": LABEL,
        "to_name": "image",
        "type": "choices",
        "value": {"choices": [data["predicted_label"]]},
    }
    prediction = {"model_version": _MODEL_VERSION, "score": score, "result": [choice]}
    return {"data": data, "predictions": [prediction]}


def labelling_config(scores: LabelScores) -> str:
    """The labelling interface: the image, its given label, one choice of the classes."""
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Header", value="Given label: $given_label")
    ElementTree.SubElement(view, "Image", name="image", value="$image")
    label = ElementTree.SubElement(
        view, "Choices", name=LABEL, toName="image", choice="single", showInline="true"
    )
    for name in scores.info.all_class_names:
        ElementTree.SubElement(label, "Choice", value=name)
    usable = ElementTree.SubElement(view, "Choices", name=USABLE, toName="image", choice="multiple")
    ElementTree.SubElement(usable, "Choice", value=NOT_USABLE_CHOICE)
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode") + "\n"
