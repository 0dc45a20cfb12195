"""Sweeps: rows that are past their retention are removed slice by slice, each a transaction of its own."""

from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.orm import Session

# Ids come in the order of time, so the old ones come first, and the first slice that has a newer row is
# the last.
REMOVE = """
    WITH slice AS MATERIALIZED (
        SELECT id, {time} < clock_now() - CAST(:kept AS interval) AS old FROM {table}
         WHERE id > :after {alike} ORDER BY id LIMIT :limit),
    gone AS (
        DELETE FROM {table} USING slice WHERE {table}.id = slice.id AND slice.old {over} RETURNING 1)
    SELECT CASE WHEN bool_and(old) THEN max(id) END AS upto, (SELECT count(*) FROM gone) AS removed
      FROM slice"""


class Swept(NamedTuple):
    """What a slice removed, and the id after which the next one begins; None if it was the last."""

    upto: int | None
    removed: int


@dataclass(frozen=True)
class Sweep:
    """Which rows of a table are removed: those alike, when they are old and `over` holds."""

    table: str
    time: str
    alike: str = "true"
    over: str = "true"

    def remove(self, session: Session, *, kept: timedelta, after: int, limit: int) -> Swept:
        """Look at the next `limit` rows after an id, and remove those that are older than `kept`."""
        parts = {"table": self.table, "time": self.time}
        query = REMOVE.format(**parts, alike=f"AND ({self.alike})", over=f"AND ({self.over})")
        given = {"kept": kept, "after": after, "limit": limit}
        return Swept(*session.execute(text(query), given).one())
