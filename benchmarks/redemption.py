"""Redemptions: received, settled, and all the way from a POST to the outcome."""

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median, quantiles

import psycopg
from psycopg.rows import namedtuple_row
from sqlalchemy import TextClause
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from benchmarks import lean, serving, shop
from benchmarks.frame import Rig, Round, benchmark, in_a_process, plain, seconds
from worker.demo import scratch
from worker.redemption import deciding, settling
from worker.settings import settings

PEER = 2_000  # events that the slow peer settles
BATCH = 20_000  # events that are settled on full tables
SENDERS = 8
LASTING = 10  # seconds for which events come in at half the rate

NEXT = """SELECT id FROM event WHERE is_undecided(status, waits_for)
           ORDER BY received_at, id LIMIT %s"""
# One round trip and one commit a batch, along the event's key: the least that settling can be.
LEAN_TABLES = ("event", "key", "learner", "assignment", "charge", "redemption")
LEAN = """
    WITH asked AS (
        SELECT event.id AS event_id, event.organization_id, learner_organization_id, received_at AS at,
               data->>'key' AS code, data->'learner'->>'email' AS email, data->'learner'->>'name' AS name
          FROM lean.event WHERE id > %(after)s AND id <= %(last)s AND status = 'recorded'),
    spent AS (
        UPDATE lean.key SET state = 'redeemed' FROM asked
         WHERE key.canonical = upper(replace(asked.code, '-', '')) AND key.state = 'issued'
        RETURNING asked.*, key.id AS key_id, key.pool_id,
                  nextval(pg_get_serial_sequence('lean.assignment', 'id')) AS assignment_id),
    met AS (
        INSERT INTO lean.learner (organization_id, email, name)
        SELECT learner_organization_id, email, name FROM spent
        ON CONFLICT (email_lower, organization_id) DO UPDATE SET name = learner.name
        RETURNING id, organization_id, email_lower),
    granted AS MATERIALIZED (
        SELECT spent.*, met.id AS learner_id, pool.organization_id AS owner_id, pool.course_id,
               at + make_interval(hours => 24 * pool.content_availability_days) AS expires_at
          FROM spent
          JOIN met ON met.organization_id = learner_organization_id AND email_lower = lower(email)
          JOIN pool ON pool.id = spent.pool_id),
    assigned AS (
        INSERT INTO lean.assignment (id, key_id, pool_id, course_id, learner_id, organization_id,
                                     redeemed_at, expires_at) OVERRIDING SYSTEM VALUE
        SELECT assignment_id, key_id, pool_id, course_id, learner_id, learner_organization_id, at,
               expires_at FROM granted),
    charged AS (
        INSERT INTO lean.charge (kind, organization_id, learner_organization_id, course_id, pool_id,
                                 assignment_id, amount, currency, occurred_at)
        SELECT 'redemption', owner_id, learner_organization_id, granted.course_id, pool_id,
               assignment_id, price.amount, price.currency, at
          FROM granted JOIN price ON price.course_id = granted.course_id),
    decided AS (
        INSERT INTO lean.redemption (event_id, organization_id, learner_organization_id, learner_email,
                                     key_id, pool_id, assignment_id, outcome, received_at)
        SELECT event_id, owner_id, learner_organization_id, email, key_id, pool_id, assignment_id,
               'redeemed', at FROM granted)
    UPDATE lean.event SET status = 'settled', outcome = 'redeemed', settled_at = now(),
           assignment_id = granted.assignment_id
      FROM granted WHERE event.id = granted.event_id"""
SPAN = "SELECT extract(epoch FROM max(settled_at) - min(settled_at))::float FROM event"
LEFT = "SELECT count(*) FROM event WHERE status = 'recorded'"
SCANS = """SELECT coalesce(sum(seq_scan), 0) FROM pg_stat_user_tables
            WHERE relname IN ('key', 'assignment', 'learner', 'charge', 'redemption')"""


# --------------------------------------------------------------------------------------- settling


@benchmark("redemption.settle", unit="redemptions/s", n=50_000)
def settling_alone(rig: Rig, count: int) -> Round:
    """One settler, the same SQL from a bare connection, and a Celery task with an ORM for each."""
    with rig.database(shop.opened):
        shop.recorded(count)
        ours = in_a_process("benchmarks.redemption:settle")
    with rig.database(shop.opened):
        shop.recorded(count)
        limit = count / seconds(bare)
    with rig.database(shop.opened):
        shop.recorded(count)
        least = lean_rate(count)
    with rig.database(shop.opened):
        shop.recorded(PEER)
        slow = one_task_each()
    return Round(
        ours=count / ours.seconds,
        limit=limit,
        lean=least,
        peer=slow,
        peak_memory_mb=ours.memory_mb,
    )


def settle() -> None:
    """Settle all that waits, as the worker's task does."""
    settling.settle_all()


def bare() -> None:
    """Run the settler's own SQL, batch by batch, and nothing around it."""
    settle = _for_psycopg(deciding.SETTLE)
    with psycopg.connect(plain(), row_factory=namedtuple_row) as connection:
        while ids := [row.id for row in connection.execute(NEXT, [settings().settle_batch])]:
            connection.execute(settle, {"event_ids": ids})
            connection.commit()


def lean_rate(count: int) -> float:
    """Settle what waits in lean tables; says how many a second.

    Raises:
        RuntimeError: not every event led to an assignment.
    """
    with psycopg.connect(plain()) as connection:
        lean.copied(connection, *LEAN_TABLES)
        settled = 0
        begun = time.perf_counter()
        for after in range(0, count, settings().settle_batch):
            span = {"after": after, "last": after + settings().settle_batch}
            settled += connection.execute(LEAN, span).rowcount
            connection.commit()
        taken = time.perf_counter() - begun
    if settled != count:
        raise RuntimeError(f"{settled} of {count} events were settled in lean tables")
    return count / taken


def _for_psycopg(statement: TextClause) -> str:
    return str(statement.compile(dialect=PGDialect_psycopg()))


def one_task_each() -> float:
    """Settle what waits with a Celery task for each event; says how many a second."""
    from benchmarks import peer  # it asks for the broker's address, which the rig has set by now

    with psycopg.connect(plain(), autocommit=True) as connection:
        for (event_id,) in connection.execute(NEXT, [PEER]).fetchall():
            peer.redeem.delay(event_id)
        celery = [sys.executable, "-m", "celery", "-A", "benchmarks.peer", "worker"]
        quiet = subprocess.DEVNULL
        options = ["--without-gossip", "--without-mingle", "--concurrency=2", "--loglevel=ERROR"]
        worker = subprocess.Popen([*celery, *options], stdout=quiet, stderr=quiet)
        try:
            _until(lambda: _scalar(connection, LEFT) == 0, patience=120)
        finally:
            worker.terminate()
            worker.wait()
        return (PEER - 1) / float(str(_scalar(connection, SPAN)))


@benchmark("redemption.settle_trees", unit="redemptions/s", n=50_000)
def settling_trees(rig: Rig, count: int) -> Round:
    """Two settlers, and one, each in a process of its own, over eight organization trees."""
    count -= count % shop.TREES
    rates = []
    for settlers in (2, 1):
        with rig.database(shop.several):
            shop.recorded(count, trees=shop.TREES)
            rates.append(at_once(settlers, count))
    return Round(ours=rates[0], limit=rates[1])


def at_once(settlers: int, count: int) -> float:
    """Let so many settlers settle all that waits; says how many a second, from the first batch's end on."""
    with (
        scratch.environment({"KEYPOOL_SETTLERS": str(settlers)}),
        ThreadPoolExecutor(settlers) as processes,
    ):
        list(processes.map(in_a_process, ["benchmarks.redemption:settle"] * settlers))
    with psycopg.connect(plain()) as connection:
        return (count - settings().settle_batch) / float(str(_scalar(connection, SPAN)))


# ---------------------------------------------------------------------------- settling, much there


@benchmark("redemption.settle_full_tables", unit="redemptions/s", n=10_000_000)
def settling_on_full_tables(rig: Rig, count: int) -> Round:
    """Settle where there are millions of keys, and half as many assignments, and where is nothing."""
    with rig.database(shop.opened):
        shop.recorded(BATCH)
        limit = BATCH / in_a_process("benchmarks.redemption:settle").seconds
    with rig.database(shop.opened):
        shop.redeemed(count // 2, overdue=0)
        shop.stocked(count // 2)
        shop.recorded(BATCH, first=count)
        with psycopg.connect(plain(), autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")
            before = float(str(_scalar(connection, SCANS)))
            ours = BATCH / in_a_process("benchmarks.redemption:settle").seconds
            connection.execute("SELECT pg_stat_clear_snapshot()")
            scans = float(str(_scalar(connection, SCANS))) - before
    return Round(ours=ours, limit=limit, notes={"sequential scans": scans})


# -------------------------------------------------------------------------------------- receiving


@benchmark("redemption.receive", unit="webhooks/s", n=10_000)
def receiving(rig: Rig, count: int) -> Round:
    """Verify, record, commit and nudge, and a handler on the same server that only inserts.

    What row level security costs is told too; settling has none of it, since the owner settles.
    """
    with rig.database(shop.opened), tempfile.TemporaryDirectory() as folder:
        posts = list(shop.messages(shop.stocked(3 * count), path="/webhooks/1"))
        ours, memory = _received(Path(folder), serving.KEYPOOL, posts[:count])
        limit, _ = _received(Path(folder), "benchmarks.bare:create_app", posts[count : 2 * count])
        _without_walls()
        open_, _ = _received(Path(folder), serving.KEYPOOL, posts[2 * count :])
    return Round(
        ours=ours,
        limit=limit,
        peak_memory_mb=memory,
        notes={"rate without row level security, times that with it": open_ / ours},
    )


def _without_walls() -> None:
    with psycopg.connect(plain(), autocommit=True) as connection:
        walled = connection.execute(
            "SELECT quote_ident(relname) FROM pg_class WHERE relrowsecurity AND relkind = 'r'"
        )
        for (table,) in walled.fetchall():
            connection.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY".encode())


def _received(folder: Path, app: str, posts: list[bytes]) -> tuple[float, float]:
    warm = len(posts) // 10
    with serving.served(folder, app) as (address, server):
        serving.rate(address, posts[:warm], senders=SENDERS)
        return serving.rate(address, posts[warm:], senders=SENDERS), serving.memory_mb(server)


# ------------------------------------------------------------------------------------- end to end


@benchmark("redemption.end_to_end", unit="redemptions/s", n=20_000)
def end_to_end(rig: Rig, count: int) -> Round:
    """Everything runs: the rate from the first POST to the last outcome, and the wait at half of it."""
    with rig.database(shop.opened), tempfile.TemporaryDirectory() as home:
        (Path(home) / "run").mkdir()
        spent = shop.stocked(3 * count)
        posts = shop.messages(spent, path="/webhooks/1")
        first = [next(posts) for _ in range(count)]
        with (
            scratch.services(Path(home)) as address,
            psycopg.connect(plain(), autocommit=True) as connection,
        ):
            begun = time.perf_counter()
            serving.rate(address, first, senders=SENDERS)
            _until(lambda: _scalar(connection, LEFT) == 0, patience=120)
            rate = count / (time.perf_counter() - begun)
            waits = _waits(connection, address, posts, pace=rate / 2, already=count)
    return Round(
        ours=rate,
        notes={
            "wait at half the rate, median ms": median(waits),
            "wait at half the rate, 99th percentile ms": quantiles(waits, n=100)[98],
        },
    )


def _waits(
    connection: psycopg.Connection,
    address: str,
    posts: Iterator[bytes],
    *,
    pace: float,
    already: int,
) -> list[float]:
    """Post at a steady pace; give the milliseconds from each answer until its outcome is there."""
    count = int(pace * LASTING)
    answered, settled = [0.0] * count, [0.0] * count
    begun = time.perf_counter()

    def send(mine: list[tuple[int, bytes]]) -> None:
        with serving.Connection(address) as opened:
            for number, post in mine:
                time.sleep(max(0, begun + number / pace - time.perf_counter()))
                opened.ask(post)
                answered[number] = time.perf_counter()

    numbered = list(enumerate(post for post, _ in zip(posts, range(count), strict=False)))
    threads = [
        threading.Thread(target=send, args=(numbered[start::SENDERS],)) for start in range(SENDERS)
    ]
    for thread in threads:
        thread.start()
    _watch(connection, settled, already=already)
    for thread in threads:
        thread.join()
    return [max(0.0, end - start) * 1000 for start, end in zip(answered, settled, strict=True)]


def _watch(connection: psycopg.Connection, settled: list[float], *, already: int) -> None:
    """Note when each event's outcome can first be seen; looks every few milliseconds."""
    waiting = {f"msg_{already + number}": number for number in range(len(settled))}
    until = time.monotonic() + LASTING + 60
    while waiting and time.monotonic() < until:
        time.sleep(0.004)
        query = """SELECT webhook_id FROM event
                    WHERE source_id = 1 AND webhook_id = ANY (%s) AND status = 'settled'"""
        soon = list(waiting)[:500]
        seen = connection.execute(query, [soon]).fetchall()
        now = time.perf_counter()
        for (webhook_id,) in seen:
            settled[waiting.pop(webhook_id)] = now
    if waiting:
        raise TimeoutError(f"{len(waiting)} events were not settled")


def _scalar(connection: psycopg.Connection, query: str) -> object:
    row = connection.execute(query).fetchone()
    return row and row[0]


def _until(holds: Callable[[], bool], *, patience: float) -> None:
    until = time.monotonic() + patience
    while not holds():
        if time.monotonic() > until:
            raise TimeoutError("it did not come to an end")
        time.sleep(0.005)
