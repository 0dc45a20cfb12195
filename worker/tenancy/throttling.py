"""Throttling: attempts to sign in, which wait ever longer after failures, by account and by client.

Nobody is locked out: an attempt that has to wait counts nothing, and a device from which the user signed
in before is throttled apart from strangers'. So a stranger who tries on delays strangers alone.
"""

import hashlib
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from worker.tenancy import sessions, web_keys

NOTHING = timedelta()


@dataclass(frozen=True)
class Limit:
    """Attempts without a pause, the longest pause after more of them, and how soon one wears off."""

    free: int
    longest: timedelta
    worn_off: timedelta


MINUTE, QUARTER, HOUR = timedelta(minutes=1), timedelta(minutes=15), timedelta(hours=1)
OF_DEVICE = Limit(10, QUARTER, HOUR)  # one account, from a device that it was used on
OF_PAIR = Limit(5, QUARTER, HOUR)  # one account, from one network
OF_ACCOUNT = Limit(50, MINUTE, MINUTE)  # one account, from all networks
OF_CLIENT = Limit(100, QUARTER, MINUTE)  # all accounts, from one address, which an office may share

KEPT = timedelta(days=1)  # after which every failure within the limits wore off
REMOVE = text("""
    DELETE FROM sign_in_throttle WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM sign_in_throttle WHERE last_at < now() - CAST(:kept AS interval)
         ORDER BY last_at LIMIT :limit FOR UPDATE SKIP LOCKED))
    RETURNING 1
""")


@dataclass(frozen=True)
class Attempt:
    """An attempt to sign in: the account, the network address, and the device's cookie.

    Asking for a link is `about` one, and counted apart, so that neither delays the other.
    """

    email: str
    client: str
    device: str
    about: str = ""

    def limits(self, *, is_known: bool) -> dict[bytes, Limit]:
        """Give what the attempt counts against."""
        if is_known:
            return {_subject(self.about + "device", self.email, self.device): OF_DEVICE}
        return {
            _subject(self.about + "pair", self.email, self.client): OF_PAIR,
            _subject(self.about + "account", self.email): OF_ACCOUNT,
            _subject(self.about + "client", self.client): OF_CLIENT,
        }


@dataclass(frozen=True)
class Admission:
    """How long an attempt has to wait, and whether its device is known to the account."""

    wait: timedelta
    is_known: bool


def admit(session: Session, attempt: Attempt) -> Admission:
    """Count an attempt, unless it has to wait; commit before trying.

    Unknown addresses are counted like known ones, so that a refusal does not reveal who exists.
    """
    is_known = _is_known(session, attempt)
    limits = attempt.limits(is_known=is_known)
    with session.begin_nested() as counted:
        waits = [
            session.scalar(
                select(func.throttle_sign_in(subject, limit.free, limit.longest, limit.worn_off))
            )
            for subject, limit in sorted(limits.items(), key=lambda one: one[0])  # rows are locked
        ]
        longest = max((wait or NOTHING for wait in waits), default=NOTHING)
        if longest:
            counted.rollback()
    return Admission(longest, is_known)


def forgive(session: Session, attempt: Attempt, *, is_known: bool) -> None:
    """Forget the failures of an account, since its user signed in; a network's others stay."""
    mine = [
        _subject("device", attempt.email, attempt.device),
        _subject("pair", attempt.email, attempt.client),
        _subject("account", attempt.email),
    ]
    _forgive(session, mine)
    if not is_known:  # else it was not counted there
        uncount(session, _subject("client", attempt.client))


def admit_code(session: Session, *, user_id: int) -> timedelta:
    """Count a code of a second factor, unless it has to wait, and give for how long; commit before trying."""
    limit, subject = OF_DEVICE, _subject("code", str(user_id))
    wait = func.throttle_sign_in(subject, limit.free, limit.longest, limit.worn_off)
    return session.scalar(select(wait)) or NOTHING


def forgive_code(session: Session, *, user_id: int) -> None:
    """Forget the wrong codes of a user, since a right one was given."""
    _forgive(session, [_subject("code", str(user_id))])


def uncount(session: Session, subject: bytes) -> None:
    """Take an attempt of a subject back, since it succeeded; not the failures before it."""
    proofs = web_keys.proofs("uncount", subject)
    session.execute(select(func.uncount_sign_in(subject, proofs)))


def remove_old(session: Session, *, limit: int) -> int:
    """Delete up to `limit` subjects whose failures wore off."""
    return len(session.scalars(REMOVE, {"kept": KEPT, "limit": limit}).all())


def _forgive(session: Session, subjects: list[bytes]) -> None:
    proofs = web_keys.proofs("forgive", *subjects)
    session.execute(select(func.forgive_sign_ins(subjects, proofs)))


def _is_known(session: Session, attempt: Attempt) -> bool:
    if not attempt.device:
        return False
    known = func.knows_device(attempt.email.strip(), sessions.digest(attempt.device))
    return bool(session.scalar(select(known)))


def _subject(kind: str, *names: str) -> bytes:
    spoken = "\n".join([kind, *(name.strip().lower() for name in names)])
    return hashlib.sha256(spoken.encode()).digest()
