"""Redis beside Celery: the marks of nudges, the counts of all processes, and their heartbeats.

All of it may be lost: nudges are found by sweeps, counters begin at 0 again, processes come back with
their next heartbeat. Each call takes 0.3 s at most.
"""

import json
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, cast

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from worker import metrics
from worker.celery import KEY_PREFIX, redis_url
from worker.database import revisions
from worker.errors import KeypoolError

COUNTS = f"{KEY_PREFIX}counts"
HEARTBEATS = f"{KEY_PREFIX}heartbeats"
HINTS = f"{KEY_PREFIX}celery"  # Celery's queue

HEARTBEAT_SECONDS = 5.0
LOST_AFTER = 60  # seconds without a heartbeat after which a process is lost
FORGOTTEN_AFTER = 3600  # seconds after which it is not counted as lost any more

Kind = Literal["worker", "beat"]


@dataclass(frozen=True)
class Process:
    """A worker or a beat: the seconds since its last heartbeat, and its code's revision."""

    kind: Kind
    age: float
    code: str


@cache
def client() -> Redis:
    """Give this process's connection."""
    return Redis.from_url(
        redis_url(),
        socket_timeout=0.3,
        socket_connect_timeout=0.3,
        retry=Retry(NoBackoff(), 0),  # the default retries with backoff
    )


def answers() -> bool:
    """Say whether the broker answers within 0.3 seconds."""
    try:
        return bool(client().ping())
    except (RedisError, OSError):
        return False


def carry() -> None:
    """Add what this process counted to the sums of all; while that cannot be, it keeps it."""
    if not (counted := metrics.taken()):
        return
    try:
        with client().pipeline() as pipe:
            for key, amount in counted.items():
                pipe.hincrbyfloat(COUNTS, json.dumps(key), amount)
            pipe.execute()
    except (RedisError, OSError, KeypoolError):
        metrics.give_back(counted)


def counts() -> dict[metrics.Key, float]:
    """Give the sums of what all processes counted.

    Raises:
        RedisError, OSError: the broker is away.
    """
    found = cast(Mapping[bytes, bytes], client().hgetall(COUNTS))
    return {tuple(json.loads(key)): float(amount) for key, amount in found.items()}


def hints_waiting() -> int:
    """Count the hints that no worker has taken; the errors of `counts`."""
    return client().llen(HINTS)


def untaken() -> int:
    """Count them, too; 0 while the broker is unreachable."""
    try:
        return hints_waiting()
    except (RedisError, OSError):
        return 0


def beat(kind: Kind, name: str = "") -> None:
    """Note that a process lives, by the broker's clock; best effort."""
    with suppress(RedisError, OSError):
        note = json.dumps({"at": _now(), "code": revisions.CODE})
        client().hset(HEARTBEATS, _field(kind, name), note)


def leave(kind: Kind, name: str = "") -> None:
    """Note that a process ends as it should; best effort: else it counts as lost for an hour."""
    with suppress(RedisError, OSError):
        client().hdel(HEARTBEATS, _field(kind, name))


def processes() -> list[Process]:
    """Give the workers and beats that had a heartbeat within the last hour; the errors of `counts`."""
    now, known = _now(), cast(Mapping[bytes, bytes], client().hgetall(HEARTBEATS))
    notes: list[tuple[bytes, dict[str, Any]]] = [(f, json.loads(n)) for f, n in known.items()]
    if gone := [field for field, note in notes if now - note["at"] > FORGOTTEN_AFTER]:
        client().hdel(HEARTBEATS, *gone)
    return [
        Process(cast(Kind, field.decode().split()[0]), max(now - note["at"], 0), note["code"])
        for field, note in notes
        if field not in gone
    ]


def _now() -> float:
    seconds, micros = client().time()
    return seconds + micros / 1_000_000


def _field(kind: Kind, name: str) -> str:
    return f"{kind} {name or socket.gethostname()}"
