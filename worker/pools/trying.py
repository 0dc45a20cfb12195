"""Dry runs: what would become of an input's keys, while nothing changes (K5a)."""

import sqlite3
from collections.abc import Callable
from contextlib import closing

from sqlalchemy.orm import Session

from worker.database import patience
from worker.pools import codes
from worker.pools.import_reports import MAX_REFUSED, ImportReport, shape
from worker.pools.importing import Refused, invalid, known_among
from worker.pools.reading import Input, Keys, Line
from worker.tables.labels import LineResult

# In a file of ours that is gone when it is closed, since the web's login makes no tables, not even temporary
# ones. What is unlike the others has its reason with it, until it is known.
CREATE = """
    CREATE TABLE tried (
        line integer NOT NULL, part integer NOT NULL, code text NOT NULL, canonical text NOT NULL,
        known integer NOT NULL, reason text NOT NULL)
"""
ADD = "INSERT INTO tried VALUES (?, ?, ?, ?, ?, ?)"

# The first line of a key is added or exists already, the others are its duplicates; one that is unlike
# the others and has a key that nobody knows is invalid.
JUDGED = """
    SELECT line, part, code, reason, CASE
               WHEN reason <> '' AND NOT known AND max(reason = '') OVER same = 0 THEN 'invalid'
               WHEN row_number() OVER (same ORDER BY reason <> '', line, part) > 1
                   THEN 'duplicate_in_input'
               WHEN known THEN 'already_exists'
               ELSE 'added' END AS result
      FROM tried WINDOW same AS (PARTITION BY canonical)
"""
TALLY = "SELECT result, count(*) FROM ({judged}) AS judged GROUP BY result"
REFUSED_LINES = """
    SELECT line, part, code, result, CASE result WHEN 'invalid' THEN reason ELSE '' END
      FROM ({judged}) AS judged WHERE result <> 'added' ORDER BY line, part LIMIT :most
"""
COUNT_TRIED, LIST_TRIED = (sql.format(judged=JUDGED) for sql in (TALLY, REFUSED_LINES))

Count = Callable[[set[str]], None]


def try_out(session: Session, table: Input, *, pool_id: int, count: Count) -> ImportReport:
    """Say what would become of an input's keys.

    `count` is called with the keys of each block that exist already, and ends the trial by raising.
    """
    blocks = table.keys()
    with patience.computing(session), closing(sqlite3.connect("")) as trial:
        trial.execute(CREATE)
        invalid_ = 0
        refused: list[Refused] = []
        for keys in blocks:
            trial.executemany(ADD, _rows(session, pool_id, keys, count))
            wrong = [line for line in keys.refused if not line.unlike]
            invalid_ += len(wrong)
            refused += [invalid(line) for line in wrong[: MAX_REFUSED - len(refused)]]
        tally = {LineResult(result): number for result, number in trial.execute(COUNT_TRIED)}
        refused += [Refused(*row) for row in trial.execute(LIST_TRIED, {"most": MAX_REFUSED})]
    tally[LineResult.INVALID] = tally.get(LineResult.INVALID, 0) + invalid_
    added = tally.get(LineResult.ADDED, 0)
    first = sorted(refused)[:MAX_REFUSED]
    return shape(batch=None, read=table.read, added=added, tally=tally, refused=first)


def _rows(session: Session, pool_id: int, keys: Keys, count: Count) -> list[tuple[object, ...]]:
    """Give the keys of a block as rows, with whether each is known."""
    good = (
        Line(number, part, code, "")
        for number, part, code in zip(keys.numbers, keys.all_parts(), keys.codes, strict=True)
    )
    lines = [*good, *(line for line in keys.refused if line.unlike)]
    forms = [codes.canonical(line.code) for line in lines]
    known = known_among(session, pool_id, forms)
    count(known)
    return [
        (line.number, line.part, line.code, form, form in known, line.reason)
        for line, form in zip(lines, forms, strict=True)
    ]
