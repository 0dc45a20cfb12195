"""Files that people really have, each of a kind of fault: read right, or refused by line."""

import pytest

from tests.worker.pools.reading.inputs import GIVEN, asked, found, keys, owned, recipients, refused
from worker import errors


def of_keys(name: str) -> bytes:
    return (GIVEN / "keys" / name).read_bytes()


def of_recipients(name: str) -> bytes:
    return (GIVEN / "recipients" / name).read_bytes()


@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("heading-english.txt", ["ACME-2026-00001", "ACME-2026-00002"]),
        ("heading-german.csv", ["ACME-2026-00011", "ACME-2026-00012"]),
        ("title-above-heading.csv", ["ACME-2026-00101", "ACME-2026-00102"]),
        ("prose-above-heading.csv", ["ACME-2026-00111", "ACME-2026-00112"]),
        ("several-on-a-line.csv", ["ACME-2026-00021", "ACME-2026-00022", "ACME-2026-00023"]),
        ("spaces-between-keys.txt", ["ACME-2026-00031", "ACME-2026-00032", "ACME-2026-00033"]),
        ("grid.csv", [f"GRID-000{n}-AAAA" for n in range(1, 7)]),
        ("excel-sep-line.csv", ["ACME-2026-00041", "ACME-2026-00042"]),
        ("full-width.txt", ["FULL-0001-AAAA", "FULL-0002-AAAA", "FULL-0003-AAAA"]),
    ],
)
def test_every_key_is_read_and_nothing_else(name, codes):
    read = keys(of_keys(name))

    assert (read.codes, read.refused) == (codes, [])


@pytest.mark.parametrize(
    "name",
    ["excel-sep-line.csv", "recipients-under-unknown-headings.csv", "title-above-heading.csv"],
)
def test_recipients_and_references_are_kept(name):
    read = owned(of_keys(name))

    assert [bool(one.recipient) and one.reference[:2] for one in read] == ["B-", "B-"]


@pytest.mark.parametrize("name", ["numbered-list.txt", "names-behind-keys.txt"])
def test_no_key_has_a_numbering_or_a_name_in_it(name):
    read = keys(of_keys(name))

    assert [code for code in read.codes if not code.startswith("NUMX-")] == []
    assert len(read) == 3
    assert all(len(code) == len("NUMX-0001-AAAA") for code in read.codes)


def test_a_mark_that_does_not_close_swallows_no_line():
    content = of_keys("unclosed-quotes.csv")

    assert [number for number, _ in found(content)] == [2, 4, 5, 7]
    assert refused(content) == dict.fromkeys((3, 6), "A quotation mark in the line does not close.")


def test_only_unused_keys_are_taken():
    content = of_keys("states.csv")

    assert [code for _, code in found(content)] == ["STAT-0001-AAAA", "STAT-0007-AAAA"]
    words = ["assigned", "activated", "revoked", "expired", "eingelöst"]
    assert list(refused(content).values()) == [
        f"Its state is “{word}”; only unused keys can be added." for word in words
    ]


def test_a_key_that_was_used_is_refused():
    content = of_keys("uses-counted.csv")

    assert [number for number, _ in found(content)] == [3, 4]
    assert refused(content) == {2: "It was used already: “Redeemed” is “1”."}


def test_windows_1252_is_read_as_such():
    names = [one.name for one in owned(of_keys("windows-1252.csv"))]

    assert names == ["Jürgen Groß", "José – Ruiz"]


def test_a_character_that_looks_like_another_is_named():
    content = of_keys("look-alikes.txt")

    assert found(content) == [(1, "LOOK-0001-AAAA"), (3, "LOOK-0003-AAAA")]
    assert "U+041E" in refused(content)[2]


def test_numbers_and_dates_are_no_keys():
    content = of_keys("numbers-and-dates.csv")

    assert [number for number, _ in found(content)] == [4, 5, 6]
    assert "decimal" in refused(content)[2]
    assert "date" in refused(content)[3]


def test_a_row_about_the_others_is_no_key():
    content = of_keys("summary-row.csv")

    assert [number for number, _ in found(content)] == [2, 3]
    assert "Inactive" in refused(content)[4]
    assert "no digit" in refused(content)[5]


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("german.csv", [("max@example.de", 10, "B-1001"), ("max@example.de", 20, "B-1002")]),
        ("german-name-first.csv", [("max@example.de", 10, "")]),
        ("keys-means-count.csv", [("a@example.org", 5, ""), ("b@example.org", 3, "")]),
        (
            "shop-orders.csv",
            [
                ("ann@example.org", 10, "#1001"),
                ("bob@example.org", 2, "#1002"),
                ("ann@example.org", 1, "#1003"),
            ],
        ),
        ("japanese.csv", [("hana@example.jp", 3, "")]),
    ],
)
def test_recipients_are_read_with_their_counts_and_references(name, rows):
    assert asked(of_recipients(name)) == rows


def test_names_are_read_beside_addresses():
    names = [row.name for row in recipients(of_recipients("german-name-first.csv")).rows]

    assert names == ["Max Mustermann"]


def test_a_refunded_order_is_left_out_and_told():
    left_out = recipients(of_recipients("shop-orders.csv")).left_out

    assert [(row.line, row.reason) for row in left_out] == [(5, "Its state is “refunded”.")]


def test_a_price_is_no_count():
    with pytest.raises(errors.InvalidInputError, match="“Amount” holds numbers"):
        recipients(of_recipients("price-is-no-count.csv"))

    assert asked(of_recipients("price-is-no-count.csv"), ignore=["Amount"]) == [
        ("a@example.org", None, "7001"),
        ("b@example.org", None, "7002"),
    ]


def test_the_same_row_twice_is_told_with_both_lines():
    with pytest.raises(errors.InvalidInputError, match=r"Line 3: .* as line 2"):
        recipients(of_recipients("same-row-twice.csv"))


def test_all_bad_rows_are_told_at_once():
    with pytest.raises(errors.InvalidInputError) as told:
        recipients(of_recipients("many-bad-rows.csv"))

    assert [line for line, _ in told.value.rows] == [3, 4, 5, 6, 7]


def test_the_very_keys_are_named():
    named = [(row.recipient, row.code) for row in recipients(of_recipients("very-key.csv")).rows]

    assert named == [
        ("ann@example.org", "GIVE-0001-BBBB"),
        ("bob@example.org", "GIVE-0002-BBBB"),
    ]
