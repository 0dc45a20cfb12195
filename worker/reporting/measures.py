"""The measures that notebooks, API and console share, each as one expression over schema "report".

The views define the rows (schema.sql); the expressions here aggregate them. The notebooks' queries are
built from these expressions, and `show` gives their figures for one period.
"""

from collections.abc import Mapping
from datetime import date
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from worker import days
from worker.database.connections import clock_now
from worker.days import FirstDay
from worker.money import Amount
from worker.tables.tenancy import Organization
from worker.tenancy import organizations
from worker.tenancy.actors import Actor, Role

# From report.redemption.
ATTEMPTS = """
    count(*) AS attempts,
    count(*) FILTER (WHERE answer = 'redeemed') AS redeemed,
    count(*) FILTER (WHERE answer = 'repeated') AS repeated,
    count(*) FILTER (WHERE answer = 'refused') AS refused"""

# From report.charge, by currency.
REVENUE = """
    sum(amount) AS revenue,
    coalesce(sum(amount) FILTER (WHERE NOT unbilled), 0) AS invoiced,
    coalesce(sum(amount) FILTER (WHERE unbilled), 0) AS unbilled"""
CHARGED = """
    count(*) FILTER (WHERE kind = 'redemption') AS redemptions,
    coalesce(sum(amount) FILTER (WHERE kind <> 'credit'), 0) AS charged,
    coalesce(sum(amount) FILTER (WHERE kind = 'credit'), 0) AS credited"""

# From report.pool: keys as they are now.
STOCK = """
    count(*) AS pools, coalesce(sum(issued + redeemed + retired), 0)::bigint AS keys,
    coalesce(sum(issued), 0)::bigint AS issued, coalesce(sum(undistributed), 0)::bigint AS undistributed,
    coalesce(sum(redeemed), 0)::bigint AS redeemed, coalesce(sum(retired), 0)::bigint AS retired,
    coalesce(sum(breakage), 0)::bigint AS breakage"""

# Rows of a period: days in the time zone of the row's organization. The instants let an index skip
# rows that are on none of these days in any time zone.
WITHIN = """
    day BETWEEN {first} AND {last}
    AND {at} >= CAST({first} AS timestamptz) - interval '1 day'
    AND {at} < CAST({last} AS timestamptz) + interval '2 days'"""
# Rows of an organization and its descendants.
FAMILY = "organization IN (SELECT member FROM report.family WHERE organization = {name})"

SOME = f"(CAST(:name AS text) IS NULL OR {FAMILY.format(name=':name')})"
ASKED = WITHIN.format(first="CAST(:first AS date)", last="CAST(:last AS date)", at="{at}")

KEYS_NOW = text(f"SELECT {STOCK} FROM report.pool WHERE {SOME}")  # noqa: S608  # constants
ATTEMPTED = text(
    f"SELECT {ATTEMPTS} FROM report.redemption"  # noqa: S608  # as above
    f" WHERE {ASKED.format(at='received_at')} AND {SOME}"
)
EARNED = text(
    f"SELECT currency, {CHARGED}, {REVENUE}"  # noqa: S608  # as above
    f" FROM report.charge WHERE {ASKED.format(at='occurred_at')} AND {SOME}"
    " GROUP BY currency ORDER BY currency"
)
DECIMALS = text("SELECT code, minor_unit FROM currency")


Asked = Mapping[str, object]


class Stock(TypedDict):
    """Keys as they are now: issued + redeemed + retired = keys."""

    pools: int
    """How many pools there are."""
    keys: int
    """How many keys they have."""
    issued: int
    """Those that can be redeemed."""
    undistributed: int
    """Issued keys that were not distributed."""
    redeemed: int
    """Redeemed keys."""
    retired: int
    """Retired keys."""
    breakage: int
    """Issued keys of expired pools."""


class Attempts(TypedDict):
    """Attempts of a period by outcome."""

    attempts: int
    """All of them."""
    redeemed: int
    """Those that redeemed a key."""
    repeated: int
    """Those by the learner who had redeemed the key already."""
    refused: int
    """Those that were refused."""


class Earned(TypedDict):
    """Charges of a period, in one currency: revenue = charged + credited."""

    currency: str
    """The currency, by its ISO 4217 code."""
    redemptions: int
    """How many redemptions were charged."""
    charged: Amount
    """The sum of charges for redemptions and paid extensions."""
    credited: Amount
    """The sum of credits, below zero."""
    revenue: Amount
    """The sum of charges and credits."""
    invoiced: Amount
    """The part of the revenue that is on invoices."""
    unbilled: Amount
    """The part of the revenue that is on no invoice yet."""


class Measures(FirstDay):
    """The measures of reports."""

    organization: str | None
    """The organization that they are about, with its descendants; null for all."""
    to: date
    """The last day of the period."""
    keys: Stock | None
    """Keys as they are now; null for finance."""
    attempts: Attempts | None
    """The period's attempts; null for finance."""
    amounts: list[Earned] | None
    """The period's charges, by currency; null for managers."""


def show(
    session: Session,
    *,
    actor: Actor,
    organization: str | None = None,
    from_: str | date | None = None,
    to: str | date | None = None,
) -> Measures:
    """Give the measures of an organization and its descendants, the same as in reports.

    Days are inclusive; the default is the year that ends today. Managers see keys and attempts,
    finance amounts, analysts all.
    """
    actor.require(Role.MANAGER, Role.FINANCE, Role.ANALYST)
    about = whom(session, actor, organization)
    first, last = period(session, about, from_, to)
    parameters = {"name": about and about.name, "first": first, "last": last}
    return {
        "organization": about.name if about else None,
        "from": first,
        "to": last,
        "keys": _keys(session, parameters) if actor.role is not Role.FINANCE else None,
        "attempts": _attempts(session, parameters) if actor.role is not Role.FINANCE else None,
        "amounts": _amounts(session, parameters) if actor.role is not Role.MANAGER else None,
    }


def whom(session: Session, actor: Actor, organization: str | None) -> Organization | None:
    """Find the requested organization, by default the actor's own; None for all."""
    name = organization or (actor.organization_id and str(actor.organization_id))
    return organizations.find(session, actor=actor, name=name) if name else None


def period(
    session: Session, about: Organization | None, from_: str | date | None, to: str | date | None
) -> tuple[date, date]:
    """Give the first and last day of a period, in that organization's time zone.

    Raises:
        InvalidInputError: a day is malformed, or the last is before the first.
    """
    return days.period(from_, to, now=clock_now(session), zone=about.time_zone if about else "UTC")


def _keys(session: Session, parameters: Asked) -> Stock:
    row = session.execute(KEYS_NOW, parameters).one()
    return {
        "pools": row.pools,
        "keys": row.keys,
        "issued": row.issued,
        "undistributed": row.undistributed,
        "redeemed": row.redeemed,
        "retired": row.retired,
        "breakage": row.breakage,
    }


def _attempts(session: Session, parameters: Asked) -> Attempts:
    row = session.execute(ATTEMPTED, parameters).one()
    return {
        "attempts": row.attempts,
        "redeemed": row.redeemed,
        "repeated": row.repeated,
        "refused": row.refused,
    }


def _amounts(session: Session, parameters: Asked) -> list[Earned]:
    decimals = {row.code: row.minor_unit for row in session.execute(DECIMALS)}
    rows = session.execute(EARNED, parameters).all()
    return [_earned(row, decimals[row.currency]) for row in rows]


def _earned(row: Row[Any], decimals: int) -> Earned:
    return {
        "currency": row.currency,
        "redemptions": row.redemptions,
        "charged": f"{row.charged:.{decimals}f}",
        "credited": f"{row.credited:.{decimals}f}",
        "revenue": f"{row.revenue:.{decimals}f}",
        "invoiced": f"{row.invoiced:.{decimals}f}",
        "unbilled": f"{row.unbilled:.{decimals}f}",
    }
