"""The acts: what each takes, and what it does to some rows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

from sqlalchemy.orm import Session

from worker import days, errors
from worker.learning import bulk, cancelling, extending
from worker.tenancy.actors import Actor

# What an act takes beside the rows, as it is kept: JSON's own types.
How = Mapping[str, Any]


class Kind(StrEnum):
    """What can be done to many rows."""

    EXTEND = "extend"
    CANCEL = "cancel"


class Outcome(NamedTuple):
    """What became of one row: what was done, or why it was refused, with the refusal's code."""

    words: str
    code: str | None = None


@dataclass(frozen=True)
class Act:
    """What an act does; `done` is the word for what it was done to.

    `reads` checks what the act takes, before any row is touched; `does` gives the outcome for each id.
    """

    done: str
    reads: Callable[..., How]
    does: Callable[[Session, Actor, Sequence[int], How], list[Outcome]]


def one_by_one(
    one: Callable[[Session, Actor, str, How], str],
) -> Callable[[Session, Actor, Sequence[int], How], list[Outcome]]:
    """Make an act on many rows of one on a single row, which says what it did."""

    def does(session: Session, actor: Actor, ids: Sequence[int], how: How) -> list[Outcome]:
        results = (
            bulk.attempt(session, partial(one, session, actor, str(id_), how)) for id_ in ids
        )
        return [outcome(result) for result in results]

    return does


def outcome(result: str | errors.KeypoolError) -> Outcome:
    """Give the outcome of what was done or refused."""
    if isinstance(result, errors.KeypoolError):
        return Outcome(str(result), result.code)
    return Outcome(result)


def read(kind: Kind, fields: Mapping[str, Any]) -> How:
    """Check what an act takes, and give it as it is kept.

    Raises:
        InvalidInputError: a field is wrong or missing.
    """
    return ACTS[kind].reads(**fields)


def _extension(
    *, until: str | None = None, by_days: int | None = None, price: str | None = None
) -> How:
    if (until is None) == (by_days is None):
        raise errors.InvalidInputError(
            "Give either the new end or a number of days.", field="until"
        )
    if by_days is not None and not 1 <= by_days <= days.MAX_DAYS:
        raise errors.InvalidInputError(f"Give 1 to {days.MAX_DAYS:,} days.", field="by_days")
    if until is not None:
        days.instant(until, zone="UTC", field="until", end=True)
    if price is not None and not _is_amount(price):
        raise errors.InvalidInputError("A price is an amount such as 19.90.", field="price")
    return {"until": until, "by_days": by_days, "price": price}


def _is_amount(price: str) -> bool:
    try:
        return Decimal(price).is_finite() and Decimal(price) >= 0
    except InvalidOperation:
        return False


def _extend(session: Session, actor: Actor, assignment: str, how: How) -> str:
    extended = extending.extend(session, actor=actor, assignment=assignment, **how)
    return f"Access lasts until {extended['access_lasts_until']}."


def _cancellation(*, retire_key: bool = False, reason: str | None = None) -> How:
    return {"retire_key": retire_key, "reason": (reason or "").strip() or None}


def _cancel(session: Session, actor: Actor, assignment: str, how: How) -> str:
    costs = cancelling.preview(session, actor=actor, assignment=assignment)
    cancelling.cancel(session, actor=actor, assignment=assignment, **how)
    return cancelling.told(costs, retired=how["retire_key"])


ACTS: Mapping[Kind, Act] = MappingProxyType({
    Kind.EXTEND: Act("extended", _extension, one_by_one(_extend)),
    Kind.CANCEL: Act("cancelled", _cancellation, one_by_one(_cancel)),
})  # fmt: skip
