"""Work that is not an event's: keys generated in batches, and missed months billed."""

import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from sqlalchemy import text

from tests import world as worlds
from tests.faults.checker import AMID_POISON
from tests.faults.system import KEYS_PER_CHUNK, OPERATOR, System, hint, patiently, surely
from worker import errors
from worker.database.connections import session as transaction_of
from worker.pools import batches

TASKS = {"work_chunk": "work_batches", "bill": "bill"}  # which task does what is committed as such
KEYS = KEYS_PER_CHUNK * 6 // 5  # more than one chunk has
MONTHS = 5

UNDONE = text("""
    SELECT (SELECT count(*) FROM batch WHERE state IN ('queued', 'running'))
         + (SELECT count(*) FROM charge
             WHERE occurred_at < date_trunc('month', now() - interval '2 days')
               AND NOT EXISTS (SELECT FROM invoice_charge WHERE charge_id = charge.id))
""")

CHARGES = text("SELECT count(*) FROM charge WHERE organization_id = :organization")


def want_keys(system: System) -> None:
    """Have keys generated into the system's pool."""
    with transaction_of() as session:
        batches.generate(session, actor=OPERATOR, pool=system.pool, count=KEYS)


def owe_months(system: System) -> int:
    """Let an organization owe for a redemption in each of five closed months; gives its id."""
    now = datetime.fromtimestamp(time.time(), UTC)
    with transaction_of() as session:
        world = worlds.build(session)
        session.execute(text("UPDATE price SET valid_from = '2020-01-01'"))
        for months, key in enumerate(world.keys(MONTHS), 1):
            at = now - timedelta(days=31 * months)
            world.request(key, f"month{months}@example.org", at=at)
    surely(lambda: hint("settle"))
    patiently(lambda: _owes(world.parent), AMID_POISON)
    return world.parent


def _owes(organization: int) -> bool:
    """Say whether every month's redemption is charged; others' events may wait meanwhile."""
    with suppress(errors.DatabaseAwayError), transaction_of() as session:
        return bool(session.scalar(CHARGES, {"organization": organization}) == MONTHS)
    return False


def wait_until_done(*, within: float = 120) -> None:
    """Wait until every batch is done and every closed month is invoiced."""
    patiently(_is_done, within)


def _is_done() -> bool:
    try:
        with transaction_of() as session:
            if not session.scalar(UNDONE):
                return True
    except errors.DatabaseAwayError:
        return False
    for task in TASKS.values():
        surely(lambda task=task: hint(task))
    time.sleep(0.5)
    return False
