"""Attempts on keys, and what strangers are told of them (R5)."""

import pytest
from sqlalchemy import func, select


@pytest.mark.parametrize(
    ("address", "masked"),
    [
        ("eve@stranger.example", "e***@s***"),
        ("nowhere", "n***@***"),
        ("a@b@c", "a***@b***"),
        ("@", "***@***"),
        ("", "***@***"),
    ],
)
def test_a_masked_address_tells_two_letters_of_whatever_it_was(session, address, masked):
    assert session.scalar(select(func.masked_address(address))) == masked
