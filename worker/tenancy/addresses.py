"""Normalizing e-mail addresses: a person is known by the normalized address (L1)."""

import re
from functools import partial

import email_validator
from email_validator import validate_email

from worker import errors
from worker.languages.characters import visible

# Domains such as `.test` and `localhost` are allowed: nothing is looked up, and senders may be on
# private networks.
email_validator.SPECIAL_USE_DOMAIN_NAMES.clear()

# Only the syntax is checked; `strict` also limits the length before the @.
parse = partial(validate_email, check_deliverability=False, globally_deliverable=False, strict=True)

# A fast path: email-validator would return such an address unchanged, in twenty times the time.
ORDINARY = re.compile(
    r"(?=[^@]{1,64}@)(?=.{3,254}\Z)[a-z0-9_+-]+(?:\.[a-z0-9_+-]+)*"
    r"@[a-z0-9](?:-?[a-z0-9]){0,30}(?:\.[a-z0-9](?:-?[a-z0-9]){0,30})*"
)

# A text with an @ between two characters is meant as an address; “Anna @ Sales” is a name.
MEANT = re.compile(r"\S@\S")


def address(value: str, *, field: str = "email", line: int | None = None) -> str:
    """Normalize an address, as `normal` does.

    Raises:
        InvalidInputError: it is no address; the error has the field or the line.
    """
    try:
        return normal(value)
    except ValueError as error:
        raise errors.InvalidInputError(
            f"“{value}” is not an e-mail address. {error}", field=field, line=line
        ) from None


def normal(value: str) -> str:
    """Normalize an address.

    The result is in Unicode's NFKC without invisible characters, in lower case, with the domain in
    its ASCII form (IDNA, UTS 46). Only the syntax is checked.

    Raises:
        ValueError: it is no address; the message says why, without repeating it.
    """
    typed = visible(value).strip().lower()
    if ORDINARY.fullmatch(typed):
        return typed
    checked = parse(visible(typed))
    return f"{checked.local_part}@{checked.ascii_domain}"


def recipient(value: str, *, line: int | None = None) -> str:
    """Read a recipient: an address, normalized, or a name as typed.

    Raises:
        InvalidInputError: it is meant as an address (it has an @) and is malformed.
    """
    if MEANT.search(visible(value)):
        return address(value, field="recipient", line=line)
    return value.strip()


def asked(value: str, *, field: str) -> list[str]:
    """Give the forms in which the address that a list is asked for may be kept, as `spellings` does.

    Raises:
        InvalidInputError: it is no address.
    """
    address(value, field=field)
    return spellings(value)


def recipients(value: str) -> list[str]:
    """Give the forms in which a recipient that a list is asked for may be kept: an address or a name.

    Raises:
        InvalidInputError: it has an @ amid it, and is no address.
    """
    recipient(value)
    return spellings(value)


def spellings(value: str) -> list[str]:
    """Give the forms in which an address may be stored, in lower case.

    These are the normalized one and the typed one, for rows from before addresses were normalized.
    """
    typed = value.strip().lower()
    try:
        return list({normal(value): None, typed: None})
    except ValueError:
        return [typed]
