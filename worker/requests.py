"""The latest requests of each source, refused ones too: noted by the receiver, kept in Redis.

To note asks nobody: a process holds the latest of each source and carries them to Redis every few seconds.
What it holds, and what Redis keeps, is bounded by the number of sources that there are, whatever strangers
send. Requests without a good signature are kept apart, so that a flood of them displaces no others, and
nothing that they said is kept. All of it may be lost.
"""

import json
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple, cast
from zoneinfo import ZoneInfo

from redis.exceptions import RedisError
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from worker import errors
from worker.broker import client
from worker.celery import KEY_PREFIX
from worker.database import connections
from worker.database.connections import Login
from worker.database.lookup import Id
from worker.redemption import sources
from worker.settings import settings
from worker.tables.tenancy import Organization
from worker.tenancy.actors import Actor, Role

KEPT = 200  # requests of a source, and as many without a good signature
DAYS = 14
KEPT_DAYS = 90  # of which counts can be asked for
KEPT_SECONDS = 30 * 86_400
MOST_SOURCES = 4_096  # whose requests a process holds until it carries them
MOST_STRANGE = 256  # of them, those that nobody is known to have
HOUR = "%Y-%m-%dT%H"

# Why a request without a good signature was refused: nothing that it said is kept.
REASONS = {
    "signature_wrong": "The signature was made with none of the source's secrets, or of other bytes.",
    "signature_missing": "webhook-id, webhook-timestamp or webhook-signature is missing or malformed.",
    "stale": "The timestamp was over five minutes off: check the sender's clock, and sign each retry anew.",
    "too_large": "The body was over 64 KiB.",
    "unsupported_media_type": "The body was not plain application/json.",
    "database_away": "The database was unreachable: the sender should send it again.",
}


class Note(NamedTuple):
    """A request as it is kept: of one without a good signature only time, status and code."""

    at: float
    status: int
    code: str
    message: str = ""
    webhook_id: str | None = None
    event: str | None = None


class Request(TypedDict):
    """A request that a source's address got."""

    at: datetime
    """When."""
    status: int
    """The answer's HTTP status."""
    result: str
    """`recorded`, `repeated`, or why it was refused, as a stable code."""
    message: str
    """That in a sentence, with the field that is wrong."""
    signed: bool
    """Whether its signature was good."""
    webhook_id: str | None
    """Its `webhook-id`; null without a good signature."""
    event: Id | None
    """The event that it recorded, or that was recorded before; null if it was refused."""


class RequestsOfDay(TypedDict):
    """How many requests came on a day."""

    day: date
    """The day, in the time zone of the source's organization."""
    accepted: int
    """How many were recorded, or repeated what was."""
    refused: int
    """How many were refused."""


class SourceRequests(TypedDict):
    """What a source's address got of late."""

    requests: list[Request]
    """The latest 200 requests, newest first."""
    per_day: list[RequestsOfDay]
    """The last days, oldest first: 14, unless others were asked for."""


class RequestsAwayError(errors.BusyError):
    """The broker cannot be reached, which keeps the latest requests; try again in a moment."""


@dataclass
class Held:
    """What a process has not yet carried of one source."""

    signed: deque[Note] = field(default_factory=lambda: deque(maxlen=KEPT))
    strange: deque[Note] = field(default_factory=lambda: deque(maxlen=KEPT))
    counts: Counter[str] = field(default_factory=Counter)


_lock = threading.Lock()
_held: dict[int, Held] = {}
_strange: set[int] = set()  # those of them that may not be there
_known: set[int] = set()  # sources that are known to be there


def accepted(source_id: int, *, webhook_id: str, event_id: int, is_new: bool) -> None:
    """Note a message that was recorded, or that was before."""
    code, status = ("recorded", 202) if is_new else ("repeated", 200)
    note = Note(_now().timestamp(), status, code, "", webhook_id, str(event_id))
    _hold(source_id, note, is_signed=True, counted="accepted")


def refused(
    source_id: int, *, status: int, code: str, message: str = "", webhook_id: str | None = None
) -> None:
    """Note a request that was refused; without `webhook_id` it had no good signature."""
    note = Note(_now().timestamp(), status, code, message, webhook_id)
    _hold(source_id, note, is_signed=webhook_id is not None, counted="refused")


def _hold(source_id: int, note: Note, *, is_signed: bool, counted: str) -> None:
    with _lock:
        held = _held.get(source_id)
        if held is None:
            if len(_held) >= MOST_SOURCES or not (is_signed or _may_begin(source_id)):
                return
            held = _held[source_id] = Held()
        (held.signed if is_signed else held.strange).append(note)
        held.counts[counted] += 1


def _may_begin(source_id: int) -> bool:
    """Say whether a source is known, or one of the few that nobody is known to have."""
    if source_id in _known:
        return True
    if len(_strange) >= MOST_STRANGE:
        return False
    _strange.add(source_id)
    return True


def carry() -> None:
    """Carry what this process noted to Redis; while that cannot be, it is lost."""
    global _held
    with _lock:
        taken, _held = _held, {}
        _strange.clear()
    if not taken:
        return
    with suppress(RedisError, OSError, errors.KeypoolError):
        there = {one: held for one, held in taken.items() if held.signed or one in _known}
        _learn(there, taken.keys() - there.keys())
        _put({one: held for one, held in taken.items() if one in _known})


def _learn(there: Iterable[int], strange: Iterable[int]) -> None:
    """Remember which sources there are; those without a good signature are asked for."""
    found = set(there)
    if asked := list(strange):
        with connections.session(Login.RECEIVER) as session:
            found |= sources.existing(session, source_ids=asked)
    with _lock:
        if len(_known) + len(found) > MOST_SOURCES:
            _known.clear()
        _known.update(found)


def _put(taken: dict[int, Held]) -> None:
    now = _now()
    with client().pipeline() as pipe:
        for source_id, held in taken.items():
            for key, notes in (
                (_key(source_id, "signed"), held.signed),
                (_key(source_id, "strange"), held.strange),
            ):
                if notes:
                    pipe.lpush(key, *map(json.dumps, notes))
                    pipe.ltrim(key, 0, KEPT - 1)
                    pipe.expire(key, KEPT_SECONDS)
            day = _key(source_id, f"{now:%Y-%m-%d}")
            for counted, amount in held.counts.items():
                pipe.hincrby(day, f"{now:{HOUR}} {counted}", amount)
            pipe.expire(day, (KEPT_DAYS + 2) * 86_400)
        pipe.execute()


def of_source(session: Session, *, actor: Actor, source: str, last: int = DAYS) -> SourceRequests:
    """Give what a source's address got of late, this process's latest included.

    The counts are of the `last` days, at most 90, today's included.

    Raises:
        RequestsAwayError: the broker is unreachable.
    """
    actor.require(Role.MANAGER)
    found = sources.find(session, actor=actor, name=source)
    zone = ZoneInfo(session.get_one(Organization, found.organization_id).time_zone)
    carry()
    try:
        return {"requests": _latest(found.id), "per_day": _per_day(found.id, zone, last)}
    except (RedisError, OSError):
        raise RequestsAwayError from None


def _latest(source_id: int) -> list[Request]:
    both = [
        _shown(Note(*json.loads(kept)), is_signed=is_signed)
        for is_signed, which in ((True, "signed"), (False, "strange"))
        for kept in cast(list[bytes], client().lrange(_key(source_id, which), 0, KEPT - 1))
    ]
    return sorted(both, key=lambda one: one["at"], reverse=True)[:KEPT]


def _shown(note: Note, *, is_signed: bool) -> Request:
    return {
        "at": datetime.fromtimestamp(note.at, UTC),
        "status": note.status,
        "result": note.code,
        "message": note.message or REASONS.get(note.code, ""),
        "signed": is_signed,
        "webhook_id": note.webhook_id,
        "event": note.event,
    }


def _per_day(source_id: int, zone: ZoneInfo, last: int) -> list[RequestsOfDay]:
    now = _now()
    with client().pipeline() as pipe:
        for back in range(last + 2):
            pipe.hgetall(_key(source_id, f"{now - timedelta(days=back):%Y-%m-%d}"))
        hashes = cast(list[dict[bytes, bytes]], pipe.execute())
    counts: Counter[tuple[date, str]] = Counter()
    for kept in hashes:
        for name, amount in kept.items():
            hour, counted = name.decode().split()
            begins = datetime.strptime(hour, HOUR).replace(tzinfo=UTC)
            counts[begins.astimezone(zone).date(), counted] += int(amount)
    today = now.astimezone(zone).date()
    return [
        {"day": day, "accepted": counts[day, "accepted"], "refused": counts[day, "refused"]}
        for day in (today - timedelta(days=back) for back in reversed(range(last)))
    ]


def _now() -> datetime:
    """Give the time as the database's clock tells it: shifted, where that is."""
    return datetime.fromtimestamp(time.time(), UTC) + settings().clock_offset


def _key(source_id: int, which: str) -> str:
    return f"{KEY_PREFIX}requests:{source_id}:{which}"
