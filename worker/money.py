"""Amounts: exact decimals in a currency's minor unit (B2), never floats."""

from decimal import Decimal, InvalidOperation

from sqlalchemy.orm import Session

from worker import errors
from worker.tables.mapping import Currency

LARGEST = Decimal(10) ** 10


def currency(session: Session, code: str, *, field: str = "currency") -> Currency:
    """Find a currency by its ISO 4217 code, in any letter case.

    Raises:
        InvalidInputError: there is none by that code.
    """
    found = session.get(Currency, code.strip().upper())
    if found is None:
        raise errors.InvalidInputError(
            f"“{code}” is not a currency; give an ISO 4217 code such as EUR.", field=field
        )
    return found


def amount(session: Session, value: str, *, currency_code: str, field: str = "price") -> Decimal:
    """Read an amount that fits its currency's minor unit.

    Raises:
        InvalidInputError: not a decimal number, out of range, or with too many decimals.
    """
    unit = currency(session, currency_code)
    try:
        number = Decimal(value.strip())
        fits = number.is_finite() and abs(number) < LARGEST
    except InvalidOperation:
        fits = False
    if not fits:
        raise errors.InvalidInputError(
            f"“{value}” is not an amount; write digits and a point, such as 49.90.", field=field
        )
    if number != round(number, unit.minor_unit):
        raise errors.InvalidInputError(
            f"{unit.code} amounts have at most {unit.minor_unit} decimals; {value} has more.",
            field=field,
        )
    return round(number, unit.minor_unit)


def text(session: Session, number: Decimal, currency_code: str) -> str:
    """Print an amount with its currency's decimals: `49.90`."""
    return f"{number:.{currency(session, currency_code).minor_unit}f}"
