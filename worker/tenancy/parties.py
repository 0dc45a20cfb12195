"""Who buys and who sells: how their addresses, countries and bank accounts are written (B7)."""

import re
from collections.abc import Callable, Mapping
from functools import cache, partial

from stdnum import bic as bics
from stdnum import iban as ibans
from stdnum.exceptions import ValidationError

from worker import errors
from worker.tenancy import addresses

# What Babel calls a territory, and ISO 3166 does not list as a country.
NO_COUNTRIES = "AC CP CQ DG EA EU EZ IC QO TA UN XA XB XK ZZ"
# Schemes of electronic addresses: the European Commission's list (EAS) for EN 16931.
SCHEMES = (
    "0002 0007 0009 0037 0060 0088 0096 0097 0106 0130 0135 0142 0147 0151 0154 0158 0170 0177 0183 "
    "0184 0188 0190 0191 0192 0193 0194 0195 0196 0198 0199 0200 0201 0202 0203 0204 0205 0208 0209 "
    "0210 0211 0212 0213 0215 0216 0217 0218 0221 0225 0230 0235 0240 0242 0244 0245 0246 0248 9910 "
    "9913 9914 9915 9918 9919 9920 9922 9923 9924 9925 9926 9927 9928 9929 9930 9931 9932 9933 9934 "
    "9935 9936 9937 9938 9939 9940 9941 9942 9943 9944 9945 9946 9947 9948 9949 9950 9951 9952 9953 "
    "9957 9959 AN AQ AS AU EM"
)
SCHEMED = re.compile("([0-9A-Za-z]{2}|[0-9]{4}):(.+)")


def checked(fields: Mapping[str, str]) -> dict[str, str]:
    """Give a party's fields, each in its one form; one that is emptied is empty.

    Raises:
        InvalidInputError: a field is not what it is called; the error knows which.
    """
    trimmed = {field: value.strip() for field, value in fields.items()}
    return {
        field: CHECKS[field](value) if value and field in CHECKS else value
        for field, value in trimmed.items()
    }


def country(value: str) -> str:
    """Give a country's code of ISO 3166 in capitals.

    Raises:
        InvalidInputError: there is no such country.
    """
    code = value.strip().upper()
    if not is_country(code):
        raise errors.InvalidInputError(
            f"“{value}” is not a country; give its code of two letters (ISO 3166), such as DE.",
            field="country",
        )
    return code


def is_country(code: str) -> bool:
    """Say whether a country has that code of ISO 3166."""
    return code in _countries()


def electronic_address(value: str) -> str:
    """Give an electronic address as `scheme:address`; an e-mail address's scheme is EM.

    Raises:
        InvalidInputError: it is neither, or there is no such scheme.
    """
    field = "electronic_address"
    schemed = SCHEMED.fullmatch(value.strip())
    if schemed is None and "@" in value:
        return f"EM:{addresses.address(value, field=field)}"
    if schemed is None or schemed[1].upper() not in SCHEMES.split():
        raise errors.InvalidInputError(
            f"“{value}” is not an electronic address: give an e-mail address, or a scheme of EN 16931"
            " and the address in it, such as 0088:4012345000009.",
            field=field,
        )
    return f"{schemed[1].upper()}:{schemed[2].strip()}"


def iban(value: str) -> str:
    """Give an account's IBAN without spaces.

    Raises:
        InvalidInputError: it is none.
    """
    return _number(ibans.validate, value, "is not an IBAN; copy it from a statement of account")


def bic(value: str) -> str:
    """Give a bank's BIC.

    Raises:
        InvalidInputError: it is none.
    """
    return _number(bics.validate, value, "is not a BIC; it has 8 or 11 letters and digits")


def _number(validate: Callable[[str], str], value: str, sentence: str) -> str:
    try:
        return validate(value)
    except ValidationError:
        raise errors.InvalidInputError(f"“{value}” {sentence}.", field="bank") from None


@cache
def _countries() -> frozenset[str]:
    from babel import Locale  # 0.1 s of a command that never asks

    codes = (str(code) for code in Locale("en").territories)
    return frozenset(filter(re.compile("[A-Z]{2}").fullmatch, codes)) - {*NO_COUNTRIES.split()}


CHECKS: dict[str, Callable[[str], str]] = {
    "country": country,
    "electronic_address": electronic_address,
    "email": addresses.address,
    "billing_email": partial(addresses.address, field="billing_email"),
    "colour": str.lower,
    "support_email": partial(addresses.address, field="support_email"),
    "reply_to": partial(addresses.address, field="reply_to"),
}
