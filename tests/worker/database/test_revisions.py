"""Which databases this code runs with, and that every process refuses the others as it starts."""

import os
import socket
import subprocess
import sys
from dataclasses import replace

import pytest
from celery.signals import beat_init, worker_init

from tests import upgrading
from tests.conftest import using
from webhook import create_app
from worker import celery
from worker.database import connections, revisions
from worker.database.connections import Login
from worker.errors import DatabaseAwayError

OLD = f"The database is at revision 0001 and this keypool needs {revisions.CODE}; run “keypool db upgrade”."
NEW = (
    "The database is at revision 9999, which needs a keypool of revision 9998 or newer, and this "
    f"keypool is of {revisions.CODE}; use the version that upgraded the database, or a later one."
)


def required(login: Login = Login.OWNER) -> None:
    with connections.session(login) as session:
        revisions.require(session)


@pytest.fixture(params=[Login.OWNER, Login.WEB])
def login(request) -> Login:
    return request.param


def test_a_database_of_the_codes_revision_is_taken(fresh_database, login):
    required(login)


def test_a_database_older_than_the_code_is_refused_and_both_revisions_are_named(
    fresh_database, login
):
    upgrading.pretend("0001")

    with pytest.raises(revisions.DatabaseTooOldError) as refused:
        required(login)

    assert str(refused.value) == OLD


def test_a_database_newer_than_the_code_can_bear_is_refused_and_both_are_named(
    fresh_database, login
):
    upgrading.pretend("9999", oldest_code="9998")

    with pytest.raises(revisions.DatabaseTooNewError) as refused:
        required(login)

    assert str(refused.value) == NEW


def test_a_newer_database_that_the_code_can_bear_is_taken(fresh_database, login):
    upgrading.pretend("9999", oldest_code=revisions.CODE)

    required(login)


def test_an_empty_database_is_refused_as_not_made(empty_database):
    with pytest.raises(revisions.NotMadeError, match="keypool db init"):
        required()


@pytest.fixture
def empty_database(databases):
    engine = databases.empty()
    addresses = databases.servers.named(engine.url.database)
    with using(addresses):
        yield


# Starting


@pytest.fixture
def old_database(fresh_database):
    upgrading.pretend("0001")
    return fresh_database


@pytest.mark.usefixtures("old_database")
def test_the_web_does_not_start_on_an_older_database():
    with pytest.raises(revisions.DatabaseTooOldError, match=r"0001.*db upgrade"):
        create_app()


def test_the_web_starts_while_the_database_is_away(database):
    with using(replace(database, web_database_url="postgresql+psycopg://nobody@/no?host=/nowhere")):
        client = create_app().test_client()

        answers = [client.get(path).status_code for path in ("/healthz", "/readyz")]

    assert answers == [200, 503]


@pytest.mark.parametrize(
    "words",
    [
        ["celery", "-A", "worker.celery", "worker", "--concurrency=1", "--without-gossip"],
        ["celery", "-A", "worker.celery", "beat", "--schedule={folder}/beat"],
        ["webhook", "--port={port}", "--workers=2"],
    ],
)
def test_no_service_starts_on_an_older_database(old_database, tmp_path, words):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    done = subprocess.run(
        [sys.executable, "-m", *(word.format(folder=tmp_path, port=port) for word in words)],
        env={**os.environ, **old_database.environment()},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert done.returncode == 1
    assert done.stderr.count(OLD) == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("started", [worker_init, beat_init])
def test_worker_and_beat_wait_for_a_database_that_is_away(monkeypatch, capfd, started):
    answers = [DatabaseAwayError(), DatabaseAwayError(), None]

    def ask(_function: object) -> None:
        if error := answers.pop(0):
            raise error

    monkeypatch.setattr(connections, "transaction", ask)
    monkeypatch.setattr(celery, "AWAY_PAUSE", 0)

    started.send(sender=None)

    assert answers == []
    assert capfd.readouterr().err.count("waiting for the database") == 2
