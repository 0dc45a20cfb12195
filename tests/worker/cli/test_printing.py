"""Values as people read them on the command line."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from worker.cli import printing

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
