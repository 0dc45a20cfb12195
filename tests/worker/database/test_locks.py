"""Locks are rows: who reads cannot hold what the worker waits for."""

import threading

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from tests import world as worlds
from tests.conftest import Addresses
from tests.waiting import eventually, somebody_waits_for_a_lock
from tests.world import OPERATOR, World
from worker.database import connections, locks
from worker.database.connections import Entry, Login
from worker.redemption import settling, waiting
from worker.settings import Settings
from worker.tenancy import organizations, tokens
from worker.tenancy.actors import Role

NAMES = [
    "ancestry",
    "delivering",
    "erasing",
    "folding",
    "journals",
    "lake",
    "mailing",
    "proving",
    "reporting",
    "settling",
]


@pytest.fixture
def world(fresh_database: Addresses) -> World:
    with connections.session() as session:
        built = worlds.build(session)
        session.commit()
    return built


def waits(act) -> threading.Thread:
    """Begin something, and see that it waits for a lock."""
    thread = threading.Thread(target=act)
    thread.start()
    assert eventually(somebody_waits_for_a_lock)
    return thread


def authenticated(role: Role, organization: int | None) -> Entry | None:
    """Give how a transaction of the web enters with a token."""
    owner = None if organization is None else str(organization)
    with connections.session() as session:
        made = tokens.add(session, actor=OPERATOR, name="locks", role=role, organization=owner)
    with connections.session(Login.WEB) as session:
        known = tokens.authenticate(session, made["token"], client="192.0.2.1")
    assert known
    return known.actor.scope


def test_the_operators_requests_alone_wait_for_every_settler(world):
    manager = authenticated(Role.MANAGER, world.parent)
    with connections.session(Login.WEB, sees=authenticated(Role.OPERATOR, None)) as session:
        locks.await_settlers(session)
    with connections.session(Login.WEB, sees=manager) as session:
        locks.await_settlers(session, [world.parent])

    with pytest.raises(ProgrammingError), connections.session(Login.WEB, sees=manager) as session:
        locks.await_settlers(session)


def test_every_lock_has_its_row(session):
    assert session.scalars(text("SELECT name FROM lock ORDER BY 1")).all() == NAMES


def test_a_settler_has_a_row_up_to_the_largest_setting(session):
    [largest] = [one.le for one in Settings.model_fields["settlers"].metadata if hasattr(one, "le")]

    assert session.scalar(text("SELECT max(number) FROM settler")) == largest


@pytest.mark.parametrize("login", [Login.WEB, Login.ANALYST])
@pytest.mark.parametrize(
    "statement",
    [
        "SELECT FROM lock FOR UPDATE",
        "SELECT FROM lock FOR KEY SHARE",
        "LOCK TABLE lock IN ACCESS SHARE MODE",
        "SELECT FROM tree_lock FOR UPDATE",
        "SELECT FROM settler FOR UPDATE",
        "SELECT FROM settlement FOR UPDATE",
        "SELECT await_lock('settling', false)",
        "SELECT await_lock('erasing', false)",
        "SELECT await_settlers(NULL)",
        "SELECT await_settlers('{1}')",
        "SELECT pg_advisory_lock(1)",
        "SELECT pg_try_advisory_xact_lock_shared(hashtext('keypool.settling'))",
    ],
)
def test_only_the_owners_login_takes_the_workers_locks(database, login, statement):
    with pytest.raises(ProgrammingError) as raised, connections.session(login) as session:
        session.execute(text(f"SET TRANSACTION READ WRITE; {statement}"))  # as analysts may, too

    assert isinstance(raised.value.orig, psycopg.errors.InsufficientPrivilege)


def test_a_lock_is_taken_once_and_free_after_its_transaction(world):
    with connections.session() as holder, connections.session() as other:
        assert locks.take(holder, "folding")
        assert not locks.take(other, "folding")
        assert locks.take(other, "mailing")

    assert connections.transaction(locks.take, "folding")


def test_shared_locks_are_for_many_and_keep_out_who_wants_it_alone(world):
    entered = authenticated(Role.MANAGER, world.parent)
    with connections.session(Login.WEB, sees=entered) as one, connections.session() as two:
        locks.wait_for(one, "journals", shared=True)
        locks.wait_for(two, "journals", shared=True)

        alone = waits(lambda: connections.transaction(locks.wait_for, "journals"))

    alone.join()


def test_a_settler_waits_for_who_holds_its_tree_and_for_no_other(world):
    with connections.session() as session:
        other = organizations.add(session, actor=OPERATOR, name="Elsewhere")["id"]
    with connections.session() as session:
        [key] = World(**{**world.__dict__, "session": session}).keys(1)
        World(**{**world.__dict__, "session": session}).request(key, "ann@example.com")

    with connections.session() as elsewhere, connections.session() as holder:
        locks.await_settlers(elsewhere, [int(other)])
        locks.await_settlers(holder, [world.child])  # the lock is its tree's
        settler = waits(settling.settle_all)
        undecided = waiting.first_waiting(holder)

    settler.join()
    assert undecided
    assert connections.transaction(waiting.first_waiting) is None


def test_every_organization_has_a_lock_of_its_own_since_it_may_become_a_root(world):
    with connections.session() as session:
        organizations.edit(session, actor=OPERATOR, organization=str(world.child), no_parent=True)

    with connections.session() as session:
        assert locks.take_trees(session, [world.parent, world.child]) == [world.parent, world.child]


def test_what_others_hold_is_left_out_of_the_trees_that_are_taken(world):
    with connections.session() as session, connections.session() as other:
        locks.await_settlers(other, [world.parent])

        assert locks.take_trees(session, [world.parent, world.sibling]) == [world.sibling]


def test_an_organization_moves_while_no_settler_is_in_either_tree(world):
    with connections.session() as session:
        other = organizations.add(session, actor=OPERATOR, name="Elsewhere")["id"]

    def move() -> None:
        with connections.session() as session:
            organizations.edit(
                session, actor=OPERATOR, organization=other, parent=str(world.parent)
            )

    for tree in (int(other), world.parent):
        with connections.session() as holder:
            locks.await_settlers(holder, [tree])
            moving = waits(move)
        moving.join()
        with connections.session() as session:
            organizations.edit(session, actor=OPERATOR, organization=other, no_parent=True)


def test_who_waited_for_a_tree_that_moved_holds_the_tree_that_it_is_in_now(world):
    with connections.session() as session:
        other = int(organizations.add(session, actor=OPERATOR, name="Elsewhere")["id"])
    held = threading.Event()
    over = threading.Event()

    def settle_there() -> None:
        with connections.session() as session:
            locks.await_settlers(session, [other])
            held.set()
            over.wait()

    with connections.session() as mover:
        organizations.edit(mover, actor=OPERATOR, organization=str(other), parent=str(world.parent))
        settler = waits(settle_there)
    assert held.wait(60)

    late = waits(lambda: connections.transaction(locks.await_settlers, [world.parent]))
    over.set()
    settler.join()
    late.join()
