"""E-mail addresses: the one form by which a person is known (L1)."""

import re
from functools import partial

import email_validator
from email_validator import validate_email

from worker import errors
from worker.languages.characters import visible

# Names such as `.test` and `localhost` are as good as any: nobody is looked up, and many a system
# that sends to us is a closed one.
email_validator.SPECIAL_USE_DOMAIN_NAMES.clear()

# By its syntax alone; `strict` counts the characters before the @, too.
parse = partial(validate_email, check_deliverability=False, globally_deliverable=False, strict=True)

# What email-validator gives back as it is, at a twentieth of the time.
ORDINARY = re.compile(
    r"(?=[^@]{1,64}@)(?=.{3,254}\Z)[a-z0-9_+-]+(?:\.[a-z0-9_+-]+)*"
    r"@[a-z0-9](?:-?[a-z0-9]){0,30}(?:\.[a-z0-9](?:-?[a-z0-9]){0,30})*"
)

# What has an @ amid it is meant for an address; “Anna @ Sales” is a name.
MEANT = re.compile(r"\S@\S")


def address(value: str, *, field: str = "email", line: int | None = None) -> str:
    """Give the one form of an address, as `normal` does.

    Raises:
        InvalidInputError: it is no address; the error knows the field, or the line.
    """
    try:
        return normal(value)
    except ValueError as error:
        raise errors.InvalidInputError(
            f"“{value}” is not an e-mail address. {error}", field=field, line=line
        ) from None


def normal(value: str) -> str:
    """Give the one form of an address, however it was typed.

    It is in Unicode's NFKC without characters that cannot be seen, in lower case, with the domain
    in its ASCII form (IDNA, UTS 46). Syntax alone is judged.

    Raises:
        ValueError: it is no address; the message says why, and not what it is.
    """
    typed = visible(value).strip().lower()
    if ORDINARY.fullmatch(typed):
        return typed
    checked = parse(visible(typed))
    return f"{checked.local_part}@{checked.ascii_domain}"


def recipient(value: str, *, line: int | None = None) -> str:
    """Give whom keys are handed to: an address in its one form, or a name as it was typed.

    Raises:
        InvalidInputError: it has an @ amid it, and is no address.
    """
    if MEANT.search(visible(value)):
        return address(value, field="recipient", line=line)
    return value.strip()


def spellings(value: str) -> list[str]:
    """Give the forms in which an address may be kept, in lower case.

    Its one form; and as it was typed, for what was kept before addresses had one.
    """
    typed = value.strip().lower()
    try:
        return list({normal(value): None, typed: None})
    except ValueError:
        return [typed]
