"""Figures of pools and of distributions of many keys, however they are folded."""

import random
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from tests.world import OPERATOR, World
from worker.database import connections
from worker.pools import distributions, retiring, tallies

MANY = tallies.FEW + 1


def give(world: World, recipient: str = "shop@example.com", **options) -> dict:
    return distributions.distribute(
        world.session, actor=OPERATOR, pool=world.pool, recipient=recipient, **options
    )


def fold(world: World) -> None:
    tallies.fold(world.session)


def figures(world: World) -> list[tuple[str, int, int, int]]:
    listed = distributions.listing(world.session, actor=OPERATOR, pool=world.pool).items
    return sorted((i["recipient"], i["given"], i["redeemed"], i["retired"]) for i in listed)


def counted(world: World) -> list[tuple[str, int, int, int]]:
    rows = world.session.execute(
        text("""SELECT recipient, count(key.id), count(*) FILTER (WHERE state = 'redeemed'),
                       count(*) FILTER (WHERE state = 'retired')
                  FROM distribution LEFT JOIN key ON distribution_id = distribution.id
                 WHERE distribution.pool_id = :pool GROUP BY recipient ORDER BY recipient"""),
        {"pool": int(world.pool)},
    )
    return [tuple(row) for row in rows]


def test_a_distribution_of_many_keys_is_read_without_a_look_at_them(world):
    world.keys(MANY)
    held = give(world, count=MANY)["keys"]
    fold(world)
    retiring.retire(world.session, actor=OPERATOR, codes=held[:3])
    read = text("SELECT seq_scan + idx_scan FROM pg_stat_xact_user_tables WHERE relname = 'key'")
    before = world.session.scalar(read)

    shown = figures(world)

    assert shown == [("shop@example.com", MANY, 0, 3)]
    assert world.session.scalar(read) == before


def test_a_distribution_of_few_keys_is_counted_and_has_no_figures_of_its_own(world):
    world.keys(tallies.FEW)
    give(world, count=tallies.FEW)

    fold(world)

    assert world.figures("SELECT count(*) FROM distribution_tally").count == 0
    assert figures(world) == [("shop@example.com", tallies.FEW, 0, 0)]


def test_a_distribution_that_grows_large_piece_by_piece_is_kept_from_then_on(world):
    codes = world.keys(MANY)
    give(world, count=1)
    for start in (1, 51):
        fold(world)
        assert world.figures("SELECT count(*) FROM distribution_tally").count == 0
        world.session.execute(
            text("""UPDATE key SET distribution_id = (SELECT max(id) FROM distribution)
                     WHERE code = ANY (:codes)"""),
            {"codes": codes[start : start + 50]},
        )
    fold(world)

    assert world.figures("SELECT given FROM distribution_tally").given == MANY


CHANGES = [
    "distribution_id = :one",
    "distribution_id = NULL",
    "state = 'redeemed'",
    "state = 'retired'",
    "state = 'issued'",
]


@pytest.mark.parametrize("seed", range(3))
def test_figures_are_what_a_recount_gives_whenever_they_are_folded(world, seed):
    chance = random.Random(seed)  # noqa: S311  # repeatable, not secret
    world.keys(4 * MANY)
    for recipient, count in {"a": 1, "b": MANY, "c": MANY + 1}.items():
        give(world, recipient, count=count)
    ids = world.figures("SELECT array_agg(id) AS ids FROM distribution").ids

    for _ in range(15):
        change = f"UPDATE key SET {chance.choice(CHANGES)} WHERE id % :share = 0"
        drawn = {"one": chance.choice(ids), "share": chance.randint(1, 4)}
        world.session.execute(text(change), drawn)
        if chance.random() < 0.4:
            fold(world)

        assert figures(world) == counted(world)


def test_a_fold_leaves_the_work_to_one_that_is_under_way(committed):
    with connections.session() as opened:
        give(replace(committed, session=opened))

    with connections.session() as under_way, connections.session() as another:
        folded = [tallies.fold(session) for session in (under_way, another)]

    assert folded == [1, 0]


def test_figures_are_right_however_writers_and_folds_meet(committed):
    def retire(session: Session, *, number: int) -> None:
        change = text("UPDATE key SET state = 'retired' WHERE id % 25 = :number")
        session.execute(change, {"number": number})

    def retiring() -> None:
        for number in range(25):
            connections.transaction(retire, number=number)

    def growing() -> None:
        for number in range(30):
            with connections.session() as opened:
                codes = replace(committed, session=opened).keys(10)
                give_all = "UPDATE key SET distribution_id = :id WHERE code = ANY (:codes)"
                opened.execute(text(give_all), {"id": ids[number % 2], "codes": codes})

    with connections.session() as opened:
        ids = [int(give(replace(committed, session=opened), who)["id"]) for who in ("a", "b")]
    with ThreadPoolExecutor(4) as racers:
        writers = [racers.submit(growing), racers.submit(retiring)]
        while not all(writer.done() for writer in writers):
            wait([racers.submit(connections.transaction, tallies.fold) for _ in range(2)])

    assert [writer.exception() for writer in writers] == [None, None]
    with connections.session() as opened:
        world = replace(committed, session=opened)
        assert figures(world) == counted(world)
        assert world.figures("SELECT count(*) FROM distribution_tally").count == 2
