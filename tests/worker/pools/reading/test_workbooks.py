"""Workbooks: the rows that a person sees there, from whichever program they came."""

import io
import zipfile
from collections.abc import Sequence
from datetime import date, datetime

import pytest
import xlsxwriter

from tests.worker.pools.reading.inputs import (
    GIVEN,
    asked,
    found,
    keys,
    measured,
    ods,
    owned,
    read,
    refused,
)
from worker import errors
from worker.pools.reading import Kind, xlsx

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"


def workbook(
    *sheets: Sequence[Sequence[object]], constant_memory: bool = False, **formats: str
) -> bytes:
    """Make a workbook; `formats` are of columns, by their letters."""
    made = io.BytesIO()
    with xlsxwriter.Workbook(made, {"in_memory": True, "constant_memory": constant_memory}) as book:
        for rows in sheets:
            sheet = book.add_worksheet()
            for column, shown in formats.items():
                sheet.set_column(f"{column}:{column}", None, book.add_format({"num_format": shown}))
            for number, row in enumerate(rows):
                for place, cell in enumerate(row):
                    if isinstance(cell, date):
                        sheet.write_datetime(
                            number, place, cell, book.add_format({"num_format": "d.m.yy"})
                        )
                    elif cell is not None:
                        sheet.write(number, place, cell)
    return made.getvalue()


def remade(content: bytes, **parts: tuple[str, str]) -> bytes:
    """Make a workbook anew with something in its parts replaced; `strings`, `sheet` or `book`."""
    names = {
        "strings": "xl/sharedStrings.xml",
        "sheet": "xl/worksheets/sheet1.xml",
        "book": "xl/workbook.xml",
    }
    changed = {names[name]: pair for name, pair in parts.items()}
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(made, "w") as new:
        for name in old.namelist():
            text = old.read(name).decode()
            before, after = changed.get(name, ("", ""))
            assert before in text
            new.writestr(name, text.replace(before, after))
    return made.getvalue()


ROWS = [
    ["Code", "E-Mail", "Name"],
    ["AAAA-0001", "ann@example.org", "Zoë <&> Ørjan"],
    ["AAAA-0002", "", ""],
]


@pytest.mark.parametrize("constant_memory", [True, False])
def test_a_workbook_is_read_whether_its_strings_are_shared_or_not(constant_memory):
    content = workbook(ROWS, constant_memory=constant_memory)

    assert [(one.line, one.code, one.recipient, one.name) for one in owned(content)] == [
        (2, "AAAA-0001", "ann@example.org", "Zoë <&> Ørjan"),
        (3, "AAAA-0002", "", ""),
    ]
    assert read(content) == {
        "encoding": None,
        "delimiter": None,
        "heading_line": 1,
        "columns": {"code": "Code", "email": "E-Mail", "name": "Name"},
        "not_read": [],
        "sheet": "Sheet1",
        "other_sheets": [],
        "warnings": [],
    }


def test_lines_are_a_sheets_rows_however_many_are_blank_and_wherever_it_begins():
    content = workbook(
        [[], [], [None, "Code"], [], [None, "AAAA-0001"], [], [], [None, "AAAA-0002"]]
    )

    assert found(content) == [(5, "AAAA-0001"), (8, "AAAA-0002")]
    assert read(content)["heading_line"] == 3


def test_a_sheet_of_many_slices_is_read_like_one_of_one(monkeypatch):
    rows = [["Code"], *([f"AAAA-{n:06}"] for n in range(3_000))]
    content = workbook(rows)
    whole = found(content)
    monkeypatch.setattr(xlsx, "SLICE", 500)

    assert len(whole) == 3_000
    assert found(content) == whole


def test_whole_numbers_have_no_point_and_rounded_ones_are_refused():
    content = workbook([["Code"], [12345678], [1234567890123456], [12345678.5], ["12345679"]])

    assert found(content) == [(2, "12345678"), (5, "12345679")]
    told = refused(content)
    assert "rounded" in told[3]
    assert "decimal" in told[4]


def test_a_date_is_a_date_and_no_key():
    content = workbook(
        [["Code"], [date(2026, 12, 10)], ["AAAA-0001"], [datetime(2026, 12, 10, 9, 30)]]  # noqa: DTZ001  # a sheet has no zone
    )

    assert found(content) == [(3, "AAAA-0001")]
    assert all("date" in reason for reason in refused(content).values())


def test_a_count_of_a_workbook_is_a_whole_number():
    assert asked(workbook([["E-Mail", "Anzahl"], ["max@example.de", 10]])) == [
        ("max@example.de", 10, "")
    ]


def test_the_first_sheet_that_holds_something_is_read_and_the_others_are_told():
    content = workbook([], ROWS, [], [["more"]])

    assert len(found(content)) == 2
    assert (read(content)["sheet"], read(content)["other_sheets"]) == ("Sheet2", ["Sheet4"])


def test_a_hidden_sheet_is_not_read():
    made = io.BytesIO()
    with xlsxwriter.Workbook(made, {"in_memory": True}) as book:
        hidden, shown = book.add_worksheet(), book.add_worksheet()
        hidden.write(0, 0, "HIDDEN-0001")
        shown.write(0, 0, "SHOWN-0001")
        shown.activate()
        shown.set_first_sheet()
        hidden.hide()

    assert found(made.getvalue()) == [(1, "SHOWN-0001")]


def test_strings_of_several_pieces_are_whole_and_how_they_sound_is_left_away():
    content = remade(
        workbook([["Code", "Name"], ["AAAA-0001", "PLACE"]]),
        strings=(
            "<si><t>PLACE</t></si>",
            "<si><r><t>佐</t></r><r><t>藤</t></r><rPh sb='0' eb='1'><t>サトウ</t></rPh></si>",
        ),
    )

    assert [one.name for one in owned(content)] == ["佐藤"]


def test_empty_shared_strings_do_not_shift_the_others():
    content = remade(
        workbook([["Code", "Name"], ["AAAA-0001", "EMPTY"], ["AAAA-0002", "Bob"]]),
        strings=("<si><t>EMPTY</t></si>", "<si/>"),
    )

    assert [one.name for one in owned(content)] == ["", "Bob"]


def test_names_with_a_prefix_are_read_without():
    made = workbook([["AAAA-0001"], ["AAAA-0002"]], constant_memory=True)
    with zipfile.ZipFile(io.BytesIO(made)) as archive:
        sheet = archive.read("xl/worksheets/sheet1.xml").decode()
    head, body = sheet.split("<worksheet", 1)
    prefixed = (
        (head + "<worksheet" + body)
        .replace("</", "</x:")
        .replace("<", "<x:")
        .replace("<x:/x:", "</x:")
    )
    prefixed = prefixed.replace("<x:?", "<?").replace("xmlns=", "xmlns:x=")

    assert found(remade(made, sheet=(sheet, prefixed))) == [(1, "AAAA-0001"), (2, "AAAA-0002")]


@pytest.mark.parametrize("apostrophe", ["'=A-1", '="00012345"x'])
def test_a_workbooks_text_is_text_and_guarded_by_nothing(apostrophe):
    made = workbook([["Code", "Reference", "Name"], ["AAAA-0001", "REF", "Ann"]])
    content = remade(made, strings=("REF", apostrophe))

    assert [one.reference for one in owned(content)] == [apostrophe]


def test_an_ods_is_read():
    content = ods([["Kod", "E-Mail"], ["AAAA-0001", "ann@example.org"], [], ["AAAA-0002", ""]])

    assert [(one.line, one.code) for one in owned(content)] == [(2, "AAAA-0001"), (4, "AAAA-0002")]


def test_an_old_workbook_is_read():
    content = (GIVEN / "keys.xls").read_bytes()

    assert found(content, ignore=["Qty"]) == [(4, "AAAA-0001"), (5, "12345678")]
    assert "date" in refused(content)[6]
    assert (read(content)["sheet"], read(content)["other_sheets"]) == ("Keys", ["More"])


# What is no workbook, or not what it is said to be


@pytest.mark.parametrize("kind", [Kind.TEXT, Kind.CSV])
def test_a_workbook_where_text_was_said_has_its_own_sentence(kind):
    with pytest.raises(errors.InvalidInputError, match=r"It is a workbook \(xlsx\) and no text"):
        keys(workbook(ROWS), kind=kind)


def test_text_where_a_workbook_was_said_has_its_own_sentence():
    with pytest.raises(errors.InvalidInputError, match="It is text and no workbook"):
        keys("AAAA-0001\n", kind=Kind.WORKBOOK)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"%PDF-1.7", "a PDF"),
        (b"\x1f\x8b\x08\0", "compressed"),
        (b"{\\rtf1", "a text document"),
        (b"<!DOCTYPE html><table>", "a web page"),
        (b"\xef\xbb\xbf<?xml version='1.0'?><Workbook>", "XML"),
    ],
)
def test_what_is_no_table_is_named(content, words):
    with pytest.raises(
        errors.InvalidInputError, match=f"It is {words}.*save the table as xlsx or CSV"
    ):
        keys(content)


@pytest.mark.parametrize(("part", "words"), [("word/document.xml", "Word"), ("a.csv", "zip")])
def test_what_is_packed_like_a_workbook_and_none_is_named(part, words):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr(part, "x")

    with pytest.raises(errors.InvalidInputError, match=words):
        keys(made.getvalue())


@pytest.mark.parametrize("kept", [100, 2_000, 3_000])
def test_half_a_workbook_is_damaged(kept):
    with pytest.raises(errors.InvalidInputError, match="damaged"):
        keys(workbook(ROWS)[:kept])


@pytest.mark.parametrize(
    "sheet",
    [
        ("</sheetData></worksheet>", ""),
        ("<sheetData>", "<data>"),
    ],
)
def test_a_sheet_that_is_not_as_it_should_be_is_damaged(sheet):
    content = workbook(ROWS, constant_memory=True)
    before, after = sheet
    tail = "</sheetData><pageMargins"
    pair = (tail, "<pageMargins") if before.startswith("</sheetData>") else (before, after)

    with pytest.raises(errors.InvalidInputError, match="damaged"):
        keys(remade(content, sheet=pair))


def test_a_document_type_is_refused_before_it_can_grow():
    made = remade(
        workbook(ROWS), book=("<workbook ", "<!DOCTYPE x [<!ENTITY a 'bbbb'>]><workbook ")
    )

    with pytest.raises(errors.InvalidInputError, match="damaged"):
        keys(made)


def test_an_empty_workbook_is_refused():
    with pytest.raises(errors.InvalidInputError, match="nothing in the workbook"):
        keys(workbook([]))


@pytest.mark.parametrize("shared", [True, False])
def test_a_long_sheet_takes_no_more_memory_than_a_short_one(tmp_path, shared):
    def megabytes(count: int) -> float:
        path = tmp_path / f"{count}.xlsx"
        with xlsxwriter.Workbook(path, {"constant_memory": not shared}) as book:
            sheet = book.add_worksheet()
            for n in range(count):
                sheet.write(n, 0, f"KEY-{n:010}")
        read, peak = measured(path)
        assert read == count
        return peak

    assert megabytes(80_000) < 1.15 * megabytes(8_000)


def test_the_sheet_with_the_keys_is_read_and_not_the_notes_before_it():
    notes = [["Read me first"], ["Keys are on the next tab, valid until 31 Dec 2026"]]

    content = workbook(notes, ROWS, [["AAAA-0009"]])

    assert found(content) == [(2, "AAAA-0001"), (3, "AAAA-0002")]
    assert (read(content)["sheet"], read(content)["other_sheets"]) == (
        "Sheet2",
        ["Sheet1", "Sheet3"],
    )


def test_where_no_sheet_has_a_key_the_first_that_holds_something_is_read():
    content = workbook([], [["Vouchers"], ["AAAA 0001 BBBB"]], [["Notes"]])

    assert found(content) == [(2, "AAAA 0001 BBBB")]
