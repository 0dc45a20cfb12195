from datetime import timedelta

import pytest
from sqlalchemy.orm import Session

from tests import world as worlds
from tests.conftest import pass_time
from tests.world import OPERATOR, World
from worker.redemption import deciding, recent


@pytest.fixture
def world(session: Session) -> World:
    return worlds.build(session)


def tried(world: World, code: str, *, email: str, later: int) -> None:
    """Try a key so many days later."""
    pass_time(world.session, days=later)
    event = world.request(code, f"{email}@example.org")
    deciding.settle(world.session, event_ids=[event])


def told(world: World) -> dict:
    return recent.of_pool(world.session, actor=OPERATOR, pool=world.pool)


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
    assert lately["since"] is None


def test_a_pool_with_more_attempts_than_are_looked_at_says_how_far_back_they_go(world, monkeypatch):
    monkeypatch.setattr(recent, "ATTEMPTS", 2)
    for code, later in zip(world.keys(3), (0, 4, 3), strict=True):
        tried(world, code, email=code, later=later)

    lately = told(world)

    today = lately["per_day"][-1]["day"]
    assert lately["since"] == today - timedelta(days=3)
    assert [day["redeemed"] for day in lately["per_day"]] == [1, 0, 0, 1]


def test_a_pool_that_nobody_tried_tells_thirty_empty_days(world):
    lately = told(world)

    assert [day["redeemed"] for day in lately["per_day"]] == [0] * 30
    assert (lately["refused"], lately["since"]) == ([], None)
