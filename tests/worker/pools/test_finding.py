"""Imports that find keys of others: counted as guesses, and in the history."""

from datetime import timedelta

import pytest

from tests.world import OPERATOR, World
from worker import errors
from worker.pools import batches, finding, keys, pools
from worker.tenancy import history, organizations
from worker.tenancy.actors import Actor, Role

THEIRS = ["OTHERS-2026-7301", "OTHERS-2026-9114", "OTHERS-2026-4478"]


class Limits:
    """Settings with a low limit."""

    guess_window = timedelta(minutes=10)
    guesses_per_source = 2


@pytest.fixture
def theirs(world: World) -> None:
    """Keys of an organization elsewhere."""
    organizations.add(world.session, actor=OPERATOR, name="Elsewhere")
    mine = pools.show(world.session, actor=OPERATOR, pool=world.pool)
    pool = pools.create(
        world.session,
        actor=OPERATOR,
        name="Theirs",
        organization="Elsewhere",
        course=mine["course"],
        starts="2020-01-01",
        expires="2090-01-01",
        content_availability=30,
    )
    keys.add_keys(world.session, actor=OPERATOR, pool=pool["id"], codes=THEIRS)


def manager(world: World) -> Actor:
    return Actor("manager", Role.MANAGER, world.parent)


def add(world: World, *codes: str, dry_run: bool = False):
    return keys.add_keys(
        world.session, actor=manager(world), pool=world.pool, codes=codes, dry_run=dry_run
    )


def found(world: World) -> list[dict[str, object]]:
    acts = history.of(world.session, thing="pool", thing_id=int(world.pool))
    return [act["detail"] for act in acts if act["action"] == finding.ACTION]


@pytest.mark.parametrize("dry_run", [True, False])
def test_keys_of_others_that_an_import_finds_stand_in_the_history(world, theirs, dry_run):
    report = add(world, *THEIRS, "OWN-2026-5530", dry_run=dry_run)

    assert report["already_exists"] == 3
    assert found(world) == [{"count": 3, "dry_run": dry_run}]


def test_keys_of_ones_own_are_no_guesses(world, theirs):
    add(world, "OWN-2026-5530")
    add(world, "OWN-2026-5530", *world.keys(2))

    assert found(world) == []


def test_who_found_too_many_waits_and_others_do_not(world, theirs, monkeypatch):
    monkeypatch.setattr(finding, "settings", Limits)
    add(world, *THEIRS[:2], dry_run=True)

    with pytest.raises(errors.TooManyGuessesError) as raised:
        add(world, THEIRS[2], dry_run=True)

    assert raised.value.retry_after == 600
    elsewhere = keys.add_keys(
        world.session, actor=OPERATOR, pool="Theirs", codes=["OTHERS-2026-1187"]
    )
    assert elsewhere["added"] == 1


def test_a_batch_says_what_it_found_once_it_is_done(world, theirs):
    own = [f"BATCH-{number * 7919 % 100_000:05}-{number:04}" for number in range(600)]
    report = add(world, *own, *THEIRS)

    while batches.work_chunk(world.session) is not None:
        pass

    assert report["batch"]
    assert found(world) == [{"count": 3, "dry_run": False}]
