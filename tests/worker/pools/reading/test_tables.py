"""Whatever a table looks like: what was written is what is read, or is refused by its line."""

import csv
import io
import re

import xlsxwriter
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.worker.pools.reading.inputs import keys, owned
from worker.pools.reading import Keys, Meaning
from worker.pools.reading.words import HEADINGS, LANGUAGES, listed

PROSE = ["These keys are for you", "Send one to each person", "Acme Training", "Thank you"]
COLUMNS = (Meaning.CODE, Meaning.EMAIL, Meaning.NAME, Meaning.REFERENCE)

LETTERS = st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"])
# What a cell of a text file would mean as something else: a guard, or text that is told to be text.
WORDS = st.text(LETTERS, min_size=1, max_size=30).filter(
    lambda words: words.isprintable() and not words.strip().startswith(("'", "=")) and words.strip()
)
NAMES = WORDS.filter(lambda name: any(map(str.isalpha, name)))
# In no language of Europe do three letters with accents follow one another; other scripts show by that.
EUROPEAN = (
    st.text(st.sampled_from("abcxyz ABC äöüß éèà ñç 'O"), max_size=20)
    .filter(lambda words: not re.search("[^ -~]{3}", words))
    .map(lambda words: f"A{words}z")
)

CODES = st.from_regex(r"[A-Z]{4}-[0-9]{4}-[A-Z]{4}", fullmatch=True)
ADDRESSES = st.from_regex(r"[a-z]{1,8}(\.[a-z]{1,8})?@[a-z]{1,8}\.example", fullmatch=True)


def rows(names: st.SearchStrategy[str], references: st.SearchStrategy[str]) -> st.SearchStrategy:
    row = st.tuples(CODES, ADDRESSES, names, references)
    return st.lists(row, min_size=1, max_size=25, unique_by=lambda row: row[0])


@st.composite
def headings(draw: st.DrawFn) -> list[str]:
    """A heading of each column, all in one language."""
    language = draw(st.sampled_from(LANGUAGES))
    return [draw(st.sampled_from(listed(HEADINGS[column][language]))) for column in COLUMNS]


def written(lines: list, prose: list[str], delimiter: str, ending: str, quoting: int) -> str:
    text = io.StringIO(newline="")
    text.write("".join(line + ending for line in prose))
    csv.writer(text, delimiter=delimiter, lineterminator=ending, quoting=quoting).writerows(lines)
    return text.getvalue()


def agrees(read: Keys, lines: list[tuple[str, ...]], first: int) -> None:
    """Each row was read as it was written, or its line was refused; and none is missing."""
    good = zip(read.numbers, read.codes, read.all_owners(), strict=True)
    told = {number: (code, *owner[:3]) for number, code, owner in good}
    refused = {line.number for line in read.refused}
    for number, (code, email, name, reference) in enumerate(lines, first):
        if number not in refused:
            assert told[number] == (code, email, name.strip(), reference.strip())
    assert len(read) == len(lines)


@settings(deadline=None)
@given(
    rows(NAMES, WORDS),
    headings(),
    st.permutations(range(4)),
    st.lists(st.sampled_from(PROSE), max_size=4),
    st.sampled_from(",;\t|"),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le"]),
)
def test_a_table_is_read_as_it_was_written(
    lines, heading, order, prose, delimiter, ending, quoting, encoding
):
    table = [[row[place] for place in order] for row in [heading, *lines]]
    content = written(table, prose, delimiter, ending, quoting).encode(encoding)

    agrees(keys(content), lines, len(prose) + 2)


@settings(deadline=None)
@given(rows(EUROPEAN, EUROPEAN), st.sampled_from(["de", "fr", "es", "it", "pt", "nl"]), st.data())
def test_a_european_table_without_a_mark_is_read_as_it_was_written(lines, language, data):
    heading = [data.draw(st.sampled_from(listed(HEADINGS[column][language]))) for column in COLUMNS]
    content = written([heading, *lines], [], ";", "\r\n", csv.QUOTE_MINIMAL).encode("cp1252")

    agrees(keys(content), lines, 2)


@settings(deadline=None, max_examples=50)
@given(rows(NAMES, WORDS), headings(), st.permutations(range(4)), st.integers(0, 5), st.booleans())
def test_a_workbook_is_read_as_it_was_written(lines, heading, order, above, in_order):
    made = io.BytesIO()
    with xlsxwriter.Workbook(made, {"in_memory": True, "constant_memory": in_order}) as book:
        sheet = book.add_worksheet()
        for number, row in enumerate([heading, *lines], above):
            for place, column in enumerate(order):
                sheet.write_string(number, place, row[column])

    agrees(keys(made.getvalue()), lines, above + 2)


@settings(deadline=None)
@given(
    st.lists(
        st.one_of(
            CODES, WORDS, st.just(""), st.sampled_from(["=1+1", "10.12.2026", "1. AAAA-0001-BBBB"])
        )
    ),
    st.sampled_from(["\n", "\r\n"]),
)
def test_every_line_of_a_list_is_a_key_or_refused_or_blank_or_heading(lines, ending):
    if not any(line.strip() for line in lines):
        return
    content = ending.join(["Enrolment key", *lines, "AAAA-0001-BBBB"])

    read = keys(content)

    told = {*read.numbers, *(line.number for line in read.refused)}
    assert told == {n for n, line in enumerate([*lines, "A"], 2) if line.strip()}


def undamaged(words: str) -> bool:
    """Whether no character stands for one that was lost: such a line is refused."""
    return "\N{REPLACEMENT CHARACTER}" not in words


@settings(deadline=None)
@given(rows(NAMES.filter(undamaged), WORDS.filter(undamaged)))
def test_what_is_guarded_against_formulas_is_read_back_as_it_was(lines):
    from worker.database.cells import guarded

    signs = ["=", "'=", "''-", "@", "+", "'", "", "＝", "\t="]
    referred = [(*row[:3], signs[n % len(signs)] + row[3]) for n, row in enumerate(lines)]
    table = [
        ["code", "email", "name", "reference"],
        *([guarded(cell) for cell in row] for row in referred),
    ]

    content = written(table, [], ",", "\n", csv.QUOTE_MINIMAL)

    assert [one.reference for one in owned(content)] == [row[3].strip() for row in referred]
