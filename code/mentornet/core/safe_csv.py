"""CSV that is safe to open in a spreadsheet: cells that look like formulas are neutralised.

Class and file names may come from untrusted sources, and a spreadsheet evaluates a cell that begins
with "=" (https://owasp.org/www-community/attacks/CSV_Injection). Such a cell is prefixed with an
apostrophe, which is removed when it is read. A cell that already has apostrophes before such a
character gets one more, so every text is read back unchanged. `cleaning/review/csv.js` follows the
same rule.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence

from mentornet.core.errors import InputError, check

# Includes the full-width forms, which spreadsheets treat like the plain characters.
_FORMULA = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")


def safe_cell(text: str) -> str:
    """The text, prefixed with an apostrophe if a spreadsheet might take it for a formula."""
    return f"'{text}" if _FORMULA.match(text) else text


def original_cell(text: str) -> str:
    """The text from which `safe_cell` made this one."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def to_csv(rows: Iterable[Sequence[object]]) -> str:
    """Rows as CSV (RFC 4180, but lines end with a line feed), with every cell neutralised."""
    lines = (",".join(quoted(safe_cell(str(value))) for value in row) for row in rows)
    return "".join(f"{line}\n" for line in lines)


def quoted(text: str) -> str:
    """A cell as it stands in a file; Python 3.11's csv would not quote a carriage return."""
    return '"' + text.replace('"', '""') + '"' if re.search('[",\r\n]', text) else text


def check_columns(columns: Sequence[str], name: str) -> None:
    """Raises InputError if two columns of the file `name` have the same name."""
    names = [column for column in columns if column]
    rule = f"{name}: its columns must have different names."
    check(len(set(names)) == len(names), rule, columns=columns[:20])


def read_table(data: bytes, name: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Header and rows of a CSV file, with neutralised cells restored; blank lines are skipped.

    Args:
      data: the file's bytes: UTF-8, with or without a byte order mark.
      name: the file's name in messages.

    Returns:
      The header, empty if there is none, and for each row its line number and its cells.

    Raises:
      InputError: the encoding is not UTF-8, quotes are broken, two columns have the same name, or
        a row's number of cells differs from the header's.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        rule = f"{name}, line {line}: must be UTF-8 (in a spreadsheet, save as CSV UTF-8)."
        raise InputError(f"{rule} Received: {error.reason}") from None
    check("\0" not in text, f"{name} must be UTF-8 text.", found="a null character")
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] = []
    rows = []
    try:
        for cells in lines:
            if not any(cells):
                continue
            cells = [original_cell(cell) for cell in cells]
            if not header:
                header = cells
                check_columns(header, name)
                continue
            rule = f"{name}, line {lines.line_num}: must have {len(header)} cells, like the header."
            check(len(cells) == len(header), rule, cells=len(cells))
            rows.append((lines.line_num, cells))
    except csv.Error as error:
        raise InputError(f"{name}, line {lines.line_num}: is not valid CSV: {error}") from None
    return header, rows
