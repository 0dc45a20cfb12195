"""Stored answers of requests with an idempotency key: a retry is not done again and gets the same answer."""

import re
from datetime import timedelta

from psycopg.errors import LockNotAvailable
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from worker import errors
from worker.settings import settings
from worker.tables.tenancy import Answer
from worker.tenancy import secrets

KEY = re.compile("[!-~]{1,255}")

# An empty answer, in the transaction of the change: of two concurrent requests the second one's insert waits
# for the first one's end, and does not wait long.
HURRY = text("SET LOCAL lock_timeout = '20ms'")
BEGIN = text("""
    INSERT INTO answer (token_id, key, request, encrypted) VALUES (:token_id, :key, :request, '')
    ON CONFLICT DO NOTHING RETURNING 1
""")
# Whether a token has so many answers, without one to this key.
FULL = text("""
    SELECT EXISTS (SELECT FROM answer WHERE token_id = :token_id OFFSET :before)
       AND NOT EXISTS (SELECT FROM answer WHERE token_id = :token_id AND key = :key)
""")
NO_HURRY = text("SET LOCAL lock_timeout TO DEFAULT")
KEEP = text("UPDATE answer SET encrypted = :encrypted WHERE token_id = :token_id AND key = :key")

REMOVE = text("""
    DELETE FROM answer WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM answer WHERE answered_at < clock_now() - :kept
         ORDER BY answered_at LIMIT :limit FOR UPDATE SKIP LOCKED))
    RETURNING 1
""")


def begin(session: Session, *, token_id: int, key: str, request: bytes) -> bytes | None:
    """Begin the answer to an idempotency key in this transaction, or give the one that is stored.

    `request` is the hash of the request.

    Raises:
        InvalidInputError: the key is empty, over 255 characters, or not of printable ASCII.
        IdempotencyKeyInUseError: another transaction holds it.
        IdempotencyKeyReusedError: it was used for another request before.
        TooManyAnswersError: the token has as many answers as are kept for one.
        AnswerForgottenError: the answer was removed because a person was erased since.
    """
    if not KEY.fullmatch(key):
        raise errors.InvalidInputError(
            "An Idempotency-Key has 1 to 255 characters of ASCII and no spaces.",
            field="Idempotency-Key",
        )
    _refuse_too_many(session, token_id, key)
    if _begun(session, {"token_id": token_id, "key": key, "request": request}):
        return None
    known = session.scalars(
        select(Answer).where(Answer.token_id == token_id, Answer.key == key)
    ).one()
    if known.request != request:
        raise errors.IdempotencyKeyReusedError(field="Idempotency-Key")
    if known.encrypted is None:
        raise errors.AnswerForgottenError
    return secrets.decrypt(known.encrypted)


def keep(session: Session, *, token_id: int, key: str, answer: bytes) -> None:
    """Store the answer that was begun, encrypted, in the transaction of the change."""
    kept = {"token_id": token_id, "key": key, "encrypted": secrets.encrypt(answer)}
    session.execute(KEEP, kept)


def remove_old(session: Session, *, kept: timedelta, limit: int) -> int:
    """Delete up to `limit` answers that are older than `kept`."""
    return len(session.scalars(REMOVE, {"kept": kept, "limit": limit}).all())


def _refuse_too_many(session: Session, token_id: int, key: str) -> None:
    full = {"token_id": token_id, "key": key, "before": settings().answers_per_token - 1}
    if session.scalar(FULL, full):
        raise errors.TooManyAnswersError


def _begun(session: Session, row: dict[str, int | str | bytes]) -> bool:
    try:
        session.execute(HURRY)
        begun = bool(session.scalar(BEGIN, row))
        session.execute(NO_HURRY)
    except errors.DatabaseAwayError as error:
        if isinstance(error.__cause__, LockNotAvailable):
            raise errors.IdempotencyKeyInUseError from None
        raise
    return begun
