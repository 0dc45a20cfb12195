"""Currencies, as ISO 4217 has them, and amounts in their minor units (B2)."""

from decimal import Decimal

from sqlalchemy.orm import Session

from worker import errors, money
from worker.tables.tenancy import Currency


def find(session: Session, code: str, *, field: str = "currency") -> Currency:
    """Find a currency by its ISO 4217 code, regardless of case.

    Raises:
        InvalidInputError: no currency has that code.
    """
    currency = session.get(Currency, code.strip().upper())
    if currency is None:
        raise errors.InvalidInputError(
            f"“{code}” is not a currency; give an ISO 4217 code such as EUR.", field=field
        )
    return currency


def amount(session: Session, value: str, *, currency_code: str, field: str = "price") -> Decimal:
    """Read an amount that fits its currency's minor unit.

    Raises:
        InvalidInputError: not a decimal number, out of range, or with too many decimals.
    """
    unit = find(session, currency_code)
    return money.amount(value, currency=unit.code, minor_unit=unit.minor_unit, field=field)


def text(session: Session, number: Decimal, currency_code: str) -> str:
    """Format an amount with its currency's decimals: `49.90`."""
    return f"{number:.{find(session, currency_code).minor_unit}f}"
