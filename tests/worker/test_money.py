from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker import errors, money

# What Python would take for a number, and what people type by mistake.
NO_DECIMALS = [
    "", " ", "1_000", "1e2", "1E2", "٤٩", "４９", "-0", "-5", "+5", " 5", "5 ", "5\n", "1,5", "1.000,00",
    "1,000.00", ".5", "5.", "1.2.3", "NaN", "Infinity", "0x10", "½", "5 EUR", "€5", "1 000", "free",
]  # fmt: skip


@pytest.mark.parametrize("value", NO_DECIMALS)
def test_what_is_no_plain_decimal_is_refused(value):
    assert money.decimal(value) is None
    with pytest.raises(
        errors.InvalidInputError, match=r"is not an amount; write digits"
    ) as refused:
        money.amount(value, currency="EUR", minor_unit=2, field="amount")
    assert refused.value.field == "amount"


@pytest.mark.parametrize("value", NO_DECIMALS)
def test_a_rate_is_as_plain_as_an_amount(value):
    with pytest.raises(errors.InvalidInputError, match="is not a tax rate"):
        money.percentage(value, field="tax_rate")


@pytest.mark.parametrize(
    ("value", "rate"), [("0", "0"), ("19", "19"), ("7.125 %", "7.125"), ("100%", "100")]
)
def test_a_rate_may_have_its_percent_sign(value, rate):
    assert money.percentage(value, field="tax_rate") == Decimal(rate)


@given(st.decimals(0, 10**9, places=2))
def test_a_plain_decimal_is_read_exactly(number):
    assert money.decimal(f"{number:f}") == number


def test_an_amount_beyond_what_a_charge_can_hold_is_refused():
    with pytest.raises(errors.InvalidInputError, match="is not an amount"):
        money.amount("9" * 5000, currency="EUR", minor_unit=2)
