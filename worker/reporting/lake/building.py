"""Building the lake: closed months are written when they close, and anew where a late fact says so.

The database notes late facts (schema.sql: note_late_facts). A month is read in one snapshot, with the
notes that there were: those alone are removed when its files are in place. So a fact that comes meanwhile
has the month written once more.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from functools import partial
from uuid import uuid4

from psycopg import sql
from sqlalchemy import text
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from worker import errors
from worker.database import connections, locks
from worker.database.connections import Login
from worker.days import following_month
from worker.reporting import postgres
from worker.reporting.lake import facts, places, writing
from worker.reporting.lake.places import Place
from worker.reporting.lake.writing import Written

LOCK = "lake"
WAIT = 0.2  # seconds between looks whether older transactions ended
LONGEST_WAIT = 60  # seconds

# The first month with a fact, in any time zone; null without one.
FIRST = text("""
    SELECT date_trunc('month', min(at) - interval '1 day')::date
      FROM (SELECT min(received_at) AS at FROM event UNION ALL SELECT min(received_at) FROM redemption
            UNION ALL SELECT min(made_at) FROM pool_growth
            UNION ALL SELECT min(distributed_at) FROM distribution
            UNION ALL SELECT min(redeemed_at) FROM assignment
            UNION ALL SELECT min(launched_at) FROM launch
            UNION ALL SELECT min(occurred_at) FROM charge) AS fact
""")
BEGUN = text("SELECT announced, written FROM lake")
# A month is closed when it is over in every time zone, and a day has passed.
CLOSED = text(
    "SELECT date_trunc('month', clock_now() AT TIME ZONE 'UTC' - interval '36 hours')::date"
)
BEGIN = text("INSERT INTO lake (announced, written) VALUES (:first, :first) ON CONFLICT DO NOTHING")
ANNOUNCE = text("UPDATE lake SET announced = :closed WHERE announced < :closed")
WRITERS = text("""
    SELECT DISTINCT virtualtransaction FROM pg_locks
     WHERE mode = 'RowExclusiveLock' AND pid <> pg_backend_pid()
       AND relation = ANY ('{event,redemption,assignment,launch,charge,key,organization}'::regclass[])
""")
CHANGED = text("SELECT DISTINCT month FROM lake_change WHERE month < :written ORDER BY month")
CHANGES = "SELECT id, organization_id FROM public.lake_change WHERE month = {month}"
KNOWN = text("SELECT organization_id, month, version::text AS version FROM lake_month")
NOTE = text("INSERT INTO lake_change (organization_id, month) VALUES (:organization, :month)")
REMEMBER = text("""
    INSERT INTO lake_month (organization_id, month, version) VALUES (:organization, :month, :version)
    ON CONFLICT (organization_id, month) DO UPDATE SET version = excluded.version
""")
FORGET = text("DELETE FROM lake_month WHERE organization_id = :organization AND month = :month")
NAME_POOLS = text("""
    INSERT INTO lake_pool (organization_id, pool_id) SELECT :organization, unnest(CAST(:pools AS bigint[]))
    ON CONFLICT DO NOTHING
""")
SETTLED = text("DELETE FROM lake_change WHERE id = ANY (:ids)")
WRITTEN = text("UPDATE lake SET written = :until WHERE written = :month")
NUMBER = text("""
    WITH asked AS (SELECT told, told::text[] AS labels FROM unnest(CAST(:told AS text[])) AS told),
    added AS (
        INSERT INTO lake_labels (organization_id, labels) SELECT :organization, labels FROM asked
        ON CONFLICT (organization_id, labels) DO UPDATE SET labels = excluded.labels RETURNING id, labels)
    SELECT told, id FROM asked JOIN added USING (labels)
""")


class Built(TypedDict):
    """What a build wrote."""

    months: int
    """How many months were written, or written anew."""
    files: int
    """How many files they have."""
    facts: int
    """How many facts are in them."""
    until: date | None
    """The first day of the first month that the lake does not have; null before the first."""


Advance = Callable[[int, int], None]  # called with the months done and the number of months


def mend() -> None:
    """Note the months whose files are lost or of another version: the next build writes them.

    Raises:
        ExtraMissingError, InvalidInputError: as `build`.
    """
    connections.transaction(_note_lost, place=places.ours())


def build(*, until: float | None = None, advance: Advance = lambda _done, _all: None) -> Built:
    """Write the closed months that the lake lacks, and those that changed; none is begun after `until`.

    Safe to run at any time: of several at once, one writes. `until` is by time.monotonic.

    Raises:
        ExtraMissingError: what writes Parquet is not installed.
        InvalidInputError: there can be no lake at the address.
    """
    built, place = Built(months=0, files=0, facts=0, until=None), places.ours()
    _announce()
    months = connections.transaction(_due)
    for done, month in enumerate(months):
        advance(done, len(months))
        if until is not None and time.monotonic() >= until:
            break
        if not connections.transaction(_write_month, place=place, month=month, built=built):
            break
    advance(len(months), len(months))
    begun = connections.transaction(_begun)
    built["until"] = begun and begun[1]
    return built


def keep(*, until: float) -> Built | None:
    """Build on schedule, if there is a lake: KEYPOOL_LAKE names one, or “keypool lake build” began one here."""
    if not places.is_there():
        return None
    return build(until=until)


def _begun(session: Session) -> tuple[date, date] | None:
    row = session.execute(BEGUN).one_or_none()
    return (row.announced, row.written) if row else None


def _note_lost(session: Session, *, place: Place) -> None:
    for row in session.execute(KNOWN).all():
        manifest = place.manifest(row.organization_id, row.month)
        if not manifest or manifest["version"] != row.version:
            session.execute(NOTE, {"organization": row.organization_id, "month": row.month})


def _announce() -> None:
    """Have late facts of the closed months noted, and wait for transactions that did not know of it."""
    if not connections.transaction(_announced):
        return
    before = connections.transaction(_writers)
    for _ in range(round(LONGEST_WAIT / WAIT)):
        if not before & connections.transaction(_writers):
            return
        time.sleep(WAIT)
    raise errors.InvalidInputError(
        "A transaction has been writing for a minute; build the lake again when it has ended."
    )


def _announced(session: Session) -> bool:
    """Announce the months that are closed by now; say whether one is to be written for the first time."""
    if not _begun(session) and (first := session.scalar(FIRST)):
        session.execute(BEGIN, {"first": first})
    session.execute(ANNOUNCE, {"closed": session.scalar(CLOSED)})
    begun = _begun(session)
    return begun is not None and begun[1] < begun[0]


def _writers(session: Session) -> set[str]:
    return set(session.scalars(WRITERS))


def _due(session: Session) -> list[date]:
    """Give the months that changed, and then those that were announced and not written."""
    begun = _begun(session)
    if not begun:
        return []
    announced, month = begun
    months = list(session.scalars(CHANGED, {"written": month}))
    while month < announced:
        months.append(month)
        month = following_month(month)
    return months


def _write_month(session: Session, *, place: Place, month: date, built: Built) -> bool:
    """Write a month, or what changed of it; False if another build is at work."""
    if not locks.take(session, LOCK):
        return False
    place.sweep()
    session.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
    begun = _begun(session)
    is_new = begun is not None and begun[1] <= month
    number = partial(_numbered, session)
    with postgres.snapshot(Login.DIRECT) as cursor:
        cursor.execute(postgres.text(sql.SQL(CHANGES).format(month=sql.Literal(month))))
        noted = cursor.fetch_arrow_table()
        changed = set(noted["organization_id"].to_pylist())
        if not is_new and not changed:
            return True  # another build wrote it meanwhile
        made = writing.write(
            cursor, place=place, month=month, only=None if is_new else changed, number=number
        )
    for organization in set(made) | (changed if not is_new else set()):
        _publish(session, place, organization, month, made.get(organization))
    session.execute(SETTLED, {"ids": noted["id"].to_pylist()})
    if is_new:
        session.execute(WRITTEN, {"month": month, "until": following_month(month)})
    _count(built, made.values())
    return True


def _publish(
    session: Session, place: Place, organization: int, month: date, made: Written | None
) -> None:
    """Put a month's files in their place, and have the database know their version."""
    version = str(uuid4())
    about = {"organization": organization, "month": month}
    place.publish(
        organization,
        month,
        written=made.paths if made else {},
        manifest={"version": version, "rows": made.rows if made else {}},
        known=[fact.name for fact in facts.ALL],
    )
    if made is None:
        session.execute(FORGET, about)
        return
    session.execute(REMEMBER, about | {"version": version})
    session.execute(NAME_POOLS, about | {"pools": sorted(made.pools)})


def _numbered(session: Session, organization: int, labels: Sequence[str]) -> dict[str, int]:
    """Give the numbers of sets of labels, written as PostgreSQL writes an array."""
    told = {"organization": organization, "told": list(labels)}
    return {row.told: row.id for row in session.execute(NUMBER, told)}


def _count(built: Built, made: Iterable[Written]) -> None:
    built["months"] += 1
    for written in made:
        built["files"] += len(written.paths)
        built["facts"] += sum(written.rows.values())
