"""Imports: adding an input's keys at once or in chunks, or a dry run (K5, K6).

Keys are added in the order of their canonical forms, so that two imports of the same keys wait for
each other instead of deadlocking; it is also faster for the index.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import psycopg
from numpy.typing import NDArray
from sqlalchemy import Row, TextClause, text
from sqlalchemy.orm import Session

from worker.database.connections import copy
from worker.pools import codes
from worker.pools import labels as labelling
from worker.pools.reading import Keys, Line, in_chunks
from worker.tables.labels import LineResult
from worker.tables.pools import Batch

# Lines in one transaction: large enough that a commit costs little, small enough that a batch of a
# hundred need not wait for long.
LINES_PER_CHUNK = 100_000
MOST_ATTEMPTS = 5  # if others add the same keys concurrently

# The staged lines of a chunk, and a few lines given directly.
STAGED = """
    SELECT line, coalesce(part, 1) AS part, code, recipient, name, reference, labels
      FROM (SELECT unnest(lines) AS line, unnest(parts) AS part, unnest(codes) AS code,
                   unnest(recipients) AS recipient, unnest(recipient_names) AS name,
                   unnest(recipient_references) AS reference, unnest(labels) AS labels
              FROM batch_chunk WHERE batch_id = :batch_id AND position = :position) AS staged"""
GIVEN = """
    SELECT * FROM unnest(
        CAST(:lines AS bigint[]), CAST(:parts AS int[]), CAST(:codes AS text[]),
        CAST(:recipients AS text[]), CAST(:names AS text[]), CAST(:references AS text[]),
        CAST(:labels AS text[]))
        AS given (line, part, code, recipient, name, reference, labels)"""

# The distributions of the keys that the lines will make: of lines with the same key, the first one's. A
# recalled one that is used again is no longer recalled.
HAND_OUT = """
    INSERT INTO distribution (pool_id, recipient, recipient_name, reference)
    SELECT DISTINCT ON (lower(recipient), reference) :pool_id, recipient, name, reference
      FROM (SELECT DISTINCT ON (canonical) *
              FROM (SELECT line.*, canonical_code(code) AS canonical FROM ({lines}) AS line) AS line
             ORDER BY canonical, line, part) AS line
     WHERE recipient <> '' AND NOT EXISTS (SELECT FROM key WHERE key.canonical = line.canonical)
     ORDER BY lower(recipient), reference, line
    ON CONFLICT (pool_id, recipient_lower, reference) DO UPDATE SET recalled_at = NULL
     WHERE distribution.recalled_at IS NOT NULL
"""

# Add the new keys, and give the other lines. A line with the same key as an earlier line of the input,
# in this chunk or before, is a duplicate, whatever the earlier one's result. NOT IN, because the
# planner expects few rows of a CTE and would use a nested loop.
ADD = """
    WITH given AS MATERIALIZED (
        SELECT line.*, canonical_code(code) AS canonical FROM ({lines}) AS line),
    numbered AS MATERIALIZED (
        SELECT *, row_number() OVER (PARTITION BY canonical ORDER BY line, part) AS nth FROM given),
    added AS (
        INSERT INTO key (pool_id, batch_id, distribution_id, code, labels)
        SELECT :pool_id, :batch_id, {distribution}, code,
               coalesce(string_to_array(nullif(line.labels, ''), ', '), CAST(:common AS text[]))
          FROM numbered AS line WHERE nth = 1 ORDER BY canonical
        ON CONFLICT (canonical) DO NOTHING
        RETURNING canonical)
    SELECT line, part, code,
           CASE WHEN nth > 1
                  OR EXISTS (SELECT FROM key
                              WHERE key.canonical = line.canonical AND key.batch_id = :batch_id)
                  OR {refused_before}
                THEN 'duplicate_in_input' ELSE 'already_exists' END AS result
      FROM numbered AS line
     WHERE nth > 1 OR canonical NOT IN (SELECT canonical FROM added)
     ORDER BY line, part
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
               AND canonical_code(batch_line.code) = {canonical})"""


def _statement(sql: str, lines: str) -> TextClause:
    refused_before = REFUSED_BEFORE.format(canonical="line.canonical")
    return text(sql.format(lines=lines, distribution=DISTRIBUTION, refused_before=refused_before))


HAND_OUT_STAGED, ADD_STAGED = (_statement(sql, STAGED) for sql in (HAND_OUT, ADD))
HAND_OUT_GIVEN, ADD_GIVEN = (_statement(sql, GIVEN) for sql in (HAND_OUT, ADD))

# Codes are passed as one text, because an array's elements would be converted one by one.
NEXT = text("""
    SELECT size, lines, parts, array_to_string(codes, chr(10)) AS codes, last_line,
           recipients IS NOT NULL AS handed_out, labels IS NOT NULL AS labelled,
           coalesce((SELECT max(last_line) FROM batch_chunk AS before
                      WHERE before.batch_id = chunk.batch_id AND before.position < chunk.position), 0)
               AS after
      FROM batch_chunk AS chunk WHERE batch_id = :batch_id AND position = :position
""")

# Which canonical forms are existing keys, and which of them are from earlier lines of this import.
CAME_BEFORE = "(key.batch_id IS NOT DISTINCT FROM :batch_id OR {refused_before})".format(
    refused_before=REFUSED_BEFORE.format(canonical="key.canonical")
)
LOOK = """
    SELECT canonical, {came_before} AS came_before
      FROM key WHERE canonical = ANY (string_to_array(:canonicals, chr(10)) COLLATE "C")
"""
COPY = "COPY key (pool_id, batch_id, labels, code) FROM STDIN"

REFUSE = text("""
    INSERT INTO batch_line (batch_id, line, part, code, result, reason, unlike)
    SELECT :batch_id, * FROM unnest(
        CAST(:lines AS bigint[]), CAST(:parts AS int[]), CAST(:codes AS text[]),
        CAST(:results AS line_result[]), CAST(:reasons AS text[]), CAST(:unlike AS boolean[]))
""")

# A line that is unlike the others may still be an existing key, or a duplicate of another line. Where that
# line is in a later chunk, only the last chunk tells: it looks at all lines again.
KNOW = """
    WITH known AS (
        SELECT line.batch_id, line.line, line.part,
               {came_before} OR row_number() OVER (
                   PARTITION BY key.canonical ORDER BY line.line, line.part) > 1 AS came_before
          FROM batch_line AS line JOIN key ON key.canonical = canonical_code(line.code)
         WHERE line.batch_id = :batch_id AND line.line > :after AND line.line <= :last_line
           AND line.unlike AND line.result = 'invalid')
    UPDATE batch_line AS line
       SET reason = '', result = CAST(CASE WHEN came_before THEN 'duplicate_in_input'
                                           ELSE 'already_exists' END AS line_result)
      FROM known
     WHERE (line.batch_id, line.line, line.part) = (known.batch_id, known.line, known.part)
"""
LOOK_UP, KNOW_UNLIKE = (text(sql.format(came_before=CAME_BEFORE)) for sql in (LOOK, KNOW))

STAGE = text("""
    INSERT INTO batch_chunk (batch_id, position, size, last_line, lines, parts, codes,
                             recipients, recipient_names, recipient_references, labels)
    VALUES (:batch_id, :position, :size, :last_line, CAST(:lines AS bigint[]),
            CAST(:parts AS int[]), string_to_array(:codes, chr(10)), CAST(:recipients AS text[]),
            CAST(:names AS text[]), CAST(:references AS text[]), CAST(:labels AS text[]))
""")
AS_ARRAY = str.maketrans("[]", "{}", " ")

# Recipients are in the distributions by now; those of keys that will not be made are deleted.
FORGET = """
    UPDATE batch_chunk
       SET recipients = NULL, recipient_names = NULL, recipient_references = NULL
     WHERE batch_id = :batch_id AND position {which} :position AND recipients IS NOT NULL
"""
FORGET_ONE, FORGET_REST = (text(FORGET.format(which=which)) for which in ("=", ">="))

KNOWN = text("SELECT known_keys(:pool_id, CAST(:canonicals AS text[]))")

Canonicals = NDArray[np.bytes_]


class Refused(NamedTuple):
    """A refused line, or part of one: the result, and a reason if it is invalid."""

    line: int
    part: int
    code: str
    result: str
    reason: str = ""
    unlike: bool = False


# -------------------------------------------------------------------------------------- at once


def add(session: Session, *, pool_id: int, keys: Keys, labels: Sequence[str] = ()) -> list[Refused]:
    """Add a few keys, and give those lines that made none, in order.

    `labels` are those of the keys that have none of their own.
    """
    parameters = {"pool_id": pool_id, "batch_id": None, "common": list(labels) or None}
    parameters |= _arrays(keys)
    if any(owner.recipient for owner in keys.owners):
        session.execute(HAND_OUT_GIVEN, parameters)
    refused = [Refused(*row) for row in session.execute(ADD_GIVEN, parameters)]
    return sorted([*refused, *_refused_at_once(session, pool_id, keys)])


def _arrays(keys: Keys) -> dict[str, list[Any]]:
    owners = keys.all_owners()
    return {
        "lines": keys.numbers,
        "parts": keys.all_parts(),
        "codes": keys.codes,
        "recipients": [owner.recipient for owner in owners],
        "names": [owner.name for owner in owners],
        "references": [owner.reference for owner in owners],
        "labels": [owner.labels for owner in owners],
    }


def _refused_at_once(session: Session, pool_id: int, keys: Keys) -> Iterator[Refused]:
    """Refuse lines that cannot be added; a line that is unlike the others is looked up first."""
    unlike = [codes.canonical(line.code) for line in keys.refused if line.unlike]
    known = known_among(session, pool_id, unlike) if unlike else set()
    came = {codes.canonical(code) for code in keys.codes}
    for line in keys.refused:
        canonical = codes.canonical(line.code)
        if not (line.unlike and canonical in known):
            yield invalid(line)
            continue
        result = LineResult.DUPLICATE_IN_INPUT if canonical in came else LineResult.ALREADY_EXISTS
        came.add(canonical)
        yield Refused(line.number, line.part, line.code, result)


def known_among(session: Session, pool_id: int, canonicals: list[str]) -> set[str]:
    """Say which canonical forms are keys' already, in whatever pool, as an import into this one tells."""
    return set(session.scalars(KNOWN, {"pool_id": pool_id, "canonicals": canonicals}))


# ------------------------------------------------------------------------------------- in chunks


def stage(session: Session, batch_id: int, blocks: Iterable[Keys]) -> int:
    """Store an input's keys in chunks, to be worked later; gives their number."""
    position = 0
    for keys in in_chunks(blocks, LINES_PER_CHUNK):
        counted = {"position": position, "size": len(keys), "last_line": keys.last_line}
        session.execute(STAGE, {"batch_id": batch_id, **_staged(keys), **counted})
        refuse(session, batch_id, list(map(invalid, keys.refused)))
        position += len(keys)
    return position


def work(session: Session, batch: Batch) -> int:
    """Work the next chunk of an import and count it there; gives how many keys it made."""
    place: dict[str, Any] = {"pool_id": batch.pool_id, "batch_id": batch.id}
    place |= {"position": batch.worked, "common": batch.labels}
    chunk = session.execute(NEXT, place).one()
    is_last = batch.worked + chunk.size == batch.requested
    place |= {"after": 0 if is_last else chunk.after, "last_line": chunk.last_line}
    if chunk.handed_out or chunk.labelled:
        session.execute(HAND_OUT_STAGED, place)
        refused = [Refused(*row) for row in session.execute(ADD_STAGED, place)]
        session.execute(FORGET_ONE, place)
    else:
        refused = _add_at_best(session, place, _Chunk(chunk))
    refuse(session, batch.id, refused)
    session.execute(KNOW_UNLIKE, place)
    made: int = len(chunk.lines) - len(refused)
    batch.worked += chunk.size
    batch.made += made
    return made


def forget(session: Session, batch: Batch) -> None:
    """Delete the recipients of keys that a batch will not make."""
    session.execute(FORGET_REST, {"batch_id": batch.id, "position": batch.worked})


def refuse(session: Session, batch_id: int, lines: Sequence[Refused]) -> None:
    """Record a batch's refused lines."""
    if lines:
        names = ("lines", "parts", "codes", "results", "reasons", "unlike")
        arrays = {
            name: list(some) for name, some in zip(names, zip(*lines, strict=True), strict=True)
        }
        session.execute(REFUSE, {"batch_id": batch_id, **arrays})


class _Chunk:
    """The lines of a chunk without recipients, by canonical form."""

    def __init__(self, chunk: Row[Any]) -> None:
        self._lines, self._parts = chunk.lines, chunk.parts
        self._codes = chunk.codes.encode().split(b"\n") if chunk.lines else []
        canonicals = chunk.codes.upper().encode().translate(None, b"-_. ").split(b"\n")
        # In order, each form with the position of its first line.
        self.forms, self.places = np.unique(
            np.array(canonicals if chunk.lines else [], np.bytes_), return_index=True
        )

    def rows(self, new: NDArray[np.bool_], before: bytes) -> bytes:
        """Write the codes of some forms as rows, after the same columns."""
        codes = [self._codes[place] for place in self.places[new].tolist()]
        return before + (b"\n" + before).join(codes) + b"\n" if codes else b""

    def refused(self, known: dict[str, bool]) -> list[Refused]:
        """Give the refused lines; `known` maps existing forms to whether they are from an earlier line."""
        found = np.searchsorted(self.forms, np.array(list(known), np.bytes_))
        first = zip(self.places[found].tolist(), known.values(), strict=True)
        again = np.ones(len(self._codes), np.bool_)
        again[self.places] = False
        later = ((place, True) for place in np.flatnonzero(again).tolist())
        return sorted(self._refused(place, came_before=came) for place, came in chain(first, later))

    def _refused(self, place: int, *, came_before: bool) -> Refused:
        result = LineResult.DUPLICATE_IN_INPUT if came_before else LineResult.ALREADY_EXISTS
        part = self._parts[place] if self._parts else 1
        return Refused(self._lines[place], part, self._codes[place].decode(), result)


def _add_at_best(session: Session, place: dict[str, Any], chunk: _Chunk) -> list[Refused]:
    """Look up which keys exist, and add the others, which is twice as fast as trying each.

    If somebody else adds one of them concurrently, they are looked up again.
    """
    before = b"%d\t%d\t%s\t" % (
        place["pool_id"],
        place["batch_id"],
        labelling.copied(place["common"]),
    )
    for _ in range(MOST_ATTEMPTS):
        asked = place | {"canonicals": b"\n".join(chunk.forms.tolist()).decode()}
        known = {row.canonical: row.came_before for row in session.execute(LOOK_UP, asked)}
        new = ~np.isin(chunk.forms, np.array(list(known), np.bytes_))
        try:
            with session.begin_nested():
                copy(session, COPY, chunk.rows(new, before))
        except psycopg.errors.UniqueViolation:
            continue
        return chunk.refused(known)
    return [Refused(*row) for row in session.execute(ADD_STAGED, place)]


def _staged(keys: Keys) -> dict[str, object]:
    arrays = _arrays(keys) if keys.owners else {}
    handed_out = any(arrays.get("recipients", ()))
    return {
        "lines": str(keys.numbers).translate(AS_ARRAY),
        "parts": str(keys.parts).translate(AS_ARRAY) if keys.parts else None,
        "codes": "\n".join(keys.codes),
        **{
            name: arrays[name] if handed_out else None
            for name in ("recipients", "names", "references")
        },
        "labels": arrays["labels"] if any(arrays.get("labels", ())) else None,
    }


def invalid(line: Line) -> Refused:
    """Refuse a line that cannot be a key."""
    return Refused(*line[:3], LineResult.INVALID, line.reason, line.unlike)
