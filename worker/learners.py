"""Learners: what is held on a person, corrected, given out, and erased (A6, D1)."""

import hashlib
import hmac
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from worker import assignments, errors, history, reports
from worker.actors import Actor, Role
from worker.models import Assignment, Delivery, History, Launch, Learner, Organization, Redemption
from worker.settings import settings

# Wherever a person's name or address may stand. Each statement changes what mentions the address;
# ids, dates, amounts and hashes stay.
ERASURES = [
    text("""
        UPDATE learner SET email = :pseudonym, name = '', erased_at = clock_now()
         WHERE id = ANY (:learner_ids)"""),
    text("""
        UPDATE assignment
           SET status = 'expired', expired_at = clock_now(),
               expires_at = greatest(redeemed_at + interval '1 microsecond', clock_now())
         WHERE learner_id = ANY (:learner_ids) AND status = 'active'"""),
    text("""
        UPDATE redemption SET learner_email = :pseudonym
         WHERE lower(learner_email) = lower(:email) AND learner_organization_id = ANY (:organization_ids)"""),
    text("""
        UPDATE event
           SET data = jsonb_set(data, '{learner}', jsonb_build_object('email', CAST(:pseudonym AS text)))
         WHERE lower(data->'learner'->>'email') = lower(:email)
           AND learner_organization_id = ANY (:organization_ids)"""),
    text("""
        UPDATE delivery SET data = jsonb_set(data, '{learner}', to_jsonb(CAST(:pseudonym AS text)))
         WHERE lower(data->>'learner') = lower(:email)
           AND learner_organization_id = ANY (:organization_ids)"""),
    text("""
        UPDATE distribution SET recipient = :pseudonym, recipient_name = ''
         WHERE lower(recipient) = lower(:email)
           AND pool_id IN (SELECT id FROM pool WHERE organization_id = ANY (:organization_ids))"""),
    text("""
        UPDATE batch_chunk
           SET recipients = ARRAY(SELECT CASE WHEN lower(of.recipient) = lower(:email) THEN :pseudonym
                                              ELSE of.recipient END
                                    FROM unnest(recipients) WITH ORDINALITY AS of (recipient, nth)
                                   ORDER BY nth),
               recipient_names = ARRAY(SELECT CASE WHEN lower(of.recipient) = lower(:email) THEN ''
                                                   ELSE of.recipient_name END
                                         FROM unnest(recipients, recipient_names) WITH ORDINALITY
                                              AS of (recipient, recipient_name, nth)
                                        ORDER BY nth)
         WHERE lower(:email) IN (SELECT lower(recipient) FROM unnest(recipients) AS recipient)
           AND batch_id IN (SELECT batch.id FROM batch JOIN pool ON pool.id = pool_id
                             WHERE organization_id = ANY (:organization_ids))"""),
    text(
        "UPDATE history SET detail = '{}' WHERE thing = 'learner' AND thing_id = ANY (:learner_ids)"
    ),
    text("""
        UPDATE history SET detail = CAST(
               regexp_replace(detail::text, :pattern, :pseudonym, 'gi') AS jsonb)
         WHERE detail::text ~* :pattern
           AND (organization_id IS NULL OR organization_id = ANY (:organization_ids))"""),
    # Encrypted, so whom one tells of cannot be told.
    text("""
        UPDATE answer SET encrypted = NULL
         WHERE encrypted IS NOT NULL
           AND token_id IN (SELECT id FROM token WHERE organization_id IS NULL
                                                    OR organization_id = ANY (:organization_ids))"""),
]


def show(session: Session, *, actor: Actor, email: str) -> dict[str, Any]:
    """Give a learner's view: every assignment with course, days left, launches and completion.

    The same address in several of the actor's organizations is shown as one person.

    Raises:
        NotFoundError: nobody by that address is in the actor's organizations.
    """
    people = find(session, actor=actor, email=email)
    held = assignments.listing(session, actor=actor, learner=email, limit=1000)
    completed = set(
        session.scalars(
            select(Launch.assignment_id)
            .join(Assignment)
            .where(Assignment.learner_id.in_([p.id for p in people]), Launch.completed.is_(True))
        )
    )
    return {
        "email": people[0].email,
        "name": people[0].name,
        "organizations": [session.get_one(Organization, p.organization_id).name for p in people],
        "assignments": [item | {"completed": int(item["id"]) in completed} for item in held.items],
    }


def correct(
    session: Session,
    *,
    actor: Actor,
    email: str,
    new_email: str | None = None,
    name: str | None = None,
) -> dict[str, Any]:
    """Correct a learner's address or name; what was before stays in the history.

    Raises:
        AlreadyExistsError: somebody else in the same organization has the new address.
        InvalidInputError: nothing to correct is given, or the address has no @.
    """
    actor.require(Role.MANAGER)
    if new_email is None and name is None:
        raise errors.InvalidInputError("Give a new address or a new name.", field="email")
    if new_email is not None and "@" not in new_email:
        raise errors.InvalidInputError(f"“{new_email}” is not an e-mail address.", field="email")
    for person in find(session, actor=actor, email=email):
        before = {"email": person.email, "name": person.name}
        person.email = new_email.strip() if new_email is not None else person.email
        person.name = name.strip() if name is not None else person.name
        session.flush()
        after = {"email": person.email, "name": person.name}
        _remember(session, actor, "learner corrected", person, before=before, after=after)
    return show(session, actor=actor, email=new_email or email)


def export(session: Session, *, actor: Actor, email: str) -> dict[str, Any]:
    """Give everything held on a person in the actor's organizations."""
    actor.require(Role.MANAGER)
    people = find(session, actor=actor, email=email)
    ids = [person.id for person in people]
    held = session.scalars(select(Assignment.id).where(Assignment.learner_id.in_(ids)))
    attempts = session.execute(
        select(Redemption.event_id, Redemption.outcome, Redemption.received_at)
        .where(
            func.lower(Redemption.learner_email) == email.strip().lower(),
            Redemption.learner_organization_id.in_([person.organization_id for person in people]),
        )
        .order_by(Redemption.event_id)
    )
    acts = session.scalars(
        select(History)
        .where(History.thing == "learner", History.thing_id.in_(ids))
        .order_by(History.id)
    )
    told = session.execute(
        select(Delivery.id, Delivery.type, Delivery.happened_at)
        .where(
            func.lower(Delivery.data["learner"].astext) == email.strip().lower(),
            Delivery.learner_organization_id.in_([person.organization_id for person in people]),
        )
        .order_by(Delivery.id)
    )
    return {
        "learner": show(session, actor=actor, email=email),
        "assignments": [
            assignments.show(session, actor=actor, assignment=str(held_id)) for held_id in held
        ],
        "redemptions": [
            {"event": str(a.event_id), "outcome": a.outcome, "received_at": a.received_at}
            for a in attempts
        ],
        "deliveries": [
            {"delivery": str(one.id), "type": str(one.type), "happened_at": one.happened_at}
            for one in told
        ],
        "history": [history.shape(act) for act in acts],
    }


def erase(session: Session, *, actor: Actor, email: str) -> dict[str, Any]:
    """End a person's live access and put a pseudonym in place of name and address everywhere.

    Ids, dates, amounts and the hashes of events stay, so that figures, invoices and the
    recognition of repeats do not change.
    """
    actor.require(Role.MANAGER)
    people = find(session, actor=actor, email=email)
    pseudonym = _pseudonym(people[0])
    session.execute(text("SELECT set_config('keypool.erasing', 'on', true)"))
    told = {
        "pseudonym": pseudonym,
        "learner_ids": [person.id for person in people],
        "organization_ids": session.scalars(actor.organizations()).all(),
    }
    for address in _addresses(session, email.strip(), people):
        named = {"email": address, "pattern": _literal(address)}
        for statement in ERASURES:
            session.execute(statement, told | named)
        reports.erase(session, email=address, pseudonym=pseudonym)
    session.execute(text("SELECT set_config('keypool.erasing', '', true)"))
    for person in people:
        _remember(session, actor, "learner erased", person)
    return {"pseudonym": pseudonym, "erased": len(people)}


def find(session: Session, *, actor: Actor, email: str) -> list[Learner]:
    """Find a person by address: a learner in each of the actor's organizations that knows them."""
    found = session.scalars(
        select(Learner)
        .where(
            func.lower(Learner.email) == email.strip().lower(), actor.sees(Learner.organization_id)
        )
        .order_by(Learner.id)
    ).all()
    if not found:
        raise errors.NotFoundError(f"There is no learner “{email}” in your organizations.")
    return list(found)


def _addresses(session: Session, email: str, people: list[Learner]) -> list[str]:
    """Give a person's address and those it was before, but for what is somebody else's by now."""
    before = History.detail["before"]["email"].astext
    ids = [person.id for person in people]
    others = select(Learner.id).where(
        func.lower(Learner.email) == func.lower(before), Learner.id.not_in(ids)
    )
    earlier = session.scalars(
        select(before)
        .where(History.thing == "learner", History.thing_id.in_(ids), before.is_not(None))
        .where(~others.exists())
    )
    return list({address.lower(): address for address in [*earlier, email]}.values())


def _pseudonym(person: Learner) -> str:
    """Make a name that says nothing about the person and cannot be guessed back without the key."""
    [key, *_] = settings().secret_keys()
    digest = hmac.new(key, f"{person.id} {person.email}".encode(), hashlib.sha256).hexdigest()
    return f"erased-{digest[:16]}@erased.invalid"


def _literal(words: str) -> str:
    """Make a regular expression of PostgreSQL's that matches these very words."""
    return "".join(c if c.isalnum() else f"\\{c}" if c.isascii() else c for c in words)


def _remember(session: Session, actor: Actor, action: str, person: Learner, **detail: Any) -> None:
    history.record(
        session,
        actor=actor,
        action=action,
        thing="learner",
        thing_ids=person.id,
        organization_id=person.organization_id,
        **detail,
    )
