"""Amounts: exact decimals in a currency's minor unit (B2), never floats."""

from decimal import Decimal, InvalidOperation

from worker import errors

LARGEST = Decimal(10) ** 10


def amount(value: str, *, currency: str, minor_unit: int, field: str = "price") -> Decimal:
    """Read an amount that fits its currency's minor unit.

    Raises:
        InvalidInputError: not a decimal number, out of range, or with too many decimals.
    """
    try:
        number = Decimal(value.strip())
        fits = number.is_finite() and abs(number) < LARGEST
    except InvalidOperation:
        fits = False
    if not fits:
        raise errors.InvalidInputError(
            f"“{value}” is not an amount; write digits and a point, such as 49.90.", field=field
        )
    if number != round(number, minor_unit):
        raise errors.InvalidInputError(
            f"{currency} amounts have at most {minor_unit} decimals; {value} has more.",
            field=field,
        )
    return round(number, minor_unit)
