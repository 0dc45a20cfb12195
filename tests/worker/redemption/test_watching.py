"""Leak watch: what is unusual about a pool against its own past, and that it is told once a spell."""

from decimal import Decimal

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from tests import world as worlds
from tests.conftest import pass_time
from tests.world import OPERATOR, World
from worker.languages import unusual
from worker.languages.phrasebooks import LANGUAGES, phrasebook
from worker.outgoing import deliveries, endpoints
from worker.pools import pools
from worker.pools.spells import UnusualShape
from worker.redemption import deciding, watching

DISTRIBUTE = text("""
    WITH given AS (
        INSERT INTO distribution (pool_id, recipient) SELECT :pool, unnest(CAST(:people AS text[]))
        RETURNING *),
    numbered AS (SELECT given.id, row_number() OVER (ORDER BY given.id) AS nth FROM given)
    UPDATE key SET distribution_id = numbered.id
      FROM numbered, unnest(CAST(:codes AS text[])) WITH ORDINALITY AS one (code, nth)
     WHERE key.code = one.code AND one.nth = numbered.nth""")


@pytest.fixture
def world(session: Session) -> World:
    return worlds.build(session)


def day(world: World, *, own: int = 0, strangers: int = 0, tries: int = 0) -> None:
    """Let a day pass on which keys are redeemed by whom they were given to, by strangers, and tried again."""
    count = own + strangers
    codes = world.keys(count)
    people = [f"{code.lower()}@example.org" for code in codes]
    world.session.execute(DISTRIBUTE, {"pool": int(world.pool), "people": people, "codes": codes})
    redeemers = [p if n < own else f"not-{p}" for n, p in enumerate(people)]
    settle(world, list(zip(codes, redeemers, strict=True)))
    settle(world, [(codes[0], f"{n}@elsewhere.example") for n in range(tries)])


def settle(world: World, requests: list[tuple[str, str]]) -> None:
    events = [world.request(code, email) for code, email in requests]
    while events:
        deciding.settle(world.session, event_ids=events)
        events = [event for event in events if world.outcome(event) is None]


def past(world: World, days: int = 8, **each: int) -> None:
    for _ in range(days):
        pass_time(world.session, days=1)
        day(world, **each)
    pass_time(world.session, days=1.05)


def now(world: World) -> list[UnusualShape]:
    watching.watch(world.session)
    return pools.show(world.session, actor=OPERATOR, pool=world.pool)["unusual"]


def told(world: World) -> list[dict]:
    items = deliveries.listing(world.session, actor=OPERATOR).items
    return [one["body"]["data"] for one in items if one["type"] == "pool.unusual"]


def test_a_sudden_pace_is_told_once_a_spell_to_who_listens_at_the_owner(world):
    for where in (world.parent, world.child, world.sibling):
        url = f"https://hooks.example/{where}"
        endpoints.add(world.session, actor=OPERATOR, url=url, organization=str(where))
    past(world, own=3)
    assert now(world) == []
    day(world, own=19)
    assert now(world) == []

    day(world, own=1)
    [first] = now(world)
    [again] = now(world)

    assert (first["rule"], first["seen"], first["among"], first["most"]) == (
        "sudden_pace",
        20,
        None,
        3,
    )
    assert first["usual"] == 3.0
    assert first["message"] == (
        "Sudden pace: 20 keys were redeemed in 24 hours. Before, it was 3 a day, and 3 at most."
    )
    assert again["began_at"] == first["began_at"]
    pool = pools.show(world.session, actor=OPERATOR, pool=world.pool)
    [data] = told(world)
    assert data == {
        "pool": world.pool,
        **{name: pool[name] for name in ("name", "organization", "course")},
        **{name: first[name] for name in ("rule", "seen", "among", "usual", "most", "message")},
        "began_at": data["began_at"],
    }
    pass_time(world.session, days=1.5)
    assert [one["rule"] for one in now(world)] == []
    day(world, own=30)
    assert [one["seen"] for one in now(world)] == [30]
    assert [one["seen"] for one in told(world)] == [30, 20]


def test_strangers_are_unusual_where_keys_used_to_go_to_whom_they_were_given(world):
    past(world, own=3, strangers=1)
    day(world, own=11, strangers=9)
    assert "strangers" not in [one["rule"] for one in now(world)]

    day(world, strangers=1)

    [one] = [one for one in now(world) if one["rule"] == "strangers"]
    assert (one["seen"], one["among"], one["usual"], one["most"]) == (10, 21, 0.25, None)
    assert "of 21 keys" in one["message"]
    assert "10 (48\u00a0%)" in one["message"]
    assert "it was 25\u00a0%" in one["message"]


def test_strangers_are_usual_where_most_keys_went_to_them_before(world):
    past(world, own=1, strangers=4)

    day(world, own=1, strangers=14)

    assert now(world) == []


def test_keys_that_several_people_try_are_unusual(world):
    past(world, own=1)
    day(world, own=1, tries=4)
    assert now(world) == []

    settle(world, [(*world.keys(1), "ann@example.org")])
    day(world, own=1, tries=4)

    [one] = now(world)
    assert (one["rule"], one["seen"], one["usual"], one["most"]) == ("shared_keys", 8, 0.0, 0)


def test_a_pool_without_a_past_is_not_judged(world):
    past(world, days=4, own=1)

    day(world, own=25, strangers=20, tries=20)

    assert now(world) == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_rule_is_explained_with_its_numbers_in_every_language(language):
    figures = {"seen": 4321, "usual": Decimal("0.25")}

    said = [
        unusual.sentence(phrasebook(language), rule=rule, among=among, most=most, **figures)
        for rule, among, most in (
            ("sudden_pace", None, 77),
            ("strangers", 8642, None),
            ("shared_keys", None, 77),
        )
    ]

    assert len(set(said)) == len(unusual.SENTENCES) == 3
    for sentence in said:
        assert phrasebook(language).number(4321) in sentence
        assert "77" in sentence or "25\u00a0%" in sentence
