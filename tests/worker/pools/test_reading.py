"""What people's files look like, and what is read from them."""

import csv
import io
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker import errors
from worker.pools.reading import Kind, Line, pasted, read, table


def lines(content: str | bytes, **options) -> list[Line]:
    raw = content if isinstance(content, bytes) else content.encode()
    return list(read(io.BytesIO(raw), **options))


def found(content: str | bytes, **options) -> list[tuple[int, str]]:
    return [(line.number, line.code) for line in lines(content, **options) if not line.reason]


def refused(content: str | bytes, **options) -> dict[int, str]:
    return {line.number: line.reason for line in lines(content, **options) if line.reason}


class Endless(io.RawIOBase):
    """A file of one byte repeated, so many times."""

    def __init__(self, byte: bytes, size: int) -> None:
        self.byte, self.left = byte, size

    def read(self, size: int = -1) -> bytes:
        taken = min(size, self.left)
        self.left -= taken
        return self.byte * taken


# Text


def test_a_text_file_has_a_key_a_line_and_blank_lines_count():
    assert found("AAAA-0001\n\n  AAAA 0002 \n\nAAAA_0003") == [
        (1, "AAAA-0001"),
        (3, "AAAA 0002"),
        (5, "AAAA_0003"),
    ]


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_any_line_ending_ends_a_line(ending):
    assert found(ending.join(["AAAA-0001", "AAAA-0002", ""])) == [
        (1, "AAAA-0001"),
        (2, "AAAA-0002"),
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_a_file_is_read_in_whatever_unicode_a_spreadsheet_wrote(encoding):
    content = "Key,Name\r\nAAAA-0001,Zoë\r\nAAAA-0002,Ørjan\r\n".encode(encoding)

    assert [(line.code, line.name) for line in lines(content)] == [
        ("AAAA-0001", "Zoë"),
        ("AAAA-0002", "Ørjan"),
    ]


def test_a_character_cut_by_a_blocks_end_is_read_whole(monkeypatch):
    monkeypatch.setattr("worker.pools.reading.BLOCK", 7)

    assert [line.name for line in lines("Key,Name\nAAAA-0001,Zoë Ørjan\n")] == ["Zoë Ørjan"]


@pytest.mark.parametrize(
    "heading", ["Key", "TRAINING KEYS", "code", '"Access code"', "License_Key"]
)
def test_a_heading_is_no_key(heading):
    assert found(f"{heading}\nAAAA-0001\n") == [(2, "AAAA-0001")]


def test_a_first_line_that_could_be_a_key_is_one():
    assert found("CODE-0001\nCODE-0002\n") == [(1, "CODE-0001"), (2, "CODE-0002")]


def test_an_exported_list_of_undistributed_keys_is_read_below_its_title():
    content = "Kubernetes Autumn Pool\r\n\r\nUndistributed Keys\r\nAB12CD34EF56GH78\r\nAB12CD34EF56GH79\r\n"

    assert found(content) == [(4, "AB12CD34EF56GH78"), (5, "AB12CD34EF56GH79")]


def test_the_undistributed_keys_may_be_a_column_of_a_table():
    content = "Pool,Undistributed Keys\nAutumn 2026 pool,AB12CD34EF56GH78\n"

    assert found(content) == [(2, "AB12CD34EF56GH78")]


def test_text_is_never_taken_for_a_table_where_it_is_said_to_be_text():
    assert refused("AAAA-0001,AAAA-0002\n", kind=Kind.TEXT)[1].startswith("“,” cannot be in a key")


def test_pasted_lines_are_trimmed_and_numbered():
    assert list(pasted([" AAAA-0001\n", "", "\t", "=1+1"])) == [
        Line(1, "AAAA-0001"),
        Line(4, "=1+1", reason=lines("=1+1")[0].reason),
    ]


# Tables


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_columns_are_told_by_their_headers(delimiter):
    header = delimiter.join(["E-Mail", "Full name", "Order No.", "Training Key"])
    row = delimiter.join(["ann@example.com", "Ann", "A-17", "AAAA-0001"])

    assert lines(f"{header}\n{row}\n") == [Line(2, "AAAA-0001", "ann@example.com", "Ann", "A-17")]


def test_a_name_is_the_recipient_where_there_is_no_address():
    (line,) = lines("key,name\nAAAA-0001,Ann\n")

    assert (line.recipient, line.name) == ("Ann", "Ann")


def test_the_keys_column_can_be_named():
    content = "id,mine,yours\n10000001,AAAA-0001,BBBB-0001\n"

    assert found(content, column="MINE") == [(2, "AAAA-0001")]


def test_the_keys_column_can_be_numbered():
    assert found("10000001,AAAA-0001\n", column="2") == [(1, "AAAA-0001")]


def test_the_keys_column_is_the_one_that_looks_most_like_keys():
    content = "email,product\nann@example.com,AAAA-0001\nbob@example.com,AAAA-0002\n"

    assert found(content) == [(2, "AAAA-0001"), (3, "AAAA-0002")]


def test_without_a_header_the_first_line_holds_a_key():
    content = "Berlin branch,AAAA-0001\nBerlin branch,AAAA-0002\n"

    assert found(content) == [(1, "AAAA-0001"), (2, "AAAA-0002")]


def test_a_column_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(errors.InvalidInputError, match=r"no column “serial”.*it has: key, email"):
        lines("key,email\nAAAA-0001,a@example.com\n", column="serial")


def test_a_quoted_cell_may_hold_delimiters_quotes_and_line_breaks():
    content = 'key,name\nAAAA-0001,"Ann ""A"", Berlin"\n"AAAA-0002",Bob\n'

    assert [(line.code, line.name) for line in lines(content)] == [
        ("AAAA-0001", 'Ann "A", Berlin'),
        ("AAAA-0002", "Bob"),
    ]


def test_a_record_goes_on_over_lines_where_its_cell_does():
    content = 'key,note\nAAAA-0001,"first\nsecond"\nAAAA-0002,x\n'

    assert found(content) == [(2, "AAAA-0001"), (4, "AAAA-0002")]


def test_a_quotation_mark_that_never_closes_spoils_its_own_line_alone():
    rest = "".join(f"AAAA-{n:04},Bob\n" for n in range(2, 1000))

    read_ = found(f'key,name\nAAAA-0001,"Ann\n{rest}')

    assert len(read_) == 999


def test_an_inch_mark_in_a_cell_is_no_quotation():
    assert found('key,product\nAAAA-0001,5" disk\nAAAA-0002,"7"" disk"\n') == [
        (2, "AAAA-0001"),
        (3, "AAAA-0002"),
    ]


def test_a_spreadsheets_empty_rows_are_blank():
    assert found("key,name\nAAAA-0001,Ann\n,\n,\nAAAA-0002,Bob\n") == [
        (2, "AAAA-0001"),
        (5, "AAAA-0002"),
    ]


def test_a_short_row_has_empty_cells():
    assert lines("name,key\nAnn\n")[0].reason == "There is no key in the line."


def test_a_recipients_address_has_its_one_form_or_its_line_is_refused():
    content = "key,email\nAAAA-0001,Ann@Example．org\nAAAA-0002,mailto:ann@example.org\n"

    assert lines(content)[0].recipient == "ann@example.org"
    assert refused(content)[3].startswith("“mailto:ann@example.org” is not an e-mail address.")


def test_spent_keys_of_an_export_are_refused():
    content = "code,state,recipient\nAAAA-0001,issued,a@example.com\nAAAA-0002,redeemed,\n"

    assert refused(content) == {3: "Its state is “redeemed”; only unused keys can be added."}


@given(
    st.lists(
        st.tuples(
            st.from_regex(r"[A-Z]{4}-[0-9]{4}", fullmatch=True),
            st.text(
                # What has an @ amid it is an address, or the line is refused.
                st.characters(
                    codec="utf-8", categories=["L", "N", "P", "S"], exclude_characters="@＠﹫"
                ),
                max_size=30,
            ),
        ),
        min_size=1,
        max_size=30,
    ),
    st.sampled_from([",", ";", "\t"]),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_whatever_a_csv_writer_writes_is_read_back(rows, delimiter, ending, encoding):
    written = io.StringIO(newline="")
    csv.writer(written, delimiter=delimiter, lineterminator=ending).writerows(
        [("key", "name"), *rows]
    )

    read_ = lines(written.getvalue().encode(encoding), kind=Kind.CSV)

    assert [(line.code, line.name) for line in read_] == [
        (code, name.strip()) for code, name in rows
    ]


# Bad input


@pytest.mark.parametrize("content", [b"", b"\n\n  \n", b"\xef\xbb\xbf", "\n".encode("utf-16")])
def test_an_empty_file_is_refused(content):
    with pytest.raises(errors.InvalidInputError, match="nothing in the input"):
        lines(content)


def test_a_file_with_nothing_but_its_header_is_refused():
    with pytest.raises(errors.InvalidInputError, match="no keys below"):
        lines("key,email\n")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"SHORT", "It has 5 characters"),
        (b"A" * 65, "It has 65 characters"),
        (b"=1+1", "“=” cannot be in a key"),
        (b"AAAA\x000001", "The character U+0000"),
        (b"AAAA\xff0001", "It is not valid UTF-8"),
        ("ÄÄÄÄ-0001".encode(), "“Ä” cannot be in a key"),
    ],
)
def test_a_bad_line_is_refused_with_its_number_and_reason(line, reason):
    told = refused(b"AAAA-0001\n" + line + b"\nAAAA-0002\n")

    assert list(told) == [2]
    assert told[2].startswith(reason)


def test_a_name_in_another_encoding_is_refused_and_not_mangled():
    content = "key,name\nAAAA-0001,Zoë\n".encode("latin-1")

    assert refused(content) == {2: "It is not valid UTF-8; save the file as UTF-8."}


def test_what_is_kept_of_a_bad_line_can_be_kept():
    (line,) = lines(b"\0" * 3 + b"x" * 1000)

    assert line.code == "␀␀␀" + "x" * 97
    assert next(pasted(["\ud800AAAA-0001"])).code == "?AAAA-0001"


def test_a_gigabyte_without_a_line_break_is_one_bad_line_and_takes_no_memory():
    tracemalloc.start()

    (line,) = read(Endless(b"A", 1 << 26))  # 64 MB here: what counts is that it is not kept
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert line.reason == "It has more than 65,536 characters; a key has up to 64."
    assert peak < 8 << 20


def test_a_gigabyte_of_line_breaks_takes_no_memory():
    tracemalloc.start()

    with pytest.raises(errors.InvalidInputError):
        list(read(Endless(b"\n", 1 << 22)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 32 << 20


# Other tables


def test_a_tables_cells_are_read_by_their_roles():
    opened = table(io.BytesIO(b"Email;Qty;Order\nann@example.com;3;A-17\n"))

    (record,) = opened.records

    assert record.number == 2
    assert [opened.cell(record, role) for role in ("recipient", "count", "reference", "name")] == [
        "ann@example.com",
        "3",
        "A-17",
        "",
    ]
