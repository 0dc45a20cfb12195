"""A thing's version: by it one tells whether somebody changed the thing since it was read."""

import hashlib
from collections.abc import Sequence

from worker.tables.columns import Versioned


def of(things: Sequence[Versioned]) -> str:
    """Give the version of rows taken together: it is another one after every write to any of them.

    PostgreSQL says who wrote a row last: `xmin`, which is no one's twice within billions of
    transactions. A figure or state that is kept elsewhere, or follows from the clock, changes nothing.
    """
    written = " ".join(thing.xmin for thing in things)
    return hashlib.sha256(written.encode()).hexdigest()[:16]
