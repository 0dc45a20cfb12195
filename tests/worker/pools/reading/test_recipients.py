"""Recipients: who gets how many keys, or which."""

import pytest

from tests.worker.pools.reading.inputs import asked, recipients
from worker import errors
from worker.pools.reading import Wrong


def wrong(content: str, **told: object) -> dict[int, str]:
    with pytest.raises(errors.InvalidInputError) as refused:
        recipients(content, **told)
    return {Wrong(*row).line: Wrong(*row).reason for row in refused.value.rows}


def count_of(cell: str, *more: str) -> int | None:
    rows = "".join(f"r{n}@example.org;{cell}\n" for n, cell in enumerate([cell, *more]))
    return asked(f"email;count\n{rows}")[0][1]


# Counts


@pytest.mark.parametrize(
    ("cell", "count"),
    [
        ("10", 10), ("１０", 10), (" 7 ", 7), ("10.0", 10), ("10,00", 10), ("1 000", 1000),
        ("1\u00a0000", 1000), ("1\u202f000", 1000), ("1'000", 1000), ("1.234.567", 1234567),
        ("1,234,567", 1234567), ("", None),
    ],
)  # fmt: skip
def test_a_count_is_a_whole_number(cell, count):
    assert count_of(cell) == count


@pytest.mark.parametrize(
    "cell",
    ["0", "-1", "1.5", "1,5", "x", "1e2", "1_000", "٤٩", "10 keys", "1000000001", "+1", "1,00,000"],
)
def test_what_is_no_whole_number_from_1_is_refused(cell):
    assert list(wrong(f"email;count\na@example.org;{cell}\n")) == [2]


@pytest.mark.parametrize("cell", ["1.000", "1,000"])
def test_what_is_a_thousand_in_some_countries_and_one_elsewhere_is_refused(cell):
    assert "one number in some countries" in wrong(f"email;count\na@example.org;{cell}\n")[2]


@pytest.mark.parametrize(
    ("cell", "other"),
    [("1.000", "2.500"), ("1,000", "2,500"), ("1.000", "1.000.000"), ("1,000", "12,345,678")],
)
def test_other_counts_say_what_separates_thousands(cell, other):
    assert count_of(cell, other) == 1000


@pytest.mark.parametrize(
    ("cell", "price"),
    [("1.000", "12,50"), ("1,000", "12.50"), ("1.000", "1.234,56 €"), ("1,000", "$1,234.56")],
)
def test_the_tables_other_numbers_say_what_separates_thousands(cell, price):
    assert asked(f"email;count;price\na@example.org;{cell};{price}\n")[0][1] == 1000


def test_numbers_that_disagree_say_nothing():
    assert list(wrong("email;count;price\na@example.org;1.000;12,50\nb@example.org;1;12.50\n")) == [
        2
    ]


def test_a_thousandth_is_no_count_where_points_separate_decimals():
    assert "is not a count" in wrong("email;count;price\na@example.org;1.000;12.50\n")[2]


# Who


def test_every_wrong_row_is_told_at_once():
    content = "email,name,count\n,Ann,1\nno-at-sign,,1\nann@example.org,,0\nbob@example.org,,1\n"

    assert list(wrong(content)) == [2, 3, 4]


def test_many_wrong_rows_are_told_in_a_sentence_that_ends():
    content = "email\n" + "nobody\n" * 5_000

    with pytest.raises(errors.InvalidInputError, match="And 4,980 more") as refused:
        recipients(content)

    assert len(refused.value.rows) == 5_000


@pytest.mark.parametrize(
    "address", ["mailto:a@example.org", "a@", "a..b@example.org", "a@example.org,"]
)
def test_what_is_no_address_is_no_recipient(address):
    assert list(wrong(f'email;count\n"{address}";1\n')) == [2]


def test_a_recipient_may_be_a_name_where_no_column_says_address():
    assert asked("recipient;count\nAnn Smith;1\nAnn@Example.org;2\n") == [
        ("Ann Smith", 1, ""),
        ("ann@example.org", 2, ""),
    ]


def test_a_row_without_an_address_is_wrong_though_it_has_a_name():
    assert "no recipient" in wrong("name,email\nAnn,\n")[2]


@pytest.mark.parametrize(
    "again", ["A@Example.org;O-1", "ａ@example.org;O-1", "a@example.org; O-1 "]
)
def test_a_recipient_twice_under_one_reference_is_told_with_both_lines(again):
    told = wrong(f"email;reference\na@example.org;O-1\nb@example.org;O-1\n{again}\n")

    assert told == {4: "It has the same recipient and reference as line 2."}


def test_a_reference_beside_the_file_is_of_rows_that_have_none():
    content = "email,reference\na@example.org,\na@example.org,O-1\n"

    assert [row.reference for row in recipients(content, reference="SPRING").rows] == [
        "SPRING",
        "O-1",
    ]
    assert list(wrong_with_reference(content, "O-1")) == [3]


def wrong_with_reference(content: str, reference: str) -> list[int]:
    with pytest.raises(errors.InvalidInputError) as refused:
        recipients(content, reference=reference)
    return [line for line, _ in refused.value.rows]


def test_very_keys_may_be_several_for_one_recipient_and_each_for_one():
    content = (
        "email,code\na@example.org,AAAA-0001\na@example.org,AAAA-0002\nb@example.org,aaaa0002\n"
    )

    assert wrong(content) == {4: "It has the same key as line 3."}


def test_a_very_key_that_can_be_none_is_refused():
    assert list(wrong("email,code\na@example.org,short\n")) == [2]


# Orders


@pytest.mark.parametrize(
    "state", ["paid", "Bezahlt", "payée", "完了", "已付款", "fulfilled", "wc-completed", ""]
)
def test_an_order_that_was_paid_is_served(state):
    assert (
        asked(f"email;status\na@example.org;{state}\nb@example.org;paid\n")[0][0] == "a@example.org"
    )


@pytest.mark.parametrize(
    "state",
    ["refunded", "Storniert", "annulée", "pending", "キャンセル", "已取消", "wc-refunded"],
)
def test_an_order_that_is_due_nothing_is_left_out_and_told(state):
    read = recipients(f"email;status\na@example.org;{state}\nb@example.org;paid\n")

    assert [row.line for row in read.rows] == [3]
    assert read.left_out == [Wrong(2, f"Its state is “{state}”.")]


def test_a_state_that_is_not_known_is_not_guessed():
    assert (
        "not known whether a key is due"
        in wrong("email;status\na@example.org;partially refunded\n")[2]
    )


def test_a_table_that_is_due_nothing_is_refused():
    with pytest.raises(errors.InvalidInputError, match="No row of the table"):
        recipients("email;status\na@example.org;refunded\n")


# Columns


def test_numbers_that_nobody_reads_stop_it_where_no_count_was_found():
    content = "email;Zahl\na@example.org;3\n"

    with pytest.raises(errors.InvalidInputError, match="“Zahl” holds numbers"):
        asked(content)

    assert asked(content, columns=["count=Zahl"]) == [("a@example.org", 3, "")]
    assert asked(content, ignore=["Zahl"]) == [("a@example.org", None, "")]
    assert asked("email;qty;Zahl\na@example.org;2;3\n") == [("a@example.org", 2, "")]


def test_addresses_that_nobody_reads_stop_it():
    with pytest.raises(errors.InvalidInputError, match="“cc” holds e-mail addresses"):
        asked("email;cc\na@example.org;b@example.org\n")


def test_a_column_of_keys_holds_counts_where_numbers_stand_in_it():
    assert asked("email;Schlüssel\na@example.org;3\n") == [("a@example.org", 3, "")]
    assert [row.code for row in recipients("email;Schlüssel\na@example.org;AAAA-0003\n").rows] == [
        "AAAA-0003"
    ]


def test_a_mark_that_does_not_close_is_told_with_the_other_wrong_rows():
    content = 'email,name,count\na@example.org,"Ann,1\nb@example.org,Bob,0\n'

    assert list(wrong(content)) == [2, 3]
