from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from tests import world as worlds
from tests.conftest import pass_time
from tests.world import OPERATOR, World
from worker import errors
from worker.billing import charges
from worker.database import connections as databases
from worker.learning import assignments, cancelling, expiring, extending
from worker.redemption import deciding, trouble
from worker.tenancy.actors import Actor, Role


@pytest.fixture
def world(session: Session) -> World:
    return worlds.build(session, share_with_children=True)


def redeemed(
    world: World, email: str = "ann@example.org", code: str | None = None, **at: int
) -> str:
    """Redeem a key for a learner and give the assignment's id."""
    event = world.request(code or world.keys(1)[0], email, **at)
    deciding.settle(world.session, event_ids=[event])
    return str(world.figures("SELECT assignment_id AS id FROM event WHERE id = :id", id=event).id)


def launch(world: World, assignment: str) -> None:
    world.session.execute(
        text(
            "INSERT INTO launch (assignment_id, organization_id, launch, launched_at)"
            " VALUES (:id, :organization, :launch, clock_now())"
        ),
        {"id": int(assignment), "organization": world.parent, "launch": f"L-{assignment}"},
    )


def show(world: World, assignment: str) -> dict:
    return assignments.show(world.session, actor=OPERATOR, assignment=assignment)


def access(world: World, assignment: str) -> assignments.Access:
    return assignments.access(world.session, actor=OPERATOR, assignment=assignment)


def test_access_ends_exactly_so_many_times_24_hours_after_redemption(world):
    held = redeemed(world)

    pass_time(world.session, days=30, seconds=-1)
    before = access(world, held)
    pass_time(world.session, seconds=1)
    after = access(world, held)

    assert (before.allowed, before.reason) == (True, "valid")
    assert (after.allowed, after.reason) == (False, "expired")


def test_a_late_sweep_neither_gives_nor_takes_access(world):
    held = redeemed(world)
    pass_time(world.session, days=31)

    unswept = access(world, held)
    expiring.expire_overdue(world.session, limit=10)

    assert show(world, held)["status"] == "expired"
    assert access(world, held) == unswept


@pytest.mark.parametrize("outage", [2, 365])
def test_the_sweep_expires_all_that_is_overdue_however_long_nobody_looked(world, outage):
    for number in range(7):
        redeemed(world, f"{number}@example.org")
    pass_time(world.session, days=30 + outage)

    rounds = [expiring.expire_overdue(world.session, limit=3) for _ in range(4)]

    assert rounds == [3, 3, 1, 0]


def test_what_is_not_overdue_is_not_expired(world):
    redeemed(world)

    assert expiring.expire_overdue(world.session, limit=10) == 0


def test_extending_revives_an_expired_assignment(world):
    held = redeemed(world)
    pass_time(world.session, days=31)
    expiring.expire_overdue(world.session, limit=10)

    extended = extending.extend(world.session, actor=OPERATOR, assignment=held, by_days=10)

    assert (extended["status"], extended["valid"], extended["days_left"]) == ("active", True, 9)


def test_extending_until_a_day_includes_that_day(world):
    held = redeemed(world)

    extended = extending.extend(world.session, actor=OPERATOR, assignment=held, until="2030-05-31")

    assert extended["expires_at"].isoformat() == "2030-06-01T00:00:00+00:00"


def test_extending_at_a_price_charges_the_pools_owner(world):
    held = redeemed(world, organization=world.child)

    extending.extend(world.session, actor=OPERATOR, assignment=held, by_days=5, price="9.50")

    charge = world.figures("SELECT amount, organization_id FROM charge WHERE kind = 'extension'")
    assert (str(charge.amount), charge.organization_id) == ("9.5000", world.parent)


@pytest.mark.parametrize(
    "new_end",
    [
        {},
        {"until": "2030-01-01", "by_days": 3},
        {"by_days": 0},
        {"by_days": 10**12},
        {"by_days": -(10**12)},
        {"until": "2000-01-01"},
        {"until": "tomorrow"},
    ],
)
def test_an_extension_needs_one_later_end(world, new_end):
    held = redeemed(world)

    with pytest.raises(errors.InvalidInputError):
        extending.extend(world.session, actor=OPERATOR, assignment=held, **new_end)


def test_an_expired_assignment_stays_expired_where_the_learner_holds_another(world):
    first = redeemed(world)
    pass_time(world.session, days=31)
    redeemed(world)

    with pytest.raises(errors.LiveAssignmentError):
        extending.extend(world.session, actor=OPERATOR, assignment=first, by_days=90)


def test_cancelling_soon_and_unlaunched_credits_the_charge_and_issues_the_key_again(world):
    [code] = world.keys(1)
    held = redeemed(world, code=code)

    cancelled = cancelling.cancel(world.session, actor=OPERATOR, assignment=held)

    assert cancelled["status"] == "cancelled"
    assert world.figures("SELECT sum(amount) AS due, count(*) AS n FROM charge") == (0, 2)
    assert redeemed(world, "bob@example.org", code) != held


def test_a_cancelled_redemptions_key_is_retired_where_the_caller_says_so(world):
    held = redeemed(world)

    cancelling.cancel(world.session, actor=OPERATOR, assignment=held, retire_key=True)

    assert world.figures("SELECT state FROM key").state == "retired"


@pytest.mark.parametrize("late", [True, False])
def test_cancelling_late_or_after_a_launch_takes_a_reason_and_credits_nothing(world, late):
    held = redeemed(world)
    if late:
        pass_time(world.session, days=1)
    else:
        launch(world, held)

    with pytest.raises(errors.InvalidInputError):
        cancelling.cancel(world.session, actor=OPERATOR, assignment=held)
    cancelling.cancel(world.session, actor=OPERATOR, assignment=held, reason="left the company")

    state = world.figures("SELECT state, (SELECT count(*) FROM charge) AS charges FROM key")
    assert (state.state, state.charges) == ("retired", 1)


@pytest.mark.parametrize("late", [True, False])
def test_what_cancelling_costs_is_told_before(world, late):
    held = redeemed(world)
    if late:
        launch(world, held)

    told = cancelling.preview(world.session, actor=OPERATOR, assignment=held)

    assert told == {"credited": not late, "amount": "49.90", "currency": "EUR"}


def test_what_a_partly_credited_redemption_costs_is_what_is_left_of_it(world):
    held = redeemed(world)
    charge = str(world.figures("SELECT id FROM charge").id)
    charges.credit(world.session, actor=OPERATOR, charge=charge, amount="9.90", reason="late start")

    told = cancelling.preview(world.session, actor=OPERATOR, assignment=held)

    assert told == {"credited": True, "amount": "40.00", "currency": "EUR"}


def test_whoever_does_not_own_the_pool_learns_no_cost(world):
    held = redeemed(world, organization=world.child)
    child = Actor("child", Role.MANAGER, world.child)

    assert cancelling.preview(world.session, actor=child, assignment=held) is None


def test_a_cancelled_assignment_is_neither_cancelled_again_nor_extended(world):
    held = redeemed(world)
    cancelling.cancel(world.session, actor=OPERATOR, assignment=held)

    with pytest.raises(errors.AssignmentCancelledError):
        cancelling.cancel(world.session, actor=OPERATOR, assignment=held)
    with pytest.raises(errors.AssignmentCancelledError):
        extending.extend(world.session, actor=OPERATOR, assignment=held, by_days=1)


def test_what_was_done_to_an_assignment_is_told_by_its_history(world):
    held = redeemed(world)
    extending.extend(world.session, actor=OPERATOR, assignment=held, by_days=2)
    cancelling.cancel(world.session, actor=OPERATOR, assignment=held, reason="a mistake")

    told = [(act["actor"], act["action"]) for act in show(world, held)["history"]]

    assert told == [("test", "assignment extended"), ("test", "assignment cancelled")]


def test_another_organizations_assignment_reads_as_if_it_did_not_exist(world):
    held = redeemed(world)
    stranger = Actor("token", Role.MANAGER, world.sibling)

    for call in (assignments.show, assignments.access, cancelling.cancel):
        with pytest.raises(errors.NotFoundError):
            call(world.session, actor=stranger, assignment=held)


@pytest.mark.parametrize("name", ["0", "-1", "x", "9" * 30, "1; DROP TABLE key"])
def test_an_unknown_assignment_is_not_found_whatever_it_is_called(world, name):
    with pytest.raises(errors.NotFoundError):
        access(world, name)


def test_those_that_end_soon_are_listed_for_reminders(world):
    soon = redeemed(world)
    pass_time(world.session, days=20)
    redeemed(world, "bob@example.org")

    listed = assignments.listing(
        world.session, actor=OPERATOR, expiring_within=timedelta(days=14)
    ).items

    assert [item["id"] for item in listed] == [soon]


def test_a_cancelled_redemptions_key_is_redeemed_by_another_and_the_first_stays_in_sight(world):
    [code] = world.keys(1)
    first = redeemed(world, "ann@example.org", code)
    cancelling.cancel(world.session, actor=OPERATOR, assignment=first)

    second = redeemed(world, "bob@example.org", code)

    shown = trouble.show(world.session, actor=OPERATOR, code=code)
    assert (shown["redeemed_by"], shown["assignment"]) == ("bob@example.org", second)
    assert [(one["learner"], one["outcome"], one["assignment"]) for one in shown["attempts"]] == [
        ("bob@example.org", "redeemed", second),
        ("ann@example.org", "redeemed", first),
    ]
    assert show(world, first)["status"] == "cancelled"


def test_any_number_of_sweepers_at_once_expire_each_assignment_once(fresh_database):
    with databases.session() as session:
        world = worlds.build(session)
        for number in range(40):
            redeemed(world, f"learner{number}@example.org")
        earlier = "redeemed_at = redeemed_at - interval '1 year', expires_at = expires_at - interval '1 year'"
        session.execute(text(f"UPDATE assignment SET {earlier}"))

    with ThreadPoolExecutor(4) as sweepers:
        expired = list(sweepers.map(lambda _: expiring.expire_all(limit=3), range(4)))

    with databases.session() as session:
        counted = (
            "SELECT count(*) FROM assignment WHERE status = 'expired' AND expired_at IS NOT NULL"
        )
        assert (sum(expired), session.scalar(text(counted))) == (40, 40)
