"""Values as people read them on the command line."""

import io
import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from rich.console import Console

from worker.cli import fitting, printing

BERLIN = timezone(timedelta(hours=1))


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (None, "–"),
        ("", "–"),
        (False, "no"),
        (12_345, "12,345"),
        ("12345", "12345"),  # an id
        (3600.0, "3,600"),
        (91.5, "91.5"),
        (datetime(2027, 1, 4, 9, 47, tzinfo=BERLIN), "4 Jan 2027, 08:47 UTC"),
        (datetime(2027, 1, 4, 8, 47, 12, 285_351, tzinfo=UTC), "4 Jan 2027, 08:47 UTC"),
        ({"to": "2027-01-04T08:47:12.285351+00:00", "by": 3}, "to 4 Jan 2027, 08:47 UTC, by 3"),
        ({"unit_price": ["1.00", None]}, "unit price 1.00, –"),
        ("2026-03-01", "2026-03-01"),
        ("two\x1b[31mlines", "two�[31mlines"),
    ],
)
def test_a_value_is_printed_as_people_read_it(value, read):
    assert printing.text(value) == read


POOL = {
    "id": "12",
    "name": "Autumn 2026 in Berlin, the evening course for beginners",
    "organization": "Acme Academy of the North",
    "state": "active",
    "expires_at": datetime(2026, 12, 31, 23, 59, tzinfo=UTC),
    "issued": 1_000,
}
KEY = {"code": "K7QM-2XVB-9RTD-LONG-ENOUGH", "reason": "It was printed twice, and one was lost."}


def drawn(item, room, spare=()):
    """Lay one object out, and give its lines."""
    made, left_out = printing.grid([item], list(item), room, spare)
    console = Console(width=1000, file=io.StringIO())
    console.print(made)
    return [line.rstrip() for line in console.file.getvalue().splitlines()], left_out


@pytest.mark.parametrize("room", [80, 70, 60])
def test_a_table_fits_by_cutting_prose_at_a_words_end_and_leaves_numbers_and_times_whole(room):
    lines, _ = drawn(POOL, room)

    [heading, rule, row] = lines
    assert len(rule) <= room
    assert max(len(line) for line in lines) <= room
    assert re.search(r" Autumn( 2026( in( Berlin)?)?)?… +Acme", row)
    assert heading.split()[0] == "id"
    for whole in ("12 ", "active", "31 Dec 2026, 23:59 UTC", "1,000"):
        assert whole in row


def test_a_key_stays_whole_beside_prose_that_gives_way():
    [_, _, row], _ = drawn(KEY, 40)

    assert row.split("  ") == [KEY["code"], "It was…"]


def test_a_table_that_has_room_is_whole():
    [_, _, row], _ = drawn(POOL, 1000)

    assert "…" not in row
    assert POOL["name"] in row


def test_columns_that_a_list_can_spare_are_left_out_before_prose_is_unreadable():
    lines, left_out = drawn(POOL, 66, spare=("issued", "state"))

    assert left_out == ["issued"]
    assert "1,000" not in lines[-1]
    assert "Autumn" in lines[-1]


@pytest.mark.parametrize(
    ("text", "width", "cut"),
    [
        ("Acme Academy", 12, "Acme Academy"),
        ("Acme Academy, Berlin", 13, "Acme Academy…"),
        ("Acme Academy", 11, "Acme…"),
        ("Academy", 5, "Acad…"),
        ("Acme Academy", 6, "Acme…"),
        ("Acme Academy", 5, "Acme…"),
        ("K7QM", 1, "…"),
        ("日本語の講座", 7, "日本語…"),
    ],
)
def test_a_text_is_cut_at_a_words_end_where_a_word_fits(text, width, cut):
    assert fitting.shortened(text, width) == cut


def test_an_objects_long_values_go_on_below_and_no_word_or_key_is_broken(monkeypatch, capsys):
    address = f"https://keys.example/webhooks/{'9' * 60}"
    told = (
        "The key is redeemed by somebody else; ask whoever gave it to you for another one, please."
    )
    monkeypatch.setattr(printing, "_room", lambda: 60)

    printing.record({"id": "7", "sentence": told, "url": address, "empty": None})

    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "id         7",
        "sentence   The key is redeemed by somebody else; ask whoever",
        "           gave it to you for another one, please.",
    ]
    assert lines[3:] == [f"url        {address}", "empty      –"]
