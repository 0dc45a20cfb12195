"""The acts: what each takes, and what it does to some rows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from functools import partial
from inspect import signature
from types import MappingProxyType
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from worker import days, errors
from worker.bulk.selecting import Assignments, Keys, Selection
from worker.database import connections, lookup
from worker.learning import bulk, cancelling, extending, mailing
from worker.pools import mailed, picking, pools, replacing, retiring
from worker.tables.pools import Key, Pool
from worker.tenancy import templates
from worker.tenancy.actors import Actor

# What an act takes beside the rows, as it is kept: JSON's own types.
How = Mapping[str, Any]


class Kind(StrEnum):
    """What can be done to many rows."""

    EXTEND = "extend"
    CANCEL = "cancel"
    RETIRE = "retire"
    REPLACE = "replace"
    DISTRIBUTE = "distribute"
    MAIL = "mail"
    REMIND = "remind"


class Outcome(NamedTuple):
    """What became of one row: what was done, or why it was refused, with the refusal's code."""

    words: str
    code: str | None = None


@dataclass(frozen=True)
class Act:
    """What an act does, and on which rows; `done` is the word for what it was done to.

    `reads` checks what the act takes, before any row is touched; `does` gives the outcome for each id.
    """

    on: type[Selection]
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


def read(
    session: Session, actor: Actor, kind: Kind, selection: Selection, fields: Mapping[str, Any]
) -> How:
    """Check what an act takes, and give it as it is kept.

    Raises:
        InvalidInputError: a field is wrong or missing, or the act is not done to such rows.
    """
    require_on(kind, selection)
    reads = ACTS[kind].reads
    if unknown := next((name for name in fields if name not in signature(reads).parameters), None):
        raise errors.InvalidInputError(f"“{kind}” takes no “{unknown}”.", field=unknown)
    return reads(session, actor, selection, **fields)


def require_on(kind: Kind, selection: Selection) -> None:
    """Require that an act is done to such rows.

    Raises:
        InvalidInputError: it is done to others.
    """
    if not isinstance(selection, ACTS[kind].on):
        raise errors.InvalidInputError(f"“{kind}” is not done to such rows.", field="act")


def _extension(
    _session: Session,
    _actor: Actor,
    _selection: Selection,
    *,
    until: str | None = None,
    by_days: int | None = None,
    price: str | None = None,
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


def _cancellation(
    _session: Session,
    _actor: Actor,
    _selection: Selection,
    *,
    retire_key: bool = False,
    reason: str | None = None,
) -> How:
    return {"retire_key": retire_key, "reason": (reason or "").strip() or None}


def _cancel(session: Session, actor: Actor, assignment: str, how: How) -> str:
    costs = cancelling.preview(session, actor=actor, assignment=assignment)
    cancelling.cancel(session, actor=actor, assignment=assignment, **how)
    return cancelling.told(costs, retired=how["retire_key"])


def _nothing(_session: Session, _actor: Actor, _selection: Selection) -> How:
    return {}


def _replacement(
    _session: Session, _actor: Actor, _selection: Selection, *, reason: str = ""
) -> How:
    return {"reason": replacing.checked(reason)}


def _distribution(
    session: Session, actor: Actor, selection: Keys, *, recipient: str = "", reference: str = ""
) -> How:
    """Keep the distribution: whom it names is an erased person's to have erased there."""
    held = picking.distribution(
        session, actor=actor, pool=selection.pool, recipient=recipient, reference=reference
    )
    return {"distribution": str(held)}


def _retire(session: Session, actor: Actor, ids: Sequence[int], _how: How) -> list[Outcome]:
    codes = _codes(session, actor, ids)
    retired = retiring.retire(session, actor=actor, codes=list(codes.values()))
    results = dict(zip(codes, retired["items"], strict=True))
    return [_retired(results.get(id_)) for id_ in ids]


def _retired(result: retiring.RetiredKey | None) -> Outcome:
    if result is None:
        return outcome(errors.NotFoundError(NO_KEY))
    if result["reason"]:
        return Outcome(result["reason"], result["code"])
    return Outcome("It can be redeemed no more.")


def _replace(session: Session, actor: Actor, ids: Sequence[int], how: How) -> list[Outcome]:
    codes = _codes(session, actor, ids)

    def one(id_: int) -> str:
        if id_ not in codes:
            raise errors.NotFoundError(NO_KEY)
        made = replacing.replace(session, actor=actor, code=codes[id_], **how)
        return f"{made['code']} is given in its place."

    return [outcome(bulk.attempt(session, partial(one, id_))) for id_ in ids]


def _distribute(session: Session, actor: Actor, ids: Sequence[int], how: How) -> list[Outcome]:
    given = partial(
        picking.give, session, actor=actor, distribution_id=int(how["distribution"]), ids=ids
    )
    refusals = bulk.attempt(session, given)
    if isinstance(refusals, errors.KeypoolError):  # of the pool or the recipient, so of each
        return [outcome(refusals)] * len(ids)
    return [outcome(refusal or "It is the recipient's.") for refusal in refusals]


def _letter(session: Session, actor: Actor, selection: Keys, *, template: str | None = None) -> How:
    pool = pools.find(session, actor=actor, pool=selection.pool)
    words = templates.chosen(session, template or None, organization_id=pool.organization_id)
    now = connections.clock_now(session)
    return {"template": words and str(words.id), "since": now.isoformat()}


def _mail(session: Session, actor: Actor, ids: Sequence[int], how: How) -> list[Outcome]:
    refusals = mailed.write_for(
        session,
        actor=actor,
        ids=ids,
        since=datetime.fromisoformat(how["since"]),
        template_id=int(how["template"]) if how["template"] else None,
    )
    return [outcome(refusal or "A mail brings it to its holder.") for refusal in refusals]


def _reminder(_session: Session, _actor: Actor, _selection: Selection, *, mail: str = "") -> How:
    return {"mail": lookup.label(mailing.Mail, mail, field="mail")}


def _remind(session: Session, actor: Actor, ids: Sequence[int], how: How) -> list[Outcome]:
    mail = mailing.Mail(how["mail"])
    refusals = mailing.write(session, actor=actor, mail=mail, ids=ids)
    return [outcome(refusal or "A mail tells the learner.") for refusal in refusals]


def _codes(session: Session, actor: Actor, ids: Sequence[int]) -> dict[int, str]:
    """Give the codes of those keys that the actor sees, by id and in order."""
    seen = select(Key.id, Key.code).join(Pool, Pool.id == Key.pool_id)
    rows = seen.where(Key.id.in_(ids), actor.sees(Pool.organization_id)).order_by(Key.id)
    return dict(session.execute(rows).all())


NO_KEY = "There is no such key in your organizations."
ACTS: Mapping[Kind, Act] = MappingProxyType({
    Kind.EXTEND: Act(Assignments, "extended", _extension, one_by_one(_extend)),
    Kind.CANCEL: Act(Assignments, "cancelled", _cancellation, one_by_one(_cancel)),
    Kind.RETIRE: Act(Keys, "retired", _nothing, _retire),
    Kind.REPLACE: Act(Keys, "replaced", _replacement, _replace),
    Kind.DISTRIBUTE: Act(Keys, "distributed", _distribution, _distribute),
    Kind.MAIL: Act(Keys, "mailed", _letter, _mail),
    Kind.REMIND: Act(Assignments, "mailed", _reminder, _remind),
})  # fmt: skip
