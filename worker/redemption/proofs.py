"""Sessions of redeem pages, and the one-time codes by mail that prove an address.

A session is a row, known by the hash of a random id in the browser's cookie. A code is made of the
identity of the mail that brings it and of the secret key: it is kept nowhere, and a retried mail has the same.
"""

import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Any

from sqlalchemy import delete, func, select, text
from sqlalchemy.orm import Session

from worker.languages.characters import visible
from worker.settings import settings
from worker.tables.redemption import PageSession
from worker.tenancy import secrets as sealing
from worker.tenancy import web_keys

MAIL = "code"  # the kind of mail that brings a code
DIGITS = 6
TRIES = 5
KEPT = timedelta(days=4)  # as long as a code's mail is tried, and a day

BLANK = text("""
    UPDATE message SET data = NULL
     WHERE kind = :kind AND data IS NOT NULL AND ended_at < clock_now() - interval '10 minutes'
""")


class Way(Enum):
    """How a session begins."""

    OPEN = "nobody proves an address"
    MAILED = "a code is mailed"
    NEVER = "a code is asked for, and never comes: there is no such page"


class Answer(Enum):
    """What became of a code that was typed."""

    RIGHT = "right"
    WRONG = "wrong"
    OVER = "over"


@dataclass(frozen=True)
class Asked:
    """What a person typed: the key to redeem, if any, and their name."""

    key: str = ""
    name: str = ""


@dataclass(frozen=True)
class Visit:
    """A session as the page sees it.

    Attributes:
        organization_id: whose page it is; None where nobody's, or until a key says so.
        asked: what is to be redeemed once the address is proved.
        event_id: the event that the key was recorded as.
        outcome: of a key that no inbox could take.
        tries_left: how often a code may still be typed.
        over: the code is not good any more.
        late: the mail server is away, so that the code comes later.
    """

    token: str
    id: int
    organization_id: int | None
    email: str
    language: str
    asked: Asked | None
    needs_code: bool
    proved: bool
    event_id: int | None
    outcome: str | None
    tries_left: int
    over: bool
    late: bool
    identity: str | None


def begin(
    session: Session,
    *,
    way: Way,
    organization_id: int | None,
    email: str,
    asked: Asked,
    language: str,
    client: str,
) -> str | None:
    """Begin a session, mail its code, and give the id for its cookie; None where that is too many today.

    Codes that were asked for and not typed in are counted, by address and by client.
    """
    token, limits = secrets.token_urlsafe(32), settings()
    hashed, with_code, with_mail = _hash(token), way is not Way.OPEN, way is Way.MAILED
    began = session.scalar(
        select(
            func.begin_page_session(
                hashed,
                organization_id,
                email,
                _hash(client),
                language,
                sealing.encrypt(json.dumps([asked.key, asked.name]).encode()),
                with_code,
                with_mail,
                limits.codes_per_address,
                limits.codes_per_client,
                web_keys.proofs(
                    "begin", hashed, organization_id, email, _told(with_code), _told(with_mail)
                ),
            )
        )
    )
    return token if began else None


def find(session: Session, token: str | None) -> Visit | None:
    """Find the session of a cookie; None if there is none, or it is over."""
    if not token:
        return None
    row = session.execute(
        select("*").select_from(func.find_page_session(_hash(token)))
    ).one_or_none()
    return _visit(token, row) if row else None


def prove(session: Session, visit: Visit, typed: str) -> Answer:
    """Check a code, which takes one of its tries, and prove the address if it is right.

    Commit whatever it answers. A session without a mail answers as one does whose code is another.
    """
    if visit.over or not session.scalar(select(func.try_page_code(_hash(visit.token)))):
        return Answer.OVER
    right = code(visit.identity or secrets.token_hex(16))
    digits = "".join(c for c in visible(typed) if c.isdigit())
    if not hmac.compare_digest(right.encode(), digits.encode()) or visit.identity is None:
        return Answer.WRONG if visit.tries_left > 1 else Answer.OVER
    hashed = _hash(visit.token)
    session.execute(select(func.prove_page_session(hashed, web_keys.proofs("prove", hashed))))
    return Answer.RIGHT


def code(identity: str) -> str:
    """Give the code that a mail brings, by the mail's identity."""
    digest = hmac.digest(sealing.derived("codes"), identity.encode(), hashlib.sha256)
    return f"{int.from_bytes(digest[:8]) % 10**DIGITS:0{DIGITS}}"


def note(
    session: Session,
    visit: Visit,
    *,
    organization_id: int | None = None,
    event_id: int | None = None,
    outcome: str | None = None,
) -> None:
    """Note that a session's key was recorded as an event; or its outcome, where no inbox could take it."""
    what = (_hash(visit.token), organization_id, event_id, outcome)
    noted = func.note_page_key(*what, web_keys.proofs("note", *what))
    session.execute(select(noted))


def end(session: Session, token: str) -> None:
    """End a session."""
    session.execute(select(func.end_page_session(_hash(token))))


def forget_old(session: Session, *, limit: int) -> int:
    """Remove up to `limit` old sessions, and give their number; blank the mails of codes that are over."""
    session.execute(BLANK, {"kind": MAIL})
    old = select(PageSession.id).where(PageSession.began_at < func.clock_now() - KEPT)
    some = old.order_by(PageSession.began_at).limit(limit).with_for_update(skip_locked=True)
    removed = delete(PageSession).where(PageSession.id.in_(some)).returning(PageSession.id)
    return len(session.scalars(removed).all())


def _told(value: bool) -> str:
    return str(value).lower()  # as SQL writes it


def _hash(value: str) -> bytes:
    return hashlib.sha256(value.encode()).digest()


def _visit(token: str, row: Any) -> Visit:
    return Visit(
        token=token,
        id=row.id,
        organization_id=row.organization_id,
        email=row.email,
        language=row.language,
        asked=_opened(row.asked_encrypted),
        needs_code=row.needs_code,
        proved=row.proved,
        event_id=row.event_id,
        outcome=row.outcome,
        tries_left=TRIES - row.tries,
        over=row.over,
        late=row.late,
        identity=row.identity,
    )


def _opened(encrypted: bytes | None) -> Asked | None:
    return Asked(*json.loads(sealing.decrypt(encrypted))) if encrypted else None
