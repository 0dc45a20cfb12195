"""Giving keys to recipients: so many of the pool's next, or named ones (K7).

Idempotent: the same recipient and reference gets the same keys. Either all requested keys are given,
or none; errors of all rows are reported at once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any, NamedTuple

from sqlalchemy import Row, select, text
from sqlalchemy.orm import Session

from worker import errors
from worker.pools import codes, meaning, pools
from worker.pools.reading import Recipient, Wrong, unfit_recipient, wrong_rows
from worker.tables.catalogue import Course
from worker.tables.labels import KeyState
from worker.tables.pools import Key, Pool
from worker.tables.tenancy import Organization

MOST_MAILED = 10_000  # keys in one mail, which carries them as a file of 200 kB
MOST = 10**9  # keys for one recipient; more is probably a typing error

# One transaction at a time gives from a pool, so that none fails for lack of keys that another one
# is about to release. A row that is there is locked, and not written.
TAKE_TURN = text("""
    INSERT INTO pool_turn VALUES (:pool_id)
    ON CONFLICT (pool_id) DO UPDATE SET pool_id = excluded.pool_id WHERE false
""")
# The pool's state now, with its owner's time zone, once the lock is held.
ENTER = (
    select(pools.STATE, Organization.time_zone).select_from(Pool).join(Course).join(Organization)
)

ASKED = """unnest(CAST(:recipients AS text[]), CAST(:names AS text[]), CAST(:references AS text[]))
           WITH ORDINALITY AS asked (recipient, name, reference, nth)"""

# Insert the requested distributions, numbered in order, and give all of them, those that existed
# included: the same recipient and reference is the same distribution (idempotent).
RECORD = """
    INSERT INTO distribution (pool_id, recipient, recipient_name, reference)
    SELECT :pool_id, recipient, name, reference FROM {asked} ORDER BY nth
    ON CONFLICT (pool_id, recipient_lower, reference) DO NOTHING
    RETURNING id
"""
FIND = """
    SELECT distribution.id, distribution.recalled_at,
           (SELECT count(*) FROM key WHERE key.distribution_id = distribution.id) AS given
      FROM {asked}
      JOIN distribution ON distribution.pool_id = :pool_id
                       AND distribution.recipient_lower = lower(asked.recipient)
                       AND distribution.reference = asked.reference
     ORDER BY nth
"""
RECORD_ASKED, FIND_ASKED = (text(sql.format(asked=ASKED)) for sql in (RECORD, FIND))

# The number of a pool's undistributed keys.
FREE = (
    "SELECT coalesce(sum(issued - distributed), 0)::bigint FROM pool_tally WHERE pool_id = :pool_id"
)
COUNT_FREE = text(FREE)

# Give out the pool's next undistributed keys; none if there are too few. A key that is being
# redeemed or retired is skipped (its row is locked).
GIVE = text(f"""
    WITH slot AS (
        SELECT id AS distribution_id, row_number() OVER (ORDER BY nth) AS nth
          FROM unnest(CAST(:ids AS bigint[]), CAST(:counts AS bigint[]))
               WITH ORDINALITY AS asked (id, count, nth),
               generate_series(1, asked.count)),
    free AS (
        SELECT id, row_number() OVER (ORDER BY id) AS nth
          FROM (SELECT id FROM key
                 WHERE pool_id = :pool_id AND state = 'issued' AND distribution_id IS NULL
                 ORDER BY id LIMIT CASE WHEN :total <= ({FREE}) THEN :total ELSE 0 END
                   FOR NO KEY UPDATE SKIP LOCKED) AS next)
    UPDATE key SET distribution_id = slot.distribution_id
      FROM free JOIN slot ON slot.nth = free.nth
     WHERE key.id = free.id
""")  # noqa: S608  # a constant

# The very keys that were named go to whom they were named for, unless somebody else holds them.
GIVE_NAMED = text("""
    UPDATE key SET distribution_id = named.distribution_id
      FROM unnest(CAST(:key_ids AS bigint[]), CAST(:ids AS bigint[])) AS named (key_id, distribution_id)
     WHERE key.id = named.key_id AND key.state = 'issued' AND key.distribution_id IS NULL
""")

# Label all that a distribution holds, or of it the very key: the labels that a key has stay.
LABEL = text("""
    UPDATE key SET labels = labels_together(key.labels, asked.labels)
      FROM (SELECT id, form, string_to_array(words, ', ') AS labels
              FROM unnest(CAST(:ids AS bigint[]), CAST(:forms AS text[]), CAST(:labels AS text[]))
                   AS given (id, form, words)) AS asked
     WHERE key.distribution_id = asked.id
       AND (asked.form = '' OR key.id = (SELECT meant.id FROM meant_key(asked.form) AS meant))
       AND NOT coalesce(key.labels, '{}') @> asked.labels
""")


@dataclass(frozen=True)
class Asked:
    """What a recipient is to have under a reference: so many keys, or the very ones of some codes.

    `count` is None where nobody said how many: one, or as many as they were given before. `lines` are
    those of a file that say so. `labels`, as `labels.joined` writes them, are of all that is given, or
    one for each of the codes. `mailed`: the recipient is to get a mail with them.
    """

    recipient: str
    count: int | None = None
    reference: str = ""
    name: str = ""
    lines: tuple[int, ...] = ()
    codes: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    mailed: bool = False

    @property
    def identity(self) -> tuple[str, str]:
        """What makes two of them the same distribution."""
        return self.recipient.lower(), self.reference

    @property
    def how_many(self) -> int:
        """How many keys a new distribution gets."""
        return len(self.codes) or self.count or 1

    @property
    def line(self) -> int:
        """The first line that says so; 0 where no file does."""
        return next(iter(self.lines), 0)


class Given(NamedTuple):
    """Distributions in the order in which they were asked for.

    Attributes:
        ids: of all that were asked for.
        fresh: those that are new.
        note: why the keys do not work yet; None where they do.
    """

    ids: list[int]
    fresh: set[int]
    note: str | None

    def told(self, asked: Sequence[Asked]) -> dict[int, dict[str, object]]:
        """Say of each new distribution what the history keeps: for whom, and how many."""
        return {
            id_: {"recipient": one.recipient, "reference": one.reference, "count": one.how_many}
            for id_, one in zip(self.ids, asked, strict=True)
            if id_ in self.fresh
        }


def of_rows(
    rows: Sequence[Recipient], *, count: int | None, labels: str = "", mailed: bool = False
) -> list[Asked]:
    """Make one of each recipient and reference of a table; `count` and `labels` are of rows without."""
    asked: dict[tuple[str, str], Asked] = {}
    for row in rows:
        named: tuple[str, ...] = (row.code,) if row.code else ()
        many = None if named else row.count or count
        labelled = (row.labels or labels,)
        line = (row.line,)
        one = Asked(
            row.recipient, many, row.reference, row.name, line, named, labelled, mailed=mailed
        )
        before = asked.get(one.identity)
        if before is None:
            asked[one.identity] = one
        else:
            asked[one.identity] = replace(
                before,
                lines=before.lines + one.lines,
                codes=before.codes + one.codes,
                labels=before.labels + one.labels,
            )
    return list(asked.values())


def take_turn(session: Session, pool_id: int) -> None:
    """Wait until no other transaction gives keys from a pool, and keep others out until this one ends."""
    session.execute(TAKE_TURN, {"pool_id": pool_id})


def give(session: Session, pool: Pool, asked: Sequence[Asked]) -> Given:
    """Give what is asked for, or nothing.

    Raises:
        PoolOverError: the pool's keys do not work any more.
        InvalidInputError: a recipient or a count is wrong, or a named key cannot be given.
        DistributionRecalledError: what somebody was given under this reference was recalled.
        AskedOtherwiseError: somebody was given another number of keys under this reference.
        NotEnoughKeysError: the pool has fewer keys that nobody holds.
    """
    faults = [(one.line, *fault) for one in asked for fault in _faults(one)]
    _refuse(
        [Wrong(line, reason) for line, _, reason in faults],
        field=next((field for _, field, _ in faults), None),
    )
    take_turn(session, pool.id)
    state, zone = session.execute(ENTER.where(Pool.id == pool.id)).one()
    pools.refuse_over(state)
    place = {"pool_id": pool.id}
    ids = session.scalars(RECORD_ASKED, place | _columns(asked)).all()
    fresh = set(ids)
    if len(ids) < len(asked):
        ids = _given_before(session, pool, asked, fresh)
    _give_named(session, pool, asked, ids)
    pairs = zip(ids, asked, strict=True)
    counts = {i: one.count or 1 for i, one in pairs if i in fresh and not one.codes}
    _give_next(session, place, counts)
    _label(session, asked, ids)
    note = pools.not_working_yet(state, starts_at=pool.starts_at, zone=zone)
    return Given(list(ids), fresh, note)


def _faults(asked: Asked) -> Iterator[tuple[str, str]]:
    """Give what is wrong with what is asked, each with its field."""
    if not asked.recipient:
        yield "recipient", "There is no recipient; give an e-mail address or a name."
    if reason := unfit_recipient(asked.recipient, asked.name, asked.reference):
        yield "recipient", reason
    if asked.mailed and "@" not in asked.recipient:
        yield "recipient", f"“{asked.recipient}” is no e-mail address to send keys to."
    if asked.mailed and max(asked.count or 1, len(asked.codes)) > MOST_MAILED:
        yield "count", f"A mail carries up to {MOST_MAILED:,} keys; export them and send the file."
    if asked.count is not None and not _is_count(asked.count):
        yield "count", f"{asked.count} keys cannot be distributed; give a whole number from 1."


def _is_count(count: object) -> bool:
    return type(count) is int and 1 <= count <= MOST


def _given_before(
    session: Session, pool: Pool, asked: Sequence[Asked], fresh: set[int]
) -> list[int]:
    """Find what is asked for where some of it was given before; refuse what does not agree with that."""
    found = session.execute(FIND_ASKED, {"pool_id": pool.id, **_columns(asked)}).all()
    _refuse_recalled(asked, found)
    _refuse_otherwise(asked, found, fresh)
    return [row.id for row in found]


def _refuse_recalled(asked: Sequence[Asked], found: Sequence[Row[Any]]) -> None:
    recalled = [one for one, row in zip(asked, found, strict=True) if row.recalled_at]
    if recalled:
        raise errors.DistributionRecalledError(
            _at_lines(
                (
                    one.line,
                    f"What {one.recipient} was given under this reference was recalled; use another "
                    "reference.",
                )
                for one in recalled
            )
        )


def _refuse_otherwise(asked: Sequence[Asked], found: Sequence[Row[Any]], fresh: set[int]) -> None:
    """Refuse another number of keys than was given: nobody knows which of both is meant."""
    wrong = [
        (
            one.line,
            f"{one.recipient} was given {row.given:,} keys under this reference, and not "
            f"{one.count:,}; use another reference for more.",
        )
        for one, row in zip(asked, found, strict=True)
        if row.id not in fresh and not one.codes and one.count not in (None, row.given)
    ]
    if wrong:
        raise errors.AskedOtherwiseError(_at_lines(iter(wrong)))


def _give_named(session: Session, pool: Pool, asked: Sequence[Asked], ids: Sequence[int]) -> None:
    named = [
        (code, line, id_)
        for one, id_ in zip(asked, ids, strict=True)
        for code, line in zip(one.codes, one.lines, strict=False)
    ]
    if not named:
        return
    meant = meaning.meant_by(
        [code for code, _, _ in named], meaning.TYPED.c.place, Key, within=Pool.id == pool.id
    )
    held: dict[int, Key] = dict(session.execute(meant).all())
    places = {
        key.id: place for place, key in sorted(held.items(), reverse=True)
    }  # the first of each
    _refuse(
        [
            Wrong(line, reason)
            for place, (_, line, id_) in enumerate(named, 1)
            if (reason := _why_not(held.get(place), id_, places, place))
        ]
    )
    free = {place: key.id for place, key in held.items() if key.distribution_id is None}
    theirs = [named[place - 1][2] for place in free]
    parameters = {"key_ids": list(free.values()), "ids": theirs}
    if free and session.connection().execute(GIVE_NAMED, parameters).rowcount < len(free):
        raise errors.NotEnoughKeysError(requested=len(named), free=len(named) - 1)


def _why_not(key: Key | None, distribution_id: int, places: dict[int, int], place: int) -> str:
    """Say why a named key cannot be given under a distribution; an empty text where it can."""
    if key is None:
        return "The pool has no such key."
    if key.state is not KeyState.ISSUED:
        return f"The key is {key.state} already."
    if places[key.id] != place:
        return "An earlier row has the same key."
    if key.distribution_id not in (None, distribution_id):
        return "The key was handed to somebody else already, or under another reference."
    return ""


def _give_next(session: Session, place: dict[str, int], counts: dict[int, int]) -> None:
    total = sum(counts.values())
    asked = {"ids": list(counts), "counts": list(counts.values()), "total": total}
    count = session.connection().execute(GIVE, place | asked).rowcount if total else 0
    if count < total:
        free = count + session.scalars(COUNT_FREE, place).one()
        raise errors.NotEnoughKeysError(requested=total, free=free if free < total else count)


def _label(session: Session, asked: Sequence[Asked], ids: Sequence[int]) -> None:
    """Put labels on what is given, and on what was given before under the same reference."""
    rows = [
        (id_, codes.canonical(code), words)
        for one, id_ in zip(asked, ids, strict=True)
        for words, code in zip_longest(one.labels, one.codes, fillvalue="")
        if words
    ]
    if rows:
        named = zip(("ids", "forms", "labels"), zip(*rows, strict=True), strict=True)
        session.execute(LABEL, {name: list(values) for name, values in named})


def _columns(asked: Sequence[Asked]) -> dict[str, list[str]]:
    return {
        "recipients": [one.recipient for one in asked],
        "names": [one.name for one in asked],
        "references": [one.reference for one in asked],
    }


def _refuse(wrong: list[Wrong], *, field: str | None = None) -> None:
    """Refuse what is wrong, of every line; of what is no file's, in a sentence."""
    if wrong and wrong[0].line:
        raise wrong_rows(sorted(wrong))
    if wrong:
        raise errors.InvalidInputError(wrong[0].reason, field=field)


def _at_lines(sentences: Iterator[tuple[int, str]]) -> str:
    return " ".join(f"Line {line}: {words}" if line else words for line, words in sentences)
