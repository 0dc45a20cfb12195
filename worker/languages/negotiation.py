"""Which language a request asks for (RFC 9110, 12.5.4; RFC 4647, 3.4)."""

from collections.abc import Sequence

from werkzeug.datastructures import LanguageAccept
from werkzeug.http import parse_accept_header

from worker.languages.phrasebooks import LANGUAGES

LONGEST_TAG = 100  # characters; to shorten a longer one part by part would take quadratic time


def choose(accept_language: str | None, offered: Sequence[str] = LANGUAGES) -> str | None:
    """Give the offered language that an Accept-Language header likes best; None where it likes none.

    The highest q-value comes first, of equal ones the first written; `de-CH` is met by `de`, and what
    has q=0 is never given. None, too, where any will do: the caller knows better which.
    """
    header = parse_accept_header(accept_language or "", LanguageAccept)
    asked = sorted(header, key=lambda item: -item[1])
    refused = {tag.lower() for tag, quality in asked if quality <= 0}
    taken = {language.lower(): language for language in offered if language.lower() not in refused}
    for tag, _ in (item for item in asked if item[1] > 0):
        if tag == "*":
            return next(iter(taken.values()), None) if refused else None
        if met := _met(tag.lower(), taken):
            return taken[met]
    return None


def _met(tag: str, taken: dict[str, str]) -> str | None:
    """Shorten a tag part by part until it is one that is offered."""
    tag = tag if len(tag) <= LONGEST_TAG else ""
    while tag and tag not in taken:
        tag = tag.rpartition("-")[0]
    return tag or None
