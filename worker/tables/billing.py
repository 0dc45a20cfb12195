"""What is owed, and the invoices that ask for it."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Computed, Integer, text
from sqlalchemy.orm import Mapped, mapped_column

from worker.tables.catalogue import Course
from worker.tables.columns import (
    Amount,
    Base,
    CurrencyCode,
    Id,
    Made,
    No,
    Sum,
    Versioned,
    Words,
    of,
)
from worker.tables.labels import ChargeKind, InvoiceKind, InvoiceStatus
from worker.tables.learning import Assignment
from worker.tables.pools import Pool
from worker.tables.tenancy import Currency, Organization, TaxRate


class Seller(Versioned, Base):
    """The operator who sells: one row, printed on invoices."""

    __tablename__ = "seller"

    only_one: Mapped[bool] = mapped_column(primary_key=True, server_default=text("true"))
    name: Mapped[Words]
    address: Mapped[Words]
    tax_id: Mapped[Words]
    payment_details: Mapped[Words]
    time_zone: Mapped[str] = mapped_column(server_default="UTC")
    street: Mapped[Words]
    postcode: Mapped[Words]
    city: Mapped[Words]
    country: Mapped[Words]
    electronic_address: Mapped[Words]
    contact: Mapped[Words]
    phone: Mapped[Words]
    email: Mapped[Words]
    accounts: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    zero_invoices: Mapped[str] = mapped_column(server_default="keep")


class JournalExport(Base):
    """A period's journal as it was handed to bookkeeping."""

    __tablename__ = "journal_export"

    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    first_day: Mapped[date]
    last_day: Mapped[date]
    accounts: Mapped[dict[str, Any]]
    made_at: Mapped[Made]


class SellerBank(Base):
    """Where invoices of a currency are paid."""

    __tablename__ = "seller_bank"

    currency: Mapped[CurrencyCode] = of(Currency.code, primary_key=True)
    iban: Mapped[str]
    bic: Mapped[Words]


class Invoice(Versioned, Base):
    """The charges of one organization, one billing month (its first day), one currency."""

    __tablename__ = "invoice"

    id: Mapped[Id]
    organization_id: Mapped[int] = of(Organization.id)
    month: Mapped[date]
    currency: Mapped[CurrencyCode]
    kind: Mapped[InvoiceKind] = mapped_column(server_default="invoice")
    status: Mapped[InvoiceStatus] = mapped_column(server_default="draft")
    by_hand: Mapped[No]
    year: Mapped[int | None] = mapped_column(Integer)
    serial: Mapped[int | None] = mapped_column(Integer)
    number: Mapped[str | None] = mapped_column(
        Computed(
            "year::text || '-' || lpad(serial::text, greatest(6, length(serial::text)), '0')",
            persisted=True,
        )
    )
    subtotal: Mapped[Sum] = mapped_column(server_default=text("0"))
    tax: Mapped[Sum] = mapped_column(server_default=text("0"))
    total: Mapped[Sum] = mapped_column(server_default=text("0"))
    seller: Mapped[dict[str, Any] | None]
    buyer: Mapped[dict[str, Any] | None]
    created_at: Mapped[Made]
    finalized_at: Mapped[datetime | None]
    issued_on: Mapped[date | None]
    due_on: Mapped[date | None]
    paid_on: Mapped[date | None]
    voided_at: Mapped[datetime | None]
    void_reason: Mapped[str | None]
    told_overdue_at: Mapped[datetime | None]


class Payment(Base):
    """Money received for an invoice, on a day of the seller's."""

    __tablename__ = "payment"

    id: Mapped[Id]
    invoice_id: Mapped[int] = of(Invoice.id)
    paid_on: Mapped[date]
    amount: Mapped[Sum]
    reference: Mapped[Words]
    recorded_at: Mapped[Made]
    taken_back_at: Mapped[datetime | None]
    taken_back_because: Mapped[str | None]


class Charge(Base):
    """What a redemption or a paid extension costs the pool's owner; a credit is negative.

    Its foreign key to the pool is of several columns: the course is the pool's, and its owner owes it.
    """

    __tablename__ = "charge"

    id: Mapped[Id]
    kind: Mapped[ChargeKind]
    organization_id: Mapped[int]
    learner_organization_id: Mapped[int] = of(Organization.id)
    course_id: Mapped[int]
    pool_id: Mapped[int]
    assignment_id: Mapped[int] = of(Assignment.id)
    credits_id: Mapped[int | None] = of("charge.id")
    amount: Mapped[Amount]
    currency: Mapped[CurrencyCode]
    occurred_at: Mapped[datetime]
    reason: Mapped[str | None]
    unbilled: Mapped[bool] = mapped_column(server_default=text("true"))
    tax_rate_id: Mapped[int | None]


class InvoiceLine(Base):
    """Charges alike in course, pool, kind, service month, unit price and tax rate."""

    __tablename__ = "invoice_line"

    id: Mapped[Id]
    invoice_id: Mapped[int] = of(Invoice.id)
    course_id: Mapped[int] = of(Course.id)
    pool_id: Mapped[int] = of(Pool.id)
    kind: Mapped[ChargeKind]
    service_month: Mapped[date]
    unit_price: Mapped[Amount]
    quantity: Mapped[int]
    amount: Mapped[Sum]
    course_title: Mapped[str | None]
    pool_name: Mapped[str | None]
    tax_rate_id: Mapped[int | None] = of(TaxRate.id)
    credits_line_id: Mapped[int | None] = of("invoice_line.id")
    reason_key: Mapped[UUID | None]


class InvoiceCharge(Base):
    """A charge that an invoice carries; voiding releases it."""

    __tablename__ = "invoice_charge"

    invoice_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    line_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    charge_id: Mapped[int] = of(Charge.id, primary_key=True)
    released_at: Mapped[datetime | None]
