"""Files of rows of which some are damaged, and the first line of an error."""

import json

import pytest

from mentornet.core import files
from mentornet.core.errors import first_line
from mentornet.runs import writers
from mentornet.runs.writers import JsonLinesWriter

ROWS = [json.dumps({"step": step, "loss": 0.5}).encode() for step in range(1, 6)]


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
    """Resumed at step 10: five steps took 20 s, and 85 are left."""
    clock = iter([100.0, 105.0, 120.0])
    monkeypatch.setattr(writers.time, "monotonic", lambda: next(clock))
    console = writers.ConsoleWriter(10, 100, "pd")
    row = {"mentornet/total_loss": 0.5, "learning_rate": 0.1, "images_per_second": 1000.0}
    row["data_util/data_util"] = 0.25
    for step in (12, 15):
        console.write_scalars(step, row)
    shown = "pd 15/100 loss=0.5 lr=0.1 util=0.25 img/s=1000 left=340s\n"
    assert capsys.readouterr().out == shown
