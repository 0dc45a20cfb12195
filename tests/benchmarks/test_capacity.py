import pytest

from benchmarks.capacity import Width, a_redemption, for_keys_alone, said, total

WIDTHS = [
    Width("key", rows=2_000_000, heap=200_000_000, indexes=300_000_000),
    Width("redemption", rows=1_000_000, heap=100_000_000, indexes=50_000_000),
    Width("event", rows=1_000_000, heap=300_000_000, indexes=100_000_000),
]


def test_a_larger_system_has_as_many_rows_a_key_as_the_measured_one():
    assert for_keys_alone(WIDTHS, 2_000_000) == 500_000_000
    assert total(WIDTHS, 2_000_000) == 1_050_000_000
    assert total(WIDTHS, 2_000_000_000) == pytest.approx(1_050_000_000_000)


def test_a_redemption_takes_its_rows_in_all_tables_but_the_keys():
    assert a_redemption(WIDTHS) == 550


def test_the_tables_tell_bytes_a_row_and_the_size_of_a_billion_keys():
    text = said(WIDTHS, {"settled": 3_661.0})

    assert "| `event` | 1,000,000 | 300 | 100 |" in text
    assert "| 1,000,000,000 | 250 GB | 525 GB |" in text
    assert "10,000,000 a day are 5.5 GB." in text
