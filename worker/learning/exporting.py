"""The export of assignments as CSV, in blocks of many lines and in constant memory."""

from collections.abc import Iterator, Sequence

from sqlalchemy import Select, Text, cast, func
from sqlalchemy.orm import Session

from worker.learning import assignments
from worker.learning.assignments import ROWS, Filters
from worker.tables.catalogue import Course
from worker.tables.learning import Assignment, Learner
from worker.tables.pools import Key
from worker.tables.tenancy import Organization
from worker.tenancy.actors import Actor

LINES_PER_BLOCK = 5_000
COLUMNS = {
    "id": cast(Assignment.id, Text),
    "learner": Learner.email,
    "name": Learner.name,
    "organization": Organization.name,
    "course": Course.code,
    "pool": cast(Assignment.pool_id, Text),
    "key": Key.code,
    "status": cast(Assignment.status, Text),
    "redeemed_at": Assignment.redeemed_at,
    "expires_at": Assignment.expires_at,
    "launches": cast(ROWS.selected_columns.launches, Text),
    "completed": cast(ROWS.selected_columns.completed, Text),
}


def export(
    session: Session,
    *,
    actor: Actor,
    filters: Filters = assignments.ALL,
    ids: Sequence[int] = (),
) -> Iterator[bytes]:
    """Give the assignments that the list would show, or of those the ones with these ids.

    No cell runs as a formula in a spreadsheet. `key` is empty where the key is of another organization's
    pool.
    """
    wanted = assignments.selected(session, actor=actor, filters=filters)
    if ids:
        wanted = wanted.where(Assignment.id.in_(ids))
    line = func.concat_ws(",", *map(func.csv_cell, COLUMNS.values()))
    lines = ROWS.with_only_columns(line).where(Assignment.id.in_(wanted)).order_by(Assignment.id)
    return _blocks(session, lines)


def _blocks(session: Session, lines: Select[str]) -> Iterator[bytes]:
    yield (",".join(COLUMNS) + "\n").encode()
    rows = session.execute(lines, execution_options={"yield_per": LINES_PER_BLOCK})
    for block in rows.scalars().partitions(LINES_PER_BLOCK):
        yield "".join(f"{line}\n" for line in block).encode()
