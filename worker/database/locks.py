"""Locks that several rooms take, each named once; they end with the transaction that holds them."""

from sqlalchemy import text
from sqlalchemy.orm import Session

SETTLING = "hashtext('keypool.settling')"
BE_SETTLER = text(f"SELECT pg_try_advisory_xact_lock({SETTLING})")
AWAIT_SETTLER = text(f"SELECT pg_advisory_xact_lock({SETTLING})")


def be_settler(session: Session) -> bool:
    """Take the settling lock for this transaction; False if another transaction has it."""
    return bool(session.scalar(BE_SETTLER))


def await_settler(session: Session) -> None:
    """Wait for the settling lock, and take it for this transaction.

    A settler that read old rows has committed by then, and the next one sees this transaction's changes.
    """
    session.execute(AWAIT_SETTLER)
