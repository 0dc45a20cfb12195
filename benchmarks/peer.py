"""A peer: the way redemptions are usually written, one Celery task and one ORM session for each."""

from datetime import timedelta

from celery import Celery
from sqlalchemy import func, select, text

from worker.celery import broker_url, transport
from worker.database import connections
from worker.database.connections import clock_now
from worker.pools import codes
from worker.tables.billing import Charge
from worker.tables.labels import ChargeKind, EventStatus, KeyState, RedemptionOutcome
from worker.tables.learning import Assignment, Learner
from worker.tables.pools import Key, Pool
from worker.tables.redemption import Event, Redemption

app = Celery("peer", broker=broker_url(), broker_transport_options=transport(5))
app.conf.update(task_ignore_result=True, worker_hijack_root_logger=False)

PRICE = text("SELECT amount, currency FROM price_in_force(:course, :organization, :at)")


@app.task
def redeem(event_id: int) -> None:
    """Decide one redemption.requested event that can only be granted."""
    with connections.session() as session:
        event = session.get_one(Event, event_id)
        wanted = codes.canonical(event.data["key"])
        key = session.scalars(select(Key).where(Key.canonical == wanted).with_for_update()).one()
        pool = session.get_one(Pool, key.pool_id)
        email = event.data["learner"]["email"]
        known = select(Learner).where(func.lower(Learner.email) == email.lower())
        learner = session.scalars(known.where(Learner.organization_id == 1)).first()
        if learner is None:
            learner = Learner(organization_id=1, email=email, name=event.data["learner"]["name"])
            session.add(learner)
            session.flush()
        held = select(Assignment).where(Assignment.learner_id == learner.id)
        assert not session.scalars(held.where(Assignment.course_id == pool.course_id)).first()  # noqa: S101  # a peer
        key.state = KeyState.REDEEMED
        assignment = Assignment(
            key_id=key.id,
            pool_id=pool.id,
            course_id=pool.course_id,
            learner_id=learner.id,
            organization_id=1,
            redeemed_at=event.received_at,
            expires_at=event.received_at + timedelta(days=pool.content_availability_days),
        )
        session.add(assignment)
        session.flush()
        of = {"course": pool.course_id, "organization": pool.organization_id}
        price = session.execute(PRICE, of | {"at": event.received_at}).one()
        session.add(
            Charge(
                kind=ChargeKind.REDEMPTION,
                organization_id=pool.organization_id,
                learner_organization_id=1,
                course_id=pool.course_id,
                pool_id=pool.id,
                assignment_id=assignment.id,
                amount=price.amount,
                currency=price.currency,
                occurred_at=event.received_at,
            )
        )
        session.add(
            Redemption(
                event_id=event.id,
                organization_id=pool.organization_id,
                learner_organization_id=1,
                learner_email=email,
                key_id=key.id,
                pool_id=pool.id,
                assignment_id=assignment.id,
                outcome=RedemptionOutcome.REDEEMED,
                received_at=event.received_at,
            )
        )
        now = clock_now(session)
        event.outcome, event.assignment_id = "redeemed", assignment.id
        event.settled_at, event.status = now, EventStatus.SETTLED
