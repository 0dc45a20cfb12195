from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from tests.conftest import pass_time
from worker import errors
from worker.catalogue import courses
from worker.database import connections
from worker.pools import pools
from worker.tables.pools import Pool
from worker.tenancy import organizations
from worker.tenancy.actors import Actor, Role

OPERATOR = Actor.operator("test")


@pytest.fixture
def berlin(session: Session) -> str:
    organizations.add(session, actor=OPERATOR, name="Berlin Academy", time_zone="Europe/Berlin")
    courses.add(
        session, actor=OPERATOR, code="K8S-101", title="Kubernetes", price="49.90", currency="EUR"
    )
    return "Berlin Academy"


def create(session: Session, owner: str, **changes: object) -> dict:
    given = {
        "actor": OPERATOR,
        "name": "Autumn",
        "organization": owner,
        "course": "k8s-101",
        "starts": "2026-01-01",
        "expires": "2026-12-31",
        "content_availability": 180,
    }
    return pools.create(session, **(given | changes))


def test_a_pools_last_day_is_included_in_its_owners_time_zone(session, berlin):
    pool = create(session, berlin)

    assert pool["starts_at"] == datetime(2025, 12, 31, 23, tzinfo=UTC)
    assert pool["expires_at"] == datetime(2026, 12, 31, 23, tzinfo=UTC)
    assert pool["keys_work_until"] == "the end of 31 Dec 2026, Europe/Berlin"


def test_a_new_pool_holds_no_keys(session, berlin):
    pool = create(session, berlin)

    assert pool["keys"] == {"issued": 0, "distributed": 0, "redeemed": 0, "retired": 0}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"expires": "2025-12-30"}, "expires_at"),
        ({"starts": "31.12.2026"}, "starts"),
        ({"starts": "0000-01-01"}, "starts"),
        ({"expires": "10000-01-01"}, "expires"),
        ({"content_availability": 0}, "content_availability_days"),
        ({"content_availability": 3651}, "content_availability_days"),
        ({"name": " "}, "name"),
    ],
)
def test_a_pool_with_a_wrong_field_is_refused_and_the_field_is_named(
    session, berlin, changes, field
):
    with pytest.raises(errors.InvalidInputError) as refused:
        create(session, berlin, **changes)

    assert refused.value.field == field


def test_a_pool_cannot_be_created_for_an_archived_course(session, berlin):
    courses.archive(session, actor=OPERATOR, course="K8S-101")

    with pytest.raises(errors.CourseArchivedError):
        create(session, berlin)


def test_state_is_the_first_that_holds_of_archived_paused_scheduled_expired_active(session, berlin):
    pool = create(session, berlin, starts="2020-01-01", expires="2090-12-31")["id"]

    def state() -> str:
        return pools.show(session, actor=OPERATOR, pool=pool)["state"]

    assert state() == "active"
    pass_time(session, days=80 * 365)
    assert state() == "expired"
    pass_time(session, days=-160 * 365)
    assert state() == "scheduled"
    pools.pause(session, actor=OPERATOR, pool=pool)
    assert state() == "paused"
    courses.archive(session, actor=OPERATOR, course="K8S-101")
    assert state() == "archived"


def test_another_organizations_pool_reads_as_if_it_did_not_exist(session, berlin):
    stranger = organizations.add(session, actor=OPERATOR, name="Stranger")
    create(session, berlin)
    actor = Actor("token", Role.MANAGER, int(stranger["id"]))

    with pytest.raises(errors.NotFoundError) as foreign:
        pools.show(session, actor=actor, pool="Autumn")
    with pytest.raises(errors.NotFoundError) as unknown:
        pools.show(session, actor=actor, pool="Winter")

    assert str(foreign.value).replace("Autumn", "Winter") == str(unknown.value)


# Issued keys, and in how many days the pool ends: it began 3.5 days ago, and 30 a day were redeemed.
STOCK = {"runs out": (100, 365), "is out": (0, 365), "lasts": (1000, 365), "ends": (100, 1)}


def test_pools_that_run_out_or_end_with_keys_left_are_found_by_their_pace(session, berlin):
    now = connections.clock_now(session)
    for name, (issued, days) in STOCK.items():
        window = {"starts": now - timedelta(days=3.5), "expires": now + timedelta(days=days)}
        window = {end: moment.isoformat(timespec="seconds") for end, moment in window.items()}
        pool = int(create(session, berlin, name=name, **window)["id"])
        stock = {
            "pool": pool,
            "owner": session.get_one(Pool, pool).organization_id,
            "issued": issued,
        }
        session.execute(text("INSERT INTO pool_tally VALUES (:pool, :issued, 0, 105, 0)"), stock)
        session.execute(
            text("INSERT INTO attempt_tally VALUES"
                 " (:owner, :pool, 'redeemed', clock_now() - interval '1 day', 105),"
                 " (:owner, :pool, 'redeemed', clock_now() - interval '29 days', 9999),"
                 " (:owner, :pool, 'key_retired', clock_now() - interval '1 day', 9999)"), stock
        )  # fmt: skip

    def found(**wanted: object) -> list[str]:
        filters = pools.Filters(**wanted)
        listed = pools.listing(session, actor=OPERATOR, filters=filters).items
        assert pools.total(session, actor=OPERATOR, filters=filters) == len(listed)
        return [pool["name"] for pool in listed]

    assert found(running_out=True) == ["runs out", "is out"]
    assert found(ending_within=timedelta(days=14)) == ["ends"]
    assert found(ending_within=timedelta(days=366)) == ["runs out", "lasts", "ends"]
