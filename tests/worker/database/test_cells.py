"""What a cell of a CSV file may hold: Python and schema.sql say the same."""

import csv
import io
from itertools import product

import pytest
from sqlalchemy import ARRAY, Text, func, literal, select

from worker.database.cells import bare, guarded

CHARACTERS = "a1'=+-@＝＋－＠\",; \t\r\n\v\f\u00a0\u3000"
TEXTS = ["".join(some) for length in range(1, 4) for some in product(CHARACTERS, repeat=length)]


def test_python_guards_what_schema_sql_guards(session):
    cells = select(func.csv_cell(func.unnest(literal(TEXTS, ARRAY(Text)))))

    written = [next(csv.reader(io.StringIO(cell, newline=""))) for cell in session.scalars(cells)]

    assert [cell for [cell] in written] == [guarded(text) for text in TEXTS]


def test_no_guarded_text_begins_as_a_formula_does():
    signs = tuple("=+-@\t\r＝＋－＠")

    assert [text for text in TEXTS if guarded(text).lstrip().startswith(signs)] == []


@pytest.mark.parametrize("text", ["=1+1", "\t=1", " ＝1", "'=1", "''＝1", "'", "'a", "a", ""])
def test_a_guard_is_taken_away_again(text):
    assert bare(guarded(text)) == text
