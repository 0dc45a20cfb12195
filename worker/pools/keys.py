"""Keys: adding, finding and listing them.

A code is found by its canonical form, else as a person may have misread a generated one (K4).
Results have codes; messages never have a whole code, because they are logged and shown.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import BinaryIO, Unpack

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    String,
    Text,
    any_,
    cast,
    literal,
    select,
    true,
)
from sqlalchemy.orm import Session, outerjoin
from typing_extensions import TypedDict

from worker import errors
from worker.database import patience
from worker.database.filters import by
from worker.database.lookup import Id
from worker.database.paging import Page, Paging, Selected, paged
from worker.pools import (
    batches,
    codes,
    distributions,
    import_reports,
    importing,
    meaning,
    pools,
    trying,
)
from worker.pools.finding import Finds
from worker.pools.import_reports import ImportReport
from worker.pools.labels import split as split_labels
from worker.pools.reading import NOTHING, Input, Keys, ReadAs, joined, opened, typed
from worker.tables.labels import KeyState, LineResult
from worker.tables.learning import Assignment, Learner
from worker.tables.pools import Distribution, Key, Pool
from worker.tables.tenancy import Organization
from worker.tenancy import history
from worker.tenancy.actors import Actor, Role


class KeyShape(TypedDict):
    """A training key."""

    id: Id
    """The key's id."""
    code: str
    """The key, as it was supplied or generated."""
    pool: Id
    """The key's pool."""
    state: KeyState
    """Its state."""
    recipient: str | None
    """The recipient that it was given to; null if none."""
    reference: str | None
    """The distribution's reference, such as an order number."""
    distributed_at: datetime | None
    """When it was distributed."""
    redeemed_by: str | None
    """The learner who redeemed it, by e-mail address."""
    redeemed_at: datetime | None
    """When it was redeemed."""
    assignment: Id | None
    """The course assignment that it gave."""
    labels: list[str]
    """A few words each, for filters and reports."""


@dataclass(frozen=True)
class Filters(distributions.Filters):
    """Which of a pool's keys."""

    state: KeyState | None = by("Those that are so.")
    undistributed: bool = by("Only keys that were not distributed.", default=False)
    label: str | None = by("Those that carry this label, or all of several: a, b.")


ALL = Filters()
AT_ONCE = 500  # lines that are added synchronously; more are a batch (K6)
# A key's assignment. Only redeemed keys are joined; an undone assignment's key is issued again.
SPENT = (
    select(Assignment)
    .where(Key.state != KeyState.ISSUED, Assignment.key_id == Key.id, Assignment.undone.is_(False))
    .limit(1)
    .lateral("spent")
)

# A key with its recipient and its learner.
KEYS = outerjoin(Key, Distribution, Distribution.id == Key.distribution_id)
KEYS = outerjoin(KEYS, SPENT, true())
KEYS = outerjoin(KEYS, Learner, Learner.id == SPENT.c.learner_id)
KEYS = outerjoin(KEYS, Organization, Organization.id == SPENT.c.organization_id)
# Columns instead of ORM objects, and composed once, because both are a large part of a page's cost.
ROWS = select(
    cast(Key.id, String).label("key_id"),
    Key.code,
    cast(Key.pool_id, String).label("pool"),
    cast(Key.state, String).label("state"),
    Distribution.recipient,
    Distribution.reference,
    Distribution.distributed_at,
    Learner.email.label("redeemed_by"),
    SPENT.c.redeemed_at,
    cast(SPENT.c.id, String).label("assignment"),
    Key.labels,
).select_from(KEYS)


def add_keys(
    session: Session,
    *,
    actor: Actor,
    pool: str,
    codes: Iterable[str],
    read_as: ReadAs = NOTHING,
    dry_run: bool = False,
) -> ImportReport:
    """Add individual codes to a pool; gives an import report.

    Up to 500 are added at once; more are a batch, which the report names. A dry run gives the same
    report and changes nothing.

    Raises:
        InvalidInputError: there is no code at all.
    """
    return _add(session, actor, pool, typed(codes, read_as=read_as), dry_run)


def import_keys(
    session: Session,
    *,
    actor: Actor,
    pool: str,
    stream: BinaryIO,
    read_as: ReadAs = NOTHING,
    dry_run: bool = False,
) -> ImportReport:
    """Add the keys of a file, as `worker.pools.reading` reads it; gives an import report.

    Up to 500 are added at once; more are a batch, which the report names. A dry run gives the same
    report and changes nothing.

    Raises:
        InvalidInputError: the file is no table of keys, or the caller must say what a column means.
    """
    with patience.computing(session):
        table = opened(stream, read_as=read_as)
    return _add(session, actor, pool, table, dry_run)


def listing(
    session: Session,
    *,
    actor: Actor,
    pool: str,
    filters: Filters = ALL,
    **page: Unpack[Paging],
) -> Page[KeyShape]:
    """List a pool's keys in the order of creation, a page at a time."""
    found = pools.find(session, actor=actor, pool=pool)
    statement = ROWS.where(*chosen(session, found, filters))
    return paged(session, statement, by=Key.id, shape=shape, sorts=Filters.sorts, **page)


def find(session: Session, *, actor: Actor, code: str) -> Key:
    """Find the key that a code means (K4), in the actor's organizations.

    Raises:
        NotFoundError: there is none; the message says if the code is mistyped.
    """
    found: Key | None = session.scalars(
        meaning.meant_by([code], Key, within=actor.sees(Pool.organization_id))
    ).one_or_none()
    if found is None:
        raise missing(code)
    return found


def chosen(session: Session, pool: Pool, filters: Filters) -> list[ColumnElement[bool]]:
    """Give the conditions of the filters."""
    conditions = [Key.pool_id == pool.id]
    if filters.state is not None:
        conditions.append(Key.state == filters.state)
    if filters.undistributed:
        conditions.append(Key.distribution_id.is_(None))
    if filters.recipient is not None or filters.reference is not None:
        held = select(Distribution.id).where(
            Distribution.pool_id == pool.id, *distributions.chosen(filters)
        )
        # Looked up first, so that the planner knows their number.
        ids = session.scalars(held).all()
        conditions.append(Key.distribution_id == any_(literal(ids, ARRAY(BigInteger))))
    if filters.label is not None:
        conditions.append(labelled(filters.label))
    return conditions


def labelled(words: str) -> ColumnElement[bool]:
    """Give the condition that a key carries a label, or all of several (`a, b`)."""
    return Key.labels.bool_op("@>")(literal(split_labels(words), ARRAY(Text)))


def shape(row: Selected) -> KeyShape:
    """Give a key's public fields, which are the columns of ROWS."""
    # By position, because a page has a thousand rows. Columns after those of ROWS are for the cursor.
    (
        key_id,
        code,
        pool,
        state,
        recipient,
        reference,
        handed_out,
        redeemer,
        redeemed_at,
        assignment,
        words,
        *_,
    ) = row
    return {
        "id": key_id,
        "code": code,
        "pool": pool,
        "state": state,
        "recipient": recipient,
        "reference": reference,
        "distributed_at": handed_out,
        "redeemed_by": redeemer,
        "redeemed_at": redeemed_at,
        "assignment": assignment,
        "labels": words or [],
    }


# ------------------------------------------------------------------------------------------ adding


def _add(session: Session, actor: Actor, pool: str, table: Input, dry_run: bool) -> ImportReport:
    actor.require(Role.MANAGER)
    found = pools.find(session, actor=actor, pool=pool)
    finds = Finds(session, actor=actor, pool=found, dry_run=dry_run)
    if dry_run:
        report = trying.try_out(session, table, pool_id=found.id, count=finds.count)
    else:
        report = _added(session, actor, found, table, finds)
    finds.settle()
    return report


def _added(session: Session, actor: Actor, pool: Pool, table: Input, finds: Finds) -> ImportReport:
    blocks = table.keys()
    with patience.computing(session):  # reading may take long, and locks no row
        first = _first(blocks)
        if sum(map(len, first)) > AT_ONCE:
            return _staged(session, actor, pool, chain(first, blocks), table)
    return _add_at_once(session, actor, pool, joined(first), table, finds)


def _staged(
    session: Session, actor: Actor, pool: Pool, blocks: Iterator[Keys], table: Input
) -> ImportReport:
    labels = table.read_as.labels
    batch = batches.stage(
        session, actor=actor, pool=str(pool.id), blocks=blocks, read=table.read, labels=labels
    )
    return batches.report(session, actor=actor, batch=batch["id"])


def _first(blocks: Iterator[Keys]) -> list[Keys]:
    """Take an input's first blocks: all, or more lines than are added at once."""
    taken: list[Keys] = []
    for block in blocks:
        taken.append(block)
        if sum(map(len, taken)) > AT_ONCE:
            break
    return taken


def _add_at_once(
    session: Session, actor: Actor, pool: Pool, found: Keys, table: Input, finds: Finds
) -> ImportReport:
    common = table.read_as.labels
    refused = importing.add(session, pool_id=pool.id, keys=found, labels=common)
    known = (line.code for line in refused if line.result == LineResult.ALREADY_EXISTS)
    finds.count({codes.canonical(code) for code in known})
    added = len(found) - len(refused)
    if added:
        history.record(
            session,
            actor=actor,
            action="keys added",
            thing="pool",
            thing_ids=pool.id,
            organization_id=pool.organization_id,
            count=added,
            **({"labels": list(common)} if common else {}),
        )
    tally = Counter(LineResult(line.result) for line in refused)
    return import_reports.shape(
        batch=None, read=table.read, added=added, tally=tally, refused=refused
    )


# --------------------------------------------------------------------------------------- reading


def missing(code: str) -> errors.NotFoundError:
    """Say that there is no key of a code, and whether it is mistyped."""
    if codes.is_mistyped(code):
        return errors.NotFoundError(
            f"The key “{codes.masked(code)}” is mistyped: its last symbol does not fit the others."
        )
    return errors.NotFoundError(f"There is no key “{codes.masked(code)}” in your organizations.")


def not_issued(code: str, state: KeyState) -> errors.KeyNotIssuedError:
    """Say that a key is redeemed or retired already."""
    return errors.KeyNotIssuedError(
        f"The key “{codes.masked(code)}” is {state} already; only issued keys can be retired."
    )
