"""Imports that find keys of others: counted as guesses, and in the history."""

import threading
from datetime import timedelta

import pytest
from sqlalchemy import text

from tests import world as worlds
from tests.conftest import Addresses
from tests.waiting import eventually, somebody_waits_for_a_lock
from tests.world import OPERATOR, World
from worker import errors
from worker.database import connections
from worker.database.connections import Login
from worker.pools import batches, finding, importing, keys, pools, trying
from worker.tenancy import history, organizations
from worker.tenancy.actors import Actor

THEIRS = ["OTHERS-2026-7301", "OTHERS-2026-9114", "OTHERS-2026-4478", "OTHERS-2026-3085"]


class Limits:
    """Settings with a low limit."""

    guess_window = timedelta(minutes=10)
    guesses_per_source = 2


@pytest.fixture
def world(fresh_database: Addresses) -> World:
    """A world that is committed, with keys of an organization elsewhere."""
    with connections.session() as session:
        built = worlds.build(session)
        organizations.add(session, actor=OPERATOR, name="Elsewhere")
        mine = pools.show(session, actor=OPERATOR, pool=built.pool)
        pool = pools.create(
            session,
            actor=OPERATOR,
            name="Theirs",
            organization="Elsewhere",
            course=mine["course"],
            starts="2020-01-01",
            expires="2090-01-01",
            content_availability=30,
        )
        keys.add_keys(session, actor=OPERATOR, pool=pool["id"], codes=THEIRS)
    return built


@pytest.fixture
def limited(monkeypatch) -> None:
    monkeypatch.setattr(finding, "settings", Limits)


def add(world: World, *codes: str, dry_run: bool = False, actor: Actor | None = None):
    actor = actor or worlds.entered(world.parent)
    with connections.session(Login.WEB, sees=actor.scope) as session:
        return keys.add_keys(session, actor=actor, pool=world.pool, codes=codes, dry_run=dry_run)


def found(world: World) -> list[dict[str, object]]:
    with connections.session() as session:
        acts = history.of(session, thing="pool", thing_id=int(world.pool))
    return [act["detail"] for act in acts if act["action"] == finding.ACTION]


def own(count: int) -> list[str]:
    return [f"BATCH-{number * 7919 % 100_000:05}-{number:04}" for number in range(count)]


@pytest.mark.parametrize("dry_run", [True, False])
def test_keys_of_others_that_an_import_finds_stand_in_the_history(world, dry_run):
    report = add(world, *THEIRS, "OWN-2026-5530", dry_run=dry_run)

    assert report["already_exists"] == 4
    assert found(world) == [{"count": 4, "dry_run": dry_run}]


def test_keys_of_ones_own_are_no_guesses(world):
    add(world, "OWN-2026-5530")
    add(world, "OWN-2026-5530", "OWN-2026-8812")

    assert found(world) == []


def test_who_found_too_many_waits_and_others_do_not(world, limited):
    add(world, *THEIRS[:2], dry_run=True)

    with pytest.raises(errors.TooManyGuessesError) as raised:
        add(world, "OWN-2026-5530", dry_run=True)

    assert raised.value.retry_after == 600
    with connections.session() as session:
        elsewhere = keys.add_keys(
            session, actor=OPERATOR, pool="Theirs", codes=["OTHERS-2026-1187"]
        )
    assert elsewhere["added"] == 1


@pytest.mark.parametrize("dry_run", [True, False])
def test_one_import_tells_of_no_more_than_the_limit_and_what_it_found_counts(
    world, limited, dry_run
):
    with pytest.raises(errors.TooManyGuessesError):
        add(world, "OWN-2026-5530", *THEIRS[:3], dry_run=dry_run)

    assert found(world) == [{"count": 3, "dry_run": dry_run}]
    with connections.session() as session:
        assert keys.listing(session, actor=OPERATOR, pool=world.pool).items == []


def test_a_dry_run_counts_every_line_and_ends_where_it_found_too_many(world, limited, monkeypatch):
    asked: list[int] = []

    def known_among(session, pool_id, forms):
        asked.append(len(forms))
        return importing.known_among(session, pool_id, forms)

    monkeypatch.setattr(trying, "known_among", known_among)
    filler = own(30_000)  # several blocks, in which more lines are refused than a report tells
    add(world, *filler[:400])

    with pytest.raises(errors.TooManyGuessesError):
        add(world, *filler[:400] * 5, *filler, *THEIRS[:3], *filler, dry_run=True)

    assert found(world) == [{"count": 3, "dry_run": True}]
    assert sum(asked) < 60_000


def test_imports_at_once_are_counted_one_after_the_other(world, limited):
    ended: list[object] = []

    def run(*codes: str) -> None:
        try:
            ended.append(add(world, *codes, dry_run=True)["already_exists"])
        except errors.TooManyGuessesError as error:
            ended.append(error.code)

    threads = [threading.Thread(target=run, args=THEIRS[n : n + 2]) for n in (0, 2)]
    with connections.session() as session:
        session.execute(text("SELECT FROM organization FOR NO KEY UPDATE"))
        for thread in threads:
            thread.start()
        assert eventually(somebody_waits_for_a_lock)
    for thread in threads:
        thread.join()

    assert sorted(ended, key=str) == [2, "too_many_guesses"]
    assert [one["count"] for one in found(world)] == [2, 2]


def test_what_an_import_found_counts_though_it_is_taken_back_as_the_consoles_check_does(world):
    actor = worlds.entered(world.parent)

    with connections.session(Login.WEB, sees=actor.scope) as session:
        tried = session.begin_nested()
        keys.add_keys(session, actor=actor, pool=world.pool, codes=THEIRS)
        tried.rollback()

    assert found(world) == [{"count": 4, "dry_run": False}]


def test_the_operator_who_sees_every_key_finds_any_number(world, limited):
    operator = worlds.entered(None)

    report = add(world, *THEIRS, dry_run=True, actor=operator)

    assert report["already_exists"] == 4
    assert add(world, *THEIRS, dry_run=True, actor=operator) == report


def test_a_batch_says_what_it_found_once_it_is_done(world):
    report = add(world, *own(600), *THEIRS)

    with connections.session() as session:
        while batches.work_chunk(session) is not None:
            pass

    assert report["batch"]
    assert found(world) == [{"count": 4, "dry_run": False}]
