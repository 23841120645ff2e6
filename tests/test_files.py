"""Files of rows of which some are damaged, and the first line of an error."""

import errno
import fcntl
import json
import math
import os
import sys
from unittest import mock

import numpy as np
import pytest

from mentornet import InputError
from mentornet.core import files
from mentornet.core.errors import first_line
from mentornet.runs import writers
from mentornet.runs.writers import JsonLinesWriter

ROWS = [json.dumps({"step": step, "loss": 0.5}).encode() for step in range(1, 6)]


def test_damaged_arrays_end_in_an_error_of_the_input(tmp_path):
    """Wherever the damage is: in the zip, in its compressed data or in an array's header."""
    path, faults = tmp_path / "arrays.npz", 0
    np.savez_compressed(path, labels=np.arange(500) % 7)
    whole = path.read_bytes()
    for place in range(0, len(whole), 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            with files.arrays(path, "The file cannot be read") as found:
                labels = found["labels"]
        except InputError as error:
            assert str(error).startswith("The file cannot be read: ")
            faults += 1
        else:
            assert (labels == np.arange(500) % 7).all()
    assert faults > len(whole) / 6
    np.save(tmp_path / "texts.npy", np.array(["a", None], object))
    with (
        pytest.raises(InputError, match=r"; save texts with `.astype\(str\)`$"),
        files.arrays(tmp_path / "texts.npy", "It cannot be read", may_be_single=True),
    ):
        pass
    np.savez(path, labels=[1])
    with pytest.raises(InputError, match="^mine$"), files.arrays(path, "-"):
        raise InputError("mine")
    np.save(tmp_path / "one.npy", [3, 4])
    with files.arrays(tmp_path / "one.npy", "-", may_be_single=True) as one:
        assert one.tolist() == [3, 4]
    with (
        pytest.raises(InputError, match="^-: it holds a single"),
        files.arrays(tmp_path / "one.npy", "-"),
    ):
        pass


@pytest.mark.parametrize(
    "damaged", [b'{"step": 3, "lo\xff": 1', b'{"step": 3, "lo', b"7", b'{"st": 3}', b""]
)
def test_a_damaged_line_hides_no_other(tmp_path, capsys, damaged):
    """It is named once, however often the file is read, and gone when the file is written anew."""
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b"\n".join([*ROWS[:2], damaged, *ROWS[3:], b""]))
    for _ in range(2):
        assert [row["step"] for row in files.read_json_lines(path)] == [1, 2, 4, 5]
    assert capsys.readouterr().out == f"WARNING: line 3 of {path} is damaged and left out.\n"
    JsonLinesWriter(path, last_step=4).write_scalars(5, {"loss": 0.25})
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2, 4, 5]


def test_a_byte_that_is_not_utf8_within_a_text(tmp_path):
    (tmp_path / "eval.jsonl").write_bytes(b'{"step": 1, "name": "\xff"}\n')
    assert files.read_json_lines(tmp_path / "eval.jsonl") == [{"step": 1, "name": "\ufffd"}]


def test_a_last_line_without_its_end(tmp_path, capsys):
    """It is being written, or its writer was killed: nothing is wrong."""
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b"\n".join(ROWS)[:-5])
    assert [row["step"] for row in files.read_json_lines(path)] == [1, 2, 3, 4]
    path.write_bytes(b"\n".join(ROWS))
    assert [row["step"] for row in files.read_json_lines(path)] == [1, 2, 3, 4, 5]
    assert capsys.readouterr().out == ""


def test_the_first_line_of_an_error():
    assert first_line(ValueError("one\ntwo")) == "one"
    for error in (ValueError(), ValueError("\ntwo")):
        assert first_line(error) == "ValueError"


def test_a_line_of_progress_by_hand(monkeypatch, capsys):
    """Resumed at step 10: five steps took 20 s, and 85 are left; the next five take 10 s."""
    clock = iter([100.0, 105.0, 120.0, 130.0])
    monkeypatch.setattr(writers.time, "monotonic", lambda: next(clock))
    console = writers.ConsoleWriter(10, 100, "pd")
    row = {"mentornet/weighted_loss": 0.5, "learning_rate": 0.1, "images_per_second": 1000.0}
    row["data_util/data_util"] = 0.25
    for step in (12, 15, 20):
        console.write_scalars(step, row)
    values = "loss=0.5 lr=0.1 util=0.25 img/s=1000"
    assert capsys.readouterr().out.splitlines() == [
        f"pd 15/100 {values} left=340s",
        f"pd 20/100 {values} left=160s",
    ]


def test_numbers_that_are_not_finite_become_null(tmp_path):
    """JSON has none, and readers of other programs refuse them."""
    path = tmp_path / "metrics.jsonl"
    row = {"a": math.nan, "b": -math.inf, "c": 0.5, "d": "x"}
    JsonLinesWriter(path).write_scalars(3, row)
    assert path.read_text() == '{"step": 3, "a": null, "b": null, "c": 0.5, "d": "x"}\n'


def test_lines_of_progress_are_ten_seconds_apart(monkeypatch, capsys):
    """Counted from the last one; the last step has one in any case."""
    clock = iter([0.0, 9.0, 10.0, 19.0, 20.0, 21.0])
    monkeypatch.setattr(writers.time, "monotonic", lambda: next(clock))
    console = writers.ConsoleWriter(0, 5, "pd")
    for step in range(1, 6):
        console.write_scalars(step, {})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == ["2/5", "4/5", "5/5"]


def test_the_progress_bar_stands_at_the_step(monkeypatch, capsys):
    """On a terminal, here of a run that was resumed at step 10."""
    for stream in (sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    console = writers.ConsoleWriter(10, 100, "pd")
    for step in (12, 15, 40):
        console.write_scalars(step, {"mentornet/weighted_loss": 0.5})
    bar = console._bar
    assert (bar.n, bar.total, bar.postfix) == (40, 100, "loss=0.5")
    console.close()
    assert capsys.readouterr().out == ""


def test_a_file_that_cannot_be_written_stays_as_it_was(tmp_path):
    path = tmp_path / "config.json"
    files.write_text(path, "before")
    with pytest.raises(UnicodeEncodeError):
        files.write_text(path, "after \ud800")
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_locks_that_say_nothing(tmp_path, monkeypatch):
    """Of a process whose id is not written yet, and of a file system without locks."""
    with (tmp_path / files.LOCK_FILE).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert files.holder(tmp_path) == 0
    assert files.holder(tmp_path) is None

    def refuse(file, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files.fcntl, "flock", refuse)
    with files.held(tmp_path, "train_log_dir"):
        assert files.holder(tmp_path) is None
        assert (tmp_path / files.LOCK_FILE).read_text() == str(os.getpid())


def test_others_that_look_who_holds_a_folder_do_not_hold_it(tmp_path, monkeypatch):
    """A lock that is shared for a moment is waited for; one that stays is not."""
    with (tmp_path / files.LOCK_FILE).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        waits = []

        def sleep(seconds):
            waits.append(seconds)
            if len(waits) == 3:
                fcntl.flock(file, fcntl.LOCK_UN)

        monkeypatch.setattr(files.time, "sleep", sleep)
        with files.held(tmp_path, "train_log_dir"):
            assert len(waits) == 3
        fcntl.flock(file, fcntl.LOCK_SH)
        refused = pytest.raises(InputError, match="must not be used by two processes at once")
        with refused, files.held(tmp_path, "train_log_dir"):
            pass
        assert len(waits) == 3 + 99


@pytest.mark.parametrize("terminal", ["stdout", "stderr"])
def test_one_terminal_is_too_few_for_a_bar(monkeypatch, capsys, terminal):
    """The other output may be a file, which holds lines."""
    monkeypatch.setattr(getattr(sys, terminal), "isatty", lambda: True)
    console = writers.ConsoleWriter(0, 2, "pd")
    console.write_scalars(2, {})
    console.close()
    assert capsys.readouterr().out.startswith("pd 2/2 ")


def test_several_writers_are_closed():
    several = [mock.Mock(), mock.Mock()]
    writers.MultiWriter(*several).close()
    for each in several:
        each.close.assert_called_once_with()
