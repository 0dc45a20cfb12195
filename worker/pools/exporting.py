"""The export of a pool's keys: CSV that the database writes, streamed from one snapshot (K9)."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    String,
    TextClause,
    func,
    literal_column,
    select,
    text,
    true,
)
from sqlalchemy.orm import Session

from worker.pools import keys, pools
from worker.tables.pools import Distribution, Key
from worker.tables.tenancy import Organization
from worker.tenancy.actors import Actor

FIRST, BLOCK = 1_000, 50_000  # lines that the database writes into one piece of an export
HEADER = (
    "code,state,recipient,reference,distributed_at,redeemed_by_email,redeemed_by_name,"
    "redeemed_by_organization,redeemed_at,access_expires_at\n"
)
# One line of the export. Most keys were neither handed out nor redeemed: no other table is looked
# at for those. What a distribution says is written once for its keys (the planner memoizes it), and
# most learners are of the pool's own organization, whose name is known.
HELD = """',' || csv_cell(distribution.recipient) || ',' || csv_cell(distribution.reference)
    || ',' || csv_cell(distribution.distributed_at)"""
LINE = """
    key.code || ','
    || CASE key.state WHEN 'issued' THEN 'issued' WHEN 'redeemed' THEN 'redeemed' ELSE 'retired' END
    || coalesce(held.cells, ',,,')
    || CASE WHEN key.state = 'issued' THEN E',,,,,\\n' ELSE coalesce((
            SELECT ',' || csv_cell(learner.email) || ',' || csv_cell(learner.name) || ','
                   || CASE WHEN assignment.organization_id = :owner_id THEN csv_cell(:owner) ELSE csv_cell((
                           SELECT organization.name FROM organization
                            WHERE organization.id = assignment.organization_id)) END
                   || ',' || csv_cell(assignment.redeemed_at)
                   || ',' || csv_cell(assignment.expires_at) || E'\\n'
              FROM assignment LEFT JOIN learner ON learner.id = assignment.learner_id
             WHERE assignment.key_id = key.id AND NOT assignment.undone LIMIT 1), E',,,,,\\n') END
    AS line
"""


def export(
    session: Session,
    *,
    actor: Actor,
    pool: str,
    state: str | None = None,
    undistributed: bool = False,
    recipient: str | None = None,
    reference: str | None = None,
) -> Iterator[bytes]:
    """Give a pool's keys as CSV, in blocks of many lines, as they are at this one moment.

    The session's transaction must be one of `database.session(snapshot=True)`.

    Raises:
        InvalidInputError: the state is not one.
    """
    found = pools.find(session, actor=actor, pool=pool)
    filters = keys.chosen(session, found, state, undistributed, recipient, reference)
    if session.scalar(text("SHOW transaction_isolation")) != "repeatable read":
        raise RuntimeError("an export reads one snapshot: open its session with snapshot=True")
    owner = session.get_one(Organization, found.organization_id)
    line = text(LINE).bindparams(owner_id=owner.id, owner=owner.name)
    return _blocks(session, line, filters)


def _blocks(
    session: Session, line: TextClause, filters: list[ColumnElement[bool]]
) -> Iterator[bytes]:
    yield HEADER.encode()
    with ThreadPoolExecutor(1) as ahead:  # the database writes a block while one is sent
        block = session.execute(_block(line, filters, 0, FIRST)).one()
        while block.last is not None:
            following = ahead.submit(session.execute, _block(line, filters, block.last, BLOCK))
            yield block.lines.encode()
            block = following.result().one()


def _block(
    line: TextClause, filters: list[ColumnElement[bool]], after: int, limit: int
) -> Select[Any]:
    """Have the database write a block of lines itself: a value a line would cost twice the time."""
    held = (
        select(literal_column(HELD).label("cells"))
        .where(Distribution.id == Key.distribution_id)
        .limit(1)
        .lateral("held")
    )
    lines = (
        select(Key.id, line)
        .join_from(Key, held, true(), isouter=True)
        .where(*filters, Key.id > after)
        .order_by(Key.id)
        .limit(limit)
        .subquery()
    )
    written = literal_column("line", String)
    return select(
        func.max(lines.c.id).label("last"), func.string_agg(written, "").label("lines")
    ).select_from(lines)
