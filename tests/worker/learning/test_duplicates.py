"""Learners who turned out to be one person: listed, and joined when somebody says so (L1)."""

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from tests import world as worlds
from tests.conftest import pass_time
from tests.world import OPERATOR, World
from worker import errors
from worker.audit import auditing
from worker.learning import assignments, duplicates, learners
from worker.redemption import deciding
from worker.tenancy import history
from worker.tenancy.actors import Actor, Role

KEPT = "twin@example.org"
OTHER = "twin@example.org\u200b"


@pytest.fixture
def world(session: Session) -> World:
    return worlds.build(session)


def redeemed(world: World, email: str, *, pool: str | None = None) -> str:
    """Let somebody redeem a key as before addresses had one form; give the assignment's id."""
    event = world.request(world.keys(1, pool=pool)[0], email)
    deciding.settle(world.session, event_ids=[event])
    return str(world.figures("SELECT assignment_id FROM event WHERE id = :id", id=event)[0])


def marked(world: World) -> str:
    """Mark the other as a duplicate, as the migration does, and give their id."""
    return str(
        world.session.execute(
            text("""UPDATE learner SET duplicate_of = kept.id FROM learner AS kept
                     WHERE learner.email = :other AND kept.email = :kept
                       AND kept.organization_id = learner.organization_id RETURNING learner.id"""),
            {"other": OTHER, "kept": KEPT},
        ).scalar_one()
    )


def listed(world: World, actor: Actor = OPERATOR) -> list[Any]:
    return duplicates.listing(world.session, actor=actor).items


def test_a_duplicate_is_listed_with_whom_they_are(world):
    redeemed(world, KEPT)
    redeemed(world, OTHER)
    duplicate = marked(world)

    [told] = listed(world)

    assert (told["id"], told["email"], told["learner"]) == (duplicate, OTHER, KEPT)
    assert (told["name"], told["assignments"]) == ("Ann", 1)
    assert listed(world, Actor("stranger", Role.MANAGER, world.sibling)) == []


def test_a_duplicate_is_not_met_any_more(world):
    redeemed(world, OTHER)
    first = redeemed(world, KEPT)
    marked(world)

    [key] = world.keys(1)
    decision = deciding.decide_one(
        world.session, code=key, email=KEPT, organization_id=world.parent
    )

    assert decision.outcome == "already_assigned"
    assert assignments.show(world.session, actor=OPERATOR, assignment=first)["learner"] == KEPT


def test_joining_gives_all_to_the_one_who_is_met_and_history_stays(world):
    session = world.session
    over = redeemed(world, OTHER)
    pass_time(session, days=40)
    live = redeemed(world, KEPT)
    duplicate = marked(world)

    told = duplicates.join(session, actor=OPERATOR, duplicate=duplicate)

    assert told == {"learner": KEPT, "joined": OTHER, "assignments": [over], "cancelled": []}
    shown = learners.show(session, actor=OPERATOR, email=KEPT)
    assert {held["id"] for held in shown["assignments"]} == {over, live}
    assert listed(world) == []
    acts = history.of(session, thing="learner", thing_id=int(duplicate))
    assert [act["action"] for act in acts] == ["learners joined"]
    assert acts[0]["detail"] == {"learner": KEPT, "joined": OTHER, "assignments": [int(over)]}
    assert auditing.audit(session)["ok"]


def test_duplicates_with_two_live_assignments_for_a_course_are_joined_only_if_one_is_cancelled(
    world,
):
    first = redeemed(world, OTHER)
    pass_time(world.session, seconds=300)
    second = redeemed(world, KEPT)
    duplicate = marked(world)

    with pytest.raises(errors.LiveAssignmentError, match=f"{first} ends before {second}"):
        duplicates.join(world.session, actor=OPERATOR, duplicate=duplicate)

    assert [one["id"] for one in listed(world)] == [duplicate]


@pytest.mark.parametrize(("days", "credits"), [(0, 1), (2, 0)])
def test_the_access_that_ends_first_can_be_cancelled_as_by_hand(world, days, credits):
    session = world.session
    shorter = redeemed(world, OTHER)
    pass_time(session, seconds=300)
    longer = redeemed(world, KEPT)
    duplicate = marked(world)
    pass_time(session, days=days)

    told = duplicates.join(session, actor=OPERATOR, duplicate=duplicate, cancel_shorter=True)

    assert told["cancelled"] == [shorter]
    shown = learners.show(session, actor=OPERATOR, email=KEPT)["assignments"]
    assert {held["id"]: str(held["status"]) for held in shown} == {
        shorter: "cancelled", longer: "active"
    }  # fmt: skip
    credited = world.figures(
        "SELECT count(*) FROM charge WHERE kind = 'credit' AND assignment_id = :id", id=int(shorter)
    )
    assert credited[0] == credits
    assert auditing.audit(session)["ok"]


def test_access_that_a_late_sweep_has_not_seen_is_in_nobodys_way(world):
    redeemed(world, OTHER)
    pass_time(world.session, days=31)
    redeemed(world, KEPT)
    duplicate = marked(world)

    told = duplicates.join(world.session, actor=OPERATOR, duplicate=duplicate)

    assert told["cancelled"] == []


def test_live_access_to_different_courses_is_all_kept(world):
    held = [redeemed(world, OTHER), redeemed(world, KEPT, pool=_shared(world))]
    duplicate = marked(world)

    duplicates.join(world.session, actor=OPERATOR, duplicate=duplicate)

    shown = learners.show(world.session, actor=OPERATOR, email=KEPT)["assignments"]
    assert {one["id"] for one in shown} == set(held)
    assert all(one["valid"] for one in shown)


def _shared(world: World) -> str:
    """Give a pool of another course that the world's learners may use."""
    other = worlds.build(world.session)
    world.session.execute(
        text("UPDATE pool SET organization_id = :parent WHERE id = :pool"),
        {"parent": world.parent, "pool": int(other.pool)},
    )
    return other.pool


@pytest.mark.parametrize("duplicate", ["0", "x", "999999", "٣"])
def test_what_is_no_duplicate_is_not_joined(world, duplicate):
    with pytest.raises(errors.NotFoundError, match="no duplicate"):
        duplicates.join(world.session, actor=OPERATOR, duplicate=duplicate)


def test_a_strangers_duplicate_and_a_joined_one_are_not_found(world):
    redeemed(world, KEPT)
    pass_time(world.session, days=31)
    redeemed(world, OTHER)
    duplicate = marked(world)
    stranger = Actor("stranger", Role.MANAGER, world.sibling)

    with pytest.raises(errors.NotFoundError):
        duplicates.join(world.session, actor=stranger, duplicate=duplicate)
    duplicates.join(world.session, actor=OPERATOR, duplicate=duplicate)
    with pytest.raises(errors.NotFoundError):
        duplicates.join(world.session, actor=OPERATOR, duplicate=duplicate)


@pytest.mark.parametrize("joined", [False, True])
def test_all_of_a_person_is_exported_and_erased_with_their_duplicates(world, joined):
    session = world.session
    redeemed(world, OTHER)
    pass_time(session, days=31)
    redeemed(world, KEPT)
    duplicate = marked(world)
    if joined:
        duplicates.join(session, actor=OPERATOR, duplicate=duplicate)

    held = learners.export(session, actor=OPERATOR, email=KEPT)
    learners.erase(session, actor=OPERATOR, email=KEPT)

    assert len(held["assignments"]) == len(held["redemptions"]) == 2
    left = world.figures(
        """SELECT count(*) FILTER (WHERE email LIKE 'twin%'), count(DISTINCT email), count(erased_at)
             FROM learner WHERE organization_id = :id""",
        id=world.parent,
    )
    assert tuple(left) == (0, 2, 2)
    assert listed(world) == []


def test_an_address_of_two_learners_is_corrected_after_they_are_joined(world):
    redeemed(world, OTHER)
    redeemed(world, KEPT)
    marked(world)

    with pytest.raises(errors.AlreadyExistsError, match="join them first"):
        learners.correct(world.session, actor=OPERATOR, email=OTHER, new_email="new@example.org")
