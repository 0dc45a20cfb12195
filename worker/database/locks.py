"""Locks that several rooms take, each named once; they end with the transaction that holds them."""

from sqlalchemy import text
from sqlalchemy.orm import Session

SETTLING = "hashtext('keypool.settling')"
BE_SETTLER = text(f"SELECT pg_try_advisory_xact_lock({SETTLING})")
AWAIT_SETTLER = text(f"SELECT pg_advisory_xact_lock({SETTLING})")


def be_settler(session: Session) -> bool:
    """Become the one that settles, where nobody is; False where somebody is at it."""
    return bool(session.scalar(BE_SETTLER))


def await_settler(session: Session) -> None:
    """Wait for whoever settles, and let nobody begin meanwhile.

    Whatever a settler has read before is written down by then, and what comes after sees ours.
    """
    session.execute(AWAIT_SETTLER)
