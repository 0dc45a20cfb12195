"""Batches: bulk jobs that add keys to a pool in chunks, take turns, and survive crashes.

A chunk's keys are committed together with the batch's progress. So a killed batch continues after
its last committed chunk, and makes exactly the keys that were requested.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import islice
from typing import Any, final

import psycopg
from sqlalchemy import Select, func, or_, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from worker import errors
from worker.database import lookup
from worker.database.connections import clock_now
from worker.database.lookup import Id
from worker.database.paging import Page, paged
from worker.pools import codes, making, pools
from worker.pools.reading import Line
from worker.tables.labels import BatchKind, BatchState, LineResult
from worker.tables.pools import Batch, BatchLine, Pool
from worker.tenancy import history
from worker.tenancy.actors import Actor, Role

MOST = 10**9  # keys in one batch; more is a typing error
MAX_FAILURES = 5  # failures in a row, with growing pauses (backoff), before a batch has failed
MAX_REFUSED = 1000  # refused lines in a report; all of them are in its CSV


class BatchShape(TypedDict):
    """A bulk job that adds keys to a pool."""

    id: Id
    """The batch's id."""
    pool: Id
    """The pool that it adds keys to."""
    pool_name: str
    """What that pool is called."""
    kind: BatchKind
    """Where its keys come from."""
    requested: int
    """How many keys, or lines of an import, were asked for."""
    worked: int
    """How many of them are done, whether each made a key or not."""
    made: int
    """How many keys it made."""
    state: BatchState
    """How far it is."""
    per_second: int | None
    """How many of them it did a second; null before the first."""
    seconds_left: int | None
    """How long it still takes at that rate; null where it is over or nobody can tell."""
    error: str | None
    """Why it failed."""
    created_at: datetime
    """When it was asked for."""
    started_at: datetime | None
    """When it was begun."""
    finished_at: datetime | None
    """When it came to its end."""


class RefusedLine(TypedDict):
    """A line that made no key."""

    line: int
    """The line's number, blank lines counted."""
    code: str
    """What stands on it."""
    result: LineResult
    """What became of it."""
    reason: str
    """Why, in words."""


@final
class ImportReport(TypedDict):
    """What became of the lines of an import."""

    batch: Id | None
    """The batch that works on the lines that are not counted yet; null where all are."""
    added: int
    """How many lines made a key."""
    duplicate_in_input: int
    """How many have the key of an earlier line."""
    already_exists: int
    """How many have a key that there was already."""
    invalid: int
    """How many have no key."""
    refused: list[RefusedLine]
    """The first thousand lines that made none, in order; all of them are in the report's CSV."""


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

# now() is when the transaction began; a chunk's end is later.
END_OF_CHUNK = func.clock_now() + (func.clock_timestamp() - func.now())

REASONS = {
    LineResult.DUPLICATE_IN_INPUT: "An earlier line has the same key.",
    LineResult.ALREADY_EXISTS: "There is a key with this code already.",
}


SENTENCES = {str(result): sentence for result, sentence in REASONS.items()}

REPORT_HEADER = "line,code,result,reason\n"

# The lines of one chunk, those that could be keys (whose codes need no quotes) and those that could
# not.
REPORT = text("""
    WITH chunk AS (
        SELECT * FROM batch_chunk WHERE batch_id = :batch_id AND position = :position),
    told AS (
        SELECT given.line,
               given.line || ',' || given.code || CASE
                   WHEN refused.line IS NOT NULL THEN
                       ',' || refused.result || ',' || csv_cell(CASE refused.result
                           WHEN 'duplicate_in_input' THEN :duplicate_in_input
                           ELSE :already_exists END)
                   WHEN :position < :worked THEN ',added,'
                   ELSE ',,' END || chr(10) AS words
          FROM (SELECT unnest(lines) AS line, unnest(codes) AS code FROM chunk) AS given
          LEFT JOIN batch_line AS refused
                 ON refused.batch_id = :batch_id AND refused.line = given.line
        UNION ALL
        SELECT refused.line,
               concat(refused.line, ',', csv_cell(refused.code), ',', refused.result, ',',
                      csv_cell(refused.reason), chr(10))
          FROM batch_line AS refused, chunk
         WHERE refused.batch_id = :batch_id AND refused.result = 'invalid'
           AND refused.line > :after AND refused.line <= chunk.last_line)
    SELECT chunk.position + chunk.size AS next, chunk.last_line,
           (SELECT string_agg(words, '' ORDER BY line) FROM told) AS lines
      FROM chunk
""")


def generate(session: Session, *, actor: Actor, pool: str, count: int) -> BatchShape:
    """Request that the worker generate so many keys into a pool; gives the batch.

    Raises:
        InvalidInputError: the count is not a whole number from 1 to 1,000,000,000.
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
    )
    return _queue(session, actor, batch)


def stage(session: Session, *, actor: Actor, pool: str, lines: Iterable[Line]) -> BatchShape:
    """Request that the worker import keys from any number of lines; gives the batch.

    The lines are stored in chunks, and read one chunk at a time.
    """
    actor.require(Role.MANAGER)
    found = pools.find(session, actor=actor, pool=pool)
    batch = Batch(pool_id=found.id, kind=BatchKind.IMPORT, requested=1)
    _queue(session, actor, batch)
    batch.requested = _stage_chunks(session, batch.id, iter(lines))
    session.flush()
    return _told(session, batch)


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
            made = making.work(session, batch)
            batch.failures = 0
    except (DBAPIError, psycopg.Error, errors.KeypoolError) as error:
        batch.failures += 1
        if batch.failures >= MAX_FAILURES:
            _finish(session, batch, BatchState.FAILED, error=_cause(error))
    if batch.worked == batch.requested:
        _finish(session, batch, BatchState.DONE)
    batch.worked_at = session.scalar(select(END_OF_CHUNK))
    session.flush()
    return made


def cancel(session: Session, *, actor: Actor, batch: str) -> BatchShape:
    """Cancel a batch; the keys that it made stay.

    Raises:
        BatchFinishedError: the batch is done, cancelled or failed already.
    """
    actor.require(Role.MANAGER)
    found = find(session, actor=actor, batch=batch)
    session.refresh(found, with_for_update={"key_share": True})  # a chunk may be under way
    if found.state not in UNFINISHED:
        raise errors.BatchFinishedError(
            f"The batch is {found.state} already; nothing is left of it to cancel."
        )
    _finish(session, found, BatchState.CANCELLED)
    session.flush()
    _remember(session, actor, "batch cancelled", found, made=found.made)
    return _told(session, found)


def show(session: Session, *, actor: Actor, batch: str) -> BatchShape:
    """Give a batch with its progress: what was requested, worked and made, how fast, how long yet."""
    return _told(session, find(session, actor=actor, batch=batch))


def listing(
    session: Session,
    *,
    actor: Actor,
    pool: str | None = None,
    after: str | None = None,
    limit: int = 100,
) -> Page[BatchShape]:
    """List the batches of the actor's pools, or of one of them, newest first."""
    wanted = _seen(actor).add_columns(Pool.name)
    if pool is not None:
        wanted = wanted.where(Batch.pool_id == pools.find(session, actor=actor, pool=pool).id)
    return paged(
        session,
        wanted,
        by=Batch.id,
        after=after,
        limit=limit,
        shape=lambda row: shape(row.Batch, row.name),
        newest_first=True,
    )


def find(session: Session, *, actor: Actor, batch: str) -> Batch:
    """Find a batch of the actor's pools by its id; NotFoundError where there is none."""
    wanted = _seen(actor).where(Batch.id == int(batch)) if lookup.is_id(batch) else None
    found = None if wanted is None else session.scalars(wanted).one_or_none()
    if found is None:
        raise errors.NotFoundError(f"There is no batch “{batch}” in your organizations.")
    return found


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
        "error": batch.error,
        "created_at": batch.created_at,
        "started_at": batch.started_at,
        "finished_at": batch.finished_at,
    }


def report(session: Session, *, actor: Actor, batch: str) -> ImportReport:
    """Give an import's report so far: the number of lines by result, and the first 1,000 refused.

    A generation only has added keys.
    """
    found = find(session, actor=actor, batch=batch)
    tally = select(BatchLine.result, func.count()).where(BatchLine.batch_id == found.id)
    refused = select(BatchLine).where(BatchLine.batch_id == found.id)
    return report_shape(
        batch=str(found.id),
        added=found.made,
        tally=dict(session.execute(tally.group_by(BatchLine.result)).all()),
        refused=session.scalars(refused.order_by(BatchLine.line).limit(MAX_REFUSED)),
    )


def report_csv(session: Session, *, actor: Actor, batch: str) -> Iterator[bytes]:
    """Give the result of every line of an import as CSV, in blocks of many lines.

    A line that was not worked (yet, or before the batch was cancelled) has no result.
    """
    found = find(session, actor=actor, batch=batch)
    return _report_blocks(session, found)


def _report_blocks(session: Session, batch: Batch) -> Iterator[bytes]:
    yield REPORT_HEADER.encode()
    place = {"batch_id": batch.id, "worked": batch.worked, "position": 0, "after": 0, **SENTENCES}
    while block := session.execute(REPORT, place).one_or_none():
        yield (block.lines or "").encode()
        place |= {"position": block.next, "after": block.last_line}


def report_shape(
    *, batch: str | None, added: int, tally: Mapping[LineResult, int], refused: Iterable[Any]
) -> ImportReport:
    """Give an import report's public fields."""
    return {
        "batch": batch,
        "added": added,
        "duplicate_in_input": tally.get(LineResult.DUPLICATE_IN_INPUT, 0),
        "already_exists": tally.get(LineResult.ALREADY_EXISTS, 0),
        "invalid": tally.get(LineResult.INVALID, 0),
        "refused": [refused_shape(line) for line in refused],
    }


def refused_shape(line: Any) -> RefusedLine:
    """Give the public fields of a line that made no key."""
    return {
        "line": line.line,
        "code": line.code,
        "result": line.result,
        "reason": line.reason or REASONS[LineResult(line.result)],
    }


def invalid(line: Line) -> making.Refused:
    """Refuse a line whose code cannot be a key."""
    return making.Refused(line.number, line.code, LineResult.INVALID, line.reason)


def _told(session: Session, batch: Batch) -> BatchShape:
    return shape(batch, session.get_one(Pool, batch.pool_id).name)


def _seen(actor: Actor) -> Select[Batch]:
    return select(Batch).join(Pool).where(actor.sees(Pool.organization_id))


def _queue(session: Session, actor: Actor, batch: Batch) -> BatchShape:
    session.add(batch)
    session.flush()
    _remember(session, actor, "batch requested", batch, kind=batch.kind)
    return _told(session, batch)


# Lines and codes come as one text each: an array's elements would be written one by one.
AS_ARRAY = str.maketrans("[]", "{}", " ")
STAGE = text("""
    INSERT INTO batch_chunk (batch_id, position, size, last_line, lines, codes,
                             recipients, recipient_names, recipient_references)
    VALUES (:batch_id, :position, :size, :last_line, CAST(:lines AS bigint[]),
            string_to_array(:codes, chr(10)), CAST(:recipients AS text[]),
            CAST(:recipient_names AS text[]), CAST(:recipient_references AS text[]))
""")


def _stage_chunks(session: Session, batch_id: int, lines: Iterator[Line]) -> int:
    position = 0
    while chunk := list(islice(lines, making.LINES)):
        good = [line for line in chunk if not line.reason]
        counted = {"position": position, "size": len(chunk), "last_line": chunk[-1].number}
        session.execute(STAGE, _chunk(batch_id, good) | counted)
        making.refuse(session, batch_id, [invalid(line) for line in chunk if line.reason])
        position += len(chunk)
    return position


def _chunk(batch_id: int, good: list[Line]) -> dict[str, Any]:
    handed_out = any(line.recipient for line in good)
    return {
        "batch_id": batch_id,
        "lines": str([line.number for line in good]).translate(AS_ARRAY),
        "codes": "\n".join(line.code for line in good),
        "recipients": [line.recipient for line in good] if handed_out else None,
        "recipient_names": [line.name for line in good] if handed_out else None,
        "recipient_references": [line.reference for line in good] if handed_out else None,
    }


def _finish(session: Session, batch: Batch, state: BatchState, *, error: str | None = None) -> None:
    now = session.scalar(select(END_OF_CHUNK))
    batch.state, batch.error, batch.finished_at = state, error, now
    making.forget(session, batch)


def _cause(error: Exception) -> str:
    """Say why a chunk failed, without the database's details: those hold codes."""
    original = getattr(error, "orig", None) or error.__cause__ or error
    if isinstance(original, psycopg.Error) and original.diag.message_primary:
        return original.diag.message_primary
    return str(original) if isinstance(original, errors.KeypoolError) else type(original).__name__


def _rate(batch: Batch) -> float | None:
    if batch.started_at is None or batch.worked_at is None:
        return None
    seconds = ((batch.finished_at or batch.worked_at) - batch.started_at).total_seconds()
    return batch.worked / seconds if seconds > 0 and batch.worked else None


def _remember(session: Session, actor: Actor, action: str, batch: Batch, **detail: Any) -> None:
    pool = session.get_one(Pool, batch.pool_id)
    history.record(
        session,
        actor=actor,
        action=action,
        thing="batch",
        thing_ids=batch.id,
        organization_id=pool.organization_id,
        **detail,
    )
