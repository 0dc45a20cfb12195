"""Tables: split at whatever separates them, with quotation marks as CSV has them."""

import pytest

from tests.worker.pools.reading.inputs import Found, found, owned, read, refused


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_columns_are_told_by_their_headings_whatever_separates_them(delimiter):
    heading = delimiter.join(["E-Mail", "Full name", "Order No.", "Training Key"])
    row = delimiter.join(["ann@example.com", "Ann", "A-17", "AAAA-0001"])

    assert owned(f"{heading}\n{row}\n") == [Found(2, "AAAA-0001", "ann@example.com", "Ann", "A-17")]
    assert read(f"{heading}\n{row}\n")["delimiter"] == delimiter


@pytest.mark.parametrize("line", ["sep=~", '"sep=~"', "SEP=~\r"])
def test_excels_first_line_says_what_separates_columns(line):
    content = f"{line}\nCode~Name\nAAAA-0001~Ann, of Berlin; GmbH\n"

    assert owned(content) == [Found(3, "AAAA-0001", "Ann, of Berlin; GmbH", "Ann, of Berlin; GmbH")]


def test_commas_in_names_do_not_hide_the_semicolons():
    content = "Code;Name\n" + "".join(f"AAAA-{n:04};Doe, Jane\n" for n in range(9))

    assert [one.name for one in owned(content)] == ["Doe, Jane"] * 9


def test_a_quoted_cell_may_hold_delimiters_quotes_and_line_breaks():
    content = 'key,name\nAAAA-0001,"Ann ""A"", Berlin"\n"AAAA-0002",Bob\n"AAAA-0003", "Eve, E"\n'

    assert [(one.code, one.name) for one in owned(content)] == [
        ("AAAA-0001", 'Ann "A", Berlin'),
        ("AAAA-0002", "Bob"),
        ("AAAA-0003", "Eve, E"),
    ]


def test_a_record_goes_on_over_lines_where_its_cell_does():
    content = 'key,note\nAAAA-0001,"first\nsecond"\nAAAA-0002,x\n'

    assert found(content) == [(2, "AAAA-0001"), (4, "AAAA-0002")]


def test_a_mark_that_never_closes_costs_its_own_line_alone():
    rest = "".join(f"AAAA-{n:04},Bob\n" for n in range(2, 1000))
    content = f'key,name\nAAAA-0001,"Ann\n{rest}'

    assert len(found(content)) == 998
    assert refused(content) == {2: "A quotation mark in the line does not close."}


def test_marks_that_seem_to_close_each_other_over_rows_swallow_none():
    content = 'code,note\nQUOT-0002,"24 inch\nQUOT-0003,ok\nQUOT-0004,19"\nQUOT-0005,ok\n'

    assert [number for number, _ in found(content)] == [3, 4, 5]
    assert list(refused(content)) == [2]


def test_a_mark_on_every_line_costs_no_more_time_than_lines():
    content = "code,note\n" + "".join(f'QUOT-{n:05},"24 inch\n' for n in range(5_000))

    assert len(refused(content)) == 5_000


def test_an_inch_mark_in_a_cell_is_no_quotation():
    assert found('key,product\nAAAA-0001,5" disk\nAAAA-0002,"7"" disk"\nAAAA-0003,"9" disk"\n') == [
        (2, "AAAA-0001"),
        (3, "AAAA-0002"),
        (4, "AAAA-0003"),
    ]


def test_a_spreadsheets_empty_rows_are_blank():
    assert found("key,name\nAAAA-0001,Ann\n,\n,\nAAAA-0002,Bob\n") == [
        (2, "AAAA-0001"),
        (5, "AAAA-0002"),
    ]


def test_a_row_without_a_key_is_refused():
    assert refused("name,key\nAnn,AAAA-0001\nBob\nEve,\n") == dict.fromkeys(
        (3, 4), "There is no key in the line."
    )


def test_keys_in_quotation_marks_one_a_line_are_read_without_them():
    assert found('"Code"\n"AAAA-0001"\n"AAAA-0002"\n') == [(2, "AAAA-0001"), (3, "AAAA-0002")]


def test_a_list_with_a_comma_behind_each_key_is_one():
    assert [code for _, code in found("AAAA-0001,\nAAAA-0002,\n")] == ["AAAA-0001", "AAAA-0002"]


@pytest.mark.parametrize("cell", ['="00012345"', '"=""00012345"""'])
def test_what_spreadsheets_are_told_to_take_as_text_is_its_text(cell):
    assert found(f"code\n{cell}\n00012346\n") == [(2, "00012345"), (3, "00012346")]
