"""Tax rates of what an organization is charged, each from a day on; and the form of tax numbers."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal, NamedTuple

from sqlalchemy import func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session
from stdnum import get_cc_module
from stdnum.exceptions import InvalidChecksum, ValidationError

from worker import days, errors, money
from worker.database import locks
from worker.days import Beginning
from worker.languages.phrases import phrase
from worker.money import Percent
from worker.tables.tenancy import Organization, TaxRate

# The tax categories of EN 16931, and the sentence that an invoice must print for those that need one.
Category = Literal["S", "Z", "E", "AE", "K", "G", "O"]
SENTENCES: dict[str, str] = {
    "S": "",
    "Z": "",
    "E": "",
    "AE": phrase("Reverse charge: the recipient is liable for the tax."),
    "K": phrase("Intra-community supply, exempt from tax."),
    "G": phrase("Export, exempt from tax."),
    "O": phrase("Not subject to tax."),
}
# What taxes are called by default, and often: these labels are printed in the buyer's language.
LABELS = (phrase("Tax"), phrase("VAT"))
LONGEST = 300
EVER = date(days.YEARS.start, 1, 2)  # early enough in every time zone

# Country codes that VAT numbers begin with.
PREFIXED = {
    "AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "EL", "ES", "FI", "FR", "GB", "HR", "HU", "IE", "IT",
    "LT", "LU", "LV", "MT", "NL", "PL", "PT", "RO", "SE", "SI", "SK",
}  # fmt: skip

# Whether something was charged between an instant and the next rate's.
CHARGED = text("""
    SELECT EXISTS (
        SELECT FROM pool JOIN charge ON charge.pool_id = pool.id
         WHERE pool.organization_id = :organization_id AND charge.occurred_at >= :start
           AND charge.occurred_at < coalesce(
               (SELECT min(valid_from) FROM tax_rate
                 WHERE tax_rate.organization_id = :organization_id AND valid_from > :start), 'infinity'))
""")
TODAY = text("SELECT (clock_now() AT TIME ZONE :zone)::date")


class TaxRateShape(Beginning):
    """The tax rate of what an organization is charged from a day on."""

    label: str
    """The tax's name on invoices."""
    percent: Percent
    """The rate."""
    category: Category
    """The tax category of EN 16931, such as S (standard) or AE (reverse charge)."""
    exemption: str | None
    """Why no tax is due, as invoices print it; null for S and Z."""


class Rate(NamedTuple):
    """A tax rate without its days."""

    label: str
    percent: Decimal
    category: str
    exemption: str


def set_first(session: Session, organization: Organization, *, percent: str) -> None:
    """Set a new organization's rate; it holds from 1970 on, for events that were received early."""
    since = days.day_start(EVER, organization.time_zone)
    _write(session, organization, read(percent=percent), since)


def set_rate(
    session: Session,
    organization: Organization,
    *,
    percent: str | None,
    label: str | None = None,
    category: str | None = None,
    exemption: str | None = None,
    from_: str | None = None,
) -> None:
    """Set an organization's tax rate from a day in its time zone on; without any, nothing changes.

    Without a day it holds from today, or from tomorrow if something was charged today. Each charge keeps
    the rate of its day. Without a label, the label stays. Idempotent.

    Raises:
        InvalidInputError: the rate, its category, its sentence or the day is invalid; or the rate alone
            is missing.
        TaxRateInThePastError: something was charged in the time that it would hold for.
    """
    if percent is None:
        if label or category or exemption or from_:
            raise errors.InvalidInputError("Give the tax rate too.", field="tax_rate")
        return
    rate = read(
        percent=percent,
        label=label or _label(session, organization),
        category=category,
        exemption=exemption,
    )
    # A settler that is half-way has read the old rates: whatever it charges is seen by CHARGED.
    locks.await_settlers(session, [organization.id])
    start = _start(session, organization, rate, from_)
    if start is None or _at(session, organization, start) == rate:
        return
    if _charged(session, organization, start):
        raise errors.TaxRateInThePastError
    _write(session, organization, rate, start)


def read(
    *,
    percent: str,
    label: str = LABELS[0],
    category: str | None = None,
    exemption: str | None = None,
) -> Rate:
    """Read a rate as people write it; without a category it is `S`, or `Z` for a rate of 0.

    Raises:
        InvalidInputError: the rate, its category or its sentence is invalid.
    """
    number = money.percentage(percent, field="tax_rate")
    category = category.strip().upper() if category else "S" if number else "Z"
    if category not in SENTENCES or (category == "S") != (number > 0):
        raise errors.InvalidInputError(
            "The category of a rate above 0 is S; of a rate of 0 it is Z (zero rate), E (exempt), AE (reverse "
            "charge), K (intra-community supply), G (export) or O (out of scope).",
            field="tax_category",
        )
    return Rate(label.strip(), number, category, _sentence(category, exemption))


def rates(session: Session, organization: Organization) -> list[TaxRateShape]:
    """Give an organization's tax rates, oldest first."""
    rows = session.scalars(
        select(TaxRate)
        .where(TaxRate.organization_id == organization.id, TaxRate.valid_from.is_not(None))
        .order_by(TaxRate.valid_from)
        .execution_options(populate_existing=True)
    )
    return [
        {
            "label": rate.label,
            "percent": f"{rate.percent.normalize():f}",
            "category": rate.category,  # type: ignore[typeddict-item]  # a constraint keeps it
            "exemption": rate.exemption or None,
            "from": rate.valid_from,  # type: ignore[typeddict-item]  # others are left out
        }
        for rate in rows
    ]


def taxpayer(number: str, *, field: str) -> str:
    """Trim a tax number, and check the form of a VAT number.

    A VAT number begins with its country's code: `DE136695976`. Its length and characters are checked, its
    check digit is not. Other numbers are accepted as they are.

    Raises:
        InvalidInputError: the length or a character is wrong.
    """
    number = number.strip()
    country = number[:2].upper()
    module = get_cc_module("gr" if country == "EL" else country.lower(), "vat")
    if country not in PREFIXED or module is None or not any(map(str.isdigit, number)):
        return number
    try:
        module.validate(number)
    except InvalidChecksum:
        return number  # its form is right
    except ValidationError as error:
        raise errors.InvalidInputError(
            f"“{number}” does not have the form of a VAT number of {country}; correct it, or leave out "
            f"“{country}” if it is another kind of tax number.",
            field=field,
        ) from error
    return number


def _sentence(category: str, exemption: str | None) -> str:
    sentence = SENTENCES[category] if exemption is None else exemption.strip()
    if len(sentence) > LONGEST or (category in ("S", "Z")) != (sentence == ""):
        raise errors.InvalidInputError(
            f"Give the reason why no tax is due, in up to {LONGEST} characters, as invoices print it; "
            "the categories S and Z have none.",
            field="tax_exemption",
        )
    return sentence


def _start(
    session: Session, organization: Organization, rate: Rate, from_: str | None
) -> datetime | None:
    """Give a rate's first instant; None if no day was given and it is in force already."""
    zone = organization.time_zone
    if from_:
        return days.day_start(days.day(from_, field="tax_from"), zone)
    today = session.execute(TODAY, {"zone": zone}).scalar_one()
    start = days.day_start(today, zone)
    if _in_force(session, organization) == rate:
        return None
    return days.day_start(today, zone, after=1) if _charged(session, organization, start) else start


def _charged(session: Session, organization: Organization, start: datetime) -> bool:
    asked = {"organization_id": organization.id, "start": start}
    return bool(session.scalar(CHARGED, asked))


def _in_force(session: Session, organization: Organization) -> Rate | None:
    held = func.tax_rate_in_force(organization.id, func.clock_now()).table_valued("tax_rate_id")
    return _rate(session.scalar(select(TaxRate).join(held, held.c.tax_rate_id == TaxRate.id)))


def _at(session: Session, organization: Organization, start: datetime) -> Rate | None:
    return _rate(
        session.scalar(
            select(TaxRate).where(
                TaxRate.organization_id == organization.id, TaxRate.valid_from == start
            )
        )
    )


def _rate(found: TaxRate | None) -> Rate | None:
    if found is None:
        return None
    return Rate(found.label, found.percent, found.category, found.exemption)


def _write(session: Session, organization: Organization, rate: Rate, start: datetime) -> None:
    values: dict[str, Any] = rate._asdict()
    session.execute(
        insert(TaxRate)
        .values(organization_id=organization.id, valid_from=start, **values)
        .on_conflict_do_update(constraint="tax_rate_changes_once_an_instant", set_=values)
    )


def _label(session: Session, organization: Organization) -> str:
    known = session.scalar(
        select(TaxRate.label)
        .where(TaxRate.organization_id == organization.id, TaxRate.valid_from.is_not(None))
        .order_by(TaxRate.valid_from.desc())
        .limit(1)
    )
    return known or LABELS[0]
