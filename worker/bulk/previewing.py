"""What an act on many rows would do now, and what it costs, before somebody asks for it."""

from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, cast

from sqlalchemy import Select, and_, func, or_, select, true
from sqlalchemy.orm import Session, aliased
from typing_extensions import TypedDict

from worker.bulk import acting, selecting
from worker.bulk.acting import Kind
from worker.bulk.selecting import Keys, Selection
from worker.catalogue import prices
from worker.database import lookup
from worker.database.lookup import Id
from worker.database.paging import Selected
from worker.learning import assignments, cancelling
from worker.pools import pools
from worker.pools.pools import PoolShape
from worker.tables.billing import Charge
from worker.tables.labels import AssignmentStatus, ChargeKind, KeyState
from worker.tables.learning import Assignment
from worker.tables.pools import Key, Pool
from worker.tables.tenancy import Organization
from worker.tenancy import currencies
from worker.tenancy.actors import Actor, Role


class PoolShare(TypedDict):
    """How many of the selected rows are of one pool."""

    pool: Id
    """The pool."""
    name: str | None
    """Its name; null if it is another organization's."""
    organization: str | None
    """Its owner, who pays; null as above."""
    count: int
    """How many rows."""


class Money(TypedDict):
    """What some rows come to, in one currency."""

    currency: str
    """The currency, by its ISO 4217 code."""
    count: int
    """How many rows."""
    amount: str
    """What they come to."""


class Preview(TypedDict):
    """What an act on many rows would do as they are now."""

    act: Kind
    """What would be done to each."""
    requested: int
    """How many rows are selected."""
    refused: int
    """How many of them would be refused."""
    pools: list[PoolShare]
    """Of which pools they are, most rows first."""
    credited: list[Money]
    """Charges that would be credited."""
    kept: list[Money]
    """Charges that would stay, though the access ends."""
    chargeable: list[Money]
    """What was charged for the rows for which a price can be charged, by the currency that it is in."""
    held: int
    """How many of the keys are held by recipients."""
    free: int | None
    """How many keys of the pool nobody holds, to give in place of others; null for assignments."""
    when_redeemed: list[Money]
    """What the keys cost once they are redeemed, at the price in force; nothing is charged before."""


def preview(session: Session, *, actor: Actor, act: str, selection: Selection) -> Preview:
    """Say what an act on a selection would do now, and what it costs.

    Raises:
        NotFoundError: nothing of what is selected is in the actor's organizations.
    """
    actor.require(Role.MANAGER)
    kind = lookup.label(Kind, act, field="act")
    acting.require_on(kind, selection)
    requested = selecting.count(session, actor=actor, selection=selection)
    nothing: Preview = {
        "act": kind,
        "requested": requested,
        "refused": requested,
        "pools": [],
        "credited": [],
        "kept": [],
        "chargeable": [],
        "held": 0,
        "free": None,
        "when_redeemed": [],
    }
    if isinstance(selection, Keys):
        return cast(Preview, nothing | _of_keys(session, actor, kind, selection, requested))
    return cast(Preview, nothing | _of_assignments(session, actor, kind, selection, requested))


def _of_assignments(
    session: Session, actor: Actor, kind: Kind, selection: Selection, requested: int
) -> dict[str, Any]:
    found = session.execute(_figures(session, actor, selection)).all()
    counted = {Kind.EXTEND: "live", Kind.REMIND: "valid"}.get(kind, "owned")
    fit = sum(getattr(row, counted) for row in found)
    costs = {
        "credited": _money(session, found, "undone", "given_back"),
        "kept": _money(session, found, "late", "lost"),
    }
    free = {"chargeable": _money(session, found, "owned", "charged")}
    return {
        "refused": requested - fit,
        "pools": _shares(found),
        **({Kind.CANCEL: costs, Kind.EXTEND: free}.get(kind, {})),
    }


def _of_keys(
    session: Session, actor: Actor, kind: Kind, selection: Keys, requested: int
) -> dict[str, Any]:
    pool = pools.show(session, actor=actor, pool=selection.pool)
    figures = select(
        func.count().label("issued"), func.count(Key.distribution_id).label("held")
    ).where(Key.id.in_(selection.seen(session, actor)), Key.state == KeyState.ISSUED)
    row = session.execute(figures).one()
    fit = {Kind.REPLACE: row.held, Kind.MAIL: row.held, Kind.DISTRIBUTE: row.issued - row.held}.get(
        kind, row.issued
    )
    share = {"pool": pool["id"], "name": pool["name"], "organization": pool["organization"]}
    held = pool["keys"]
    return {
        "refused": requested - fit,
        "pools": [{**share, "count": requested}],
        "held": row.held,
        "free": held["issued"] - held["distributed"],
        "when_redeemed": _price(session, actor, pool, fit) if kind is Kind.DISTRIBUTE else [],
    }


def _price(session: Session, actor: Actor, pool: PoolShape, count: int) -> list[Money]:
    """Give what some keys of a pool cost once they are redeemed; nothing where no price is in force."""
    price = prices.in_force(
        session, actor=actor, course=pool["course"], organization=pool["organization"]
    )
    if price is None or not count:
        return []
    amount = currencies.text(session, Decimal(price["price"]) * count, price["currency"])
    return [{"currency": price["currency"], "count": count, "amount": amount}]


def _figures(session: Session, actor: Actor, selection: Selection) -> Select[Any]:
    """Select the figures of assignments by pool, and by currency of what was charged for them."""
    live = Assignment.status != AssignmentStatus.CANCELLED
    owned = and_(live, Pool.id.is_not(None))
    undone = and_(owned, cancelling.free())
    late = and_(owned, ~cancelling.free())
    part = aliased(Charge)
    left = (
        select(func.sum(part.amount).label("amount"))
        .where(or_(part.id == Charge.id, part.credits_id == Charge.id))
        .lateral()
    )

    def count(which: Any) -> Any:
        return func.count().filter(which)

    def amount(which: Any) -> Any:
        return func.coalesce(func.sum(left.c.amount).filter(which), 0)

    redeemed = and_(Charge.assignment_id == Assignment.id, Charge.kind == ChargeKind.REDEMPTION)
    theirs = and_(Pool.id == Assignment.pool_id, actor.sees(Pool.organization_id))
    return (
        select(
            Assignment.pool_id,
            Pool.name,
            Organization.name.label("organization"),
            Charge.currency,
            func.count().label("rows"),
            count(live).label("live"),
            count(owned).label("owned"),
            count(and_(owned, assignments.gives_access(func.clock_now()))).label("valid"),
            count(undone).label("undone"),
            count(late).label("late"),
            amount(owned).label("charged"),
            amount(undone).label("given_back"),
            amount(late).label("lost"),
        )
        .select_from(Assignment)
        .join(Pool, theirs, isouter=True)
        .join(Organization, Organization.id == Pool.organization_id, isouter=True)
        .join(Charge, and_(redeemed, Pool.id.is_not(None)), isouter=True)
        .join(left, true(), isouter=True)
        .where(Assignment.id.in_(selection.seen(session, actor)))
        .group_by(Assignment.pool_id, Pool.name, Organization.name, Charge.currency)
    )


def _shares(found: Sequence[Selected]) -> list[PoolShare]:
    counts: dict[tuple[int, str | None, str | None], int] = defaultdict(int)
    for row in found:
        counts[row.pool_id, row.name, row.organization] += row.rows
    most_first = sorted(counts.items(), key=lambda share: (-share[1], share[0][0]))
    return [
        {"pool": str(pool), "name": name, "organization": owner, "count": count}
        for (pool, name, owner), count in most_first
    ]


def _money(session: Session, found: Sequence[Selected], counted: str, summed: str) -> list[Money]:
    """Add up the figures of two columns by currency."""
    counts: dict[str, int] = defaultdict(int)
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for row in found:
        if row.currency and getattr(row, counted):
            counts[row.currency] += getattr(row, counted)
            sums[row.currency] += getattr(row, summed)
    return [
        {
            "currency": currency,
            "count": count,
            "amount": currencies.text(session, sums[currency], currency),
        }
        for currency, count in sorted(counts.items())
    ]
