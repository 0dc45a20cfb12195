"""What a cell of a CSV file may hold, where Python writes it: as csv_cell of schema.sql has it."""

import re

# What a spreadsheet would run: its signs count in full width, too. A test compares csv_cell.
FORMULA = r"'*\s*[-=+@\t\r＝＋－＠]"
RUNS = re.compile(FORMULA)
GUARDED = re.compile(f"'(?={FORMULA})")


def guarded(text: str) -> str:
    """Guard a text from running as a formula in a spreadsheet."""
    return f"'{text}" if RUNS.match(text) else text


def bare(cell: str) -> str:
    """Take the guard away again, for where a cell is text whatever it looks like."""
    return GUARDED.sub("", cell, count=1)
