"""Which history of a run its labels are ranked by."""

import json
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from mentornet import InputError
from mentornet.cleaning import label_errors
from mentornet.cleaning.labelled_runs import ranking_history, read_run, train_folder
from mentornet.label_noise import history, ranking

COUNT = 200  # Samples.
CONFIG = {"dataset_name": "own", "data_sha256": "0"}


def columns_of(num_counted, num_contradicted, num_memorised):
    """A history in which the first labels are contradicted, of which the first are memorised."""
    number, zeros = np.arange(COUNT), np.zeros(COUNT)
    columns = dict.fromkeys(history.COLUMNS, zeros) | {"num_seen": zeros + num_counted}
    just_more = num_counted // 2 + 1
    return columns | {
        "num_counted": zeros + num_counted,
        "num_wrong": np.where(number < num_contradicted, just_more, num_counted // 2),
        "other_class": zeros + 1,
        "prediction": np.where(number < num_memorised, 0.0, 1.0),
    }


def save(folder, columns, step):
    """A checkpoint with a history of these columns."""
    folder.mkdir(parents=True, exist_ok=True)
    state: Any = {
        history.VALUES: tf.Variable(np.stack(list(columns.values()), axis=1).astype(np.float32)),
        history.NAMES: tf.Variable(list(columns)),
    }
    tf.train.Checkpoint(state=state).write(str(folder / f"model.ckpt-{step}"))


def chosen(folder, last, kept=None, kept_step=20, **config):
    """What `ranking_history` returns for a run of 90 steps."""
    save(folder, last, 90)
    (folder / "config.json").write_text(json.dumps(CONFIG | config))
    if kept is not None:
        save(folder / "label_wave", kept, kept_step)
    read, columns = read_run(str(folder))
    assert read == CONFIG | config
    for name, values in last.items():
        np.testing.assert_array_equal(columns[name], values, name)
    return ranking_history(str(folder), read, columns)


@pytest.mark.parametrize(("num_memorised", "is_used"), [(0, False), (50, False), (51, True)])
@pytest.mark.parametrize("num_contradicted", [0, 100])
def test_the_kept_history_if_most_contradicted_then_are_memorised(
    num_memorised, is_used, num_contradicted, tmp_path
):
    """However many are left in the end: long after memorising there may be none."""
    kept = columns_of(7, 100, 0)
    last = columns_of(60, num_contradicted, num_memorised)
    found, note = chosen(tmp_path, last, kept, keep_best="label_wave")
    for name, values in (kept if is_used else last).items():
        np.testing.assert_array_equal(found[name], values, name)
    expected = f"{tmp_path}: ranked by its history up to step 20, before memorisation."
    assert note == (expected if is_used else "")


@pytest.mark.parametrize(("kept", "step"), [(columns_of(7, 100, 0), 90), (columns_of(7, 0, 0), 20)])
def test_a_kept_history_that_says_no_more(kept, step, tmp_path):
    """It is that of the last step, or no label is contradicted."""
    last = columns_of(60, 100, 100)
    found, note = chosen(tmp_path, last, kept, step, keep_best="label_wave")
    assert found["num_counted"][0] == 60 and note == ""


@pytest.mark.parametrize(
    ("num_contradicted", "num_memorised", "keep_best", "is_advised"),
    [
        (100, 51, None, True),
        (100, 50, None, False),
        (0, 51, None, False),
        (100, 51, "label_wave", False),  # Too few passes: there was no best one.
    ],
)
def test_advice_where_nothing_was_kept(
    num_contradicted, num_memorised, keep_best, is_advised, tmp_path
):
    last = columns_of(60, num_contradicted, num_memorised)
    found, note = chosen(tmp_path, last, keep_best=keep_best)
    assert found["num_counted"][0] == 60
    advice = "most contradicted labels were memorised; with --keep_best=label_wave"
    assert (advice in note) == is_advised
    assert is_advised or not note


def test_a_damaged_kept_checkpoint_is_ignored(tmp_path):
    last = columns_of(60, 100, 100)
    save(tmp_path / "label_wave", columns_of(7, 100, 0), 20)
    (tmp_path / "label_wave" / "model.ckpt-20.data-00000-of-00001").write_bytes(b"")
    found, note = chosen(tmp_path, last)
    assert found["num_counted"][0] == 60
    assert note.startswith(f"WARNING: {tmp_path}/label_wave/model.ckpt-20 is ignored: ")


@pytest.mark.parametrize("missing", sorted(ranking.COLUMNS - {"prediction"}))
def test_versions_without_a_column_that_ranking_needs(missing, tmp_path):
    """The last history is used, whichever of the two lacks the column."""
    whole, kept = columns_of(60, 100, 100), columns_of(7, 100, 0)
    for number, without in enumerate((whole, kept)):
        last, before = (
            {name: values for name, values in columns.items() if name != missing}
            if columns is without
            else columns
            for columns in (whole, kept)
        )
        found, note = chosen(tmp_path / str(number), last, before)
        assert found["num_seen"][0] == 60 and note == ""
        assert label_errors._is_undecayed(found) == (without is kept)


def test_the_folder_itself_comes_before_the_one_below(tmp_path):
    below = tmp_path / "train"
    below.mkdir()
    for folder in (below, tmp_path):
        (folder / "config.json").write_text("{}")
        assert train_folder(str(tmp_path)) == folder


def test_a_run_without_a_history(tmp_path):
    with pytest.raises(InputError, match="`RUN_DIR` must hold a training run. Received: RUN_DIR="):
        read_run(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    tf.train.Checkpoint(step=tf.Variable(9)).write(str(tmp_path / "model.ckpt-9"))
    rule = "must have been trained with --record_sample_weights or --keep_best. Received: RUN_DIR="
    with pytest.raises(InputError, match=rule):
        read_run(str(tmp_path))
