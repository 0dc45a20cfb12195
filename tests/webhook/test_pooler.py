"""Through a PgBouncer with one connection for the web: nothing of one request reaches the next one."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import make_url, text
from sqlalchemy.orm import Session

from tests import pooler
from tests.conftest import Addresses, cloned, connect, forget, using
from tests.waiting import eventually
from tests.webhook.conftest import Place, redemption, settle
from tests.world import build, entry_of
from webhook import create_app
from worker import errors
from worker.database import connections
from worker.database.connections import Entry, Login
from worker.errors import KeypoolError
from worker.tenancy.actors import Role

pytestmark = pooler.NEEDED

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"

BACKEND = text("SELECT pg_backend_pid()")
SIGHT = text("""
    SELECT array(SELECT id FROM organization ORDER BY id), array(SELECT name FROM pool ORDER BY id),
           coalesce(current_setting('keypool.entered', true), '')
""")
NOTHING = ([], [], "")


@pytest.fixture(scope="module")
def narrow(unpooled: Addresses, template: str) -> Iterator[Addresses]:
    """A database whose web has one connection in all; the worker is not pooled."""
    with (
        pooler.pooled(unpooled, size=1) as through,
        cloned(through, template) as addresses,
        using(
            replace(
                addresses,
                database_url=addresses.session_url,
                receiver_database_url=addresses.web_database_url,
            )
        ),
    ):
        yield addresses


@pytest.fixture(scope="module")
def place(narrow: Addresses) -> Place:
    with connections.session() as session:
        return Place(build(session), create_app().test_client())


def commit(entry: Entry, _narrow: Addresses) -> int:
    with connections.session(Login.WEB, sees=entry) as session:
        return seen(session)


def refuse(entry: Entry, _narrow: Addresses) -> int:
    with suppress(KeypoolError), connections.session(Login.WEB, sees=entry) as session:
        backend = seen(session)
        raise KeypoolError
    return backend


def abort(entry: Entry, _narrow: Addresses) -> int:
    with suppress(KeypoolError), connections.session(Login.WEB, sees=entry) as session:
        backend = seen(session)
        session.execute(text("SELECT 1 / 0"))
    return backend


def fall_silent(entry: Entry, narrow: Addresses) -> int:
    """Enter and go away, inside the transaction."""
    with connect(narrow.web_database_url) as connection:
        connection.execute(f"SELECT {entry.function}(%s)", entry.arguments)
        backend = connection.info.backend_pid
        connection.pgconn.finish()
    return backend


def ask_wrongly(entry: Entry, narrow: Addresses) -> int:
    """Enter for the session, as none of our code does, and see that the seal ends with the transaction."""
    with connect(narrow.web_database_url) as connection:
        connection.execute(f"SELECT {entry.function}(%s)", entry.arguments)
        [entered] = connection.execute("SELECT current_setting('keypool.entered')").fetchone()
        connection.execute("SELECT set_config('keypool.entered', %s, false)", [entered])
        connection.commit()
    return 0


def seen(session: Session) -> int:
    assert session.execute(SIGHT).one()[0] != []
    return session.scalars(BACKEND).one()


@pytest.mark.parametrize("end", [commit, refuse, abort])
def test_what_a_request_sees_ends_with_its_transaction_however_it_ends(place, narrow, end):
    backend = end(entry_of(place.world.parent), narrow)

    with connections.session(Login.RECEIVER) as session:  # another client of the pooler's
        assert session.scalars(BACKEND).one() == backend
        assert tuple(session.execute(SIGHT).one()) == NOTHING


def test_a_client_that_went_away_inside_its_transaction_leaves_nothing(place, narrow):
    fall_silent(entry_of(place.world.parent), narrow)

    with connections.session(Login.WEB) as session:
        assert tuple(session.execute(SIGHT).one()) == NOTHING


def test_a_scope_that_was_kept_for_the_session_shows_nobody_anything(place, narrow):
    ask_wrongly(entry_of(place.world.parent), narrow)

    with connections.session(Login.WEB) as session:
        organizations, pools, _ = session.execute(SIGHT).one()

    assert (organizations, pools) == ([], [])


def test_two_tenants_that_take_turns_on_one_connection_see_their_own(place):
    parent, sibling = place.world.parent, place.world.sibling
    trees = {parent: [parent, place.world.child], sibling: [sibling]}
    sights: list[tuple[int, list[int]]] = []
    backends = set()

    def take_turns(tenant: int) -> None:
        entry = entry_of(tenant)
        for turn in range(40):
            with suppress(KeypoolError), connections.session(Login.WEB, sees=entry) as session:
                sights.append((tenant, session.execute(SIGHT).one()[0]))
                backends.add(session.scalars(BACKEND).one())
                if turn % 3 == 0:
                    session.execute(text("SELECT 1 / 0"))
            with connections.session(Login.WEB) as session:
                sights.append((0, session.execute(SIGHT).one()[0]))

    threads = [threading.Thread(target=take_turns, args=[one]) for one in [parent, sibling] * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(sights) == 4 * 80
    assert [sight for tenant, sight in sights if sight != trees.get(tenant, [])] == []
    assert len(backends) == 1


def test_requests_of_two_tenants_at_once_are_answered_to_each_its_own(place):
    tenants = [place.token(Role.MANAGER, one) for one in (place.world.parent, place.world.sibling)]
    own = [place.client.get("/api/v1/organizations", headers=one).json for one in tenants]
    ask = asker(place.client.application)

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda n: ask(tenants[n % 2], n), range(48)))

    assert own[0]["items"] != own[1]["items"]
    assert [n for n, answer in enumerate(answers) if answer not in (None, own[n % 2])] == []
    assert answers.count(None) == 16


def asker(app: Flask) -> Callable[[dict[str, str], int], object]:
    """Make what asks for a tenant's organizations, or every third time for what is refused."""

    def ask(tenant: dict[str, str], n: int) -> object:
        client = app.test_client()
        if n % 3:
            return client.get("/api/v1/organizations", headers=tenant).json
        assert client.post("/api/v1/pools", headers=tenant, json={"name": ""}).status_code == 422
        return None

    return ask


def test_the_same_statement_of_many_clients_is_prepared_for_none(place):
    for _ in range(10):  # psycopg prepares what a connection runs the sixth time
        for login in (Login.WEB, Login.RECEIVER):
            with connections.session(login) as session:
                assert session.scalar(text("SELECT 20 + 22")) == 42


@pytest.mark.parametrize("login", connections.POOLED)
def test_a_pooled_login_begins_with_the_defaults_that_others_ask_for(place, login):
    with connections.session(login) as session:
        begun = {name: session.scalar(text(f"SHOW {name}")) for name in connections.defaults(login)}

    assert begun == connections.defaults(login)


def test_a_message_is_recorded_settled_and_answered(place):
    sender, [key] = place.sender(), place.keys()

    event = sender.post(redemption(key, "ann@example.com")).json["event"]
    settle()

    token = place.token(Role.MANAGER)
    answer = place.client.get(f"/api/v1/events/{event}", headers=token)
    assert answer.json["outcome"] == "redeemed"


def test_a_request_waits_for_the_one_connection(place, narrow):
    answers: list[int] = []
    token = place.token(Role.MANAGER)

    def ask() -> None:
        client = place.client.application.test_client()
        answers.append(client.get("/api/v1/pools", headers=token).status_code)

    with connect(narrow.web_database_url) as holder:
        holder.execute("SELECT 1")
        thread = threading.Thread(target=ask)
        thread.start()
        assert eventually(connections.engine(Login.WEB).pool.checkedout)
        holder.rollback()
    thread.join()

    assert answers == [200]


def test_what_needs_a_session_of_its_own_asks_for_the_way_past_the_pooler(narrow, monkeypatch):
    with using(narrow):
        monkeypatch.setenv("KEYPOOL_DIRECT_DATABASE_URL", "")
        forget()

        with pytest.raises(errors.SettingsError, match="KEYPOOL_DIRECT_DATABASE_URL must be set"):
            connections.url(Login.DIRECT)


def test_the_documented_configuration_serves_all_pooled_logins(unpooled, template):
    section = OPERATIONS.read_text().partition("\n## Behind a pooler\n")[2]
    written = section.partition("```\n[databases]")[2].partition("```")[0]
    owner = make_url(unpooled.database_url)
    host, port = pooler.place(owner)

    with cloned(replace(unpooled, direct_database_url=unpooled.database_url), template) as made:
        name = make_url(made.database_url).database
        moved = written.replace("10.0.0.5 dbname=keypool", f"{host} port={port} dbname={name}")
        with pooler.configured(f"[databases]{moved}", unpooled) as folder:
            web = make_url(made.web_database_url)
            urls = [owner.set(database="keypool"), web.set(database="keypool")]
            urls.append(web.set(database="keypool_receiver"))
            begun = [timeout(pooler.at(url, folder)) for url in urls]

    assert begun == [
        (name, connections.TIMEOUTS[login]["statement_timeout"]) for login in connections.POOLED
    ]


def timeout(url: str) -> tuple[str, str]:
    with connect(url) as connection:
        asked = "SELECT current_database(), current_setting('statement_timeout')"
        return connection.execute(asked).fetchone()
