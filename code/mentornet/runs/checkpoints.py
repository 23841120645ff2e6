"""Saving and restoring the state of a run."""

from __future__ import annotations

import collections
import json
import os
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from mentornet.core import files
from mentornet.core.checkpoint_files import READ_ERRORS, is_prefix, reading
from mentornet.core.errors import InputError, check, first_line
from mentornet.label_noise.history import NAMES, VALUES, saved_columns
from mentornet.runs import layout

_CONFIG_KEY = "config/.ATTRIBUTES/VARIABLE_VALUE"


def variables_of(model: keras.Model) -> dict[str, tf.Variable]:
    """A model's variables by the network's own names, independent of Keras' internal structure.

    Keras numbers unnamed layers throughout a process (conv2d_7); here they are numbered within the
    model, so that another instance of the model has the same names.
    """
    names: dict[str, dict[str, str]] = collections.defaultdict(dict)
    result, twins = {}, collections.Counter[str]()
    for variable in model.weights:
        parent = ""
        for part in variable.path.split("/"):
            plain = f"{parent}/{re.sub(r'_[0-9]+$', '', part)}"
            number = len(names[plain])
            parent = names[plain].setdefault(part, f"{plain}_{number}" if number else plain)
        name = parent.removeprefix("/")
        twins[name] += 1  # Parts of a model may have layers of the same names.
        result[f"{name}~{twins[name]}" if twins[name] > 1 else name] = variable.value
    return result


def averaged_variables(model: keras.Model) -> dict[str, tf.Variable]:
    """The variables that have a moving average, by the name of the average in checkpoints."""
    return {f"average/{name}": v for name, v in variables_of(model).items() if v.dtype.is_floating}


class Versioned(Protocol):
    """State that another version may have saved."""

    def state(self) -> Mapping[str, tf.Variable]:
        """The variables to save, by name."""

    def restore(self, saved: Mapping[str, np.ndarray]) -> None:
        """Restores saved values, some of which may be missing; InputError if this is impossible."""


def joined(*states: Mapping[str, tf.Variable]) -> dict[str, tf.Variable]:
    """All variables by name.

    Raises:
      InputError: two of them have the same name, such as a weighting's own and the training's.
    """
    found: dict[str, tf.Variable] = {}
    rule = "Two variables would be saved under one name: rename the weighting's."
    for state in states:
        twice = sorted(found.keys() & state.keys())
        check(not twice, rule, names=twice)
        found |= state
    return found


class RunCheckpoint:
    """The checkpoints of a training run: everything on which the next step depends.

    Args:
      folder: the run's train_log_dir.
      student: the student.
      config: saved in each checkpoint as JSON, so that the evaluation job can rebuild the student.
      state: further variables by name.
      max_to_keep: number of checkpoints to keep; older ones are deleted.
      versioned: the parts of `state` that can be restored from another version's checkpoint.
    """

    def __init__(
        self,
        folder: str,
        student: keras.Model,
        config: dict[str, Any],
        state: dict[str, tf.Variable],
        max_to_keep: int,
        versioned: Sequence[Versioned] = (),
    ) -> None:
        self._config = tf.Variable(json.dumps(config), trainable=False)
        parts = {"student": variables_of(student), "config": self._config}
        self._checkpoint = tf.train.Checkpoint(**parts, state=state)
        self._versioned = versioned
        converted = {name for part in versioned for name in part.state()}
        same = {name: value for name, value in state.items() if name not in converted}
        self._restored = tf.train.Checkpoint(**parts, state=same)
        self._names, self._required = frozenset(state), frozenset(same)
        self._manager = self._make_manager(folder, max_to_keep)
        self._global_step = state["global_step"]

    def _make_manager(self, folder: str, max_to_keep: int) -> tf.train.CheckpointManager:
        if _read_list(folder) is None:  # Missing or damaged: what is there is listed anew.
            pathlib.Path(folder, layout.CHECKPOINT_LIST).unlink(missing_ok=True)
            if paths := checkpoint_paths(folder):
                times = [pathlib.Path(f"{path}.index").stat().st_mtime for path in paths]
                # By name, so that a copy of the folder does not delete what the original holds;
                # TensorFlow keeps names only if the path of the folder is absolute.
                names = [pathlib.Path(path).name for path in paths]
                listed = os.path.abspath(folder), names[-1], names, None, times
                tf.compat.v1.train.update_checkpoint_state(*listed)
        return tf.train.CheckpointManager(
            self._checkpoint, folder, max_to_keep, checkpoint_name=layout.CHECKPOINT_NAME
        )

    def save(self) -> None:
        """Saves the state after the current step, completely or not at all.

        Raises:
          InputError: the disk is full or the folder cannot be written; older checkpoints are kept.
        """
        self._save(self._manager)

    def set_aside(self) -> None:
        """Saves the state in a folder of its own, in place of the previous one set aside.

        Raises:
          InputError: see `save`.
        """
        folder = pathlib.Path(self._manager.directory, layout.KEPT_FOLDER)
        self._save(self._make_manager(str(folder), max_to_keep=1))

    def _save(self, manager: tf.train.CheckpointManager) -> None:
        step = int(self._global_step.numpy())
        try:
            manager.save(checkpoint_number=step)
        except (tf.errors.OpError, OSError) as error:
            reason = first_line(error)
            kept = manager.latest_checkpoint or "none"
            raise InputError(
                f"Saving the checkpoint of step {step} failed in {manager.directory}: "
                f"{reason} The last good checkpoint is {kept}."
            ) from None

    def _restore(self, path: str) -> None:
        saved = tf.train.load_checkpoint(path).get_variable_to_shape_map()
        found = {key for key in saved if key.startswith("state/")}
        lacks = sorted(name for name in self._required if state_key(name) not in found)
        unknown = sorted(found - {state_key(name) for name in self._names})
        rule = f"{path} must hold the state that this run has in this version."
        besides = [key.removeprefix("state/").partition("/.")[0] for key in unknown]
        check(not lacks and not unknown, rule, missing=lacks, unexpected=besides)
        config = self._config.numpy()
        status = self._restored.restore(path)
        status.assert_existing_objects_matched().expect_partial()
        self._config.assign(config)  # The current configuration, not an older version's.
        for part in self._versioned:
            part.restore(read_state(path, part.state()))

    def restore_latest(self) -> str | None:
        """Restores the newest readable checkpoint and returns its path; None if there is none.

        Raises:
          InputError: there are checkpoints, but none can be read.
        """
        paths = checkpoint_paths(self._manager.directory)[::-1]
        for path in paths:
            try:
                self._restore(path)
                return path
            except InputError:  # Readable, but this version cannot resume from it.
                raise
            except READ_ERRORS as error:
                reason = first_line(error)
                print(f"WARNING: checkpoint {path} is ignored: {reason}", flush=True)
        if paths:
            raise InputError(f"No checkpoint in {self._manager.directory} can be read.")
        return None


def state_key(name: str) -> str:
    """The key, in a checkpoint, of a run's state variable of this name."""
    escaped = name.replace(".", "..").replace("/", ".S")  # TensorFlow's escaping.
    return f"state/{escaped}/.ATTRIBUTES/VARIABLE_VALUE"


def read_state(prefix: str, names: Iterable[str]) -> dict[str, np.ndarray]:
    """The state variables of these names that a checkpoint holds, by name.

    Raises:
      One of `READ_ERRORS`: the checkpoint is missing or damaged.
    """
    reader = tf.train.load_checkpoint(prefix)
    keys = {name: state_key(name) for name in names}
    return {name: reader.get_tensor(key) for name, key in keys.items() if reader.has_tensor(key)}


def read_history(prefix: str, **argument: str) -> dict[str, np.ndarray]:
    """The columns of the sample history that a checkpoint holds, float32 [n] by name.

    Args:
      prefix: of the checkpoint.
      **argument: the one that names the run, for the message.

    Raises:
      InputError: the checkpoint cannot be read, or its run recorded no history.
    """
    with reading(prefix):
        saved = read_state(prefix, (VALUES, NAMES))
    rule = "The run must have been trained with --record_sample_weights or --keep_best."
    check(VALUES in saved, rule, **argument)
    return saved_columns(saved)


def _read_list(folder: str) -> list[str] | None:
    """The checkpoints that the `checkpoint` file names; None if it is missing or damaged."""
    try:
        state = tf.train.get_checkpoint_state(folder)
    except ValueError:  # Not UTF-8, or empty.
        return None
    paths = list(state.all_model_checkpoint_paths) if state else []
    # The latest comes first by itself and is repeated at the end: a file that was cut lacks that.
    return paths if paths and state.model_checkpoint_path in paths else None


def checkpoint_paths(folder: str) -> list[str]:
    """The checkpoints of a run, oldest first, as listed in its `checkpoint` file.

    If that file is missing or damaged, the checkpoints in the folder. The release's lists absolute
    paths; if the folder was moved, the files of the same names in it are used.
    """
    listed = _read_list(folder)
    if listed is not None:
        moved = [str(pathlib.Path(folder, pathlib.Path(path).name)) for path in listed]
        return [new if is_prefix(new) else old for new, old in zip(moved, listed, strict=True)]
    steps = layout.checkpoint_steps(folder)
    return [str(layout.checkpoint_prefix(folder, step)) for step in steps]


def find_latest(folder: str, argument: str = "train_log_dir") -> str:
    """The latest checkpoint of a run's training folder.

    Args:
      folder: what the user gave, or a folder below it.
      argument: its name, for messages.

    Raises:
      InputError: there is none.
    """
    paths = checkpoint_paths(folder)
    check(bool(paths), f"`{argument}` must hold a checkpoint.", **{argument: folder})
    return paths[-1]


def checkpoint_step(prefix: str) -> int:
    """The global step in a checkpoint's name, `model.ckpt-<step>`.

    Raises:
      InputError: the name does not end in -<step>.
    """
    step = prefix.rpartition("-")[2]
    check(step.isdecimal(), "A student's checkpoint must be named <name>-<step>.", name=prefix)
    return int(step)


def checkpoint_identity(prefix: str) -> str | None:
    """The start of the SHA-256 of a checkpoint's index, which has checksums; None if deleted."""
    try:
        return files.sha256(f"{prefix}.index")[:16]
    except OSError:
        return None


def read_run_config(prefix: str) -> dict[str, Any]:
    """The configuration of the run that wrote a checkpoint.

    Raises:
      KeyError: the checkpoint holds no configuration (the release's checkpoints do not).
      One of `READ_ERRORS`: it is missing or damaged.
    """
    reader = tf.train.load_checkpoint(prefix)
    if not reader.has_tensor(_CONFIG_KEY):
        raise KeyError(_CONFIG_KEY)
    return json.loads(reader.get_tensor(_CONFIG_KEY))
