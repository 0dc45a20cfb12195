"""The API's rate limit: requests a minute for one token, or for one client without a token.

It keeps one caller from taking the others' share of the web. It is no security measure: guesses at keys
and passwords are limited in the database, and the receiver has no such limit.
"""

import hashlib
import threading
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from apiflask import APIFlask
from flask import Response, g, request
from limits.storage import MemoryStorage, RedisStorage
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from webhook.http import problems
from worker import celery
from worker.logs import log
from worker.settings import settings

WINDOW = 60  # seconds; a window is a minute of the clock
# If Redis does not answer within this, each process counts by itself for a while.
REDIS: dict[str, Any] = {
    "socket_timeout": 0.3,
    "socket_connect_timeout": 0.3,
    "retry": Retry(NoBackoff(), 0),  # the default retries with backoff
}
AWHILE = 10  # seconds

MOST_GOOD = 10_000  # tokens, or addresses, that a process remembers
MESSAGE = "Too many requests within a minute; wait before the next."


@dataclass
class Share:
    """A caller's count in this minute, and how much of it this process has reserved but not used."""

    counted: int = 0
    ahead: int = 0


class Counter:
    """Counts each caller's requests in this minute, over all processes while Redis answers.

    Each process reserves a hundredth of the quota at a time, so that few requests ask Redis. A caller
    served by several processes may be limited that much early.
    """

    def __init__(self) -> None:
        address = celery.redis_url()
        address = f"redis+{address}" if address.startswith("unix://") else address
        prefix = f"{celery.KEY_PREFIX}limits"
        self._shared = RedisStorage(address, key_prefix=prefix, **REDIS)
        self._own = MemoryStorage()
        self._away_until = 0.0
        self._lock = threading.Lock()
        self._minute = 0
        self._shares: dict[str, Share] = {}

    def count(self, caller: str) -> int:
        """Count a request, and give the caller's count in this minute."""
        share = self._share(caller)
        with self._lock:
            if share.ahead:
                share.ahead -= 1
                return share.counted - share.ahead
        block = max(1, settings().requests_per_minute // 100)
        counted = self._counted(f"{caller}/{self._minute}", block)
        with self._lock:
            share.counted = counted
            share.ahead += block - 1
            return share.counted - share.ahead

    def _share(self, caller: str) -> Share:
        minute = _minute()
        with self._lock:
            if minute != self._minute:
                self._minute, self._shares = minute, {}
            return self._shares.setdefault(caller, Share())

    def _counted(self, key: str, block: int) -> int:
        if time.monotonic() < self._away_until:
            return self._own.incr(key, WINDOW, block)
        try:
            return self._shared.incr(key, WINDOW, block)
        except (RedisError, OSError):
            self._away_until = time.monotonic() + AWHILE
            log.warning("requests are counted by each process", seconds=AWHILE)
            return self._own.incr(key, WINDOW, block)


class Strangers:
    """Addresses that send made-up tokens: each of those counts against the address.

    An address that sent too many in this minute is refused, but for tokens that were good here before.
    """

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._good: set[str] = set()
        self._over: dict[str, int] = {}

    def refuses(self, caller: str, address: str) -> bool:
        """Say whether a request with a token is refused before the token is looked up."""
        return self._over.get(address) == _minute() and caller not in self._good

    def learn(self, caller: str, address: str, status: int) -> None:
        """Learn from an answer whether its token was good."""
        if status != HTTPStatus.UNAUTHORIZED:
            self._good = self._good if len(self._good) < MOST_GOOD else set()
            self._good.add(caller)
        elif self._counter.count(f"made up {address}") >= settings().requests_per_minute:
            self._over = self._over if len(self._over) < MOST_GOOD else {}
            self._over[address] = _minute()


def install(app: APIFlask) -> None:
    """Rate limit an app's API, with headers for what is left (draft-ietf-httpapi-ratelimit-headers)."""
    counter = Counter()
    strangers = Strangers(counter)

    @app.before_request
    def _limited() -> Response | None:
        if not request.path.startswith("/api/"):
            return None
        caller, address = _caller(), request.remote_addr or ""
        g.caller = caller
        if caller != address and strangers.refuses(caller, address):
            g.left = 0
            return _refusal()
        g.left = settings().requests_per_minute - counter.count(caller)
        return _refusal() if g.left < 0 else None

    @app.after_request
    def _learned(answer: Response) -> Response:
        address = request.remote_addr or ""
        if g.get("caller", address) != address and answer.status_code != 429:
            strangers.learn(g.caller, address, answer.status_code)
        return answer

    app.after_request(_told)


def _caller() -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token:
        return hashlib.sha256(token.strip().encode()).hexdigest()[:32]
    return request.remote_addr or ""


def _refusal() -> Response:
    headers = {"Retry-After": str(_seconds_left())}
    return problems.problem("too_many_requests", 429, MESSAGE, headers=headers)


def _told(answer: Response) -> Response:
    if "left" in g:
        quota = settings().requests_per_minute
        answer.headers["RateLimit-Policy"] = f'"caller";q={quota};w={WINDOW}'
        answer.headers["RateLimit"] = f'"caller";r={max(0, g.left)};t={_seconds_left()}'
    return answer


def _minute() -> int:
    return int(time.time() // WINDOW)


def _seconds_left() -> int:
    return WINDOW - int(time.time()) % WINDOW
