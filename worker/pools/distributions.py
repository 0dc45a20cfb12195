"""Distributions: keys handed to a recipient under a reference, once, and recalled (K7)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, BinaryIO, final

from sqlalchemy import BigInteger, Select, func, select, text, true
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from worker import errors
from worker.database.lookup import Id
from worker.database.paging import Page, paged
from worker.pools import pools
from worker.pools.reading import Record, Table, table, unfit_recipient
from worker.tables.labels import KeyState
from worker.tables.pools import Distribution, DistributionTally, Key, Pool
from worker.tenancy import addresses, history
from worker.tenancy.actors import Actor, Role

MOST = 10**9  # keys for one recipient; more is a typing error
LONGEST_COUNT = 12
MAX_CODES = 1000  # codes in a distribution's answer; an export gives all
BLOCK = 5_000
HEADER = "email,name,reference,code\n"

# One distribution at a time per pool. Otherwise one could be refused for lack of keys while another
# that holds them rolls back.
DISTRIBUTION_LOCK = text(
    "SELECT pg_advisory_xact_lock(hashtextextended('keypool.distribution', :pool_id))"
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
    SELECT distribution.id
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

RECALL = text("""
    WITH recalled AS (
        UPDATE distribution SET recalled_at = clock_now() WHERE id = :id AND recalled_at IS NULL)
    UPDATE key SET state = 'retired' WHERE distribution_id = :id AND state = 'issued'
""")

FIGURES = ("given", "redeemed", "retired")

# What changed in a pool's distributions since the last fold.
RECENT = text("""
    SELECT change.id, sum(given)::bigint AS given, sum(change.redeemed)::bigint AS redeemed,
           sum(change.retired)::bigint AS retired
      FROM pool_tally, unnest(distribution_ids, their_given, their_redeemed, their_retired)
                    AS change (id, given, redeemed, retired)
     WHERE pool_id = :pool_id
     GROUP BY change.id
""").columns(**dict.fromkeys(("id", *FIGURES), BigInteger))

MERGE = text("""
    SELECT max(row.id) AS last, string_agg(row.line, '') AS lines
      FROM (SELECT key.id,
                   concat(csv_cell(recipient), ',', csv_cell(recipient_name), ',',
                          csv_cell(reference), ',', key.code, chr(10)) AS line
              FROM key JOIN distribution ON distribution.id = key.distribution_id
             WHERE distribution.pool_id = :pool_id AND distribution.id = ANY (:ids) AND key.id > :after
             ORDER BY key.id LIMIT :block) AS row
""")


class DistributionShape(TypedDict):
    """Keys handed to one recipient under one reference."""

    id: Id
    """The distribution's id."""
    pool: Id
    """The pool that they are of."""
    recipient: str
    """To whom they were handed: an e-mail address or a name."""
    name: str
    """What the recipient is called."""
    reference: str
    """Under which reference, such as an order number."""
    distributed_at: datetime
    """When they were handed out."""
    recalled_at: datetime | None
    """When what was unredeemed of them was retired."""
    given: int
    """How many keys the recipient was handed."""
    redeemed: int
    """How many of them were redeemed."""
    retired: int
    """How many of them were retired."""


@final
class DistributionMade(DistributionShape):
    """Keys handed out, with the keys."""

    repeated: bool
    """Whether the recipient had them already."""
    keys: list[str]
    """The first thousand of the keys."""


@final
class DistributionsMade(TypedDict):
    """Keys handed to everybody in a table."""

    recipients: int
    """How many recipients there are."""
    given: int
    """How many keys they have."""
    items: list[DistributionMade]
    """What each has, in the table's order."""


class DistributionRecalled(DistributionShape):
    """A distribution that was recalled."""

    recalled: int
    """How many keys were retired by that."""


@dataclass(frozen=True)
class Asked:
    """How many keys a recipient is to have under a reference; `line` is where a file says so."""

    recipient: str
    count: int = 1
    reference: str = ""
    name: str = ""
    line: int | None = None

    @property
    def identity(self) -> tuple[str, str]:
        """What makes two of them the same distribution."""
        return self.recipient.lower(), self.reference


def distribute(
    session: Session,
    *,
    actor: Actor,
    pool: str,
    recipient: str,
    count: int = 1,
    reference: str = "",
    name: str = "",
) -> DistributionMade:
    """Hand keys to a recipient. Idempotent: the same recipient and reference gives the same keys again.

    Raises:
        InvalidInputError: there is no recipient, or the count is not a whole number from 1.
        NotEnoughKeysError: the pool has fewer keys that nobody holds.
        DistributionRecalledError: what was handed out under this reference was recalled.
    """
    asked = Asked(addresses.recipient(recipient), count, reference.strip(), name.strip())
    (given,) = _distribute(session, actor, pool, [asked])["items"]
    return given


def distribute_file(
    session: Session, *, actor: Actor, pool: str, stream: BinaryIO
) -> DistributionsMade:
    """Hand keys to every recipient of a table (`email,name,count,reference`), or to none.

    `mail_merge` writes what was given as CSV.

    Raises:
        InvalidInputError: a line has no recipient or a wrong count; the error knows the line.
    """
    asked: dict[tuple[str, str], Asked] = {}
    opened = table(stream)
    if "recipient" not in opened.places and "name" not in opened.places:
        raise errors.InvalidInputError(
            "The first line names no column for recipients; begin with email,name,count,reference."
        )
    for record in opened.records:
        one = _asked(record, opened)
        if (before := asked.setdefault(one.identity, one)).count != one.count:
            raise _wrong(
                one, f"It asks for other than line {before.line} under the same reference."
            )
    return _distribute(session, actor, pool, list(asked.values()))


def recall(
    session: Session, *, actor: Actor, pool: str, recipient: str, reference: str = ""
) -> DistributionRecalled:
    """Retire the unredeemed keys of a distribution. Idempotent: recalling again changes nothing.

    Raises:
        NotFoundError: nothing was distributed to the recipient under the reference.
    """
    actor.require(Role.MANAGER)
    found = pools.find(session, actor=actor, pool=pool)
    wanted = _rows(found).where(
        Distribution.recipient_lower.in_(addresses.spellings(recipient)),
        Distribution.reference == reference.strip(),
    )
    as_typed = Distribution.recipient_lower == recipient.strip().lower()
    row = session.execute(wanted.order_by(as_typed.desc())).first()
    if row is None:
        raise errors.NotFoundError(
            f"Nothing was distributed to “{recipient}” under the reference “{reference}”."
        )
    retired = session.connection().execute(RECALL, {"id": row.Distribution.id}).rowcount
    if row.Distribution.recalled_at is None:
        _remember(session, actor, "distribution recalled", found, [row.Distribution.id])
    session.expire(row.Distribution)
    return {**shape(session.execute(wanted).one()), "recalled": retired}


def listing(
    session: Session,
    *,
    actor: Actor,
    pool: str,
    recipient: str | None = None,
    reference: str | None = None,
    after: str | None = None,
    limit: int = 100,
) -> Page[DistributionShape]:
    """List a pool's distributions with their figures, newest first."""
    wanted = _rows(pools.find(session, actor=actor, pool=pool))
    if recipient is not None:
        wanted = wanted.where(Distribution.recipient_lower.in_(addresses.spellings(recipient)))
    if reference is not None:
        wanted = wanted.where(Distribution.reference == reference.strip())
    return paged(
        session,
        wanted,
        by=Distribution.id,
        after=after,
        limit=limit,
        shape=shape,
        newest_first=True,
    )


def mail_merge(
    session: Session, *, actor: Actor, pool: str, distributions: list[str]
) -> Iterator[bytes]:
    """Give the keys of some distributions as CSV, a line a key, in blocks of many lines."""
    found = pools.find(session, actor=actor, pool=pool)
    place = {"pool_id": found.id, "ids": [int(id_) for id_ in distributions], "block": BLOCK}
    yield HEADER.encode()
    after = 0
    while (block := session.execute(MERGE, place | {"after": after}).one()).last is not None:
        after = block.last
        yield block.lines.encode()


def shape(row: Any) -> DistributionShape:
    """Give a distribution's public fields: its figures, and without its codes."""
    distribution: Distribution = row.Distribution
    return {
        "id": str(distribution.id),
        "pool": str(distribution.pool_id),
        "recipient": distribution.recipient,
        "name": distribution.recipient_name,
        "reference": distribution.reference,
        "distributed_at": distribution.distributed_at,
        "recalled_at": distribution.recalled_at,
        "given": row.given,
        "redeemed": row.redeemed,
        "retired": row.retired,
    }


# -------------------------------------------------------------------------------------- handing out


def _distribute(session: Session, actor: Actor, pool: str, asked: list[Asked]) -> DistributionsMade:
    actor.require(Role.MANAGER)
    found = pools.find(session, actor=actor, pool=pool)
    for one in asked:
        _check(one)
    place = {"pool_id": found.id}
    session.execute(DISTRIBUTION_LOCK, place)
    ids = session.scalars(RECORD_ASKED, place | _columns(asked)).all()
    fresh = set(ids)
    if len(ids) < len(asked):
        ids = session.scalars(FIND_ASKED, place | _columns(asked)).all()
    _give(session, place, {i: one.count for i, one in zip(ids, asked, strict=True) if i in fresh})
    if fresh:
        _remember(session, actor, "keys distributed", found, list(fresh))
    items = _held(session, found, ids, fresh)
    return {"recipients": len(items), "given": sum(i["given"] for i in items), "items": items}


def _give(session: Session, place: dict[str, int], counts: dict[int, int]) -> None:
    total = sum(counts.values())
    asked = {"ids": list(counts), "counts": list(counts.values()), "total": total}
    given = session.connection().execute(GIVE, place | asked).rowcount if total else 0
    if given < total:
        free = given + session.scalars(COUNT_FREE, place).one()
        raise errors.NotEnoughKeysError(wanted=total, free=free if free < total else given)


def _held(
    session: Session, pool: Pool, ids: Sequence[int], fresh: set[int]
) -> list[DistributionMade]:
    """Give what each recipient holds now, in the order in which it was asked for."""
    first = (
        select(Key.code)
        .where(Key.distribution_id == Distribution.id)
        .order_by(Key.id)
        .limit(MAX_CODES)
    )
    codes = func.array(first.scalar_subquery())
    wanted = _rows(pool).add_columns(codes.label("codes")).where(Distribution.id.in_(ids))
    held = {row.Distribution.id: row for row in session.execute(wanted)}
    if any(row.Distribution.recalled_at for row in held.values()):
        raise errors.DistributionRecalledError
    return [
        {**shape(held[i]), "repeated": i not in fresh, "keys": held[i].codes}
        for i in dict.fromkeys(ids)
    ]


def _rows(pool: Pool) -> Select[Any]:
    """Select a pool's distributions with their figures: kept ones of the large, counted of the small."""
    recent = RECENT.bindparams(pool_id=pool.id).subquery("recent")
    counted = (
        select(
            func.count().label("given"),
            func.count().filter(Key.state == KeyState.REDEEMED).label("redeemed"),
            func.count().filter(Key.state == KeyState.RETIRED).label("retired"),
        )
        .where(Key.distribution_id == Distribution.id, DistributionTally.distribution_id.is_(None))
        .correlate(Distribution, DistributionTally)
        .lateral()
    )
    figures = [
        (
            counted.c[figure]
            + func.coalesce(getattr(DistributionTally, figure), 0)
            + func.coalesce(recent.c[figure], 0)
        ).label(figure)
        for figure in FIGURES
    ]
    return (
        select(Distribution, *figures)
        .join(DistributionTally, DistributionTally.distribution_id == Distribution.id, isouter=True)
        .join(recent, recent.c.id == DistributionTally.distribution_id, isouter=True)
        .join(counted, true())
        .where(Distribution.pool_id == pool.id)
    )


def _columns(asked: list[Asked]) -> dict[str, list[str]]:
    return {
        "recipients": [one.recipient for one in asked],
        "names": [one.name for one in asked],
        "references": [one.reference for one in asked],
    }


# ------------------------------------------------------------------------------------ what is asked


def _asked(record: Record, opened: Table) -> Asked:
    recipient, name = opened.cell(record, "recipient"), opened.cell(record, "name")
    count = opened.cell(record, "count") or "1"
    whom = addresses.recipient(recipient or name, line=record.number)
    asked = Asked(whom, -1, opened.cell(record, "reference"), name, record.number)
    if not (count.isascii() and count.isdecimal() and len(count) < LONGEST_COUNT):
        raise _wrong(asked, f"“{count[:20]}” is not a count; give a whole number from 1.")
    return replace(asked, count=int(count))


def _check(asked: Asked) -> None:
    if not asked.recipient:
        raise _wrong(asked, "There is no recipient; give an e-mail address or a name.")
    if reason := unfit_recipient(asked.recipient, asked.name, asked.reference):
        raise _wrong(asked, reason)
    if type(asked.count) is not int or not 1 <= asked.count <= MOST:
        raise _wrong(
            asked, f"{asked.count} keys cannot be distributed; give a whole number from 1."
        )


def _wrong(asked: Asked, reason: str) -> errors.InvalidInputError:
    where = f"Line {asked.line}: " if asked.line else ""
    return errors.InvalidInputError(where + reason, line=asked.line)


def _remember(
    session: Session, actor: Actor, action: str, pool: Pool, distributions: list[int]
) -> None:
    history.record(
        session,
        actor=actor,
        action=action,
        thing="distribution",
        thing_ids=distributions,
        organization_id=pool.organization_id,
    )
