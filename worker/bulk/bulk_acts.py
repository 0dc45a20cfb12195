"""Bulk acts: asking for an act on many rows, working it, and what became of each row.

Up to 500 rows are worked in the transaction that asks; more by the worker, in chunks that are committed
together with their results. So a row is done once, whatever dies meanwhile.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Unpack
from uuid import uuid4

import psycopg
from sqlalchemy import (
    BigInteger,
    ScalarSelect,
    Select,
    Text,
    case,
    cast,
    func,
    insert,
    literal,
    null,
    or_,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from worker import errors
from worker.bulk import acting, selecting
from worker.bulk.acting import ACTS, Kind, Outcome
from worker.bulk.selecting import Assignments, Keys, Selection
from worker.database import lookup
from worker.database.connections import clock_now
from worker.database.filters import ListFilters, by
from worker.database.lookup import Id
from worker.database.paging import Page, Paging, Selected, paged
from worker.tables.bulk import BulkAct, BulkActRow
from worker.tables.catalogue import Course
from worker.tables.labels import BatchState
from worker.tables.learning import Assignment, Learner
from worker.tables.pools import Key, Pool
from worker.tenancy.actors import Actor, Role

AT_ONCE = 500  # rows that are worked in the transaction that asks; more are the worker's
CHUNK = 100  # rows in one transaction of the worker's, which locks them
MAX_FAILURES = 5  # failures in a row, with growing pauses, before it has failed
LINES = 5_000  # rows in a block of a report
COLUMNS = ("name", "result", "code", "words")
UNFINISHED = (BatchState.QUEUED, BatchState.RUNNING)


class BulkActShape(TypedDict):
    """An act on many rows of a list."""

    id: Id
    """Its id."""
    act: Kind
    """What is done to each row."""
    how: dict[str, Any]
    """What the act takes, such as a number of days."""
    requested: int
    """How many rows there are."""
    expected: int | None
    """How many rows there were when somebody looked before; null if nobody did."""
    worked: int
    """How many rows are worked."""
    done: int
    """To how many of them it was done."""
    refused: int
    """How many of them were refused."""
    state: BatchState
    """Its state."""
    error: str | None
    """Why it failed."""
    actor: str
    """Who asked for it."""
    created_at: datetime
    """When it was asked for."""
    finished_at: datetime | None
    """When it was finished."""


class BulkActRowShape(TypedDict):
    """What became of one row."""

    id: Id
    """The row's id: an assignment's or a key's."""
    name: str | None
    """The learner and the course, or the key; null if it is not in your organizations."""
    result: str | None
    """“done” or “refused”; null until it is worked."""
    code: str | None
    """Why it was refused, as a stable code."""
    words: str | None
    """What was done, or why it was refused."""


@dataclass(frozen=True)
class Filters(ListFilters):
    """Which acts on many rows."""

    act: Kind | None = by("Those that do this.")


ALL = Filters()

# The act whose turn it is, as in `worker.pools.batches`.
NEXT = (
    select(BulkAct)
    .where(
        BulkAct.state.in_(UNFINISHED),
        or_(
            BulkAct.failures == 0,
            BulkAct.worked_at < func.clock_now() - BulkAct.failures * text("interval '10 s'"),
        ),
    )
    .order_by(BulkAct.worked_at.nulls_first(), BulkAct.id)
    .limit(1)
    .with_for_update(skip_locked=True, key_share=True)
    .execution_options(populate_existing=True)
)

KEEP = text("""
    UPDATE bulk_act_row SET code = came.code, words = came.words
      FROM unnest(CAST(:nths AS bigint[]), CAST(:codes AS text[]), CAST(:words AS text[]))
           AS came (nth, code, words)
     WHERE act_id = :act_id AND bulk_act_row.nth = came.nth
""")


def ask(
    session: Session,
    *,
    actor: Actor,
    act: str,
    selection: Selection,
    fields: Mapping[str, Any],
    expected: int | None = None,
    asked_as: str | None = None,
) -> BulkActShape:
    """Do an act to all that is selected, or have the worker do it where that is more than 500 rows.

    `expected` is how many rows there were when somebody looked. Idempotent where `asked_as` is given: what
    was asked for so is not done again.

    Raises:
        InvalidInputError: a field of the act is wrong.
        NotFoundError: nothing of what is selected is in the actor's organizations.
    """
    actor.require(Role.MANAGER)
    kind = lookup.label(Kind, act, field="act")
    if asked_as and (before := session.scalar(_asked(actor, asked_as))):
        return shape(before)
    selecting.count(session, actor=actor, selection=selection)
    how = acting.read(session, actor, kind, selection, fields)
    asked = _record(session, actor, asked_as, act=kind, how=dict(how), expected=expected)
    if not asked.requested:
        asked.requested = _keep_rows(session, actor, asked, selection)
        if asked.requested <= AT_ONCE:
            _work(session, actor, asked, AT_ONCE)
        session.flush()
    return shape(asked)


def work_chunk(session: Session) -> int | None:
    """Work a chunk of the act whose turn it is; gives how many rows, or None if nothing is to do.

    A chunk that fails is rolled back and retried later; after five failures in a row its act has failed.
    """
    act = session.scalars(NEXT).first()
    if act is None:
        return None
    worked = 0
    try:
        with session.begin_nested():
            actor = Actor(act.actor, act.role, act.organization_id)
            worked = _work(session, actor, act, CHUNK)
            act.failures = 0
    except (DBAPIError, psycopg.Error, errors.KeypoolError) as error:
        act.failures += 1
        act.worked_at = clock_now(session)
        if act.failures >= MAX_FAILURES:
            _finish(session, act, BatchState.FAILED, error=type(error).__name__)
    session.flush()
    return worked


def show(session: Session, *, actor: Actor, act: str) -> BulkActShape:
    """Give an act with its progress."""
    return shape(find(session, actor=actor, act=act))


def listing(
    session: Session, *, actor: Actor, filters: Filters = ALL, **page: Unpack[Paging]
) -> Page[BulkActShape]:
    """List the acts of the actor's organizations, newest first."""
    actor.require(Role.MANAGER, Role.ANALYST)
    statement = select(BulkAct).where(actor.sees(BulkAct.organization_id))
    if filters.act is not None:
        statement = statement.where(BulkAct.act == filters.act)
    return paged(
        session,
        statement,
        by=BulkAct.id,
        shape=lambda row: shape(row.BulkAct),
        newest_first=True,
        **page,
    )


def rows(
    session: Session,
    *,
    actor: Actor,
    act: str,
    refused: bool = False,
    **page: Unpack[Paging],
) -> Page[BulkActRowShape]:
    """List an act's rows with what became of each, in their order; all, or only the refused ones."""
    found = find(session, actor=actor, act=act)
    statement = _rows(actor, found)
    if refused:
        statement = statement.where(BulkActRow.code.is_not(None))
    return paged(session, statement, by=BulkActRow.nth, shape=_row_shape, **page)


def report_csv(session: Session, *, actor: Actor, act: str) -> Iterator[bytes]:
    """Give what became of every row as CSV, in blocks of many lines; nothing of those not worked yet."""
    found = find(session, actor=actor, act=act)
    table = _rows(actor, found).subquery()
    cells = [cast(table.c[name], Text) for name in ("thing_id", *COLUMNS)]
    lines = select(func.concat_ws(",", *map(func.csv_cell, cells))).order_by(table.c.nth)
    yield (",".join(("id", *COLUMNS)) + "\n").encode()
    written = session.execute(lines, execution_options={"yield_per": LINES})
    for block in written.scalars().partitions(LINES):
        yield "".join(f"{line}\n" for line in block).encode()


def cancel(session: Session, *, actor: Actor, act: str) -> BulkActShape:
    """Cancel an act: what was done to its rows stays, and the others are left alone.

    Raises:
        BatchFinishedError: it is done, cancelled or failed already.
    """
    actor.require(Role.MANAGER)
    found = find(session, actor=actor, act=act)
    session.refresh(found, with_for_update={"key_share": True})  # waits for a chunk in progress
    if found.state not in UNFINISHED:
        raise errors.BatchFinishedError(
            f"The act is {found.state} already; it cannot be cancelled."
        )
    _finish(session, found, BatchState.CANCELLED)
    session.flush()
    return shape(found)


def find(session: Session, *, actor: Actor, act: str) -> BulkAct:
    """Find an act of the actor's organizations by its id, or raise NotFoundError."""
    seen = [actor.sees(BulkAct.organization_id)]
    return lookup.find(session, BulkAct, thing="act on many rows", name=act, within=seen)


def shape(act: BulkAct) -> BulkActShape:
    """Give an act's public fields."""
    return {
        "id": str(act.id),
        "act": Kind(act.act),
        "how": {name: value for name, value in act.how.items() if value},
        "requested": act.requested,
        "expected": act.expected,
        "worked": act.worked,
        "done": act.done,
        "refused": act.worked - act.done,
        "state": act.state,
        "error": act.error,
        "actor": act.actor,
        "created_at": act.created_at,
        "finished_at": act.finished_at,
    }


def _asked(actor: Actor, asked_as: str) -> Select[BulkAct]:
    """Select what an actor asked for before with the same form."""
    return select(BulkAct).where(BulkAct.actor == actor.name, BulkAct.asked_as == asked_as)


def _record(session: Session, actor: Actor, asked_as: str | None, **values: Any) -> BulkAct:
    """Record that an act is asked for; gives it, or the same one of a transaction that came first."""
    named = asked_as or str(uuid4())
    whose = {"organization_id": actor.organization_id, "actor": actor.name, "role": actor.role}
    made = upsert(BulkAct).values(**values, **whose, asked_as=named)
    session.execute(made.on_conflict_do_nothing())  # waits for another one that asks so
    return session.scalars(_asked(actor, named)).one()


def _keep_rows(session: Session, actor: Actor, act: BulkAct, selection: Selection) -> int:
    """Keep which rows an act is on, and give their number."""
    chosen = selecting.asked(session, actor, selection).subquery()
    nth = func.row_number().over(order_by=chosen.c.id)
    numbered = select(literal(act.id, BigInteger), nth, chosen.c.id)
    kept = insert(BulkActRow).from_select(["act_id", "nth", "thing_id"], numbered)
    return session.execute(kept, execution_options={"preserve_rowcount": True}).rowcount  # type: ignore[attr-defined,no-any-return]  # an INSERT's result has one


def _work(session: Session, actor: Actor, act: BulkAct, limit: int) -> int:
    """Work the next rows of an act, and keep what became of each."""
    following = (BulkActRow.act_id == act.id, BulkActRow.nth > act.worked)
    ids = session.scalars(
        select(BulkActRow.thing_id).where(*following).order_by(BulkActRow.nth).limit(limit)
    ).all()
    act.started_at = act.started_at or clock_now(session)
    outcomes = ACTS[Kind(act.act)].does(session, actor, ids, act.how)
    _keep(session, act, outcomes)
    act.state, act.worked_at = BatchState.RUNNING, clock_now(session)
    act.worked += len(ids)
    act.done += sum(outcome.code is None for outcome in outcomes)
    if act.worked == act.requested:
        _finish(session, act, BatchState.DONE)
    return len(ids)


def _keep(session: Session, act: BulkAct, outcomes: Sequence[Outcome]) -> None:
    came = {
        "act_id": act.id,
        "nths": [act.worked + n for n in range(1, len(outcomes) + 1)],
        "codes": [outcome.code for outcome in outcomes],
        "words": [outcome.words for outcome in outcomes],
    }
    session.execute(KEEP, came)


def _finish(session: Session, act: BulkAct, state: BatchState, *, error: str | None = None) -> None:
    act.state, act.error, act.finished_at = state, error, clock_now(session)


def _rows(actor: Actor, act: BulkAct) -> Select[Any]:
    """Select an act's rows with their names, in no order."""
    result = case(
        (BulkActRow.nth > act.worked, null()), (BulkActRow.code.is_(None), "done"), else_="refused"
    )
    names = _NAMES[ACTS[Kind(act.act)].on](actor)
    return (
        select(
            BulkActRow.nth,
            BulkActRow.thing_id,
            names.label("name"),
            result.label("result"),
            BulkActRow.code,
            BulkActRow.words,
        )
        .select_from(BulkActRow)
        .where(BulkActRow.act_id == act.id)
    )


def _assignments_name(actor: Actor) -> ScalarSelect[str]:
    seen = (Assignment.id == BulkActRow.thing_id, actor.sees(Assignment.organization_id))
    name = func.concat_ws(", ", Learner.email, Course.code)
    joined = select(name).select_from(Assignment).join(Learner)
    joined = joined.join(Course, Course.id == Assignment.course_id)
    return joined.where(*seen).scalar_subquery()


def _keys_name(actor: Actor) -> ScalarSelect[str]:
    seen = (Key.id == BulkActRow.thing_id, actor.sees(Pool.organization_id))
    return select(Key.code).join(Pool, Pool.id == Key.pool_id).where(*seen).scalar_subquery()


_NAMES: Mapping[type[Selection], Callable[[Actor], ScalarSelect[str]]] = {
    Assignments: _assignments_name,
    Keys: _keys_name,
}


def _row_shape(row: Selected) -> BulkActRowShape:
    return {
        "id": str(row.thing_id),
        "name": row.name,
        "result": row.result,
        "code": row.code,
        "words": row.words,
    }
