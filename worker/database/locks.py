"""Locks, as rows of `lock`, `tree_lock` and `settler`; they end with the transaction that holds them."""

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.orm import Session

TRY = "EXISTS (SELECT FROM lock WHERE name = :name FOR UPDATE SKIP LOCKED)"
TAKE_SETTLER = text("""
    SELECT number FROM settler WHERE number <= :most ORDER BY number LIMIT 1 FOR UPDATE SKIP LOCKED
""")
TAKE_TREES = text("""
    SELECT root_id FROM tree_lock WHERE root_id = ANY (:roots) ORDER BY root_id FOR UPDATE SKIP LOCKED
""")
TAKE = text(f"SELECT {TRY}")
AWAIT = text("SELECT await_lock(:name, :shared)")
AWAIT_SETTLERS = text("SELECT await_settlers(CAST(:organizations AS bigint[]))")


def take(session: Session, name: str) -> bool:
    """Take a lock of the worker's for this transaction; False if another transaction has it."""
    return bool(session.scalar(TAKE, {"name": name}))


def take_settler(session: Session, *, most: int) -> bool:
    """Take a settler's lock for this transaction; False if `most` settlers are at work."""
    return session.scalar(TAKE_SETTLER, {"most": most}) is not None


def take_trees(session: Session, roots: Sequence[int]) -> list[int]:
    """Take the settlers' locks of those of these trees that nobody holds, and give their roots."""
    return list(session.scalars(TAKE_TREES, {"roots": list(roots)}))


def wait_for(session: Session, name: str, *, shared: bool = False) -> None:
    """Wait for a lock, and take it for this transaction; a shared one is for many at once."""
    session.execute(AWAIT, {"name": name, "shared": shared})


def await_settlers(session: Session, organizations: Sequence[int] | None = None) -> None:
    """Wait for the settlers' locks of some organizations' trees (default: of all), and take them.

    A settler that read old rows has committed by then, and the next one sees this transaction's changes.
    """
    asked = None if organizations is None else list(organizations)
    session.execute(AWAIT_SETTLERS, {"organizations": asked})
