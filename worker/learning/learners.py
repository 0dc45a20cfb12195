"""Learners: a person's data, shown, corrected, exported and erased (A6, D1)."""

from datetime import datetime

from sqlalchemy import ARRAY, Text, cast, func, or_, select
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from worker import errors
from worker.database.lookup import Id, locked
from worker.learning import assignments, erasing
from worker.learning.assignments import AssignmentShape, AssignmentShown
from worker.tables.labels import DeliveryType, EventStatus, MessageState, RedemptionOutcome
from worker.tables.learning import Assignment, Learner
from worker.tables.mail import Message, Unsubscribed
from worker.tables.outgoing import Delivery
from worker.tables.pools import Distribution, Pool
from worker.tables.redemption import Event, Redemption
from worker.tables.reporting import ReportSchedule
from worker.tables.tenancy import History, Organization
from worker.tenancy import addresses, history
from worker.tenancy.actors import Actor, Role
from worker.tenancy.history import Act


class Person(TypedDict):
    """A person, known by e-mail address."""

    email: str
    """The address."""
    name: str
    """The name, if known."""
    organizations: list[str]
    """The organizations that know them, by name."""


class LearnerShape(Person):
    """A learner with their assignments."""

    assignments: list[AssignmentShape]
    """A page of their assignments."""
    next: str | None
    """The cursor of the next page of assignments; null at the end."""


class TracedAttempt(TypedDict):
    """An attempt to redeem a key."""

    event: Id
    """The webhook message that asked for it."""
    outcome: RedemptionOutcome
    """What was decided."""
    received_at: datetime
    """When it was asked for."""


class TracedEvent(TypedDict):
    """A webhook message that is not decided yet."""

    event: Id
    """The message."""
    status: EventStatus
    """Whether it waits, or was set apart (a dead letter)."""
    received_at: datetime
    """When it was received."""


class TracedDelivery(TypedDict):
    """A message to an endpoint about the person."""

    delivery: Id
    """The delivery."""
    type: DeliveryType
    """What happened, as a type."""
    happened_at: datetime
    """When it happened."""


class TracedMessage(TypedDict):
    """A mail to the person."""

    message: Id
    """The message."""
    kind: str
    """What it is about."""
    recipient: str
    """The address."""
    state: MessageState
    """Whether it was sent."""
    happened_at: datetime
    """When it was asked for."""


class TracedWish(TypedDict):
    """A wish for no more reminders."""

    organization: str
    """From whom."""
    since: datetime
    """Since when."""


class TracedSchedule(TypedDict):
    """A scheduled report that is mailed to the person."""

    schedule: Id
    """The schedule."""
    notebook: str
    """What the report is made from."""
    since: datetime
    """When it was scheduled."""


class TracedSession(TypedDict):
    """A browser at a redeem page, where the address was typed."""

    organization: str | None
    """Whose page it is; null where it is nobody's."""
    began_at: datetime
    """When the address was typed."""
    proved_at: datetime | None
    """When it was proved; null if it was not."""


class TracedDistribution(TypedDict):
    """Keys that the person was given."""

    pool: Id
    """The keys' pool."""
    recipient: str
    """The recipient, as given."""
    name: str
    """The recipient's name."""
    reference: str
    """The reference."""
    distributed_at: datetime
    """When they were given."""


class Traces(TypedDict):
    """What is stored about an address, even if no learner has it."""

    redemptions: list[TracedAttempt]
    """Attempts to redeem a key."""
    undecided: list[TracedEvent]
    """Webhook messages that are not decided yet."""
    deliveries: list[TracedDelivery]
    """Messages to endpoints."""
    messages: list[TracedMessage]
    """Mails to the person."""
    page_sessions: list[TracedSession]
    """Sessions of redeem pages, for the few days that they are kept."""
    unsubscribed: list[TracedWish]
    """From whom the person wants no reminders."""
    schedules: list[TracedSchedule]
    """Scheduled reports that are mailed to the person."""
    distributions: list[TracedDistribution]
    """Keys that were given to the person."""


class LearnerExport(Traces):
    """Everything that is stored about a person."""

    learner: Person
    """The person."""
    assignments: list[AssignmentShown]
    """Their assignments, with launches and history."""
    history: list[Act]
    """Changes made to the learner."""


class Erasure(TypedDict):
    """The result of erasing a person."""

    pseudonym: str
    """The pseudonym that replaces name and address."""
    erased: int
    """How many learners (one per organization) were erased."""


def show(
    session: Session, *, actor: Actor, email: str, after: str | None = None, limit: int = 100
) -> LearnerShape:
    """Show a learner with a page of assignments: course, days left, launches and completion.

    The same address in several of the actor's organizations is shown as one person. `next` is the
    cursor of the next page.

    Raises:
        NotFoundError: no learner of the actor's organizations has that address.
    """
    people = find(session, actor=actor, email=email)
    ids = [person.id for person in people]
    held = assignments.listing(session, actor=actor, learners=ids, after=after, limit=limit)
    return {**_named(session, people, email), "assignments": held.items, "next": held.next}


def correct(
    session: Session,
    *,
    actor: Actor,
    email: str,
    new_email: str | None = None,
    name: str | None = None,
) -> LearnerShape:
    """Correct a learner's address or name; the history keeps the old ones.

    Raises:
        AlreadyExistsError: another learner of the same organization has the new address, or two
            have the old one.
        InvalidInputError: neither address nor name is given, or the address is malformed.
    """
    actor.require(Role.MANAGER)
    if new_email is None and name is None:
        raise errors.InvalidInputError("Give a new address or a new name.", field="email")
    right = addresses.address(new_email) if new_email is not None else None
    people = find(session, actor=actor, email=email, lock=True)
    if right is not None:
        _refuse_duplicates(people)
    for person in people:
        before = {"email": person.email, "name": person.name}
        person.email = right if right is not None else person.email
        person.name = name.strip() if name is not None else person.name
        session.flush()
        after = {"email": person.email, "name": person.name}
        about = {"before": before, "after": after}
        history.remember(session, actor, "learner corrected", person, **about)
    return show(session, actor=actor, email=new_email or email)


def export(session: Session, *, actor: Actor, email: str) -> LearnerExport:
    """Give everything stored about a person in the actor's organizations, even if they are no learner.

    Raises:
        NotFoundError: nothing is stored about that address.
    """
    actor.require(Role.MANAGER)
    people = _known(session, actor, email)
    of = [person.id for person in people]
    held = select(Assignment.id).where(Assignment.learner_id.in_(of)).order_by(Assignment.id)
    return {
        "learner": _named(session, people, email),
        "assignments": [
            assignments.show(session, actor=actor, assignment=str(held_id))
            for held_id in session.scalars(held).all()
        ],
        **_traces(session, actor, _spelled(email, people)),
        "history": history.of_some(session, thing="learner", thing_ids=of),
    }


def erase(session: Session, *, actor: Actor, email: str) -> Erasure:
    """End a person's live access, and replace name and address by a pseudonym everywhere.

    Ids, dates, amounts and the hashes of events stay, so that figures, invoices and deduplication do
    not change. A person who only made refused attempts, or only received keys, is erased, too.

    Raises:
        NotFoundError: nothing in the actor's organizations is about that address.
    """
    actor.require(Role.MANAGER)
    people = _known(session, actor, email)
    person = erasing.Person(
        addresses=_addresses(session, email, people),
        learner_ids=[learner.id for learner in people],
        organization_ids=list(session.scalars(actor.organizations())),
    )
    pseudonym = erasing.erase(session, person=person)
    # Recorded even if there is no learner, because reports that are being made look for this act.
    if not people:
        history.record(
            session,
            actor=actor,
            action="learner erased",
            thing="learner",
            thing_ids=0,
            organization_id=actor.organization_id,
        )
    for one in people:
        history.remember(session, actor, "learner erased", one)
    return {"pseudonym": pseudonym, "erased": len(people)}


def find(session: Session, *, actor: Actor, email: str, lock: bool = False) -> list[Learner]:
    """Find a person by address: their learners in the actor's organizations.

    With `lock`, they are locked against other changes.
    """
    if not (people := _learners(session, actor, email, lock)):
        raise errors.NotFoundError(f"There is no learner “{email}” in your organizations.")
    return people


def _learners(session: Session, actor: Actor, email: str, lock: bool = False) -> list[Learner]:
    spelled = Learner.email_lower.in_(addresses.spellings(email))
    statement = select(Learner).where(spelled, actor.sees(Learner.organization_id))
    statement = statement.order_by(Learner.id)
    return list(session.scalars(locked(statement, of=Learner) if lock else statement))


def _refuse_duplicates(people: list[Learner]) -> None:
    if len({person.organization_id for person in people}) < len(people):
        raise errors.AlreadyExistsError(
            "These are two learners of one organization; join them first: “keypool learners "
            "duplicates” lists them."
        )


def _spelled(email: str, people: list[Learner]) -> list[str]:
    """Give all forms in which a person's address is stored, in lower case."""
    kept = [person.email_lower for person in people]
    return list(dict.fromkeys([*addresses.spellings(email), *kept]))


def _named(session: Session, people: list[Learner], email: str) -> Person:
    homes = dict.fromkeys(person.organization_id for person in people)
    return {
        "email": people[0].email if people else email.strip(),
        "name": people[0].name if people else "",
        "organizations": [session.get_one(Organization, home).name for home in homes],
    }


def _known(session: Session, actor: Actor, email: str) -> list[Learner]:
    """Find the learners with an address, duplicates too; empty if only other rows have it.

    Raises:
        NotFoundError: nothing in the actor's organizations is about that address.
    """
    people = _learners(session, actor, email)
    ids = [person.id for person in people]
    people += session.scalars(
        select(Learner).where(Learner.duplicate_of.in_(ids), Learner.id.not_in(ids))
    )
    if people or any(_traces(session, actor, _spelled(email, people)).values()):
        return people
    raise errors.NotFoundError(f"Nothing in your organizations is about “{email}”.")


def _traces(session: Session, actor: Actor, spelled: list[str]) -> Traces:
    """Give what is stored about an address in any of its forms, even if no learner has it."""
    attempts = select(Redemption.event_id, Redemption.outcome, Redemption.received_at).where(
        Redemption.learner_email_lower.in_(spelled), actor.sees(Redemption.learner_organization_id)
    )
    undecided = select(Event.id, Event.status, Event.received_at).where(
        or_(
            func.is_undecided(Event.status, Event.waits_for),
            Event.status == EventStatus.FAILED,
        ),
        func.lower(Event.data["learner"]["email"].astext).in_(spelled),
        actor.sees(Event.learner_organization_id),
    )
    sent = select(Delivery.id, Delivery.type, Delivery.happened_at).where(
        func.lower(Delivery.data["learner"].astext).in_(spelled),
        actor.sees(Delivery.learner_organization_id),
    )
    mailed = select(Message).where(
        Message.recipient_lower.in_(spelled), actor.sees(Message.organization_id)
    )
    wishes = (
        select(Unsubscribed.since, Organization.name)
        .join(Organization, Organization.id == Unsubscribed.organization_id)
        .where(Unsubscribed.address.in_(spelled), actor.sees(Unsubscribed.organization_id))
    )
    regular = select(ReportSchedule).where(
        ReportSchedule.recipients.op("&&")(cast(spelled, ARRAY(Text))),
        actor.sees(ReportSchedule.organization_id),
    )
    visits = select("*").select_from(func.page_sessions_of(spelled))
    handed = (
        select(Distribution)
        .join(Pool, Pool.id == Distribution.pool_id)
        .where(Distribution.recipient_lower.in_(spelled), actor.sees(Pool.organization_id))
    )
    return {
        "redemptions": [
            {"event": str(one.event_id), "outcome": one.outcome, "received_at": one.received_at}
            for one in session.execute(attempts.order_by(Redemption.event_id))
        ],
        "undecided": [
            {"event": str(one.id), "status": one.status, "received_at": one.received_at}
            for one in session.execute(undecided.order_by(Event.id))
        ],
        "deliveries": [
            {"delivery": str(one.id), "type": one.type, "happened_at": one.happened_at}
            for one in session.execute(sent.order_by(Delivery.id))
        ],
        "messages": [
            {
                "message": str(one.id),
                "kind": one.kind,
                "recipient": one.recipient,
                "state": one.state,
                "happened_at": one.happened_at,
            }
            for one in session.scalars(mailed.order_by(Message.id))
        ],
        "page_sessions": [
            {
                "organization": one.organization,
                "began_at": one.began_at,
                "proved_at": one.proved_at,
            }
            for one in session.execute(visits)
        ],
        "unsubscribed": [
            {"organization": one.name, "since": one.since}
            for one in session.execute(wishes.order_by(Organization.name))
        ],
        "schedules": [
            {"schedule": str(one.id), "notebook": one.notebook, "since": one.created_at}
            for one in session.scalars(regular.order_by(ReportSchedule.id))
        ],
        "distributions": [
            {
                "pool": str(one.pool_id),
                "recipient": one.recipient,
                "name": one.recipient_name,
                "reference": one.reference,
                "distributed_at": one.distributed_at,
            }
            for one in session.scalars(handed.order_by(Distribution.id))
        ],
    }


def _addresses(session: Session, email: str, people: list[Learner]) -> list[str]:
    """Give a person's addresses, the current one last; without those that somebody else has by now."""
    before = History.detail["before"]["email"].astext
    ids = [person.id for person in people]
    others = select(Learner.id).where(
        Learner.email_lower == func.lower(before), Learner.id.not_in(ids)
    )
    earlier = session.scalars(
        select(before)
        .where(History.thing == "learner", History.thing_id.in_(ids), before.is_not(None))
        .where(~others.exists())
    )
    now = people[0].email if people else email.strip()
    known = {address.lower(): address for address in [*earlier, *_spelled(email, people), email]}
    known.pop(now.lower(), None)
    return [*known.values(), now]
