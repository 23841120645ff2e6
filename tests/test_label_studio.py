"""Label Studio: the tasks that a report writes, and the decisions in an export."""

import dataclasses
import json
import re
import xml.etree.ElementTree as ElementTree

import imageio.v3 as imageio
import numpy as np
import pytest
import tensorflow as tf

from mentornet import InputError
from mentornet.cleaning import label_studio
from mentornet.cleaning.label_errors import LabelScores
from mentornet.datasets.catalog import DatasetInfo
from mentornet.datasets.corrections import NOT_USABLE, Known, read_corrections
from mentornet.datasets.records import Examples
from mentornet.label_noise.noise_rate import NoiseRate

CLASSES = ('<b>cat</b> & "tom"', "it's", "über, 3")
IDS = (7, 3, 12, 5)
LABELS = (0, 1, 2, 1)
PATHS = {7: "a/<i>7</i>.png", 3: 'b/"3".png', 12: "c/ü 12.png", 5: "b/5.png"}


@pytest.fixture(scope="module")
def info():
    return DatasetInfo("pets", 3, CLASSES)


@pytest.fixture
def known(info):
    return Known(info, np.array(IDS), np.array(LABELS), PATHS)


@pytest.fixture
def scores(info):
    images = np.random.default_rng(0).integers(0, 256, (4, 4, 4, 3), np.uint8)
    labels, n = np.array(LABELS), len(LABELS)
    examples = Examples(
        tf.constant(images), (4, 4, 3), labels, np.full(n, -1), np.array(IDS), np.zeros(n, bool)
    )
    score = np.array([0.25, 0.75, 0.5, 0])
    noise = NoiseRate(0.5, 0.5, 0.5, np.full(3, 0.5), np.full((3, 2), 0.5), "a test")
    return LabelScores(info, examples, score, (labels + 1) % 3, score, score, noise, PATHS)


def annotation(label=None, usable=True, **values):
    chosen = [("label", label)] if label is not None else []
    chosen += [] if usable else [("usable", "Not usable")]
    result = [
        {
            "id": "x1",
            "type": "choices",
            "from_name": name,
            "to_name": "image",
            "value": {"choices": [choice]},
        }
        for name, choice in chosen
    ]
    return {"id": 1, "completed_by": 1, "was_cancelled": False, "result": result} | values


def exported(place, *annotations, **data):
    """A task as exported by Label Studio 1.23.2, without unused keys."""
    facts = {"sample_id": IDS[place], "given_label": CLASSES[LABELS[place]]}
    facts |= {"image": "/data/local-files/?d=images/7.png", "path": PATHS[IDS[place]], **data}
    return {"id": 100 + place, "annotations": list(annotations), "predictions": [], "data": facts}


def decide(known, *tasks, encoding="utf-8", accept_above=None):
    data = json.dumps(tasks, ensure_ascii=False).encode(encoding)
    return read_corrections(data, "export.json", known, accept_above).tolist()


def test_tasks(tmp_path, scores):
    """The three most suspicious, in order, with their prediction and exact pixels."""
    folder = tmp_path / "review"
    label_studio.write(scores, folder, 3)
    tasks = json.loads((folder / "tasks.json").read_text("utf-8"))
    assert [task["data"]["sample_id"] for task in tasks] == [3, 12, 7]
    assert tasks[0]["data"] == {
        "image": "/data/local-files/?d=images/3.png",
        "sample_id": 3,
        "given_label": "it's",
        "predicted_label": "über, 3",
        "score": 0.75,
        "path": 'b/"3".png',
    }
    (prediction,) = tasks[1]["predictions"]
    assert prediction["model_version"] == "mentornet" and prediction["score"] == 0.5
    assert prediction["result"][0]["value"] == {"choices": [CLASSES[0]]}
    view = ElementTree.parse(folder / "label_config.xml").getroot()
    controls = {choices.get("name"): choices for choices in view.iter("Choices")}
    assert tuple(choice.get("value") for choice in controls["label"]) == CLASSES
    assert [choice.get("value") for choice in controls["usable"]] == ["Not usable"]
    for result in prediction["result"]:
        assert result["from_name"] in controls
        assert [result["to_name"]] == [image.get("name") for image in view.iter("Image")]
    assert {file.name for file in (folder / "images").iterdir()} == {"3.png", "12.png", "7.png"}
    np.testing.assert_array_equal(
        imageio.imread(folder / "images" / "12.png"), scores.examples.images.numpy()[2]
    )


def test_features_have_no_tasks(tmp_path, scores):
    examples = dataclasses.replace(scores.examples, image_shape=(4,))
    rows = dataclasses.replace(scores, examples=examples)
    with pytest.raises(InputError, match="`label_studio_dir` must be empty"):
        label_studio.write(rows, tmp_path / "review", 3)
    assert not (tmp_path / "review").exists()


def test_round_trip(tmp_path, scores, known):
    """Every suggestion accepted."""
    label_studio.write(scores, tmp_path, 4)
    tasks = json.loads((tmp_path / "tasks.json").read_text("utf-8"))
    for task in tasks:
        task["annotations"] = [annotation(task["data"]["predicted_label"])]
    assert decide(known, *tasks) == [[0, 1], [1, 2], [2, 0], [3, 2]]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_decisions(known, encoding):
    """Kept, replaced, not usable; skipped, without a choice or without annotation: undecided."""
    assert decide(known, exported(0), encoding=encoding) == []
    assert decide(
        known,
        exported(0, annotation(CLASSES[0]), annotation(CLASSES[2], was_cancelled=True)),
        exported(1, annotation(CLASSES[2]), annotation(CLASSES[2])),
        exported(2, annotation(CLASSES[1], usable=False)),
        exported(3, annotation()),
        encoding=encoding,
    ) == [[0, 0], [1, 2], [2, NOT_USABLE]]


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ([exported(0, annotation("dog"))], "task 1: `corrected_label` must be a class .*dog"),
        ([exported(0), exported(1, annotation("it's"), sample_id=99)], "task 2: `id` must be the"),
        (
            [exported(0, annotation("it's"), annotation(CLASSES[0]))],
            "task 1: `id` 7 must not have conflicting labels",
        ),
        (
            [exported(0, annotation("it's")), exported(0, annotation(usable=False))],
            "task 2: `id` 7 must not have conflicting labels",
        ),
        ([exported(0, annotation("it's"), given_label="it's")], "belongs to another data set"),
        ([exported(0, annotation("it's"), path="x.png")], "belongs to another data set"),
        ([{"id": 1, "sample_id": 7, "label": "it's"}], "exported from Label Studio as JSON"),
        ([exported(0, {"result": [{"type": "choices", "from_name": "mood"}]})], "must have the"),
        ([exported(0, annotation(["it's"]))], "`corrected_label` must be a class"),
        (
            [exported(0, {"result": 2 * annotation("it's")["result"]})],
            "an annotation must choose one class",
        ),
        (["text"], "exported from Label Studio as JSON"),
    ],
)
def test_what_is_refused(known, tasks, message):
    with pytest.raises(InputError, match=message):
        decide(known, *tasks)


def test_files_that_are_refused(known):
    task = exported(2, annotation(CLASSES[0]))
    for encoding in ("cp1252", "utf-16"):
        with pytest.raises(InputError, match="must be UTF-8"):
            decide(known, task, encoding=encoding)
    with pytest.raises(InputError, match="`accept_above` needs a report's labels.csv"):
        decide(known, task, accept_above=0.5)
    for data, message in ((b"[{", "is not valid JSON"), (b"{}", "exported from Label Studio")):
        with pytest.raises(InputError, match=message):
            read_corrections(data, "export.json", known)


def test_more_images_than_are_decoded_at_a_time(tmp_path, scores, monkeypatch):
    monkeypatch.setattr(label_studio, "_CHUNK", 2)
    label_studio.write(scores, tmp_path, 3)
    places = {"3.png": 1, "12.png": 2, "7.png": 0}
    assert {file.name for file in (tmp_path / "images").iterdir()} == places.keys()
    for name, place in places.items():
        pixels = imageio.imread(tmp_path / "images" / name)
        np.testing.assert_array_equal(pixels, scores.examples.images.numpy()[place])


def test_the_interface_shows_what_a_task_holds(scores):
    text = label_studio.labelling_config(scores)
    shown = re.findall(r'value="[^"]*\$(\w+)"', text)
    assert sorted(shown) == ["given_label", "image"]
    assert {*shown} <= label_studio.task(scores, 0)["data"].keys()
    view = ElementTree.fromstring(text)
    asked = [(each.get("name"), each.get("choice")) for each in view.iter("Choices")]
    assert asked == [("label", "single"), ("usable", "multiple")]


def test_results_of_other_controls_are_passed_over(known):
    """Of a text for which the user's own labelling interface also asks."""
    note = {"type": "textarea", "from_name": "note", "value": {"text": ["blurred"]}}
    decided = annotation(CLASSES[2])
    decided["result"].insert(0, note)
    tasks = exported(1, decided), exported(0, annotation(result=[note]))
    assert decide(known, *tasks) == [[1, 2]]


def test_a_class_without_a_name_does_not_leave_the_sample_out(known):
    with pytest.raises(InputError, match="task 2: the class must have a name"):
        decide(known, exported(1), exported(0, annotation("")))
