"""Assignments: expired by the million, and asked about at every launch."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg

from benchmarks import serving, shop
from benchmarks.frame import Rig, Round, benchmark, in_a_process, plain, seconds
from worker.database import connections
from worker.learning import expiring
from worker.redemption import settling
from worker.settings import settings
from worker.tenancy import tokens
from worker.tenancy.actors import Role

SHARE = 5  # one assignment in so many is overdue
EVENTS = 50  # one redemption is settled beside the sweep for so many that expire
ASKED = 10_000

SWEEP = """
    UPDATE assignment SET status = 'expired', expired_at = now()
     WHERE id IN (SELECT id FROM assignment WHERE status = 'active' AND expires_at <= now()
                   ORDER BY expires_at LIMIT %s)"""


# --------------------------------------------------------------------------------------- expiring


@benchmark("assignments.expire", unit="assignments/s", n=1_000_000)
def sweeping(rig: Rig, count: int) -> Round:
    """Expire what is overdue, and a bare UPDATE in chunks of the same size; and what settling loses."""

    def filled() -> None:
        shop.opened()
        shop.redeemed(SHARE * count, overdue=count)

    with rig.database(filled):
        ours = in_a_process("benchmarks.assignments:expire")
    with rig.database(filled):
        limit = count / seconds(sweep)
    with rig.database(filled):
        events = count // EVENTS
        shop.recorded(events, first=SHARE * count)
        alone = seconds(settling.settle_all)
        shop.recorded(events, first=SHARE * count + events)
        beside = _beside_the_sweep()
    return Round(
        ours=count / ours.seconds,
        limit=limit,
        peak_memory_mb=ours.memory_mb,
        notes={"rate of settling beside it, times that alone": alone / beside},
    )


def expire() -> None:
    """Expire every overdue assignment, as the schedule does."""
    expiring.expire_all(limit=settings().expiry_chunk)


def sweep() -> None:
    """Run the bare UPDATE until nothing is overdue, and nothing around it."""
    with psycopg.connect(plain()) as connection:
        while connection.execute(SWEEP, [settings().expiry_chunk]).rowcount:
            connection.commit()


def _beside_the_sweep() -> float:
    """Settle while a sweep runs; says how long settling took.

    Raises:
        RuntimeError: the sweep was over first, so that nothing was measured.
    """
    command = [sys.executable, "-m", "benchmarks.child", "benchmarks.assignments:expire"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as sweeping:
        while not _swept():
            time.sleep(0.01)
        settled = seconds(settling.settle_all)
        if sweeping.poll() is not None:
            raise RuntimeError("the sweep ended before settling did; give it more to do")
        sweeping.terminate()
    return settled


def _swept() -> bool:
    with psycopg.connect(plain()) as connection:
        found = connection.execute("SELECT FROM assignment WHERE status = 'expired' LIMIT 1")
        return found.fetchone() is not None


# ----------------------------------------------------------------------------------------- access


@benchmark("assignments.access", unit="requests/s", n=ASKED)
def asking(rig: Rig, count: int) -> Round:
    """Ask for access over HTTP, and a handler of the same app and authentication that selects 1."""
    with rig.database(shop.opened), tempfile.TemporaryDirectory() as folder:
        shop.redeemed(100_000, overdue=0)
        made = connections.transaction(
            tokens.add, actor=shop.OPERATOR, name="bench", organization="Shop", role=Role.SENDER
        )
        ids = [1 + number * 7919 % 100_000 for number in range(count)]
        ours = _asked(Path(folder), serving.KEYPOOL, ids, made["token"], "/access")
        limit = _asked(Path(folder), "benchmarks.bare:create_keypool", ids, made["token"], "/bare")
    return Round(ours=ours, limit=limit)


def _asked(folder: Path, app: str, ids: list[int], token: str, of: str) -> float:
    requests = [
        f"GET /api/v1/assignments/{id_}{of} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Authorization: Bearer {token}\r\n\r\n".encode()
        for id_ in ids
    ]
    warm = len(requests) // 10
    with serving.served(folder, app) as (address, _):
        serving.rate(address, requests[:warm])
        return serving.rate(address, requests[warm:])
