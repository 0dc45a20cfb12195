"""Escaping of CSV cells against formula injection, in Python; csv_cell of schema.sql does the same in SQL."""

import re

# A text that a spreadsheet would run, with full-width signs too. A test compares csv_cell.
FORMULA = r"'*\s*[-=+@\t\r＝＋－＠]"
RUNS = re.compile(FORMULA)
GUARDED = re.compile(f"'(?={FORMULA})")


def guarded(text: str) -> str:
    """Guard a text from running as a formula in a spreadsheet."""
    return f"'{text}" if RUNS.match(text) else text


def bare(cell: str) -> str:
    """Remove the guard again, for formats in which every cell is text."""
    return cell[1:] if GUARDED.match(cell) else cell
