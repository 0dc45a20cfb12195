"""Generating keys, a chunk at a time.

Generated codes are added in random order, so a code reveals nothing of its neighbours except their
first letter.
"""

from itertools import accumulate

import numpy as np
import psycopg
from sqlalchemy import text
from sqlalchemy.orm import Session

from worker.database.connections import copy
from worker.pools import codes, labels
from worker.tables.pools import Batch

# Keys in one transaction: large enough that a commit costs little, small enough that a batch of a
# hundred need not wait for long.
KEYS_PER_CHUNK = 50_000

COPY = "COPY key (pool_id, batch_id, generated, labels, code) FROM STDIN"

# The slow way, for a collision of two codes.
INSERT = text("""
    INSERT INTO key (pool_id, batch_id, generated, labels, code)
    SELECT :pool_id, :batch_id, true, CAST(:labels AS text[]), code FROM unnest(CAST(:codes AS text[])) AS code
    ON CONFLICT (canonical) DO NOTHING
""")


def generate(session: Session, batch: Batch) -> int:
    """Make the next chunk of a generation and record the progress; gives how many keys it made."""
    count = min(KEYS_PER_CHUNK, batch.requested - batch.worked)
    made = codes.draw(_next_letters(batch, count))
    try:
        with session.begin_nested():
            before = b"%d\t%d\tt\t%s\t" % (batch.pool_id, batch.id, labels.copied(batch.labels))
            copy(session, COPY, _lines(before, made))
    except psycopg.errors.UniqueViolation:
        _insert(session, batch, made)
    batch.worked += count
    batch.made += count
    return count


def _next_letters(batch: Batch, count: int) -> list[int]:
    """Give how many of the chunk's codes begin with each letter; a batch goes through the alphabet."""
    letters = batch.letters or codes.first_letters(batch.requested)
    ends = accumulate(letters)
    done, due = batch.worked, batch.worked + count
    return [
        max(0, min(end, due) - max(end - size, done))
        for end, size in zip(ends, letters, strict=True)
    ]


def _lines(before: bytes, made: codes.Codes) -> bytes:
    """Write each code as a line after the same columns, in one call for all keys."""
    width = made.itemsize
    lines = np.empty((len(made), len(before) + width + 1), np.uint8)
    lines[:, : len(before)] = np.frombuffer(before, np.uint8)
    lines[:, len(before) : -1] = made.view(np.uint8).reshape(-1, width)
    lines[:, -1] = ord("\n")
    return lines.tobytes()


def _insert(session: Session, batch: Batch, made: codes.Codes) -> None:
    """Insert the new codes, and draw others for duplicates until all are made."""
    while missing := len(made):
        place = {"pool_id": batch.pool_id, "batch_id": batch.id, "labels": batch.labels}
        written = [code.decode() for code in made.tolist()]
        inserted = session.connection().execute(INSERT, {**place, "codes": written}).rowcount
        made = codes.draw(codes.first_letters(missing - inserted))
