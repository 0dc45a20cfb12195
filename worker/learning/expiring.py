"""Expiring: a sweep that marks overdue assignments as expired."""

import time

from sqlalchemy import text
from sqlalchemy.orm import Session

from worker.database.connections import transaction

# The oldest overdue first, so that the backlog after an outage is worked in order. Rows locked by
# another transaction are left to the next round (SKIP LOCKED).
EXPIRE = text("""
    UPDATE assignment SET status = 'expired', expired_at = clock_now()
     WHERE id = ANY (ARRAY(
           SELECT id FROM assignment
            WHERE is_overdue(status, expires_at, clock_now())
            ORDER BY expires_at LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED))
""")


def expire_overdue(session: Session, *, limit: int) -> int:
    """Mark up to `limit` overdue assignments as expired, oldest first; gives how many it marked.

    Any number may sweep at once; each assignment is expired by one of them.
    """
    return session.connection().execute(EXPIRE, {"limit": limit}).rowcount


def expire_all(*, limit: int) -> int:
    """Expire every overdue assignment, in transactions of `limit` rows; gives how many it marked.

    After each it sleeps for a tenth of the time that it took, so that redemptions are not held up.
    """
    total, begun = 0, time.monotonic()
    while expired := transaction(expire_overdue, limit=limit):
        total += expired
        time.sleep((time.monotonic() - begun) / 10)
        begun = time.monotonic()
    return total
