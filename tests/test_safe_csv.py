"""Cells that a spreadsheet might run are neutralised, and every text comes back."""

import csv
import io

import hypothesis
import pytest
from hypothesis import strategies

from mentornet import InputError
from mentornet.core.safe_csv import original_cell, read_table, safe_cell, to_csv

# Only characters that matter, so that few examples cover them all.
TEXTS = strategies.text("=+-@\t\r\n'\",;ab\uff1d", max_size=6)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("=1+1", "'=1+1"),
        ("'=1+1", "''=1+1"),
        ("@x", "'@x"),
        ("-2", "'-2"),
        ("+3", "'+3"),
        ("\tx", "'\tx"),
        ("\rx", "'\rx"),
        *((f"{sign}x", f"'{sign}x") for sign in "\uff1d\uff0b\uff0d\uff20"),
        ("a=1", "a=1"),
        ("'plain'", "'plain'"),
        ("", ""),
    ],
)
def test_cells(text, written):
    assert safe_cell(text) == written
    assert original_cell(written) == text


@hypothesis.settings(deadline=None)
@hypothesis.given(strategies.lists(strategies.tuples(TEXTS, TEXTS), max_size=4))
def test_every_text_comes_back(rows):
    """No cell begins like a formula when read with Python's csv."""
    rows = [("head", "tail"), *(row for row in rows if any(row))]
    text = to_csv(rows)
    for row in csv.reader(io.StringIO(text, newline="")):
        assert not any(cell.startswith(tuple("=+-@\t\r\n\uff1d")) for cell in row)
    header, found = read_table(b"\xef\xbb\xbf" + text.encode(), "f.csv")
    assert [header, *(cells for _, cells in found)] == [list(row) for row in rows]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a,b\n1,\xe9\n", "f.csv, line 2: must be UTF-8 .*save as CSV UTF-8"),
        ("a,b\n1,2\n".encode("utf-16"), "f.csv, line 1: must be UTF-8"),
        ("a,b\n1,2\n".encode("utf-16-le"), "f.csv must be UTF-8 text"),
        (b'a,b\n1,"2\n', "f.csv, line 2: is not valid CSV"),
        (b"a,b\n1,2\n\n1,2,3\n", "line 4: must have 2 cells, like the header. Received: cells=3"),
    ],
)
def test_what_is_refused(data, message):
    with pytest.raises(InputError, match=message):
        read_table(data, "f.csv")
