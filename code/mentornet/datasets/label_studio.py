"""Label Studio's JSON: the data of a task, and the decisions in an export.

The format is documented at https://labelstud.io/guide/task_format and
https://labelstud.io/guide/export.
"""

from __future__ import annotations

import json
from typing import Any

from mentornet.core.errors import InputError, check

# The names of the two controls in the labelling interface.
LABEL, USABLE = "label", "usable"
NOT_USABLE_CHOICE = "Not usable"  # The only choice of the second control.
# The sample's id in a task's data; plain `id` would clash with the task's own.
SAMPLE = "sample_id"
_COPIED = ("given_label", "path")
_FORM = "must be tasks of label_report.py, exported from Label Studio as JSON (not JSON-MIN or CSV)"


def read_export(data: bytes, name: str) -> list[tuple[str, dict[str, str]]]:
    """The decisions of an export as rows of corrections.csv, one for each annotation.

    Annotations that were skipped (cancelled) or have no choice are not decisions, nor are tasks
    without annotations.

    Args:
      data: the file's bytes, UTF-8 with or without a byte order mark.
      name: the file's name in messages.

    Returns:
      For each annotation its place in the file, for messages, and a row with the columns `id`,
      `given_label`, `corrected_label`, and `path` if the task has one.

    Raises:
      InputError: the encoding is not UTF-8, or the file is not JSON of this form.
    """
    try:
        tasks = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InputError(f"{name} must be UTF-8. Received: {error.reason}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name} is not valid JSON: {error}") from None
    check(isinstance(tasks, list), f"{name} {_FORM}.", content=type(tasks).__name__)
    rows = []
    for number, task in enumerate(tasks, 1):
        where = f"{name}, task {number}"
        facts, annotations = _task(where, task)
        for annotation in annotations:
            if (label := _decision(where, annotation)) is not None:
                rows.append((where, facts | {"corrected_label": label}))
    return rows


def _task(where: str, task: Any) -> tuple[dict[str, str], list[Any]]:
    """A task's data about its sample, and its annotations."""
    task = task if isinstance(task, dict) else {}
    data, annotations = task.get("data"), task.get("annotations")
    is_ours = isinstance(data, dict) and {SAMPLE, "given_label"} <= data.keys()
    check(is_ours and isinstance(annotations, list), f"{where}: {_FORM}.", keys=sorted(task))
    assert isinstance(data, dict) and isinstance(annotations, list)
    facts = {key: str(data[key]) for key in _COPIED if key in data}
    return {"id": str(data[SAMPLE]), **facts}, annotations


def _decision(where: str, annotation: Any) -> str | None:
    """The class chosen by an annotation, "" if the sample is not usable, None if undecided."""
    try:
        if annotation.get("was_cancelled"):
            return None
        chosen: dict[str, list[str]] = {LABEL: [], USABLE: []}
        for result in annotation["result"]:
            if result["type"] == "choices":
                chosen[result["from_name"]] += result["value"]["choices"]
    except (AttributeError, LookupError, TypeError) as error:
        rule = f"{where}: the annotation must have the controls of label_config.xml"
        raise InputError(f"{rule}. Received: {error!r}") from None
    if chosen[USABLE]:
        return ""
    labels = chosen[LABEL]
    check(len(labels) <= 1, f"{where}: an annotation must choose one class.", choices=labels)
    if not labels:
        return None
    check(labels[0] != "", f"{where}: the class must have a name.", choices=labels)
    return str(labels[0])
