"""Batches: bulk jobs that add keys to a pool in chunks, take turns, and survive crashes.

A chunk's keys are committed together with the batch's progress. So a killed batch continues after
its last committed chunk, and makes exactly the keys that were requested.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Unpack

import psycopg
from sqlalchemy import Select, func, or_, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from worker import errors
from worker.database import lookup
from worker.database.connections import clock_now
from worker.database.filters import ListFilters, by
from worker.database.lookup import Id
from worker.database.paging import Page, Paging, Selected, paged
from worker.pools import codes, finding, import_reports, importing, making, pools
from worker.pools import labels as labelling
from worker.pools.import_reports import ImportReport
from worker.pools.reading import Keys, Read
from worker.tables.labels import BatchKind, BatchState
from worker.tables.pools import Batch, Pool
from worker.tenancy import history
from worker.tenancy.actors import Actor, Role

MOST = 10**9  # keys in one batch; more is probably a typing error
MAX_FAILURES = 5  # failures in a row, with growing pauses (backoff), before a batch has failed


class BatchShape(TypedDict):
    """A bulk job that adds keys to a pool."""

    id: Id
    """The batch's id."""
    pool: Id
    """The pool that it adds keys to."""
    pool_name: str
    """The pool's name."""
    kind: BatchKind
    """Whether keys are generated or imported."""
    requested: int
    """How many keys, or lines of an import, were requested."""
    worked: int
    """How many of them are done, with or without making a key."""
    made: int
    """How many keys it made."""
    state: BatchState
    """Its state."""
    per_second: int | None
    """How many are done per second; null before the first."""
    seconds_left: int | None
    """The remaining time at that rate; null if it is finished or unknown."""
    labels: list[str]
    """Those that all its keys get."""
    error: str | None
    """Why it failed."""
    created_at: datetime
    """When it was requested."""
    started_at: datetime | None
    """When it was started."""
    finished_at: datetime | None
    """When it was finished."""


@dataclass(frozen=True)
class Filters(ListFilters):
    """Which batches."""

    pool: str | None = by("One pool's.")


ALL = Filters()
UNFINISHED = (BatchState.QUEUED, BatchState.RUNNING)

# The batch whose turn it is: the one not worked for the longest time, unless another worker has it
# locked or it is paused after a failure.
NEXT = (
    select(Batch)
    .where(
        Batch.state.in_(UNFINISHED),
        or_(
            Batch.failures == 0,
            Batch.worked_at < func.clock_now() - Batch.failures * text("interval '10 s'"),
        ),
    )
    .order_by(Batch.worked_at.nulls_first(), Batch.id)
    .limit(1)
    .with_for_update(skip_locked=True, key_share=True)
    .execution_options(populate_existing=True)
)

# clock time: now() would be the start of the transaction.
END_OF_CHUNK = func.clock_now() + (func.clock_timestamp() - func.now())


def generate(
    session: Session, *, actor: Actor, pool: str, count: int, labels: Iterable[str] = ()
) -> BatchShape:
    """Request that the worker generate so many keys into a pool, with labels; gives the batch.

    Raises:
        InvalidInputError: the count is not a whole number from 1 to 1,000,000,000, or a label is none.
    """
    actor.require(Role.MANAGER)
    if type(count) is not int or not 1 <= count <= MOST:
        raise errors.InvalidInputError(
            f"{count} keys cannot be generated; give a whole number from 1 to {MOST:,}.",
            field="count",
        )
    batch = Batch(
        pool_id=pools.find(session, actor=actor, pool=pool).id,
        kind=BatchKind.GENERATE,
        requested=count,
        letters=codes.first_letters(count),
        labels=list(labelling.checked(labels)) or None,
    )
    return _queue(session, actor, batch)


def stage(
    session: Session,
    *,
    actor: Actor,
    pool: str,
    blocks: Iterable[Keys],
    read: Read | None = None,
    labels: Sequence[str] = (),
) -> BatchShape:
    """Request that the worker import any number of keys; gives the batch.

    They are stored in chunks, and read one chunk at a time. `read` says as what the input was read;
    `labels` are those of the keys that have none of their own.
    """
    actor.require(Role.MANAGER)
    found = pools.find(session, actor=actor, pool=pool)
    batch = Batch(
        pool_id=found.id,
        kind=BatchKind.IMPORT,
        requested=1,
        read=read,
        labels=list(labels) or None,
    )
    shape = _queue(session, actor, batch)
    batch.requested = importing.stage(session, batch.id, blocks)
    session.flush()
    return {**shape, "requested": batch.requested}


def work_chunk(session: Session) -> int | None:
    """Work one chunk of the batch whose turn it is; gives how many keys it made.

    None means that there is nothing to do: every batch is finished, locked by another worker, or
    paused after a failure. A chunk that fails is rolled back and retried later; after five
    failures in a row its batch has failed.
    """
    batch = session.scalars(NEXT).first()
    if batch is None:
        return None
    made = 0
    if batch.started_at is None:
        batch.started_at = clock_now(session)
    batch.state = BatchState.RUNNING
    try:
        with session.begin_nested():
            work = making.generate if batch.kind is BatchKind.GENERATE else importing.work
            made = work(session, batch)
            batch.failures = 0
    except (DBAPIError, psycopg.Error, errors.KeypoolError) as error:
        batch.failures += 1
        if batch.failures >= MAX_FAILURES:
            _finish(session, batch, BatchState.FAILED, error=_cause(error))
    if batch.worked == batch.requested:
        _finish(session, batch, BatchState.DONE)
        if batch.kind is BatchKind.IMPORT:
            pool = session.get_one(Pool, batch.pool_id)
            actor = Actor.operator(f"batch {batch.id}")
            finding.note_batch(session, actor=actor, pool=pool, batch_id=batch.id)
    batch.worked_at = session.scalar(select(END_OF_CHUNK))
    session.flush()
    return made


def cancel(session: Session, *, actor: Actor, batch: str) -> BatchShape:
    """Cancel a batch; keys that it made stay.

    Raises:
        BatchFinishedError: the batch is done, cancelled or failed already.
    """
    actor.require(Role.MANAGER)
    found = find(session, actor=actor, batch=batch)
    session.refresh(found, with_for_update={"key_share": True})  # waits for a chunk in progress
    if found.state not in UNFINISHED:
        raise errors.BatchFinishedError(
            f"The batch is {found.state} already; it cannot be cancelled."
        )
    _finish(session, found, BatchState.CANCELLED)
    session.flush()
    _remember(session, actor, "batch cancelled", found, made=found.made)
    return _told(session, found)


def show(session: Session, *, actor: Actor, batch: str) -> BatchShape:
    """Give a batch with its progress: requested, worked, made, rate and remaining time."""
    return _told(session, find(session, actor=actor, batch=batch))


def listing(
    session: Session, *, actor: Actor, filters: Filters = ALL, **page: Unpack[Paging]
) -> Page[BatchShape]:
    """List the batches of the actor's pools, newest first."""
    statement = _seen(actor).add_columns(Pool.name)
    if filters.pool is not None:
        found = pools.find(session, actor=actor, pool=filters.pool)
        statement = statement.where(Batch.pool_id == found.id)
    return paged(session, statement, by=Batch.id, shape=_shape, newest_first=True, **page)


def find(session: Session, *, actor: Actor, batch: str) -> Batch:
    """Find a batch of the actor's pools by its id, or raise NotFoundError."""
    statement = _seen(actor).where(Batch.id == int(batch)) if lookup.is_id(batch) else None
    found = None if statement is None else session.scalars(statement).one_or_none()
    if found is None:
        raise errors.NotFoundError(f"There is no batch “{batch}” in your organizations.")
    return found


def _shape(row: Selected) -> BatchShape:
    return shape(row.Batch, row.name)


def shape(batch: Batch, pool_name: str) -> BatchShape:
    """Give a batch's public fields."""
    rate = _rate(batch)
    left = batch.requested - batch.worked
    return {
        "id": str(batch.id),
        "pool": str(batch.pool_id),
        "pool_name": pool_name,
        "kind": batch.kind,
        "requested": batch.requested,
        "worked": batch.worked,
        "made": batch.made,
        "state": batch.state,
        "per_second": round(rate) if rate else None,
        "seconds_left": round(left / rate) if rate and batch.state in UNFINISHED else None,
        "labels": batch.labels or [],
        "error": batch.error,
        "created_at": batch.created_at,
        "started_at": batch.started_at,
        "finished_at": batch.finished_at,
    }


def report(session: Session, *, actor: Actor, batch: str) -> ImportReport:
    """Give an import's report so far: the number of lines by result, and the first 1,000 refused.

    A generation only has added keys.
    """
    return import_reports.of_batch(session, find(session, actor=actor, batch=batch))


def report_csv(session: Session, *, actor: Actor, batch: str) -> Iterator[bytes]:
    """Give the result of every line of an import as CSV, in blocks of many lines.

    A line that was not worked (yet, or before the batch was cancelled) has no result.
    """
    return import_reports.csv_blocks(session, find(session, actor=actor, batch=batch))


def _told(session: Session, batch: Batch) -> BatchShape:
    return shape(batch, session.get_one(Pool, batch.pool_id).name)


def _seen(actor: Actor) -> Select[Batch]:
    return select(Batch).join(Pool).where(actor.sees(Pool.organization_id))


def _queue(session: Session, actor: Actor, batch: Batch) -> BatchShape:
    session.add(batch)
    session.flush()
    labelled = {"labels": batch.labels} if batch.labels else {}
    _remember(
        session, actor, "batch requested", batch, kind=batch.kind, count=batch.requested, **labelled
    )
    return _told(session, batch)


def _finish(session: Session, batch: Batch, state: BatchState, *, error: str | None = None) -> None:
    now = session.scalar(select(END_OF_CHUNK))
    batch.state, batch.error, batch.finished_at = state, error, now
    importing.forget(session, batch)


def _cause(error: Exception) -> str:
    """Say why a chunk failed, without the database's details, which have codes."""
    original = getattr(error, "orig", None) or error.__cause__ or error
    if isinstance(original, psycopg.Error) and original.diag.message_primary:
        return original.diag.message_primary
    return str(original) if isinstance(original, errors.KeypoolError) else type(original).__name__


def _rate(batch: Batch) -> float | None:
    if batch.started_at is None or batch.worked_at is None:
        return None
    seconds = ((batch.finished_at or batch.worked_at) - batch.started_at).total_seconds()
    return batch.worked / seconds if seconds > 0 and batch.worked else None


def _remember(session: Session, actor: Actor, action: str, batch: Batch, **detail: object) -> None:
    history.record(
        session,
        actor=actor,
        action=action,
        thing="batch",
        thing_ids=batch.id,
        organization_id=session.get_one(Pool, batch.pool_id).organization_id,
        pool=str(batch.pool_id),
        **detail,
    )
