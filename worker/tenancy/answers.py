"""Answers that are remembered: a request that is sent again under its key is done once, and answered alike."""

import re
from datetime import timedelta

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from worker import errors
from worker.tables.tenancy import Answer
from worker.tenancy import secrets

KEY = re.compile("[!-~]{1,255}")

# By the row's key, so that what is answered meanwhile is found before it is begun anew.
TRY_LOCK = text("SELECT pg_try_advisory_xact_lock(hashtextextended(:token_id || ' ' || :key, 2))")

REMOVE = text("""
    DELETE FROM answer WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM answer WHERE answered_at < clock_now() - :kept
         ORDER BY answered_at LIMIT :limit FOR UPDATE SKIP LOCKED))
    RETURNING 1
""")


def begin(session: Session, *, token_id: int, key: str, request: bytes) -> bytes | None:
    """Hold a key for this transaction, and give what was answered under it before, if anything was.

    `request` is the hash of what is asked.

    Raises:
        InvalidInputError: the key is empty, over 255 characters, or not of printable ASCII.
        IdempotencyKeyInUseError: another transaction holds it.
        IdempotencyKeyReusedError: it came with another request before.
        AnswerForgottenError: a person's data was erased since, and the answer with it.
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
    """Remember what was answered, encrypted, in the transaction of what was done."""
    encrypted = secrets.encrypt(answer)
    session.add(Answer(token_id=token_id, key=key, request=request, encrypted=encrypted))
    session.flush()


def remove_old(session: Session, *, kept: timedelta, limit: int) -> int:
    """Remove up to `limit` answers that were given longer ago than `kept`."""
    return len(session.scalars(REMOVE, {"kept": kept, "limit": limit}).all())
