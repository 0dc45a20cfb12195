"""Locks by name, as rows of `lock` and `tree_lock`; they end with the transaction that holds them."""

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.orm import Session

TRY = "EXISTS (SELECT FROM lock WHERE name = :name FOR UPDATE SKIP LOCKED)"
TAKE = text(f"SELECT {TRY}")
AWAIT = text("SELECT await_lock(:name, :shared)")
AWAIT_SETTLERS = text("SELECT await_settlers(CAST(:organizations AS bigint[]))")


def take(session: Session, name: str) -> bool:
    """Take a lock of the worker's for this transaction; False if another transaction has it."""
    return bool(session.scalar(TAKE, {"name": name}))


def wait_for(session: Session, name: str, *, shared: bool = False) -> None:
    """Wait for a lock, and take it for this transaction; a shared one is for many at once."""
    session.execute(AWAIT, {"name": name, "shared": shared})


def await_settlers(session: Session, organizations: Sequence[int] | None = None) -> None:
    """Wait for the settlers' locks of some organizations' trees (default: of all), and take them.

    A settler that read old rows has committed by then, and the next one sees this transaction's changes.
    """
    asked = None if organizations is None else list(organizations)
    session.execute(AWAIT_SETTLERS, {"organizations": asked})
