"""The settings of an organization's redeem page, each in its one form."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from worker import errors
from worker.database import lookup
from worker.tables.labels import RedeemPage
from worker.tenancy import addresses


def checked(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Give those of an organization's fields that are its redeem page's, each in its one form.

    Raises:
        InvalidInputError: a field is not what it is called; the error knows which.
    """
    return {field: read(fields[field]) for field, read in CHECKS.items() if field in fields}


def _page(value: str) -> RedeemPage:
    return lookup.label(RedeemPage, value, field="redeem_page")


def _slug(value: str) -> str:
    return value.strip().lower()


def _domains(values: Iterable[str]) -> list[str]:
    """Read domains of addresses, each in its ASCII form, once."""
    typed = (value.strip().removeprefix("@") for value in values)
    return list(dict.fromkeys(_domain(value) for value in typed if value))


def _domain(value: str) -> str:
    try:
        return addresses.normal(f"somebody@{value}").rpartition("@")[2]
    except ValueError:
        raise errors.InvalidInputError(
            f"“{value}” is not the domain of an address; write it such as example.com.",
            field="redeem_domains",
        ) from None


def _languages(values: Iterable[str]) -> list[str]:
    """Read languages, each once; those of which there is a catalogue."""
    from worker.languages.phrasebooks import LANGUAGES  # 0.1 s of a command that never asks

    typed = list(dict.fromkeys(tag for value in values if (tag := value.strip().lower())))
    if unknown := next((tag for tag in typed if tag not in LANGUAGES), None):
        raise errors.InvalidInputError(
            f"There is no page in “{unknown}”; one of {', '.join(LANGUAGES)}.",
            field="redeem_languages",
        )
    return typed


CHECKS: dict[str, Callable[[Any], object]] = {
    "slug": _slug,
    "redeem_page": _page,
    "redeem_domains": _domains,
    "redeem_languages": _languages,
    "redeem_text": str.strip,
}
