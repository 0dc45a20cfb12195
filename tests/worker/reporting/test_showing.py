"""Tables on a page: cut where they are long, summed by currency, and in one language."""

import base64
import re
from decimal import Decimal

import babel
import nbformat
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from worker.languages.phrasebooks import phrasebook
from worker.reporting import notices, rendering, sections, showing

ENGLISH, GERMAN = babel.Locale("en"), babel.Locale("de")
NOTHING = showing.nothing(ENGLISH)


def test_a_table_that_is_cut_says_so_and_offers_all_its_rows():
    frame = pd.DataFrame({"label": [f"=l{n}" for n in range(208)], "keys": range(208)})
    frame.attrs["rows"] = 10

    page = showing.table(frame, GERMAN)

    assert page.count("<tr>") == 1 + 10
    assert "10 von 208 Zeilen; die CSV-Datei hat alle." in page
    [data] = re.findall('base64,([^"]+)"', page)
    lines = base64.b64decode(data).decode().splitlines()
    assert len(lines) == 1 + 208
    assert lines[208] == "'=l207,207"


@pytest.mark.parametrize("tiny", [-0.0004, Decimal("-0.0004"), -0.0, 0])
def test_what_is_rounded_to_nothing_has_no_sign(tiny):
    german = babel.Locale("de")

    assert showing.percent(tiny, german) == "0,0\u00a0%"
    assert showing.number(tiny, german) == "0"
    assert showing.percent(-0.0006, german) == "-0,1\u00a0%"
    assert showing.number(-0.006, german) == "-0,01"


@pytest.mark.parametrize(
    ("amount", "currency", "locale", "written"),
    [
        ("1.5", "KWD", "en", "KWD\u00a01.500"),
        ("-1.5", "CHF", "en", "-CHF\u00a01.50"),
        ("1.5", "EUR", "en", "€1.50"),
        ("1.5", "CHF", "de", "1,50\u00a0CHF"),
    ],
)
def test_a_currencys_letters_stand_apart_from_its_digits(amount, currency, locale, written):
    assert showing.money(Decimal(amount), currency, babel.Locale(locale)) == written


def test_a_column_of_long_texts_has_room_and_one_of_missing_numbers_is_one_of_numbers():
    frame = pd.DataFrame({"organization": ["A" * 20], "pace": [None], "forecast": ["B" * 20]})

    page = showing.table(frame, ENGLISH)

    assert re.findall('<th scope="col" class="(.*?)">', page) == ["organization", "number", "said"]


@pytest.mark.parametrize(("letters", "whole"), [(showing.WHOLE, True), (showing.WHOLE + 1, False)])
def test_a_code_is_whole_unless_it_is_too_long_for_the_page(letters, whole):
    assert ("<bdi" in showing.code("K" * letters)) == whole


def test_a_table_that_is_whole_offers_its_rows_and_says_nothing_more():
    frame = pd.DataFrame({"label": ["a"] * 10})
    frame.attrs["rows"] = 10

    page = showing.table(frame, ENGLISH)

    assert " rows" not in page
    assert page.count("Save this list as CSV") == 1


def test_sums_stand_below_a_table_by_currency_where_there_are_several_rows():
    frame = pd.DataFrame(
        {
            "course": ["A", "B", "A"],
            "currency": ["EUR", "EUR", "JPY"],
            "revenue": [Decimal("1.10"), Decimal("-0.20"), Decimal(7)],
        }
    )
    frame.attrs |= {"sums": ["revenue"], "titles": {"A": "Ångström & more"}}

    page = showing.table(frame, GERMAN)

    assert re.findall("<tfoot>.*</tfoot>", page) == [
        '<tfoot><tr><td class="course">Gesamtbetrag</td><td class="brief">EUR</td>'
        '<td class="number">0,90\xa0€</td></tr></tfoot>'
    ]
    assert 'Ångström &amp; more <bdi class="code">(A)</bdi>' in page
    assert '<th scope="col" class="number">Umsatz</th>' in page


def notebook(*answers: tuple[str, list[str]]) -> nbformat.NotebookNode:
    """A notebook of questions, each with the HTML of its answers."""
    asked = {"language": "de", "organization": 'A "&</style> 株式会社', "period": "2026"}
    bundle = {"text/html": "<p>asked</p>", rendering.ASKED: asked}
    cells = [
        new_markdown_cell("# Pools"),
        new_code_cell("", outputs=[new_output("display_data", data=bundle)]),
    ]
    for question, htmls in answers:
        cells.append(new_markdown_cell(f"## {question}"))
        shown = [new_output("display_data", data={"text/html": html}) for html in htmls]
        cells += [new_code_cell("", outputs=[output]) for output in shown]
        cells.append(new_markdown_cell(f"How to read {question}"))
    return new_notebook(cells=cells)


def texts(page: nbformat.NotebookNode) -> str:
    return str([cell.source for cell in page.cells] + [cell.get("outputs") for cell in page.cells])


def test_questions_that_nothing_answers_are_named_once_at_the_end():
    told = sections.told(
        notebook(
            ("one?", [NOTHING, NOTHING]), ("two?", [NOTHING, "<p>found</p>"]), ("three?", [NOTHING])
        ),
        phrasebook("en"),
    )

    assert "Nothing yet: no row" not in texts(told)
    assert "found" in texts(told)
    assert "How to read two?" in texts(told)
    assert "How to read one?" not in texts(told)
    assert told.cells[-1].source.startswith("## Nothing yet")
    assert told.cells[-1].source.endswith("- one?\n- three?")


def test_a_notice_of_what_failed_is_in_the_language_of_the_page():
    notice = f"<p><strong>{notices.NOTICE} 0a1b.</strong></p>"

    told = sections.told(notebook(("one?", [notice])), phrasebook("de"))

    assert notices.NOTICE not in texts(told)
    assert "0a1b.</strong>" in texts(told)


def test_an_answer_that_says_why_it_is_of_nothing_says_so_once():
    why = showing.nothing(ENGLISH, why="The period is over.")

    told = sections.told(notebook(("one?", [NOTHING, why, why])), phrasebook("en"))

    assert texts(told).count("The period is over.") == 1
    assert "## one?" in texts(told)
    assert "Nothing yet" not in texts(told)


def test_a_page_is_in_the_language_of_the_question_and_its_foot_cannot_end_the_style():
    page = rendering.render(notebook(("Which keys were lost?", ["<p>these</p>"])))

    assert '<html lang="de">' in page
    assert "Welche Schlüssel sind verfallen?" in page
    [foot] = re.findall('@bottom-left { content: "(.*?)"; width', page)
    plain = re.sub(r"\\([0-9a-f]+) ", lambda match: chr(int(match[1], 16)), foot)
    assert plain == '\u2068A "&</style> 株式会社\u2069 · \u20682026\u2069'
    assert page.count("</style>") == 1
