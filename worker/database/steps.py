"""Functions for migrations, besides alembic's `op`. Released migrations use them: remove none."""

from collections.abc import Iterator
from contextlib import contextmanager

from alembic import op
from sqlalchemy import BigInteger, column, func, select, table, text


def tell(sentence: str) -> None:
    """Print a line of progress of a long migration."""
    if config := op.get_context().config:
        config.attributes["tell"](sentence)


def build_index(name: str, definition: str, *, unique: bool = False) -> None:
    """Build an index concurrently; its migration says `transactional = False`.

    Args:
        name: the index; it is dropped first, because a killed run leaves an invalid one.
        definition: what comes after its name: `ON key (pool_id) WHERE state = 'issued'`.
        unique: whether it is a unique one.
    """
    kind = "UNIQUE INDEX" if unique else "INDEX"
    with _waiting_for_locks():
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
        op.execute(f"CREATE {kind} CONCURRENTLY {name} {definition}")


def fill(name: str, statement: str, *, rows: int = 10_000) -> None:
    """Change a large table's rows chunk by chunk; its migration says `transactional = False`.

    It must be idempotent: after a kill it starts again.

    Args:
        name: the table, which has a column `id`.
        statement: an UPDATE with `id > :after AND id <= :upto` among its conditions.
        rows: how many ids a chunk has; each chunk is committed by itself.
    """
    ids = column("id", BigInteger)
    ends = select(func.min(ids), func.max(ids)).select_from(table(name))
    first, last = op.get_bind().execute(ends).one()
    for after in range(first - 1, last, rows) if last else ():
        op.get_bind().execute(text(statement), {"after": after, "upto": after + rows})
        done = min(after + rows, last)
        if done * 10 // last > after * 10 // last:
            tell(f"{name}: {done * 100 // last} % of {last:,}")


@contextmanager
def _waiting_for_locks() -> Iterator[None]:
    # A concurrent build blocks nobody while it waits for a lock, so it needs no lock timeout.
    before = op.get_bind().execute(text("SHOW lock_timeout")).scalar_one()
    op.execute("SET lock_timeout = 0")
    yield
    op.execute(f"SET lock_timeout = '{before}'")
