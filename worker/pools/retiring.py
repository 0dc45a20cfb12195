"""Retiring keys: an issued one can be redeemed no more (K8)."""

from collections.abc import Collection, Sequence
from typing import Literal, NamedTuple

from sqlalchemy import select, update
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from worker import errors
from worker.pools import keys, meaning
from worker.pools.keys import KeyShape
from worker.tables.labels import KeyState
from worker.tables.pools import Key, Pool
from worker.tenancy import history
from worker.tenancy.actors import Actor, Role


class RetiredKey(TypedDict):
    """The result for one of many codes."""

    key: str
    """The code, as it was given."""
    result: Literal["retired", "refused"]
    """Whether its key was retired."""
    code: str | None
    """Why it was refused, as a stable code."""
    reason: str | None
    """Why it was refused, in words."""


class RetiredKeys(TypedDict):
    """The result for each code, in the given order."""

    retired: int
    """How many keys were retired."""
    items: list[RetiredKey]
    """The result for each code."""
    next: None
    """Always null: the list is complete."""


class Held(NamedTuple):
    """A key that is locked, its pool, and the organization that owns that."""

    id: int
    state: KeyState
    owner_id: int
    pool_id: int


def retire(session: Session, *, actor: Actor, codes: Sequence[str]) -> RetiredKeys:
    """Retire issued keys, each with its own result."""
    actor.require(Role.MANAGER)
    found = _find_all(session, actor, codes)
    held = _lock(session, {id_ for id_ in found if id_ is not None})
    items: list[RetiredKey] = []
    retiring: dict[int, Held] = {}
    for code, id_ in zip(codes, found, strict=True):
        if id_ in retiring:
            items.append(_refused(code, "duplicate_in_input", "An earlier line has the same key."))
        elif error := _not_retired(code, None if id_ is None else held[id_].state):
            items.append(_refused(code, error.code, str(error)))
        elif id_ is not None:
            retiring[id_] = held[id_]
            items.append({"key": code, "result": "retired", "code": None, "reason": None})
    _retire(session, actor, list(retiring.values()))
    return {"retired": len(retiring), "items": items, "next": None}


def retire_one(session: Session, *, actor: Actor, code: str) -> KeyShape:
    """Retire one issued key, and give it.

    Raises:
        KeyNotIssuedError: it is redeemed or retired already.
        NotFoundError: no key of the actor's organizations has the code.
    """
    actor.require(Role.MANAGER)
    key_id = keys.find(session, actor=actor, code=code).id
    held = _lock(session, {key_id})[key_id]
    if error := _not_retired(code, held.state):
        raise error
    _retire(session, actor, [held])
    return keys.shape(session.execute(keys.ROWS.where(Key.id == key_id)).one())


def _find_all(session: Session, actor: Actor, typed_codes: Sequence[str]) -> list[int | None]:
    """Find each code's key as `find` does, in one query; None if there is none."""
    within = actor.sees(Pool.organization_id)
    meant = meaning.meant_by(typed_codes, meaning.TYPED.c.place, Key.id, within=within)
    ids: dict[int, int] = dict(session.execute(meant).all())
    return [ids.get(place) for place in range(1, len(typed_codes) + 1)]


def _lock(session: Session, ids: Collection[int]) -> dict[int, Held]:
    """Lock keys against redeeming and retiring, and give them as they are then."""
    statement = (
        select(Key.id, Key.state, Pool.organization_id, Key.pool_id)
        .join(Pool, Pool.id == Key.pool_id)
        .where(Key.id.in_(ids))
        .order_by(Key.id)
    )
    rows = session.execute(statement.with_for_update(of=Key, key_share=True))
    return {row.id: Held(*row) for row in rows}


def _not_retired(code: str, state: KeyState | None) -> errors.KeypoolError | None:
    """Say why a key in a state cannot be retired (K8); no state is no key."""
    if state is None:
        return keys.missing(code)
    if state is KeyState.ISSUED:
        return None
    return keys.not_issued(code, state)


def _refused(code: str, why: str, reason: str) -> RetiredKey:
    return {"key": code, "result": "refused", "code": why, "reason": reason}


def _retire(session: Session, actor: Actor, held: Sequence[Held]) -> None:
    ids = [key.id for key in held]
    session.execute(update(Key).where(Key.id.in_(ids)).values(state=KeyState.RETIRED))
    for owner, pool in sorted({(key.owner_id, key.pool_id) for key in held}):
        history.record(
            session,
            actor=actor,
            action="key retired",
            thing="key",
            thing_ids=[key.id for key in held if key.pool_id == pool],
            organization_id=owner,
            pool=str(pool),
        )
