"""Billing runs: every organization's closed months are invoiced, each in a transaction of its own."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from worker import days, errors
from worker.billing import confirming, gathering, invoices, numbering, seller
from worker.database import connections
from worker.database.lookup import Id
from worker.logs import log
from worker.settings import settings
from worker.tables.labels import InvoiceKind
from worker.tenancy.actors import Actor

# UTC+14, where every month begins first.
BEGUN = text("SELECT CAST(:month AS date) <= clock_now() AT TIME ZONE 'Pacific/Kiritimati'")

# A trigger writes the event.
TELL_OVERDUE = text("""
    UPDATE invoice SET told_overdue_at = clock_now()
     WHERE status = 'finalized' AND total > 0 AND told_overdue_at IS NULL
       AND due_on < (SELECT (clock_now() AT TIME ZONE time_zone)::date FROM seller)
    RETURNING id
""")


class BillingRun(TypedDict):
    """What a billing run did."""

    organizations: int
    """How many organizations it billed."""
    charges: int
    """How many charges it put on invoices."""
    drafted: list[Id]
    """The invoices that it drafted, or added to."""
    finalized: list[Id]
    """The invoices that it finalized."""
    failed: list[Id]
    """The organizations that could not be billed."""
    left: list[Id]
    """The drafts of closed months that it left, because the seller lacks something."""
    lacks: list[str]
    """What the seller lacks: its name, address or tax id."""


class BillingRunShown(BillingRun):
    """What a billing run did, with the invoices themselves."""

    invoices: list[invoices.InvoiceShape]
    """The invoices that it drafted, added to or finalized."""


@dataclass
class Run:
    """What a billing run did: invoices made or added to, finalized ones, and how many charges.

    `failed` are organizations whose bills could not be made; the others' are. `left` are drafts that
    would have been finalized, but for what the seller `lacks`.
    """

    organizations: int = 0
    charges: int = 0
    drafted: list[int] = field(default_factory=list)
    finalized: list[int] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)
    left: list[int] = field(default_factory=list)
    lacks: list[str] = field(default_factory=list)

    def add(self, charges: dict[int, int], finalized: list[int]) -> None:
        """Count what one organization's committed transaction did."""
        self.organizations += 1
        self.charges += sum(charges.values())
        self.drafted += charges
        self.finalized += finalized

    def shape(self) -> BillingRun:
        """Give its public fields."""
        return {
            "organizations": self.organizations,
            "charges": self.charges,
            "drafted": [str(invoice) for invoice in self.drafted],
            "finalized": [str(invoice) for invoice in self.finalized],
            "failed": [str(organization) for organization in self.failed],
            "left": [str(invoice) for invoice in self.left],
            "lacks": self.lacks,
        }

    @property
    def invoices(self) -> list[int]:
        """The ids of all invoices that the run changed, in order."""
        return sorted({*self.drafted, *self.finalized})


def run(
    *,
    actor: Actor,
    month: str | None = None,
    finalize: bool = False,
    anyway: bool = False,
    grace: timedelta = timedelta(),
    then: gathering.Then = gathering.nothing,
    stop: Callable[[], bool] = lambda: False,
    transaction: Callable[..., Any] = connections.transaction,
) -> Run:
    """Bill the unbilled charges of every closed month, or of one `month` (of the current one, as a draft).

    Idempotent. Each organization has a transaction of its own; runs at the same time wait for each
    other there, and the next run completes one that died. With `finalize`, drafts of closed months are
    finalized once `grace` has passed since their month's end, except those that a voiding left for a
    person. While the seller lacks its name, address or tax id, none are (unless `anyway`); the run says
    which it left, and what is missing. `then` gets the ids of those that became final, in their
    transaction. Between organizations, `stop` says whether to leave the rest to a later run.
    `transaction` runs a function in one, as `database.transaction` does.

    Raises:
        InvalidInputError: the month is malformed, or has not begun anywhere.
    """
    actor.require()
    first = days.month(month) if month else None
    done = Run()
    due, lacks = transaction(_due, month=first, finalize=finalize)
    if finalize and not anyway:
        done.lacks = lacks
    for organization_id in due:
        if stop():
            break
        try:
            done.add(
                *transaction(
                    bill,
                    actor=actor,
                    organization_id=organization_id,
                    month=first,
                    grace=grace if finalize and not done.lacks else None,
                    then=then,
                )
            )
        except errors.DatabaseAwayError:
            raise
        except Exception:  # one organization's error must not stop the others' invoices
            log.exception("organization not billed", organization=organization_id)
            done.failed.append(organization_id)
    if done.lacks:
        done.left = transaction(confirming.left, month=first, grace=grace)
    return done


def run_scheduled(
    *, actor: Actor, until: float = math.inf, then: gathering.Then = gathering.nothing
) -> dict[str, int]:
    """Bill every closed month, finalize what is past its grace, and give figures for the log.

    At `until` (a time of time.monotonic) it stops and leaves the rest to the next run.
    """
    done = run(
        actor=actor,
        finalize=True,
        grace=settings().invoice_grace,
        stop=lambda: time.monotonic() >= until,
        then=then,
    )
    connections.transaction(tell_overdue)
    if done.left:
        log.warning("invoices left as drafts", left=len(done.left), seller_lacks=done.lacks)
    return {
        "charges": done.charges,
        "drafted": len(done.drafted),
        "finalized": len(done.finalized),
        "failed": len(done.failed),
        "left": len(done.left),
    }


def tell_overdue(session: Session) -> int:
    """Write `invoice.overdue` to the outbox, once for each invoice; gives how many are new."""
    return len(session.execute(TELL_OVERDUE).all())


def bill(
    session: Session,
    *,
    actor: Actor,
    organization_id: int,
    month: date | None = None,
    grace: timedelta | None = None,
    then: gathering.Then = gathering.nothing,
) -> tuple[dict[int, int], list[int]]:
    """Bill one organization in one transaction, as `run` does.

    Gives how many charges each draft took, and which invoices were finalized: none where `grace`
    is None.
    """
    gathering.unhurry(session)
    buyer = gathering.lock(session, organization_id)
    charges: dict[int, int] = {}
    finalized: list[int] = []
    # Invoices first: a credit stands on a credit note once the invoice with its charge is final.
    for kind in InvoiceKind:
        charges |= gathering.gather(session, buyer, month=month, kind=kind)
        if grace is not None:
            due = gathering.finalizable(session, buyer, month=month, grace=grace, kind=kind)
            finalized += numbering.number(session, due)
    invoices.remember(session, actor, "invoice drafted", list(charges), buyer.id)
    invoices.remember(session, actor, "invoice finalized", finalized, buyer.id)
    if finalized:
        then(session, finalized)
    return charges, finalized


def _due(session: Session, *, month: date | None, finalize: bool) -> tuple[list[int], list[str]]:
    """Give the organizations to look at, and what the seller lacks."""
    if month and not session.execute(BEGUN, {"month": month}).scalar_one():
        raise errors.InvalidInputError(
            f"{gathering.in_words(month)} has not begun yet; give a month up to the running one.",
            field="month",
        )
    return gathering.due(session, month=month, finalize=finalize), seller.lacks(session)
