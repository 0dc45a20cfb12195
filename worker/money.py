"""Amounts: exact decimals in a currency's minor unit (B2), never floats."""

import re
from decimal import Decimal
from typing import Annotated

from pydantic import Field

from worker import errors

LIMIT = Decimal(10) ** 10
# An amount in public objects, with the decimals of its currency; and a rate in percent.
Amount = Annotated[str, Field(pattern=r"^-?[0-9]+(\.[0-9]+)?$")]
Percent = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?$")]

DECIMAL = re.compile(r"[0-9]+(?:\.[0-9]+)?")


def decimal(value: str) -> Decimal | None:
    """Read a plain decimal, `49.90`: ASCII digits, at most one point between them, no sign.

    None for anything else: `1_000`, `1e2`, `٤٩`, `+5`, `-0` and ` 5` are not guessed at.
    """
    return Decimal(value) if DECIMAL.fullmatch(value) else None


def percentage(value: str, *, field: str) -> Decimal:
    """Read a rate from 0 to 100 with up to three decimals; a percent sign may follow it.

    Raises:
        InvalidInputError: it is not such a rate.
    """
    number = decimal(value.removesuffix("%").removesuffix(" ") if "%" in value else value)
    if number is None or number > 100 or number != round(number, 3):
        raise errors.InvalidInputError(
            f"“{value}” is not a tax rate; give a percentage from 0 to 100, such as 19.",
            field=field,
        )
    return number


def amount(value: str, *, currency: str, minor_unit: int, field: str = "price") -> Decimal:
    """Read an amount that fits its currency's minor unit.

    Raises:
        InvalidInputError: not a decimal number, out of range, or with too many decimals.
    """
    number = decimal(value)
    if number is None or number >= LIMIT:
        raise errors.InvalidInputError(
            f"“{value}” is not an amount; write digits and a point, such as 49.90.", field=field
        )
    if number != round(number, minor_unit):
        raise errors.InvalidInputError(
            f"{currency} amounts have at most {minor_unit} decimals; {value} has more.",
            field=field,
        )
    return round(number, minor_unit)
