"""Lists, a page at a time: by cursor, so that rows added meanwhile move nothing."""

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select
from sqlalchemy.orm import QueryableAttribute, Session

from worker import errors

LARGEST_PAGE = 1000


@dataclass(frozen=True)
class Page:
    """A page of a list, and the cursor of the next one, or None at the end."""

    items: list[dict[str, Any]]
    next: str | None


def paged(
    session: Session,
    wanted: Select[Any],
    *,
    by: QueryableAttribute[int],
    after: str | None,
    limit: int,
    shape: Callable[[Any], dict[str, Any]],
    newest_first: bool = False,
) -> Page:
    """Read the page of a query that follows a cursor, ordered by one unique id.

    Raises:
        InvalidInputError: the cursor is not one of ours, or the limit not in 1 to 1000.
    """
    if not 1 <= limit <= LARGEST_PAGE:
        raise errors.InvalidInputError(f"A page has 1 to {LARGEST_PAGE} items.", field="limit")
    if after is not None:
        wanted = wanted.where(by < position(after) if newest_first else by > position(after))
    ordered = wanted.add_columns(by.label("cursor")).order_by(by.desc() if newest_first else by)
    rows = session.execute(ordered.limit(limit + 1)).all()
    more = len(rows) > limit
    return Page(
        [shape(row) for row in rows[:limit]], cursor(rows[limit - 1].cursor) if more else None
    )


def cursor(position: int) -> str:
    """Make the cursor that leads past a row; opaque, so that nobody builds on its inside."""
    return base64.urlsafe_b64encode(f"after {position}".encode()).decode().rstrip("=")


def position(cursor: str) -> int:
    """Read a cursor back; InvalidInputError where it is not one of ours."""
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        word, number = base64.b64decode(padded, altchars=b"-_", validate=True).split(b" ")
        if word == b"after" and number.isdigit() and int(number) < 2**63:
            return int(number)
    except (ValueError, binascii.Error, UnicodeEncodeError):
        pass
    raise errors.InvalidInputError(
        "The cursor is not one that a list gave; start without it.", field="cursor"
    )
