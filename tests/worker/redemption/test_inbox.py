import time
from datetime import timedelta

import pytest
from sqlalchemy import select, text, update

from tests.conftest import pass_time
from tests.world import OPERATOR, build
from worker import errors, signatures
from worker.redemption import deciding, inbox, sources
from worker.tables.labels import EventStatus, EventType
from worker.tables.redemption import Event

KEPT = timedelta(days=90)


@pytest.fixture
def world(session):
    return build(session)


def message(**data):
    return inbox.Message(
        EventType.REDEMPTION_REQUESTED,
        {"key": "A-KEY-123", "learner": {"email": "a@b.example"}},
        **data,
    )


def driver(session):
    """Give the driver's own connection under a session, which the receiver works with."""
    session.flush()
    return session.connection().connection.driver_connection


def record(session, world, *, webhook_id="msg", body_hash=b"one", **changes):
    return inbox.record(
        driver(session),
        source_id=world.source,
        organization_id=world.parent,
        webhook_id=webhook_id,
        body_hash=body_hash,
        message=message(**changes),
    )


def test_a_message_is_recorded_once_however_often_it_is_sent(session, world):
    first, second = record(session, world), record(session, world)

    assert (first.is_new, second.is_new) == (True, False)
    assert first.event_id == second.event_id
    assert second.status is EventStatus.RECORDED


def test_an_id_with_another_body_is_refused(session, world):
    record(session, world)

    with pytest.raises(errors.WebhookIdReusedError):
        record(session, world, body_hash=b"two")


def test_a_repeat_is_known_though_its_organization_was_renamed_since(session, world):
    name = world.figures("SELECT name FROM organization WHERE id = :id", id=world.child).name
    first = record(session, world, organization=name)
    session.connection().exec_driver_sql(
        "UPDATE organization SET name = 'Renamed' WHERE id = %(id)s", {"id": world.child}
    )

    second = record(session, world, organization=name)

    assert second.event_id == first.event_id


def test_a_decided_events_body_is_blanked_after_its_time_and_a_repeat_is_still_known(
    session, world
):
    first = record(session, world)
    deciding.settle(session, event_ids=[first.event_id])

    early = inbox.blank_old(session, kept=KEPT, limit=10)
    pass_time(session, days=91)
    late = inbox.blank_old(session, kept=KEPT, limit=10)

    assert (early, late) == (0, 1)
    assert session.scalar(select(Event.data)) is None
    repeated = record(session, world)
    assert (repeated.event_id, repeated.is_new) == (first.event_id, False)
    with pytest.raises(errors.WebhookIdReusedError):
        record(session, world, body_hash=b"two")


@pytest.mark.parametrize("status", [EventStatus.RECORDED, EventStatus.FAILED])
def test_the_body_of_an_event_that_may_be_tried_again_is_never_blanked(session, world, status):
    record(session, world)
    session.execute(update(Event).values(status=status, error="broken"))
    pass_time(session, days=1000)

    assert inbox.blank_old(session, kept=KEPT, limit=10) == 0


def test_a_guess_keeps_its_body_while_it_counts_however_short_bodies_are_kept(session, world):
    guess = record(session, world)
    deciding.settle(session, event_ids=[guess.event_id])
    pass_time(session, seconds=500)

    assert inbox.blank_old(session, kept=timedelta(), limit=10) == 0

    pass_time(session, seconds=200)
    assert inbox.blank_old(session, kept=timedelta(), limit=10) == 1


def test_old_bodies_are_found_by_an_index_and_in_bounded_chunks(session, world):
    for number in range(3):
        world.request(f"NO-SUCH-KEY-{number}", "a@b.example")
    ids = list(session.scalars(select(Event.id)))
    deciding.settle(session, event_ids=ids)
    pass_time(session, days=91)
    session.execute(text("SET LOCAL enable_seqscan = off"))
    asked = {"kept": KEPT, "guesses": KEPT, "limit": 2}

    plan = session.scalars(text(f"EXPLAIN {inbox.BLANK}"), asked).all()
    chunks = [inbox.blank_old(session, kept=KEPT, limit=2) for _ in range(3)]

    assert "event_to_blank" in "\n".join(plan)
    assert chunks == [2, 1, 0]


@pytest.mark.parametrize("organization", ["No such place", "", "1"])
def test_an_organization_outside_the_sources_is_refused(session, world, organization):
    with pytest.raises(errors.InvalidInputError) as refused:
        record(session, world, organization=organization)

    assert refused.value.field == "data.organization"


def test_counting_guesses_uses_its_index_even_if_the_plan_was_cached_on_an_empty_table(
    session, world
):
    read = text("""
        SELECT sum(seq_tup_read + idx_tup_fetch) FROM pg_stat_xact_user_tables WHERE relname = 'event'""")
    pause = text("SELECT guessing_pause(:source, 'a@b.example', interval '1 hour', 100, 10)")
    asked = {"source": world.source}
    session.execute(text("TRUNCATE event CASCADE"))
    session.execute(text("ANALYZE event"))  # now the planner knows that there is nothing to read
    session.scalar(pause, asked)
    for number in range(20):
        record(session, world, webhook_id=f"msg-{number}")
    before = session.scalar(read)

    session.scalar(pause, asked)

    assert session.scalar(read) == before


def test_a_door_opens_to_the_live_secrets_newest_first(session, world):
    made = sources.add(session, actor=OPERATOR, name="door", organization=str(world.parent))
    rotated = sources.rotate(session, actor=OPERATOR, source=made["id"])

    door = inbox.open_door(driver(session), source_id=int(made["id"]))

    both = [signatures.read_secret(secret) for secret in (rotated["secret"], made["secret"])]
    assert door.organization_id == world.parent
    assert door.secrets == both


def test_an_old_secret_ends_with_its_time(session, world):
    made = sources.add(session, actor=OPERATOR, name="door", organization=str(world.parent))
    rotated = sources.rotate(session, actor=OPERATOR, source=made["id"])
    pass_time(session, days=1, seconds=1)

    door = inbox.open_door(driver(session), source_id=int(made["id"]))

    assert door.secrets == [signatures.read_secret(rotated["secret"])]


def test_signatures_are_judged_by_the_true_time_however_far_the_one_clock_is_shifted(
    session, world
):
    made = sources.add(session, actor=OPERATOR, name="door", organization=str(world.parent))
    pass_time(session, days=40)

    door = inbox.open_door(driver(session), source_id=int(made["id"]))

    assert abs(door.at - time.time()) < 60


def test_an_unknown_source_has_no_door(session, world):
    assert inbox.open_door(driver(session), source_id=2**60) is None


def test_an_event_is_late_that_has_waited_for_more_than_five_minutes(session, world):
    late = world.request("A-KEY", "ann@example.org")
    decided = world.request("ANOTHER-KEY", "ann@example.org")
    deciding.settle(session, event_ids=[decided])
    pass_time(session, seconds=301)
    world.request("A-KEY", "bob@example.org")
    filters = inbox.Filters(late=True)

    listed = inbox.listing(session, actor=OPERATOR, filters=filters).items

    assert [event["id"] for event in listed] == [str(late)]
    assert inbox.total(session, actor=OPERATOR, filters=filters) == 1
