"""Making keys: a chunk of a generation, a chunk of an import, or a few lines at once.

Lines are added in the order of their canonical forms, so that two imports of the same keys wait
for each other instead of deadlocking; the index likes it too. Generated codes are added in no
order: whoever holds one knows nothing of its neighbours but their first letter.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
import psycopg
from sqlalchemy import TextClause, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from worker.pools import codes
from worker.pools.reading import Line
from worker.tables.labels import BatchKind
from worker.tables.pools import Batch

# How much is made in one transaction: large enough that a commit costs little, small enough that
# a batch of a hundred keys need not wait for long.
KEYS = 50_000
LINES = 50_000

COPY = "COPY key (pool_id, batch_id, generated, code) FROM STDIN"

# The slow way, for the day on which two codes are the same.
INSERT = text("""
    INSERT INTO key (pool_id, batch_id, generated, code)
    SELECT :pool_id, :batch_id, true, code FROM unnest(CAST(:codes AS text[])) AS code
    ON CONFLICT (canonical) DO NOTHING
""")

# What the lines of a chunk are, once as they are staged, once as parameters.
STAGED = """
    SELECT unnest(lines) AS line, unnest(codes) AS code, unnest(recipients) AS recipient,
           unnest(recipient_names) AS name, unnest(recipient_references) AS reference
      FROM batch_chunk WHERE batch_id = :batch_id AND position = :position"""
PARAMETERS = """
    SELECT * FROM unnest(
        CAST(:lines AS bigint[]), CAST(:codes AS text[]), CAST(:recipients AS text[]),
        CAST(:names AS text[]), CAST(:references AS text[]))
        AS given (line, code, recipient, name, reference)"""

# Whom the lines are for. What was recalled and is handed out again is recalled no more.
HAND_OUT = """
    INSERT INTO distribution (pool_id, recipient, recipient_name, reference)
    SELECT DISTINCT ON (lower(recipient), reference) :pool_id, recipient, name, reference
      FROM ({lines}) AS line
     WHERE recipient <> ''
       AND NOT EXISTS (SELECT FROM key WHERE key.canonical = canonical_code(line.code))
     ORDER BY lower(recipient), reference, line
    ON CONFLICT (pool_id, recipient_lower, reference) DO UPDATE SET recalled_at = NULL
     WHERE distribution.recalled_at IS NOT NULL
"""

# Add what is new, and give the rest: a line whose key an earlier line of the same input has, in
# this chunk or one before it, is a duplicate, whatever became of the earlier one. NOT IN, for the
# planner takes a CTE for a few rows and would loop over it.
ADD = """
    WITH given AS MATERIALIZED (
        SELECT line.*, canonical_code(code) AS canonical FROM ({lines}) AS line),
    numbered AS MATERIALIZED (
        SELECT *, row_number() OVER (PARTITION BY canonical ORDER BY line) AS nth FROM given),
    added AS (
        INSERT INTO key (pool_id, batch_id, distribution_id, code)
        SELECT :pool_id, :batch_id, {distribution}, code
          FROM numbered AS line WHERE nth = 1 ORDER BY canonical
        ON CONFLICT (canonical) DO NOTHING
        RETURNING canonical)
    SELECT line, code,
           CASE WHEN nth > 1
                  OR EXISTS (SELECT FROM key
                              WHERE key.canonical = line.canonical AND key.batch_id = :batch_id)
                  OR {refused_before}
                THEN 'duplicate_in_input' ELSE 'already_exists' END AS result
      FROM numbered AS line
     WHERE nth > 1 OR canonical NOT IN (SELECT canonical FROM added)
     ORDER BY line
"""

# The same for one who sees every key, a fifth faster: look first, in the order of the index, and
# add without ON CONFLICT. Fails where somebody else adds one of the keys at the same moment.
LOOK_AND_ADD = """
    WITH given AS MATERIALIZED (
        SELECT *, row_number() OVER (PARTITION BY canonical ORDER BY line) > 1 AS comes_again
          FROM (SELECT line.*, canonical_code(code) AS canonical FROM ({lines}) AS line) AS line),
    judged AS MATERIALIZED (
        SELECT given.*, there.id IS NOT NULL AS is_there, there.batch_id AS made_by
          FROM given LEFT JOIN key AS there ON there.canonical = given.canonical),
    added AS (
        INSERT INTO key (pool_id, batch_id, distribution_id, code)
        SELECT :pool_id, :batch_id, {distribution}, code
          FROM judged AS line WHERE NOT comes_again AND NOT is_there ORDER BY canonical)
    SELECT line, code,
           CASE WHEN comes_again OR made_by = :batch_id OR {refused_before}
                THEN 'duplicate_in_input' ELSE 'already_exists' END AS result
      FROM judged AS line WHERE comes_again OR is_there ORDER BY line
"""

# The distribution that a line's key is of, and whether an earlier line of its key was refused.
DISTRIBUTION = """
    CASE WHEN recipient <> '' THEN (
        SELECT id FROM distribution
         WHERE pool_id = :pool_id AND distribution.recipient_lower = lower(line.recipient)
           AND distribution.reference = line.reference) END"""
REFUSED_BEFORE = """
    EXISTS (SELECT FROM batch_line
             WHERE batch_line.batch_id = :batch_id AND result = 'already_exists'
               AND canonical_code(batch_line.code) = line.canonical)"""


def _statement(sql: str, lines: str) -> TextClause:
    return text(sql.format(lines=lines, distribution=DISTRIBUTION, refused_before=REFUSED_BEFORE))


HAND_OUT_STAGED, LOOK_AND_ADD_STAGED, ADD_STAGED = (
    _statement(sql, STAGED) for sql in (HAND_OUT, LOOK_AND_ADD, ADD)
)
HAND_OUT_PARAMETERS, ADD_PARAMETERS = (_statement(sql, PARAMETERS) for sql in (HAND_OUT, ADD))

NEXT = text("""
    SELECT size, cardinality(lines) AS good, recipients IS NOT NULL AS handed_out
      FROM batch_chunk WHERE batch_id = :batch_id AND position = :position
""")

REFUSE = text("""
    INSERT INTO batch_line (batch_id, line, code, result, reason)
    SELECT :batch_id, * FROM unnest(CAST(:lines AS bigint[]), CAST(:codes AS text[]),
                                    CAST(:results AS line_result[]), CAST(:reasons AS text[]))
""")

# Whom the keys are for stands in the distributions now; of keys that will not be made, nowhere.
FORGET = """
    UPDATE batch_chunk
       SET recipients = NULL, recipient_names = NULL, recipient_references = NULL
     WHERE batch_id = :batch_id AND position {which} :position AND recipients IS NOT NULL
"""
FORGET_ONE, FORGET_REST = (text(FORGET.format(which=which)) for which in ("=", ">="))


class Refused(NamedTuple):
    """A line that made no key: why, in a word, and in a sentence where it is invalid."""

    line: int
    code: str
    result: str
    reason: str = ""


def work(session: Session, batch: Batch) -> int:
    """Work the next chunk of a batch and count it there; gives how many keys it made."""
    return (_generate if batch.kind == BatchKind.GENERATE else _import)(session, batch)


def add(session: Session, *, pool_id: int, lines: Sequence[Line]) -> list[Refused]:
    """Add the keys of a few lines, whose codes are well formed; gives those that made none."""
    parameters = {
        "pool_id": pool_id,
        "batch_id": None,
        "lines": [line.number for line in lines],
        "codes": [line.code for line in lines],
        "recipients": [line.recipient for line in lines],
        "names": [line.name for line in lines],
        "references": [line.reference for line in lines],
    }
    if any(line.recipient for line in lines):
        session.execute(HAND_OUT_PARAMETERS, parameters)
    return [Refused(*row) for row in session.execute(ADD_PARAMETERS, parameters)]


def forget(session: Session, batch: Batch) -> None:
    """Forget whom the keys were to be for that a batch will not make."""
    session.execute(FORGET_REST, {"batch_id": batch.id, "position": batch.worked})


def refuse(session: Session, batch_id: int, lines: Sequence[Refused]) -> None:
    """Write down which of a batch's lines made no key."""
    if lines:
        numbers, written, results, reasons = zip(*lines, strict=True)
        parameters = {"lines": numbers, "codes": written, "results": results, "reasons": reasons}
        arrays = {name: list(values) for name, values in parameters.items()}
        session.execute(REFUSE, {"batch_id": batch_id, **arrays})


def _import(session: Session, batch: Batch) -> int:
    place = {"pool_id": batch.pool_id, "batch_id": batch.id, "position": batch.worked}
    chunk = session.execute(NEXT, place).one()
    if chunk.handed_out:
        session.execute(HAND_OUT_STAGED, place)
    refused = _add_staged(session, place)
    if chunk.handed_out:
        session.execute(FORGET_ONE, place)
    refuse(session, batch.id, refused)
    made: int = chunk.good - len(refused)
    batch.worked += chunk.size
    batch.made += made
    return made


def _add_staged(session: Session, place: dict[str, Any]) -> list[Refused]:
    try:
        with session.begin_nested():
            rows = session.execute(LOOK_AND_ADD_STAGED, place).all()
    except IntegrityError as error:
        if not isinstance(error.orig, psycopg.errors.UniqueViolation):
            raise
        rows = session.execute(ADD_STAGED, place).all()
    return [Refused(*row) for row in rows]


def _generate(session: Session, batch: Batch) -> int:
    count = min(KEYS, batch.requested - batch.worked)
    made = codes.draw(_next_letters(batch, count))
    try:
        with session.begin_nested():
            _copy(session, batch, made)
    except psycopg.errors.UniqueViolation:
        _insert(session, batch, made)
    batch.worked += count
    batch.made += count
    return count


def _next_letters(batch: Batch, count: int) -> list[int]:
    """Give how many of the chunk's codes begin with each letter: the batch goes through them."""
    letters = batch.letters or codes.first_letters(batch.requested)
    ends = accumulate(letters)
    done, due = batch.worked, batch.worked + count
    return [
        max(0, min(end, due) - max(end - size, done))
        for end, size in zip(ends, letters, strict=True)
    ]


def _copy(session: Session, batch: Batch, made: codes.Codes) -> None:
    connection: psycopg.Connection = session.connection().connection.driver_connection  # type: ignore[assignment]  # the only driver
    with connection.cursor() as cursor, cursor.copy(COPY) as copy:
        copy.write(_lines(f"{batch.pool_id}\t{batch.id}\tt\t".encode(), made))


def _lines(before: bytes, made: codes.Codes) -> bytes:
    """Write each code on a line, after the same columns: in one go, not one call a key."""
    width = made.itemsize
    lines = np.empty((len(made), len(before) + width + 1), np.uint8)
    lines[:, : len(before)] = np.frombuffer(before, np.uint8)
    lines[:, len(before) : -1] = made.view(np.uint8).reshape(-1, width)
    lines[:, -1] = ord("\n")
    return lines.tobytes()


def _insert(session: Session, batch: Batch, made: codes.Codes) -> None:
    """Insert what is new of the codes, and draw others for the rest until all are made."""
    while missing := len(made):
        place = {"pool_id": batch.pool_id, "batch_id": batch.id}
        written = [code.decode() for code in made.tolist()]
        inserted = session.connection().execute(INSERT, {**place, "codes": written}).rowcount
        made = codes.draw(codes.first_letters(missing - inserted))
