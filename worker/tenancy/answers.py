"""Stored answers of requests with an idempotency key: a retry is not done again and gets the same answer."""

import re
from datetime import timedelta

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from worker import errors
from worker.tables.tenancy import Answer
from worker.tenancy import secrets

KEY = re.compile("[!-~]{1,255}")

# A lock per key, so that a concurrent request waits for the first one's answer.
TRY_LOCK = text("SELECT pg_try_advisory_xact_lock(hashtextextended(:token_id || ' ' || :key, 2))")

REMOVE = text("""
    DELETE FROM answer WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM answer WHERE answered_at < clock_now() - :kept
         ORDER BY answered_at LIMIT :limit FOR UPDATE SKIP LOCKED))
    RETURNING 1
""")


def begin(session: Session, *, token_id: int, key: str, request: bytes) -> bytes | None:
    """Lock an idempotency key for this transaction, and give its stored answer, if there is one.

    `request` is the hash of the request.

    Raises:
        InvalidInputError: the key is empty, over 255 characters, or not of printable ASCII.
        IdempotencyKeyInUseError: another transaction holds it.
        IdempotencyKeyReusedError: it was used for another request before.
        AnswerForgottenError: the answer was removed because a person was erased since.
    """
    if not KEY.fullmatch(key):
        raise errors.InvalidInputError(
            "An Idempotency-Key has 1 to 255 characters of ASCII and no spaces.",
            field="Idempotency-Key",
        )
    if not session.scalar(TRY_LOCK, {"token_id": str(token_id), "key": key}):
        raise errors.IdempotencyKeyInUseError
    known = session.scalars(
        select(Answer).where(Answer.token_id == token_id, Answer.key == key)
    ).one_or_none()
    if known is None:
        return None
    if known.request != request:
        raise errors.IdempotencyKeyReusedError(field="Idempotency-Key")
    if known.encrypted is None:
        raise errors.AnswerForgottenError
    return secrets.decrypt(known.encrypted)


def keep(session: Session, *, token_id: int, key: str, request: bytes, answer: bytes) -> None:
    """Store an answer, encrypted, in the transaction of the change."""
    encrypted = secrets.encrypt(answer)
    session.add(Answer(token_id=token_id, key=key, request=request, encrypted=encrypted))
    session.flush()


def remove_old(session: Session, *, kept: timedelta, limit: int) -> int:
    """Delete up to `limit` answers that are older than `kept`."""
    return len(session.scalars(REMOVE, {"kept": kept, "limit": limit}).all())
