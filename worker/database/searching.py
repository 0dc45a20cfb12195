"""Searching lists as people do: by words in any order, each a piece of a name or of an address."""

from typing import Any

from sqlalchemy import ColumnElement, or_
from sqlalchemy.orm import QueryableAttribute

MAX_WORDS = 8  # of a search that count


def spoken(
    search: str | None, *columns: QueryableAttribute[Any] | ColumnElement[Any]
) -> list[ColumnElement[bool]]:
    """Give the conditions that each word of a search is in one of the columns, in any letter case.

    No words, no conditions.
    """
    words = (search or "").split()[:MAX_WORDS]
    return [or_(*(one.icontains(word, autoescape=True) for one in columns)) for word in words]
