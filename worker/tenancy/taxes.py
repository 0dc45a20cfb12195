"""Tax rates of an organization's invoices, each from a time on."""

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from worker import days, money
from worker.days import Beginning
from worker.money import Percent
from worker.tables.tenancy import Organization, TaxRate


class TaxRateShape(Beginning):
    """The tax rate of an organization's invoices from a time on."""

    label: str
    """The tax's name on invoices."""
    percent: Percent
    """The rate."""


def set_rate(
    session: Session,
    organization: Organization,
    *,
    percent: str,
    label: str | None = None,
    from_: str | None = None,
) -> None:
    """Set an organization's tax rate from a day in its time zone on (default: now).

    An invoice has the rate in force at the end of its month, and keeps it once it is finalized. Without
    a label, the label stays.

    Raises:
        InvalidInputError: the rate or the day is malformed.
    """
    start = (
        days.instant(from_, zone=organization.time_zone, field="tax_from")
        if from_
        else session.scalar(select(func.clock_now()))
    )
    rate = {
        "label": label or _label(session, organization),
        "percent": money.percentage(percent, field="tax_rate"),
    }
    session.execute(
        insert(TaxRate)
        .values(organization_id=organization.id, valid_from=start, **rate)
        .on_conflict_do_update(constraint="tax_rate_changes_once_an_instant", set_=rate)
    )


def rates(session: Session, organization: Organization) -> list[TaxRateShape]:
    """Give an organization's tax rates, oldest first."""
    rows = session.scalars(
        select(TaxRate)
        .where(TaxRate.organization_id == organization.id)
        .order_by(TaxRate.valid_from)
        .execution_options(populate_existing=True)
    )
    return [
        {"label": rate.label, "percent": f"{rate.percent.normalize():f}", "from": rate.valid_from}
        for rate in rows
    ]


def _label(session: Session, organization: Organization) -> str:
    known = session.scalar(
        select(TaxRate.label)
        .where(TaxRate.organization_id == organization.id)
        .order_by(TaxRate.valid_from.desc())
        .limit(1)
    )
    return known or "Tax"
