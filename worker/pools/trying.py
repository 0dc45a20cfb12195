"""Dry runs: what would become of an input's keys, while nothing changes (K5a)."""

from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.orm import Session

from worker.database.connections import copy
from worker.pools import codes
from worker.pools.importing import Refused, invalid, known_among
from worker.pools.reading import Keys, Line
from worker.tables.labels import LineResult

# Gone with the transaction. What is unlike the others has its reason with it, until it is known.
CREATE = text("""
    CREATE TEMPORARY TABLE tried (
        line bigint NOT NULL, part int NOT NULL, code text NOT NULL, canonical text COLLATE "C" NOT NULL,
        known boolean NOT NULL, reason text NOT NULL)
    ON COMMIT DROP
""")
DROP = text("DROP TABLE IF EXISTS tried")
COPY = "COPY tried (line, part, code, canonical, known, reason) FROM STDIN"

# The first line of a key is added or exists already, the others are its duplicates; one that is unlike
# the others and has a key that nobody knows is invalid.
JUDGED = """
    SELECT line, part, code, reason, CASE
               WHEN reason <> '' AND NOT known AND NOT bool_or(reason = '') OVER same THEN 'invalid'
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
COUNT_TRIED, LIST_TRIED = (text(sql.format(judged=JUDGED)) for sql in (TALLY, REFUSED_LINES))


class Tried(NamedTuple):
    """What would become of an input: how many lines of each result, and the first that make no key."""

    tally: dict[LineResult, int]
    refused: list[Refused]


def try_out(session: Session, blocks: Iterable[Keys], *, pool_id: int, most: int) -> Tried:
    """Say what would become of an input's keys; gives so many of those that would make none."""
    session.execute(DROP)
    session.execute(CREATE)
    invalid_ = 0
    refused: list[Refused] = []
    for keys in blocks:
        copy(session, COPY, _rows(session, pool_id, keys))
        wrong = [line for line in keys.refused if not line.unlike]
        invalid_ += len(wrong)
        refused += [invalid(line) for line in wrong[: most - len(refused)]]
    tally = {LineResult(result): count for result, count in session.execute(COUNT_TRIED)}
    tally[LineResult.INVALID] = tally.get(LineResult.INVALID, 0) + invalid_
    refused += [Refused(*row) for row in session.execute(LIST_TRIED, {"most": most})]
    return Tried(tally, sorted(refused)[:most])


def _rows(session: Session, pool_id: int, keys: Keys) -> bytes:
    """Write the keys of a block as rows, with whether each is known."""
    good = (
        Line(number, part, code, "")
        for number, part, code in zip(keys.numbers, keys.all_parts(), keys.codes, strict=True)
    )
    lines = [*good, *(line for line in keys.refused if line.unlike)]
    forms = [codes.canonical(line.code) for line in lines]
    known = known_among(session, pool_id, forms)
    return "".join(
        f"{line.number}\t{line.part}\t{line.code}\t{form}\t{form in known}\t{line.reason}\n"
        for line, form in zip(lines, forms, strict=True)
    ).encode()
