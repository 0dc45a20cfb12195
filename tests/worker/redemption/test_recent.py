from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from tests import world as worlds
from tests.conftest import pass_time
from tests.world import OPERATOR, World
from worker.database import connections
from worker.days import Span
from worker.pools import tallies
from worker.redemption import attempts, deciding, recent
from worker.tables.labels import RedemptionOutcome


@pytest.fixture
def world(session: Session) -> World:
    return worlds.build(session)


def tried(world: World, code: str, *, email: str, later: int) -> None:
    """Try a key so many days later."""
    pass_time(world.session, days=later)
    event = world.request(code, f"{email}@example.org")
    deciding.settle(world.session, event_ids=[event])


def told(world: World, **asked: int) -> dict:
    return recent.of_pool(world.session, actor=OPERATOR, pool=world.pool, **asked)


def test_a_pool_tells_its_redemptions_by_day_and_its_refusals_by_reason(world):
    early, late = world.keys(2)
    for code, email, later in (
        (early, "ann", 0), (late, "bob", 37), (late, "cleo", 1), (late, "bob", 0), (early, "dora", 1),
    ):  # fmt: skip
        tried(world, code, email=email, later=later)

    lately = told(world)

    assert len(lately["per_day"]) == 30
    assert [day["redeemed"] for day in lately["per_day"]][-4:] == [0, 1, 0, 0]
    assert lately["refused"] == [{"outcome": "already_redeemed", "attempts": 2}]


def test_a_pool_tells_of_as_many_days_as_are_asked_for(world):
    early, late = world.keys(2)
    for code, email, later in ((early, "ann", 0), (early, "bob", 0), (late, "bob", 60)):
        tried(world, code, email=email, later=later)

    week, quarter = told(world, last=7), told(world, last=90)

    assert [day["redeemed"] for day in week["per_day"]] == [0] * 6 + [1]
    assert (len(quarter["per_day"]), sum(day["redeemed"] for day in quarter["per_day"])) == (90, 2)
    assert quarter["per_day"][-61]["redeemed"] == 1
    assert (week["refused"], quarter["refused"][0]["attempts"]) == ([], 1)


def test_a_pools_attempts_are_found_by_its_own_index(world):
    world.session.execute(text("SET LOCAL enable_seqscan = off"))

    plan = world.session.execute(
        text(f"EXPLAIN {recent.LATELY.text}"),
        {"pool_id": int(world.pool), "zone": "UTC", "since": datetime(2026, 1, 1, tzinfo=UTC)},
    )

    assert "attempt_tally_by_pool" in " ".join(plan.scalars())


def test_a_pool_that_nobody_tried_tells_thirty_empty_days(world):
    lately = told(world)

    assert [day["redeemed"] for day in lately["per_day"]] == [0] * 30
    assert lately["refused"] == []


def test_spans_count_what_the_list_of_attempts_has_folded_or_not(world):
    one, other = world.keys(2)
    for code, email, later in (
        (one, "ann", 0), (one, "ann", 0), (one, "bob", 3), ("NO-SUCH-KEY", "bob", 0), (other, "bob", 0),
    ):  # fmt: skip
        tried(world, code, email=email, later=later)
    now = connections.clock_now(world.session)
    spans = [
        Span(now - timedelta(days=age + 1), now - timedelta(days=age)) for age in (4, 3, 2, -1)
    ]
    spans = [Span(*(quarter(moment) for moment in span)) for span in spans]

    counted = recent.in_spans(world.session, actor=OPERATOR, spans=spans)
    tallies.fold(world.session)

    assert counted == recent.in_spans(world.session, actor=OPERATOR, spans=spans)
    assert counted == [listed(world, span) for span in spans]
    assert {"redeemed": 1, "refused": 2} in counted


def quarter(moment: datetime) -> datetime:
    return moment.replace(minute=moment.minute // 15 * 15, second=0, microsecond=0)


def listed(world: World, span: Span) -> dict[str, int]:
    """Count what the list of attempts shows of a span."""
    filters = {
        "redeemed": attempts.Filters(outcome=RedemptionOutcome.REDEEMED, **span._asdict()),
        "refused": attempts.Filters(refused=True, **span._asdict()),
    }
    return {
        name: len(attempts.listing(world.session, actor=OPERATOR, filters=chosen).items)
        for name, chosen in filters.items()
    }
