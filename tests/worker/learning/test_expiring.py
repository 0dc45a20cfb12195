from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text

from tests import world as worlds
from tests.conftest import pass_time
from tests.world import OPERATOR, World
from worker.database import connections as databases
from worker.learning import assignments, expiring


def show(world: World, assignment: str) -> dict:
    return assignments.show(world.session, actor=OPERATOR, assignment=assignment)


def access(world: World, assignment: str) -> assignments.Access:
    return assignments.access(world.session, actor=OPERATOR, assignment=assignment)


def test_a_late_sweep_neither_gives_nor_takes_access(world):
    held = world.redeemed()
    pass_time(world.session, days=31)

    unswept = access(world, held)
    expiring.expire_overdue(world.session, limit=10)

    assert show(world, held)["status"] == "expired"
    assert access(world, held) == unswept


@pytest.mark.parametrize("outage", [2, 365])
def test_the_sweep_expires_all_that_is_overdue_however_long_nobody_looked(world, outage):
    for number in range(7):
        world.redeemed(f"{number}@example.org")
    pass_time(world.session, days=30 + outage)

    rounds = [expiring.expire_overdue(world.session, limit=3) for _ in range(4)]

    assert rounds == [3, 3, 1, 0]


def test_what_is_not_overdue_is_not_expired(world):
    world.redeemed()

    assert expiring.expire_overdue(world.session, limit=10) == 0


def test_any_number_of_sweepers_at_once_expire_each_assignment_once(fresh_database):
    with databases.session() as session:
        world = worlds.build(session)
        for number in range(40):
            world.redeemed(f"learner{number}@example.org")
        earlier = "redeemed_at = redeemed_at - interval '1 year', expires_at = expires_at - interval '1 year'"
        session.execute(text(f"UPDATE assignment SET {earlier}"))

    with ThreadPoolExecutor(4) as sweepers:
        expired = list(sweepers.map(lambda _: expiring.expire_all(limit=3), range(4)))

    with databases.session() as session:
        counted = (
            "SELECT count(*) FROM assignment WHERE status = 'expired' AND expired_at IS NOT NULL"
        )
        assert (sum(expired), session.scalar(text(counted))) == (40, 40)
