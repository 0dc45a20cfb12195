"""A row's version, for optimistic locking: it says whether somebody changed the row since it was read."""

import hashlib
from collections.abc import Sequence

from worker.tables.columns import Versioned


def of(things: Sequence[Versioned]) -> str:
    """Give one version of several rows together: it changes with every write to any of them.

    It is made of PostgreSQL's `xmin`, the transaction that last wrote a row, which does not repeat within
    billions of transactions. Figures in other tables, and states that depend on the clock, do not
    change it.
    """
    written = " ".join(thing.xmin for thing in things)
    return hashlib.sha256(written.encode()).hexdigest()[:16]
