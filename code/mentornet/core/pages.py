"""Self-contained HTML pages, and tables as HTML and Markdown."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Sequence

Row = Sequence[object]

_STYLE = """
:root { color-scheme: light dark; --line: #8886; --soft: #8882;
  background: light-dark(#fff, #17181b); color: light-dark(#1b1c1f, #e8eaed); }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; padding: 1rem; max-width: 72rem; }
h1, h2, h3 { line-height: 1.2; overflow-wrap: anywhere; }
p, li { overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 0.5rem 0 1rem; }
th, td { border-bottom: 1px solid var(--line); padding: 0.25rem 0.75rem; text-align: right;
  white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
thead th { border-bottom-width: 2px; }
tbody tr:hover { background: var(--soft); }
img { max-width: 100%; height: auto; background: #fff; }
"""


def text(value: object) -> str:
    """A value as HTML text; None is empty, floats have three decimals."""
    return html.escape(plain(value))


def plain(value: object) -> str:
    """A value as plain text; None is empty, floats have three decimals."""
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def html_table(header: Row, rows: Sequence[Row]) -> str:
    """A table that scrolls inside its own box where the window is narrow."""
    head = "".join(f'<th scope="col">{text(cell)}</th>' for cell in header)
    body = "".join(
        "<tr>" + "".join(f"<td>{text(cell)}</td>" for cell in row) + "</tr>\n" for row in rows
    )
    table = f"<table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table>"
    # Keyboard users scroll it with the arrow keys, so it must be focusable.
    return f'<div class="scroll" role="group" aria-label="Table" tabindex="0">{table}</div>\n'


def markdown_table(header: Row, rows: Sequence[Row]) -> str:
    """The same table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    cells = ([plain(cell).replace("|", "\\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells) + "\n"


def picture(png: bytes, description: str) -> str:
    """An image whose bytes are embedded in the page."""
    data = base64.b64encode(png).decode()
    return f'<img src="data:image/png;base64,{data}" alt="{text(description)}">'


def page(title: str, body: str, style: str = "", script: str = "") -> str:
    """A complete page that loads nothing from elsewhere, and runs no script but its own.

    Args:
      title: of the window, and the page's heading.
      body: HTML.
      style: CSS, in addition to that of every page.
      script: JavaScript, run at the end.
    """
    program = f"\n{script}"
    digest = base64.b64encode(hashlib.sha256(program.encode()).digest()).decode()
    allowed = f"'sha256-{digest}'" if script else "'none'"
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {allowed}"
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<link rel="icon" href="data:,">\n<title>{text(title)}</title>\n'
        f"<style>{_STYLE}{style}</style>\n</head>\n<body>\n<main>\n<h1>{text(title)}</h1>\n"
        f"{body}</main>\n{f'<script>{program}</script>' if script else ''}\n</body>\n</html>\n"
    )


def json_block(name: str, value: object) -> str:
    """JSON in a page, for its script; nothing in it ends the block."""
    data = json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")
    return f'<script type="application/json" id="{name}">{data}</script>\n'
