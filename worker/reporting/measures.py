"""The measures that notebooks, API and console share, each as one expression over schema "report".

The views say what a row is (schema.sql); here is how rows add up. `worker.reporting` builds its
questions of these expressions, and `show` gives their figures for one period.
"""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.orm import Session

from worker import days
from worker.database.connections import clock_now
from worker.tables.tenancy import Organization
from worker.tenancy import organizations
from worker.tenancy.actors import Actor, Role

YEAR = timedelta(days=365)

# Of report.redemption.
ATTEMPTS = """
    count(*) AS attempts,
    count(*) FILTER (WHERE answer = 'redeemed') AS redeemed,
    count(*) FILTER (WHERE answer = 'repeated') AS repeated,
    count(*) FILTER (WHERE answer = 'refused') AS refused"""

# Of report.charge, by currency.
REVENUE = """
    sum(amount) AS revenue,
    coalesce(sum(amount) FILTER (WHERE NOT unbilled), 0) AS invoiced,
    coalesce(sum(amount) FILTER (WHERE unbilled), 0) AS unbilled"""
CHARGED = """
    count(*) FILTER (WHERE kind = 'redemption') AS redemptions,
    coalesce(sum(amount) FILTER (WHERE kind <> 'credit'), 0) AS charged,
    coalesce(sum(amount) FILTER (WHERE kind = 'credit'), 0) AS credited"""

# Of report.pool: as keys stand now.
STOCK = """
    count(*) AS pools, coalesce(sum(issued + redeemed + retired), 0)::bigint AS keys,
    coalesce(sum(issued), 0)::bigint AS issued, coalesce(sum(undistributed), 0)::bigint AS undistributed,
    coalesce(sum(redeemed), 0)::bigint AS redeemed, coalesce(sum(retired), 0)::bigint AS retired,
    coalesce(sum(breakage), 0)::bigint AS breakage"""

# A day is one of the row's organization; the instants are for the index, a day wider.
WITHIN = """
    day BETWEEN :first AND :last AND {at} >= CAST(:first AS timestamptz) - interval '1 day'
    AND {at} < CAST(:last AS timestamptz) + interval '2 days' AND {family}"""
FAMILY = """
    (CAST(:name AS text) IS NULL
     OR organization IN (SELECT member FROM report.family WHERE organization = :name))"""

KEYS_NOW = text(f"SELECT {STOCK} FROM report.pool WHERE {FAMILY}")  # noqa: S608  # constants
ATTEMPTED = text(
    f"SELECT {ATTEMPTS} FROM report.redemption"  # noqa: S608  # as above
    f" WHERE {WITHIN.format(at='received_at', family=FAMILY)}"
)
EARNED = text(
    f"SELECT currency, {CHARGED}, {REVENUE}"  # noqa: S608  # as above
    f" FROM report.charge WHERE {WITHIN.format(at='occurred_at', family=FAMILY)}"
    " GROUP BY currency ORDER BY currency"
)
DECIMALS = text("SELECT code, minor_unit FROM currency")


def show(
    session: Session,
    *,
    actor: Actor,
    organization: str | None = None,
    from_: str | date | None = None,
    to: str | date | None = None,
) -> dict[str, Any]:
    """Give the measures of an organization and its descendants, as reports have them.

    Days are inclusive; without them it is the year that ends today. `keys` are as they stand now
    and `attempts` of the period, for managers; `amounts` of the period, by currency, for finance;
    both for analysts.
    """
    actor.require(Role.MANAGER, Role.FINANCE, Role.ANALYST)
    about = whom(session, actor, organization)
    first, last = period(session, about, from_, to)
    told = {"name": about and about.name, "first": first, "last": last}
    shown: dict[str, Any] = {"organization": told["name"], "from": first, "to": last}
    if actor.role is not Role.FINANCE:
        shown["keys"] = dict(session.execute(KEYS_NOW, told).mappings().one())
        shown["attempts"] = dict(session.execute(ATTEMPTED, told).mappings().one())
    if actor.role is not Role.MANAGER:
        decimals = {row.code: row.minor_unit for row in session.execute(DECIMALS)}
        rows = session.execute(EARNED, told).mappings()
        shown["amounts"] = [_printed(dict(row), decimals[row["currency"]]) for row in rows]
    return shown


def whom(session: Session, actor: Actor, organization: str | None) -> Organization | None:
    """Find the organization that is asked about: the actor's own by default, None for all."""
    wanted = organization or (actor.organization_id and str(actor.organization_id))
    return organizations.find(session, actor=actor, name=wanted) if wanted else None


def period(
    session: Session, about: Organization | None, from_: str | date | None, to: str | date | None
) -> tuple[date, date]:
    """Give the first and last day that are asked about, the last of them today by default.

    Raises:
        InvalidInputError: a day is none, or the last comes before the first.
    """
    zone = about.time_zone if about else "UTC"
    last = days.bare(to, field="to") or clock_now(session).astimezone(ZoneInfo(zone)).date()
    first = days.bare(from_, field="from") or last - YEAR + timedelta(days=1)
    days.in_order(first, last)
    return first, last


def _printed(row: dict[str, Any], decimals: int) -> dict[str, Any]:
    return {
        name: f"{value:.{decimals}f}" if isinstance(value, Decimal) else value
        for name, value in row.items()
    }
