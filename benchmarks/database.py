"""The database itself: the way from the first release to the present, while others work on it."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from benchmarks.frame import Rig, Round, benchmark, plain, seconds
from tests import upgrading
from worker.database import connections, migrating

BASE = 1_000_000_000  # below it are the ids of the first release's own rows
SHARE = 10  # one key in so many was redeemed
WRITERS = 2

ROWS = (Path(__file__).parent / "first_release.sql").read_text()

# What goes on meanwhile, in words that the first schema and the last one both understand.
WORK = {
    "a key is looked up": "SELECT state FROM key WHERE canonical = canonical_code(%(code)s)",
    "a key is touched": "UPDATE key SET state = state WHERE id = %(id)s",
    "an assignment is touched": "UPDATE assignment SET undone = undone WHERE id = %(redeemed)s",
    "an event is recorded": """
        INSERT INTO event (source_id, organization_id, learner_organization_id, webhook_id,
                           body_hash, type, data)
        SELECT id, organization_id, organization_id, %(mark)s,
               '\\x00', 'redemption.requested', '{}'
          FROM source ORDER BY id LIMIT 1""",
    "a learner is added": """
        INSERT INTO learner (organization_id, email)
        SELECT organization_id, %(mark)s || '@new.example' FROM pool ORDER BY id LIMIT 1""",
}


@benchmark("database.upgrade", unit="keys/s", n=10_000_000)
def upgrade(rig: Rig, count: int) -> Round:
    """Bring the first release's database to the present; the longest wait of each statement of others."""
    with rig.empty():
        upgrading.make_first_release(connections.engine())
        with psycopg.connect(plain(), autocommit=True) as connection:
            connection.execute(ROWS.format(base=BASE, share=SHARE, keys=count))
            connection.execute("VACUUM ANALYZE")
        with _others_at_work(count) as waits:
            taken = seconds(lambda: migrating.upgrade(connections.engine()))
    longest = {f"s at most until {what}": max(times) for what, times in waits.items()}
    return Round(ours=count / taken, notes={"s": taken, **longest})


@contextmanager
def _others_at_work(count: int) -> Iterator[dict[str, list[float]]]:
    """Have others work on the database until the block ends; gives how long each statement took.

    Raises:
        psycopg.Error: a statement of theirs was refused.
    """
    waits: dict[str, list[float]] = {what: [0.0] for what in WORK}
    over = threading.Event()
    failures: list[psycopg.Error] = []

    def work(number: int) -> None:
        try:
            with psycopg.connect(plain(), autocommit=True) as connection:
                _work(connection, number, count, waits, over)
        except psycopg.Error as error:
            failures.append(error)

    writers = [threading.Thread(target=work, args=[number]) for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    try:
        yield waits
    finally:
        over.set()
        for writer in writers:
            writer.join()
    if failures:
        raise failures[0]


def _work(
    connection: psycopg.Connection,
    number: int,
    count: int,
    waits: dict[str, list[float]],
    over: threading.Event,
) -> None:
    done = number
    while not over.wait(0.005):
        done += WRITERS
        nth = done * 7919 % count + 1
        redeemed = BASE + max(nth // SHARE, 1) * SHARE
        given = {"code": f"U{nth:015}", "id": BASE + nth, "redeemed": redeemed, "mark": f"w{done}"}
        for what, statement in WORK.items():
            begun = time.perf_counter()
            connection.execute(statement, given)
            waits[what].append(time.perf_counter() - begun)
