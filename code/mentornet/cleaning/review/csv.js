// CSV that no spreadsheet runs; the same rule as mentornet/core/safe_csv.py.

// What a spreadsheet may take for a formula, full-width forms included, after any apostrophes.
const FORMULA = /^'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]/;

/** The text with an apostrophe in front if a spreadsheet might take it for a formula. */
function safeCell(text) {
  return FORMULA.test(text) ? `'${text}` : text;
}

/** The text of which `safeCell` made this one. */
function originalCell(text) {
  return text.startsWith("'") && FORMULA.test(text) ? text.slice(1) : text;
}

/** Rows of cells as CSV text; every cell neutralised, quoted where need be. */
function toCsv(rows) {
  const cell = (value) => {
    const text = safeCell(String(value));
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return rows.map((row) => `${row.map(cell).join(",")}\n`).join("");
}

/**
 * Rows of cells of CSV text (RFC 4180), neutralised cells as they were, blank lines left out.
 * Throws an Error that says what is wrong.
 */
function parseCsv(text) {
  const rows = [];
  let row = [], start = text.startsWith("\ufeff") ? 1 : 0;
  while (start < text.length) {
    let cell, end;
    if (text[start] === '"') {
      [cell, end] = quotedCell(text, start, rows.length + 1);
    } else {
      end = start;
      while (end < text.length && !",\r\n".includes(text[end])) end += 1;
      cell = text.slice(start, end);
    }
    row.push(originalCell(cell));
    if (text[end] === ",") {
      start = end + 1;
      if (start < text.length) continue;
      row.push("");  // The file ends with a comma.
    } else {
      start = end + (text.startsWith("\r\n", end) ? 2 : 1);
    }
    if (row.some(Boolean)) rows.push(row);
    row = [];
  }
  return rows;
}

/** The text of the quoted cell that begins at `start`, and where it ends. */
function quotedCell(text, start, number) {
  let end = start + 1;
  for (;;) {
    end = text.indexOf('"', end);
    if (end < 0) throw new Error(`Row ${number}: a quotation mark is missing.`);
    if (text[end + 1] !== '"') break;
    end += 2;
  }
  if (end + 1 < text.length && !",\r\n".includes(text[end + 1])) {
    throw new Error(`Row ${number}: text after a quoted cell.`);
  }
  return [text.slice(start + 1, end).replaceAll('""', '"'), end + 1];
}
