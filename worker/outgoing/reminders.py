"""Reminders: which ones an organization wants, for its pools, its invoices and its reports."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Unpack

from sqlalchemy import case, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from worker import errors
from worker.database import lookup
from worker.database.filters import ListFilters, by
from worker.database.paging import Page, Paging, paged
from worker.tables.labels import ReminderKind as Kind
from worker.tables.mail import Reminder
from worker.tables.tenancy import Organization
from worker.tenancy import addresses, history, organizations
from worker.tenancy.actors import Actor, Role

FOR_LEARNERS = frozenset({Kind.KEY_UNUSED, Kind.ACCESS_UNLAUNCHED, Kind.ACCESS_ENDING})
ABOUT_INVOICES = frozenset({Kind.INVOICE_SENT, Kind.INVOICE_DUE, Kind.INVOICE_OVERDUE})
# How many days before or after, or below how many keys; the others need no number.
USUAL: Mapping[Kind, int] = MappingProxyType({
    Kind.KEY_UNUSED: 14,
    Kind.ACCESS_UNLAUNCHED: 7,
    Kind.ACCESS_ENDING: 7,
    Kind.POOL_LOW: 100,
    Kind.POOL_ENDING: 14,
    Kind.INVOICE_DUE: 3,
    Kind.INVOICE_OVERDUE: 7,
})  # fmt: skip
AFTERWARDS = frozenset({Kind.KEY_UNUSED, Kind.ACCESS_UNLAUNCHED})  # counted from the thing on


# Reminders have no id of their own: this orders them, by organization and kind.
PLACE = Reminder.organization_id * len(Kind) + case(
    {kind: number for number, kind in enumerate(Kind)}, value=Reminder.kind
)


@dataclass(frozen=True)
class Filters(ListFilters):
    """Which reminders."""

    organization: str | None = by("Those of this organization.")
    kind: Kind | None = by("Those of this kind.")


ALL = Filters()


class ReminderShape(TypedDict):
    """A reminder that an organization wants."""

    organization: str
    """The organization: its pools, invoices and reports."""
    kind: Kind
    """What is reminded of."""
    days: int | None
    """How many days before or after; null if it does not count days."""
    keys: int | None
    """Below how many undistributed keys a pool is low; null for other kinds."""
    to: str | None
    """Who gets it; null if that follows from the kind, or is whoever manages the organization."""


def save(
    session: Session,
    *,
    actor: Actor,
    organization: str,
    kind: str,
    days: int | None = None,
    keys: int | None = None,
    to: str | None = None,
) -> ReminderShape:
    """Want a reminder from now on, or change one: `days` or `keys` as its kind counts, else as before.

    What was told stays told. Learners and payers get theirs at their own addresses; the others come
    to `to` or, where it is empty, to the organization's managers.

    Raises:
        InvalidInputError: the kind is unknown, counts otherwise, or has its own receivers; or the
            number or the address is wrong.
    """
    actor.require(Role.MANAGER)
    owner = organizations.find(session, actor=actor, name=organization)
    asked = lookup.label(Kind, kind, field="kind")
    before = session.get(Reminder, (owner.id, asked))
    threshold = _threshold(asked, days, keys, before)
    recipient = before.recipient if before and to is None else _recipient(asked, to)
    past = func.make_interval(0, 0, 0, threshold) if asked in AFTERWARDS else None
    since = func.clock_now() - past if past is not None else func.clock_now()
    changes = {"threshold": threshold, "recipient": recipient}
    session.execute(
        insert(Reminder)
        .values(organization_id=owner.id, kind=asked, looked_to=since, **changes)
        .on_conflict_do_update(index_elements=["organization_id", "kind"], set_=changes)
    )
    _remember(session, actor, "reminder saved", owner, kind=asked, **changes)
    return _shape(owner.name, asked, threshold, recipient)


def stop(session: Session, *, actor: Actor, organization: str, kind: str) -> ReminderShape:
    """Want a reminder no more; gives what it was.

    Raises:
        NotFoundError: the organization does not want it anyway.
    """
    actor.require(Role.MANAGER)
    owner = organizations.find(session, actor=actor, name=organization)
    asked = lookup.label(Kind, kind, field="kind")
    gone = session.execute(
        delete(Reminder)
        .where(Reminder.organization_id == owner.id, Reminder.kind == asked)
        .returning(Reminder.threshold, Reminder.recipient)
    ).one_or_none()
    if gone is None:
        raise errors.NotFoundError(f"“{owner.name}” has no reminder “{asked}”.")
    _remember(session, actor, "reminder stopped", owner, kind=asked)
    return _shape(owner.name, asked, *gone)


def listing(
    session: Session, *, actor: Actor, filters: Filters = ALL, **page: Unpack[Paging]
) -> Page[ReminderShape]:
    """List the reminders that the actor's organizations want, by organization, a page at a time."""
    actor.require(Role.MANAGER)
    statement = (
        select(Organization.name, Reminder.kind)
        .add_columns(Reminder.threshold, Reminder.recipient)
        .join(Organization, Organization.id == Reminder.organization_id)
        .where(actor.sees(Reminder.organization_id))
    )
    if filters.organization is not None:
        owner = organizations.find(session, actor=actor, name=filters.organization)
        statement = statement.where(Reminder.organization_id == owner.id)
    if filters.kind is not None:
        statement = statement.where(Reminder.kind == filters.kind)
    return paged(session, statement, by=PLACE, shape=lambda row: _shape(*row[:4]), **page)


def _threshold(
    kind: Kind, days: int | None, keys: int | None, before: Reminder | None
) -> int | None:
    number, other = (keys, days) if kind is Kind.POOL_LOW else (days, keys)
    if other is not None or (number is not None and kind not in USUAL):
        counts = "keys" if kind is Kind.POOL_LOW else "days" if kind in USUAL else "nothing"
        raise errors.InvalidInputError(
            f"The reminder “{kind}” counts {counts}.", field="days" if days is not None else "keys"
        )
    if number is not None:
        return number
    return before.threshold if before else USUAL.get(kind)


def _recipient(kind: Kind, to: str | None) -> str:
    if not to:
        return ""
    if kind in FOR_LEARNERS or kind in ABOUT_INVOICES:
        whose = "learners" if kind in FOR_LEARNERS else "the organization’s billing address"
        raise errors.InvalidInputError(f"The reminder “{kind}” goes to {whose}.", field="to")
    return addresses.address(to, field="to")


def _remember(
    session: Session, actor: Actor, action: str, owner: Organization, **detail: object
) -> None:
    history.record(
        session,
        actor=actor,
        action=action,
        thing="organization",
        thing_ids=owner.id,
        organization_id=owner.id,
        **detail,
    )


def _shape(organization: str, kind: Kind, threshold: int | None, recipient: str) -> ReminderShape:
    is_low = kind is Kind.POOL_LOW
    return {
        "organization": organization,
        "kind": kind,
        "days": None if is_low else threshold,
        "keys": threshold if is_low else None,
        "to": recipient or None,
    }
