"""Distributions: keys given to a recipient under a reference, and recalling them (K7)."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO, NamedTuple, Unpack, final

from sqlalchemy import BigInteger, ColumnElement, Select, func, select, text, true
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from worker import errors
from worker.database import patience
from worker.database.filters import ListFilters, by
from worker.database.lookup import Id
from worker.database.paging import Page, Paging, Selected, paged
from worker.pools import giving, mailed, pools
from worker.pools import labels as labelling
from worker.pools.giving import Asked, Given
from worker.pools.reading import NOTHING, Purpose, Read, ReadAs, opened
from worker.tables.labels import KeyState, MessageState
from worker.tables.mail import Message
from worker.tables.pools import Distribution, DistributionTally, Key, Pool
from worker.tenancy import addresses, history
from worker.tenancy.actors import Actor, Role
from worker.tenancy.templates import Wording

MAX_CODES = 1000  # codes in a distribution's answer; an export has all
LINES_PER_BLOCK = 5_000
HEADER = "email,name,reference,code\n"

RECALL = text("""
    WITH recalled AS (
        UPDATE distribution SET recalled_at = clock_now() WHERE id = :id AND recalled_at IS NULL)
    UPDATE key SET state = 'retired' WHERE distribution_id = :id AND state = 'issued'
""")

FIGURES = ("given", "redeemed", "retired")

# Changes of a pool's distributions since their figures were last compacted.
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
               AND key.state <> 'retired'
             ORDER BY key.id LIMIT :block) AS row
""")


class DistributionShape(TypedDict):
    """Keys handed to one recipient under one reference."""

    id: Id
    """The distribution's id."""
    pool: Id
    """The keys' pool."""
    recipient: str
    """The recipient: an e-mail address or a name."""
    name: str
    """The recipient's name."""
    reference: str
    """The reference, such as an order number."""
    distributed_at: datetime
    """When they were distributed."""
    recalled_at: datetime | None
    """When it was recalled: the unredeemed keys were retired."""
    given: int
    """How many keys the recipient was given."""
    redeemed: int
    """How many of them were redeemed."""
    retired: int
    """How many of them were retired."""
    message: Id | None
    """The mail that brings the recipient the keys; null if there is none."""
    mailed: MessageState | None
    """Whether that mail was sent."""


class DistributionMade(DistributionShape):
    """Keys handed out, with the keys."""

    repeated: bool
    """Whether the recipient had them already."""
    keys: list[str]
    """The first thousand of the keys that are not retired; none in a dry run, if they are new."""
    retired_keys: list[str]
    """The first thousand of those that are: nobody should pass them on."""


@final
class OneDistributionMade(DistributionMade):
    """Keys handed to one recipient."""

    note: str | None
    """Why the keys do not work yet, if they do not."""


class RowLeftOut(TypedDict):
    """A row of a table that is due no key."""

    line: int
    """The row's line."""
    reason: str
    """Why it is due none: a refunded order, say."""


@final
class DistributionsMade(TypedDict):
    """Keys handed to everybody in a table."""

    read: Read
    """What was read as what."""

    recipients: int
    """How many recipients there are."""
    given: int
    """How many keys they have."""
    items: list[DistributionMade]
    """What each has, in the table's order."""
    left_out: list[RowLeftOut]
    """The rows that are due no key."""
    note: str | None
    """Why the keys do not work yet, if they do not."""


class DistributionRecalled(DistributionShape):
    """A distribution that was recalled."""

    recalled: int
    """How many keys were retired by that."""


@dataclass(frozen=True)
class Filters(ListFilters):
    """Which distributions."""

    recipient: str | None = by("Those handed to this recipient.", longest=320)
    reference: str | None = by("Those handed out under this reference.", longest=320)


ALL = Filters()


def distribute(
    session: Session,
    *,
    actor: Actor,
    pool: str,
    recipient: str,
    count: int | None = None,
    reference: str = "",
    name: str = "",
    labels: Iterable[str] = (),
    mail: bool = False,
    template: Wording = None,
    dry_run: bool = False,
) -> OneDistributionMade:
    """Hand keys to a recipient, one unless told otherwise; gives the distribution with its `keys`.

    Idempotent: the same recipient and reference gives the same keys again. All of them carry the
    `labels` then, beside those that they had. With `mail`, the recipient is sent the keys, once, in
    the words of the owner's `template` or of this once, if such are given. A dry run gives the same,
    but for new keys, and changes nothing.

    Raises:
        InvalidInputError: there is no recipient, the count is not a whole number from 1, a label
            is none, or the keys are to be mailed and the recipient is no address.
        NotEnoughKeysError: the pool has fewer keys that nobody holds.
        DistributionRecalledError: what was handed out under this reference was recalled.
        AskedOtherwiseError: another number of keys was handed out under this reference.
        PoolOverError: the pool's keys do not work any more.
    """
    words = labelling.joined(labelling.checked(labels))
    asked = Asked(
        addresses.recipient(recipient),
        count,
        reference.strip(),
        name.strip(),
        labels=(words,),
        mailed=mail,
    )
    made = _distribute(session, actor, pool, [asked], template=template, dry_run=dry_run)
    (item,) = made.items
    return {**item, "note": made.note}


def distribute_file(
    session: Session,
    *,
    actor: Actor,
    pool: str,
    stream: BinaryIO,
    read_as: ReadAs = NOTHING,
    count: int | None = None,
    reference: str = "",
    mail: bool = False,
    template: Wording = None,
    dry_run: bool = False,
) -> DistributionsMade:
    """Hand keys to every recipient of a table, or to none; `mail_merge` writes them as CSV.

    `count` and `reference` are of the rows that say none. With `mail`, each is sent theirs, once.

    Raises:
        InvalidInputError: rows are wrong (the error has them all), or a column has to be told.
        RefusedError: as `distribute` does, with the row.
    """
    with patience.computing(session):
        table = opened(stream, read_as=read_as, purpose=Purpose.RECIPIENTS)
        recipients = table.recipients(reference=reference.strip())
    words = labelling.joined(read_as.labels)
    asked = giving.of_rows(recipients.rows, count=count, labels=words, mailed=mail)
    made = _distribute(session, actor, pool, asked, template=template, dry_run=dry_run)
    return {
        "read": table.read,
        "recipients": len(made.items),
        "given": sum(item["given"] for item in made.items),
        "items": made.items,
        "left_out": [{"line": row.line, "reason": row.reason} for row in recipients.left_out],
        "note": made.note,
    }


def recall(
    session: Session, *, actor: Actor, pool: str, recipient: str, reference: str = ""
) -> DistributionRecalled:
    """Retire the unredeemed keys of a distribution. Idempotent.

    Raises:
        NotFoundError: nothing was distributed to the recipient under the reference.
    """
    actor.require(Role.MANAGER)
    found = pools.find(session, actor=actor, pool=pool)
    statement = _rows(found).where(
        Distribution.recipient_lower.in_(addresses.spellings(recipient)),
        Distribution.reference == reference.strip(),
    )
    as_typed = Distribution.recipient_lower == recipient.strip().lower()
    row = session.execute(statement.order_by(as_typed.desc())).first()
    if row is None:
        raise errors.NotFoundError(
            f"Nothing was distributed to “{recipient}” under the reference “{reference}”."
        )
    retired = session.connection().execute(RECALL, {"id": row.Distribution.id}).rowcount
    if row.Distribution.recalled_at is None:
        of = row.Distribution
        told = {"recipient": of.recipient, "reference": of.reference, "count": retired}
        _remember(session, actor, "distribution recalled", found, {of.id: told})
    session.expire(row.Distribution)
    return {**shape(session.execute(statement).one()), "recalled": retired}


def listing(
    session: Session, *, actor: Actor, pool: str, filters: Filters = ALL, **page: Unpack[Paging]
) -> Page[DistributionShape]:
    """List a pool's distributions with their figures, newest first."""
    found = pools.find(session, actor=actor, pool=pool)
    statement = _rows(found).where(*chosen(filters))
    return paged(session, statement, by=Distribution.id, shape=shape, newest_first=True, **page)


def chosen(filters: Filters) -> Iterator[ColumnElement[bool]]:
    """Give the conditions that choose distributions.

    Raises:
        InvalidInputError: the recipient has an @ amid it, and is no address.
    """
    if filters.recipient is not None:
        yield Distribution.recipient_lower.in_(addresses.recipients(filters.recipient))
    if filters.reference is not None:
        yield Distribution.reference == filters.reference.strip()


def mail_merge(
    session: Session, *, actor: Actor, pool: str, distributions: list[str]
) -> Iterator[bytes]:
    """Give the keys of some distributions as CSV, a line a key, in blocks of many lines."""
    found = pools.find(session, actor=actor, pool=pool)
    place = {
        "pool_id": found.id,
        "ids": [int(id_) for id_ in distributions],
        "block": LINES_PER_BLOCK,
    }
    yield HEADER.encode()
    after = 0
    while (block := session.execute(MERGE, place | {"after": after}).one()).last is not None:
        after = block.last
        yield block.lines.encode()


def shape(row: Selected) -> DistributionShape:
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
        "message": str(row.message_id) if row.message_id else None,
        "mailed": row.mailed,
    }


# -------------------------------------------------------------------------------------- handing out


class _Made(NamedTuple):
    items: list[DistributionMade]
    note: str | None


def _distribute(
    session: Session,
    actor: Actor,
    pool: str,
    asked: list[Asked],
    *,
    template: Wording,
    dry_run: bool,
) -> _Made:
    actor.require(Role.MANAGER)
    found = pools.find(session, actor=actor, pool=pool)
    tried = session.begin_nested() if dry_run else None
    result = giving.give(session, found, asked)
    if result.fresh:
        words = labelling.split(*(cell for one in asked for cell in one.labels))
        labelled = {"labels": words} if words else {}
        _remember(session, actor, "keys distributed", found, result.told(asked), **labelled)
    if asked and asked[0].mailed:
        mailed.write(session, found, asked, result.ids, template=template)
    elif template:
        raise errors.InvalidInputError("A template goes with a mail.", field="template")
    items = _held(session, found, result)
    if tried is not None:
        tried.rollback()
        for item in items:
            item["keys"] = item["keys"] if item["repeated"] else []
    return _Made(items, result.note)


def _held(session: Session, pool: Pool, result: Given) -> list[DistributionMade]:
    """Give what each recipient holds now, in the order in which it was asked for.

    Retired keys are told apart: nobody should pass them on.
    """
    good, retired = (_codes(Key.state != KeyState.RETIRED), _codes(Key.state == KeyState.RETIRED))
    statement = _rows(pool).add_columns(good.label("good"), retired.label("gone"))
    rows = session.execute(statement.where(Distribution.id.in_(result.ids)))
    held = {row.Distribution.id: row for row in rows}
    return [
        {
            **shape(held[i]),
            "repeated": i not in result.fresh,
            "keys": held[i].good,
            "retired_keys": held[i].gone,
        }
        for i in dict.fromkeys(result.ids)
    ]


def _codes(which: ColumnElement[bool]) -> ColumnElement[list[str]]:
    first = (
        select(Key.code)
        .where(Key.distribution_id == Distribution.id, which)
        .order_by(Key.id)
        .limit(MAX_CODES)
    )
    return func.array(first.scalar_subquery())


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
        select(
            Distribution,
            *figures,
            Message.id.label("message_id"),
            Message.state.label("mailed"),
        )
        .join(
            Message,
            (Message.distribution_id == Distribution.id) & (Message.kind == "keys"),
            isouter=True,
        )
        .join(DistributionTally, DistributionTally.distribution_id == Distribution.id, isouter=True)
        .join(recent, recent.c.id == DistributionTally.distribution_id, isouter=True)
        .join(counted, true())
        .where(Distribution.pool_id == pool.id)
    )


def _remember(
    session: Session,
    actor: Actor,
    action: str,
    pool: Pool,
    distributions: Mapping[int, Mapping[str, object]],
    **detail: object,
) -> None:
    history.record(
        session,
        actor=actor,
        action=action,
        thing="distribution",
        thing_ids=distributions,
        organization_id=pool.organization_id,
        pool=str(pool.id),
        **detail,
    )
