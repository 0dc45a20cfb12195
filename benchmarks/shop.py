"""What redemption benchmarks begin with: a shop's source, a pool of keys, messages that spend them."""

import hashlib
import json
import time
from collections.abc import Iterator

import numpy as np
import psycopg
from sqlalchemy import text

from benchmarks.frame import plain
from worker import signatures
from worker.catalogue import courses
from worker.database import connections
from worker.pools import codes, pools
from worker.redemption import sources
from worker.simulation.copying import Copying
from worker.tenancy import organizations, secrets
from worker.tenancy.actors import Actor

OPERATOR = Actor.operator("benchmarks")
COPY = "COPY key (pool_id, generated, code) FROM STDIN"
COPY_IN_A_STATE = "COPY key (pool_id, generated, state, code) FROM STDIN"
BLOCK, MILLION = 1 << 20, 1_000_000
TREES = 8  # organization trees, where there are several
SECRET = signatures.write_secret(b"a secret that opens nothing else")

MET = text(
    "INSERT INTO learner (organization_id, email) SELECT 1, 'before' || id || '@example.com' FROM key"
)
GRANTED = text("""
    INSERT INTO assignment (key_id, pool_id, course_id, learner_id, organization_id,
                            redeemed_at, expires_at)
    SELECT learner.id, 1, 1, learner.id, 1, now() - interval '30 days' - age, now() - age
      FROM learner, LATERAL (SELECT CASE WHEN learner.id % :share = 0
           THEN learner.id % 1000 * interval '1 minute'
           ELSE learner.id % 1000 * interval '-1 hour' - interval '1 hour' END) AS over (age)
""")


def opened(*, trees: int = 1) -> None:
    """Make a shop: an organization, a course with a price, a pool and a source; or several of one course."""
    with connections.session() as session:
        for number in range(1, trees + 1):
            organizations.add(session, actor=OPERATOR, name=f"Shop {number}")
        courses.add(session, actor=OPERATOR, code="C", title="C", price="9.90", currency="EUR")
        for number in range(1, trees + 1):
            pools.create(
                session,
                actor=OPERATOR,
                name="Benchmarks",
                organization=f"Shop {number}",
                course="C",
                starts="2020-01-01",
                expires="2090-01-01",
                content_availability=30,
            )
            sources.add(
                session, actor=OPERATOR, name=f"shop {number}", organization=f"Shop {number}"
            )
        session.execute(
            text("UPDATE source_secret SET encrypted = :sealed"),
            {"sealed": secrets.encrypt(signatures.read_secret(SECRET))},
        )


def several() -> None:
    """Make TREES shops, each in an organization tree of its own."""
    opened(trees=TREES)


def stocked(count: int, *, state: str = "issued", pool: int = 1) -> list[str]:
    """Put so many keys into a pool; gives their codes in no order."""
    made = codes.draw(codes.first_letters(count))
    np.random.default_rng(1).shuffle(made)
    with psycopg.connect(plain()) as connection:
        start = f"{pool}\tt\t{state}\t".encode()
        rows = b"".join(start + code + b"\n" for code in np.sort(made).tolist())
        copy(connection, rows, into=COPY_IN_A_STATE)
    return [code.decode() for code in made.tolist()]


def copy(connection: psycopg.Connection, rows: bytes, *, into: str = COPY) -> None:
    """Copy ready-made rows of keys, as fast as a client can."""
    with connection.cursor() as cursor, cursor.copy(into.encode()) as copying:
        for start in range(0, len(rows), BLOCK):
            copying.write(rows[start : start + BLOCK])


def recorded(count: int, *, first: int = 0, trees: int = 1) -> None:
    """Record so many redemption.requested events as the receiver does, each for a key of its own.

    With several trees, they come from each in turn.
    """
    stocks = [stocked(count // trees, pool=tree) for tree in range(1, trees + 1)]
    spent = [
        (tree, code) for codes in zip(*stocks, strict=True) for tree, code in enumerate(codes, 1)
    ]
    with (
        psycopg.connect(plain()) as connection,
        connection.cursor() as cursor,
        cursor.copy(
            "COPY event (source_id, organization_id, learner_organization_id, webhook_id, body_hash,"
            " type, data) FROM STDIN"
        ) as copying,
    ):
        for number, (tree, code) in enumerate(spent, first):
            data = json.dumps(wanted(code, number))
            webhook_id = f"msg_{number}"
            event = (tree, tree, tree, webhook_id, hashlib.sha256(data.encode()).digest())
            copying.write_row((*event, "redemption.requested", data))
    with psycopg.connect(plain(), autocommit=True) as connection:
        connection.execute("ANALYZE event")
        connection.execute("ANALYZE key")


def wanted(code: str, number: int) -> dict[str, object]:
    """Give the data of a message that asks for a key, by a learner of its own."""
    return {"key": code, "learner": {"email": f"learner{number}@example.com", "name": "Ann"}}


def messages(spent: list[str], *, path: str, first: int = 0) -> Iterator[bytes]:
    """Give signed HTTP requests, ready to be sent, that spend these keys."""
    secret, now = signatures.read_secret(SECRET), int(time.time())
    for number, code in enumerate(spent, first):
        message = {"type": "redemption.requested", "timestamp": "2026-01-01T00:00:00Z"}
        body = json.dumps(message | {"data": wanted(code, number)}).encode()
        webhook_id = f"msg_{number}"
        signature = signatures.sign(secret, webhook_id=webhook_id, timestamp=now, body=body)
        head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nwebhook-id: {webhook_id}\r\n"
            f"webhook-timestamp: {now}\r\nwebhook-signature: {signature}\r\n\r\n"
        )
        yield head.encode() + body


def redeemed(count: int, *, overdue: int) -> None:
    """Make so many keys that are redeemed, each by a learner of its own; some assignments are over."""
    for start in range(0, count, MILLION):
        stocked(min(MILLION, count - start), state="redeemed")
    share = count // overdue if overdue else count + 1
    with connections.session() as session, Copying(session).bare("learner", "assignment"):
        session.execute(text("SET LOCAL statement_timeout = 0"))
        session.execute(MET)
        session.execute(GRANTED, {"share": share})
    with psycopg.connect(plain(), autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
