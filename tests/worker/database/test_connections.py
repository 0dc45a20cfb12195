"""What the pool of each login hands out, and for how long the web waits for the server."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from psycopg.pq import TransactionStatus
from sqlalchemy import PoolProxiedConnection, event, text

from tests.waiting import eventually
from worker import errors, logs
from worker.database import connections, patience
from worker.database.connections import Login

BACKEND = "SELECT pg_backend_pid()"


@pytest.fixture(params=Login)
def login(request, database) -> Login:
    return request.param


@pytest.fixture
def pooled(login) -> Iterator[psycopg.Connection]:
    """The driver's connection that the login's pool holds, and hands out next."""
    proxy = connections.engine(login).raw_connection()
    driver = proxy.driver_connection
    proxy.close()
    yield driver
    driver.close()


def lent(login: Login) -> object:
    """Give the driver's connection that the login's pool hands out."""
    with connections.session(login) as session:
        session.execute(text(BACKEND))
        return session.connection().connection.driver_connection


def test_a_connection_at_rest_is_handed_out_again(login, pooled):
    again = lent(login)

    assert again is pooled
    assert pooled.info.transaction_status is TransactionStatus.IDLE


@pytest.mark.parametrize("fresh", [-1.0, patience.FRESH])
def test_a_connection_that_came_back_inside_a_transaction_is_replaced(
    login, pooled, fresh, monkeypatch
):
    monkeypatch.setattr(patience, "FRESH", fresh)
    pooled.execute(BACKEND)

    again = lent(login)

    assert again is not pooled
    assert pooled.closed


def test_a_statement_by_itself_gets_no_connection_that_is_inside_a_transaction(login, pooled):
    pooled.execute(BACKEND)

    with connections.connection(login) as driver:
        assert driver is not pooled

    assert pooled.closed


def test_a_connection_that_died_in_the_pool_is_replaced(login, pooled, monkeypatch):
    monkeypatch.setattr(patience, "FRESH", -1.0)
    patience.Loan(pooled, 0).hang_up()

    again = lent(login)

    assert again is not pooled


def test_the_web_gives_up_a_statement_that_the_server_does_not_answer(database, monkeypatch):
    monkeypatch.setattr(patience, "TRANSACTION_TIMEOUT", 1)

    with (
        pytest.raises(errors.DatabaseAwayError),
        connections.session(Login.WEB) as session,
    ):
        session.execute(text("SELECT pg_sleep(3)"))  # the server's own limit is 4 s


def test_what_the_web_computes_amid_a_transaction_is_not_waiting(database, monkeypatch):
    monkeypatch.setattr(patience, "TRANSACTION_TIMEOUT", 1)

    with connections.session(Login.WEB) as session:
        before = session.execute(text(BACKEND)).scalar_one()
        time.sleep(2 * patience.TRANSACTION_TIMEOUT + 2 * patience.POLL_SECONDS)
        after = session.execute(text(BACKEND)).scalar_one()

    assert before == after


def test_connecting_counts_as_waiting(database, monkeypatch):
    monkeypatch.setattr(patience, "TRANSACTION_TIMEOUT", 1.2)
    connections.dispose()
    event.listen(connections.engine(Login.WEB), "do_connect", lambda *_: time.sleep(1))

    with (
        pytest.raises(errors.DatabaseAwayError),
        connections.session(Login.WEB) as session,
    ):
        session.execute(text("SELECT pg_sleep(1)"))

    connections.dispose()


def test_every_login_lets_go_of_a_server_that_is_gone_without_a_word(login):
    asked: dict[str, object] = {}
    engine = connections.engine(login)
    engine.dispose()

    @event.listens_for(engine, "do_connect", once=True)
    def _note(_dialect: object, _record: object, _words: object, parameters: dict) -> None:
        asked.update(parameters)

    lent(login)

    assert (asked["keepalives_idle"], asked["keepalives_interval"]) == (3, 1)
    assert asked["tcp_user_timeout"] == 6000
    assert asked["connect_timeout"] <= 5


def all_of_the_receivers() -> list[PoolProxiedConnection]:
    kept, _ = connections.sizes(Login.RECEIVER)
    return [connections.engine(Login.RECEIVER).raw_connection() for _ in range(kept)]


def test_a_connection_names_what_kind_of_process_has_it(login, monkeypatch):
    monkeypatch.setitem(logs.origin(), "service", "worker")
    connections.dispose()

    with connections.session(login) as session:
        name = session.execute(text("SHOW application_name")).scalar_one()

    connections.dispose()
    assert name == "keypool worker"


def test_a_request_waits_for_a_connection_that_others_hold(database):
    held = all_of_the_receivers()
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(lent, Login.RECEIVER)
        assert eventually(lambda: threads._work_queue.empty())
        free = held.pop().driver_connection  # given back as it is forgotten

        assert asked.result() is free
    held.clear()


def test_who_gets_no_connection_in_time_is_told_so(database, monkeypatch):
    monkeypatch.setattr(patience, "SLOT", 0.1)
    connections.dispose()
    held = all_of_the_receivers()

    with pytest.raises(errors.DatabaseAwayError):
        lent(Login.RECEIVER)

    held.clear()
    connections.dispose()


def test_what_a_request_waited_for_its_connection_counts(database, monkeypatch):
    monkeypatch.setattr(patience, "WHOLE", 1)  # of which nothing was waited for here

    with (
        pytest.raises(errors.DatabaseAwayError),
        connections.session(Login.WEB) as session,
    ):
        session.execute(text("SELECT pg_sleep(3)"))  # less than the transaction's own 3.5 s


def test_a_new_connection_is_not_begun_when_too_little_time_is_left_for_it(database, monkeypatch):
    connections.dispose()
    monkeypatch.setattr(patience, "WHOLE", 1)

    with pytest.raises(errors.DatabaseAwayError):
        lent(Login.WEB)


def test_an_ended_backend_that_is_told_of_twice_is_the_databases_absence():
    told = psycopg.InternalError("received 2 results from command 'COMMIT'")

    assert isinstance(connections._named(told), errors.DatabaseAwayError)
