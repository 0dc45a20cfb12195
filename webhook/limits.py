"""A coarse limit: so many requests a minute of one token, or of one client that has none.

It keeps a caller that runs wild from the others' share of the web. It is no wall: guesses at keys and
passwords are counted in the database, and the receiver has no limit of this kind.
"""

import hashlib
import math
import time
from contextlib import suppress
from typing import Any

from apiflask import APIFlask
from flask import Response, request
from flask_limiter import ApplicationLimit, Limiter, RateLimitExceeded
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from webhook import problems
from worker import celery
from worker.settings import settings

WINDOW = 60  # seconds, from a caller's first request on
# Where Redis does not answer within this, each process counts for itself.
REDIS: dict[str, Any] = {
    "socket_timeout": 0.3,
    "socket_connect_timeout": 0.3,
    "retry": Retry(NoBackoff(), 0),  # the default pauses and asks again
}

WORDS = "Too many requests within a minute; wait before the next."


def install(app: APIFlask) -> None:
    """Limit an app's API, and tell callers what is left (draft-ietf-httpapi-ratelimit-headers)."""
    limiter = Limiter(
        _caller,
        application_limits=[ApplicationLimit(f"{settings().requests_per_minute} per minute")],
        storage_uri=celery.broker_url().replace("redis+socket://", "redis+unix://"),
        storage_options={
            "key_prefix": f"{celery.PREFIX}limits",
            **REDIS,
        },
        in_memory_fallback_enabled=True,
    )
    limiter.request_filter(lambda: not request.path.startswith("/api/"))
    limiter.init_app(app)
    app.register_error_handler(RateLimitExceeded, lambda _: _refusal(limiter))
    app.after_request(lambda answer: _told(limiter, answer))


def _caller() -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token:
        return hashlib.sha256(token.strip().encode()).hexdigest()[:32]
    return request.remote_addr or ""


def _refusal(limiter: Limiter) -> Response:
    _, seconds = _left(limiter) or (0, WINDOW)
    return problems.problem("too_many_requests", 429, WORDS, headers={"Retry-After": str(seconds)})


def _told(limiter: Limiter, answer: Response) -> Response:
    if left := _left(limiter):
        quota = settings().requests_per_minute
        answer.headers["RateLimit-Policy"] = f'"caller";q={quota};w={WINDOW}'
        answer.headers["RateLimit"] = f'"caller";r={left[0]};t={left[1]}'
    return answer


def _left(limiter: Limiter) -> tuple[int, int] | None:
    """Say how many requests are left, and for how many seconds; None where nothing is counted."""
    limit = limiter.current_limit
    with suppress(RedisError, OSError):  # gone since it counted
        if limit is not None:
            return limit.remaining, min(WINDOW, max(1, math.ceil(limit.reset_at - time.time())))
    return None
