"""The outbox: who is told what of what happens, in the transaction in which it does."""

from contextvars import copy_context
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.orm import Session

from tests import world as worlds
from tests.conftest import pass_time
from tests.world import OPERATOR, World
from worker import errors
from worker.billing import invoices, payments, runs
from worker.database import revisions
from worker.database.paging import Page
from worker.languages import readers
from worker.learning import cancelling, expiring, extending, learners
from worker.outgoing import deliveries, endpoints, retries
from worker.outgoing.deliveries import DeliveryShape, Filters
from worker.redemption import deciding, outcomes
from worker.tenancy.actors import Actor, Role

ANN = "ann@child.example"
MIGRATIONS = ScriptDirectory(str(revisions.MIGRATIONS))


@pytest.fixture
def world(session: Session) -> World:
    return worlds.build(session, share_with_children=True)


def listening(world: World, organization: int, **given) -> str:
    """Register an endpoint and give its id."""
    url = f"https://hooks.example/{organization}/{len(endpoints.listing(world.session, actor=OPERATOR).items)}"
    made = endpoints.add(
        world.session, actor=OPERATOR, url=url, organization=str(organization), **given
    )
    return made["id"]


def listed(world: World, **asked: Any) -> Page[DeliveryShape]:
    return deliveries.listing(world.session, actor=OPERATOR, filters=Filters(**asked), limit=1000)


def told(world: World, endpoint: str, type_: str | None = None) -> list[dict]:
    """Give the data of what an endpoint was told, oldest first."""
    items = [
        item for item in listed(world, endpoint=endpoint).items if type_ in (None, item["type"])
    ]
    return [item["body"]["data"] for item in reversed(items)]


def redeemed(world: World, *, organization: int | None = None, email: str = ANN) -> str:
    """Redeem a key and give the assignment."""
    [key] = world.keys(1)
    event = world.request(key, email, organization=organization or world.child)
    assert deciding.settle(world.session, event_ids=[event]) == ["redeemed"]
    return str(
        world.figures("SELECT assignment_id FROM event WHERE id = :id", id=event).assignment_id
    )


def test_a_decision_is_told_with_the_id_of_the_message_that_it_answers(world):
    endpoint = listening(world, world.parent)

    assignment = redeemed(world)

    [data] = told(world, endpoint)
    event = world.figures(
        "SELECT event.*, assignment.expires_at FROM event JOIN assignment"
        " ON assignment.id = assignment_id WHERE source_id = :id",
        id=world.source,
    )
    assert data["webhook_id"] == event.webhook_id
    assert (data["event"], data["source"]) == (str(event.id), str(world.source))
    assert (data["outcome"], data["assignment"], data["learner"]) == ("redeemed", assignment, ANN)
    assert data["access_expires_at"] == event.expires_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    end = f"{event.expires_at:%-d %b %Y, %H:%M}"
    assert data["message"] == f"The key is redeemed. Access ends on {end} (UTC)."
    assert "reader" not in data
    assert data["pool"] == world.pool


def test_what_tells_the_decision_on_an_event_is_found_by_it_even_if_an_older_release_wrote_it(
    world,
):
    listening(world, world.parent)
    listening(world, world.parent)
    events = [redeemed(world, email=email) and last_event(world) for email in (ANN, f"b{ANN}")]

    def found() -> list[set[str | None]]:
        return [{one["event"] for one in listed(world, event=event).items} for event in events]

    by_this_release = found()
    world.session.execute(text("UPDATE delivery SET event_id = NULL"))
    before = found()
    world.session.execute(
        text(MIGRATIONS.get_revision("0078").module.OF_EARLIER), {"after": 0, "upto": 10**9}
    )

    assert by_this_release == found() == [{str(event)} for event in events]
    assert before == [set(), set()]
    assert [len(listed(world, event=event).items) for event in events] == [2, 2]


def last_event(world: World) -> int:
    return int(world.figures("SELECT max(id) AS id FROM event").id)


def test_a_refusal_is_told_too_to_whoever_sent_it(world):
    endpoint = listening(world, world.parent)

    event = world.request("UNKNOWN-KEY-9", ANN)
    deciding.settle(world.session, event_ids=[event])

    [data] = told(world, endpoint)
    assert (data["outcome"], data["assignment"], data["pool"]) == ("unknown_key", None, None)
    assert data["message"] == outcomes.SENTENCES["unknown_key"]


def test_a_refusals_sentence_has_its_date_in_the_learners_zone_and_language(world):
    endpoint = listening(world, world.parent)
    world.session.execute(
        text(
            "UPDATE organization SET time_zone = 'America/New_York', locale = 'fr' WHERE id = :id"
        ),
        {"id": world.child},
    )
    world.session.execute(text("UPDATE pool SET starts_at = '2080-12-01T05:00Z'"))
    [key] = world.keys(1)

    event = world.request(key, ANN, organization=world.child)
    deciding.settle(world.session, event_ids=[event])

    [data] = told(world, endpoint)
    assert data["outcome"] == "pool_not_started"
    assert (
        data["message"]
        == "La clé ne peut pas être utilisée avant le 1 déc. 2080 (America/New_York)."
    )


def test_a_stranger_is_not_told_a_learners_zone_and_language(world):
    endpoint = listening(world, world.parent)
    world.session.execute(
        text("UPDATE organization SET time_zone = 'Asia/Tokyo', locale = 'es' WHERE id = :id"),
        {"id": world.sibling},
    )
    [key] = world.keys(1)

    event = world.request(key, ANN, organization=world.sibling)
    deciding.settle(world.session, event_ids=[event])

    [data] = told(world, endpoint)
    assert data["organization"] is None
    assert data["message"] == "The key is not for learners of your organization."


def test_a_delivery_is_shown_as_it_is_sent_whatever_language_is_asked_for(world):
    endpoint = listening(world, world.parent)
    event = world.request("UNKNOWN-KEY-9", ANN)
    deciding.settle(world.session, event_ids=[event])

    def ask() -> str:
        readers.begin("de")
        return str(told(world, endpoint)[0]["message"])

    assert copy_context().run(ask) == outcomes.SENTENCES["unknown_key"]


def test_what_an_older_release_wrote_is_told_in_utc():
    data = {"outcome": "redeemed", "access_expires_at": "2027-02-26T10:10:00.000000Z"}

    body = deliveries.body("redemption.decided", datetime(2026, 11, 28, tzinfo=UTC), data)

    assert (
        body["data"]["message"] == "The key is redeemed. Access ends on 26 Feb 2027, 10:10 (UTC)."
    )


def test_nothing_is_told_to_whom_it_does_not_concern(world):
    stranger = listening(world, world.sibling)
    child = listening(world, world.child)

    redeemed(world, organization=world.parent, email="bob@parent.example")

    assert told(world, stranger) == []
    assert told(world, child) == []


def test_an_endpoint_that_hears_of_a_thing_twice_over_is_told_once(world):
    endpoint = listening(world, world.parent)

    redeemed(world)  # the pool's owner is the source's organization as well

    assert len(told(world, endpoint)) == 1


def test_a_strangers_learner_is_masked_and_the_strangers_message_unknown(world):
    owner, sender = listening(world, world.parent), listening(world, world.sibling)
    [key] = world.keys(1)
    event = world.request(key, "eve@stranger.example", organization=world.sibling)
    world.session.execute(
        text("UPDATE event SET organization_id = :org WHERE id = :id"),
        {"org": world.sibling, "id": event},
    )

    deciding.settle(world.session, event_ids=[event])

    [seen_by_owner], [seen_by_sender] = told(world, owner), told(world, sender)
    assert seen_by_owner["outcome"] == seen_by_sender["outcome"] == "not_available_to_organization"
    assert (seen_by_owner["learner"], seen_by_owner["organization"]) == ("e***@s***", None)
    assert (seen_by_owner["webhook_id"], seen_by_owner["source"]) == (None, None)
    assert seen_by_owner["pool"] == world.pool
    assert seen_by_sender["learner"] == "eve@stranger.example"
    assert (seen_by_sender["pool"], seen_by_sender["course"]) == (None, None)
    assert seen_by_sender["webhook_id"]


def test_the_outbox_is_written_with_the_decision_or_not_at_all(world):
    endpoint = listening(world, world.parent)
    nested = world.session.begin_nested()
    redeemed(world)
    assert len(told(world, endpoint)) == 1

    nested.rollback()

    assert told(world, endpoint) == []


def test_an_expired_assignment_is_told_by_the_sweep(world):
    endpoint = listening(world, world.parent, types=["assignment.expired"])
    assignment = redeemed(world)
    pass_time(world.session, days=31)

    expiring.expire_overdue(world.session, limit=10)
    expiring.expire_overdue(world.session, limit=10)

    [data] = told(world, endpoint)
    assert (data["id"], data["status"], data["learner"]) == (assignment, "expired", ANN)


def test_an_assignment_that_makes_room_for_another_is_told_too(world):
    endpoint = listening(world, world.parent, types=["assignment.expired"])
    first = redeemed(world)
    pass_time(world.session, days=31)

    redeemed(world)

    assert [data["id"] for data in told(world, endpoint)] == [first]


def test_extending_and_cancelling_are_told_to_the_learners_side_and_the_pools(world):
    owner, child = listening(world, world.parent), listening(world, world.child)
    assignment = redeemed(world)

    extended = extending.extend(world.session, actor=OPERATOR, assignment=assignment, by_days=5)
    cancelling.cancel(world.session, actor=OPERATOR, assignment=assignment)

    for endpoint, pool in ((owner, world.pool), (child, None)):
        [later] = told(world, endpoint, "assignment.extended")
        [gone] = told(world, endpoint, "assignment.cancelled")
        assert later["expires_at"] == extended["expires_at"].strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        assert (later["pool"], gone["status"]) == (pool, "cancelled")


def test_what_nobody_asked_for_is_not_told(world):
    endpoint = listening(world, world.parent, types=["assignment.cancelled"])
    removed = listening(world, world.parent)
    endpoints.remove(world.session, actor=OPERATOR, endpoint=removed)

    assignment = redeemed(world)
    extending.extend(world.session, actor=OPERATOR, assignment=assignment, by_days=5)

    assert told(world, endpoint) == []
    assert world.figures("SELECT count(*) AS n FROM delivery").n == 0


def test_a_finalized_invoice_is_told_once_with_its_number_and_total(world):
    endpoint = listening(world, world.parent, types=["invoice.finalized"])
    redeemed(world)
    month = world.figures("SELECT to_char(clock_now(), 'YYYY-MM') AS month").month
    run = runs.run(
        actor=OPERATOR, month=month, transaction=lambda do, *a, **k: do(world.session, *a, **k)
    )
    [drafted] = run.drafted

    final = invoices.finalize(world.session, actor=OPERATOR, invoice=str(drafted), anyway=True)
    payments.pay(world.session, actor=OPERATOR, invoice=str(drafted), on=final["issued_on"])

    [data] = told(world, endpoint)
    shown = {name: final[name] for name in ("id", "number", "month", "currency", "total", "due_on")}
    assert data.items() >= shown.items()
    assert (data["total"], data["organization"]) == ("49.90", final["organization"])


def low(world: World, endpoint: str) -> list[int]:
    return [data["keys_left"] for data in told(world, endpoint, "pool.low")]


def test_a_pool_that_runs_low_is_told_once_per_crossing(world):
    endpoint = listening(world, world.parent, types=["pool.low"], pool_low=3)
    deliveries.tell_of_pools(world.session)
    assert low(world, endpoint) == []  # it never had a key

    world.keys(3)
    deliveries.tell_of_pools(world.session)
    assert low(world, endpoint) == []

    redeemed(world)  # adds a key and spends one
    world.session.execute(
        text("UPDATE key SET state = 'retired' WHERE id = (SELECT min(id) FROM key"
             " WHERE pool_id = :pool AND state = 'issued')"),
        {"pool": int(world.pool)},
    )  # fmt: skip
    deliveries.tell_of_pools(world.session)
    deliveries.tell_of_pools(world.session)
    assert low(world, endpoint) == [2]

    world.keys(1)
    deliveries.tell_of_pools(world.session)
    world.session.execute(
        text("UPDATE key SET state = 'retired' WHERE pool_id = :pool AND state = 'issued'"),
        {"pool": int(world.pool)},
    )
    deliveries.tell_of_pools(world.session)
    assert low(world, endpoint) == [2, 0]


def test_keys_that_somebody_holds_are_not_left(world):
    endpoint = listening(world, world.parent, types=["pool.low"], pool_low=3)
    world.keys(5)
    world.session.execute(
        text("""
            WITH given AS (INSERT INTO distribution (pool_id, recipient) VALUES (:pool, 'desk')
                           RETURNING id)
            UPDATE key SET distribution_id = given.id FROM given WHERE pool_id = :pool
               AND key.id IN (SELECT id FROM key WHERE pool_id = :pool ORDER BY id LIMIT 4)"""),
        {"pool": int(world.pool)},
    )

    deliveries.tell_of_pools(world.session)

    assert low(world, endpoint) == [1]


def test_a_pool_that_is_being_filled_is_not_low(world):
    endpoint = listening(world, world.parent, types=["pool.low"], pool_low=3)
    world.keys(1)
    world.session.execute(
        text("INSERT INTO batch (pool_id, kind, requested) VALUES (:pool, 'import', 10)"),
        {"pool": int(world.pool)},
    )

    deliveries.tell_of_pools(world.session)

    assert low(world, endpoint) == []


def test_a_pool_near_its_end_is_told_once_and_again_when_it_gets_another_end(world):
    endpoint = listening(world, world.parent, types=["pool.expiring"], pool_expiring_days=7)
    world.keys(2)
    far, near, nearer = (timedelta(days=n) for n in (8, 7, 6))

    def moved(to: timedelta) -> int:
        world.session.execute(
            text("UPDATE pool SET expires_at = clock_now() + :to WHERE id = :pool"),
            {"to": to, "pool": int(world.pool)},
        )
        deliveries.tell_of_pools(world.session)
        deliveries.tell_of_pools(world.session)
        return len(told(world, endpoint, "pool.expiring"))

    assert [moved(far), moved(near), moved(nearer)] == [0, 1, 2]
    assert told(world, endpoint)[0]["keys_issued"] == 2


def test_a_pool_without_a_key_to_lose_is_not_called_expiring(world):
    listening(world, world.parent, types=["pool.expiring"], pool_expiring_days=3650)
    world.session.execute(text("UPDATE pool SET expires_at = clock_now() + interval '1 day'"))

    assert deliveries.tell_of_pools(world.session) == 0


def test_an_erase_reaches_the_outbox_and_what_it_causes_names_nobody(world):
    endpoint = listening(world, world.parent)
    redeemed(world)
    exported = learners.export(world.session, actor=OPERATOR, email=ANN)

    erased = learners.erase(world.session, actor=OPERATOR, email=ANN.upper())

    assert [one["type"] for one in exported["deliveries"]] == ["redemption.decided"]
    assert [data["learner"] for data in told(world, endpoint)] == [erased["pseudonym"]] * 2
    assert ANN not in str(told(world, endpoint))


def test_bodies_are_blanked_once_they_are_old_and_done_with(world):
    endpoint = listening(world, world.parent)
    redeemed(world)
    redeemed(world, email="bob@child.example")
    world.session.execute(
        text("UPDATE delivery SET state = 'delivered', ended_at = clock_now()"
             " WHERE data->>'learner' = :ann"),
        {"ann": ANN},
    )  # fmt: skip
    kept = timedelta(days=90)

    early = retries.DELIVERIES.blank_old(world.session, kept=kept, limit=10)
    pass_time(world.session, days=91)
    late = retries.DELIVERIES.blank_old(world.session, kept=kept, limit=10)

    assert (early, late) == (0, 1)
    bodies = listed(world, endpoint=endpoint).items
    assert [item["body"] is None for item in bodies] == [False, True]


def ended(world: World, state: str = "delivered") -> None:
    world.session.execute(
        text("UPDATE delivery SET state = CAST(:state AS delivery_state), ended_at = clock_now(),"
             " error = 'answered 500', attempts = 9, tried_since = clock_now()"),
        {"state": state},
    )  # fmt: skip


def test_what_was_told_is_sent_once_more_by_id_under_the_same_id(world):
    endpoint = listening(world, world.parent)
    redeemed(world)
    redeemed(world, email="bob@child.example")
    ended(world)
    [later, _] = listed(world, endpoint=endpoint).items

    done = deliveries.resend(
        world.session, actor=OPERATOR, endpoint=endpoint, deliveries=[later["id"]]
    )

    shown = deliveries.show(world.session, actor=OPERATOR, delivery=later["id"])
    assert done == {"resent": 1}
    assert (shown["state"], shown["attempts"], shown["error"]) == ("waiting", 0, None)
    assert (shown["webhook_id"], shown["body"]) == (later["webhook_id"], later["body"])


def test_what_happened_since_a_time_is_sent_once_more(world):
    endpoint = listening(world, world.parent)
    redeemed(world)
    ended(world)
    pass_time(world.session, days=1)
    since = world.figures("SELECT clock_now() AS now").now
    redeemed(world, email="bob@child.example")
    ended(world)

    done = deliveries.resend(world.session, actor=OPERATOR, endpoint=endpoint, since=since)

    assert done == {"resent": 1}


def test_the_failed_ones_are_listed_and_sent_once_more(world):
    endpoint = listening(world, world.parent)
    redeemed(world)
    ended(world, "failed")
    redeemed(world, email="bob@child.example")

    failed = listed(world, failed=True).items
    done = deliveries.resend(world.session, actor=OPERATOR, endpoint=endpoint, failed=True)

    assert [(item["state"], item["error"]) for item in failed] == [("failed", "answered 500")]
    assert done == {"resent": 1}


def test_what_cannot_be_sent_once_more_is_refused(world):
    endpoint, other = listening(world, world.parent), listening(world, world.child)
    redeemed(world, organization=world.parent)
    ended(world)
    [item] = listed(world, endpoint=endpoint).items

    def resend(**given):
        return deliveries.resend(world.session, actor=OPERATOR, **given)

    with pytest.raises(errors.InvalidInputError):
        resend(endpoint=endpoint)
    with pytest.raises(errors.NotFoundError):
        resend(endpoint=other, deliveries=[item["id"]])
    world.session.execute(text("UPDATE delivery SET data = NULL"))
    with pytest.raises(errors.NotFoundError):
        resend(endpoint=endpoint, deliveries=[item["id"]])


def test_a_stranger_does_not_read_what_an_endpoint_was_told(world):
    endpoint = listening(world, world.parent)
    redeemed(world)
    [item] = listed(world, endpoint=endpoint).items
    stranger = Actor("token", Role.MANAGER, world.sibling)

    assert deliveries.listing(world.session, actor=stranger).items == []
    with pytest.raises(errors.NotFoundError):
        deliveries.listing(world.session, actor=stranger, filters=Filters(endpoint=endpoint))
    with pytest.raises(errors.NotFoundError):
        deliveries.show(world.session, actor=stranger, delivery=item["id"])
