"""The database on the command line: made, upgraded, checked, and refused where it does not fit."""

import secrets
import socket
from dataclasses import replace

import pytest
from sqlalchemy import create_engine, make_url

from tests import upgrading
from tests.conftest import cloned, connect, using
from worker.database import connections, migrating, revisions
from worker.database.connections import Login
from worker.settings import settings
from worker.tenancy import web_keys


@pytest.fixture
def port() -> str:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return str(trial.getsockname()[1])


@pytest.fixture
def first_release(servers):
    with cloned(servers, "template0") as addresses, using(addresses):
        engine = create_engine(addresses.database_url)
        upgrading.make_first_release(engine)
        engine.dispose()
        yield addresses


def test_a_database_is_made_upgraded_and_checked(run, servers):
    with cloned(servers, "template1") as empty, using(empty):
        before = run("db", "check", "--json")
        made, again = run("db", "init", "--json"), run("db", "init")
        upgraded, after = run("db", "upgrade", "--json"), run("db", "check", "--json")
        with connections.session(Login.WEB) as web:
            unknown = web_keys.refusal(web)

    assert (before.code, before.json["ok"]) == (1, False)
    assert "keypool db init" in before.json["differences"][0]
    assert made.json == {"made": True}
    assert again.out == "The database was made before.\n"
    assert upgraded.json == {"applied": [], "pending": []}
    assert unknown is None
    # The servers of tests are not safe from crashes; all else is as it should be.
    assert [told for told in after.json["differences"] if "a crash can lose keys" not in told] == []


@pytest.mark.usefixtures("first_release")
def test_an_older_database_is_upgraded_and_each_migration_is_reported(run):
    before = run("db", "check", "--json").json["differences"]
    tried, listed = run("db", "upgrade", "--dry-run"), run("db", "upgrade", "--dry-run", "--json")
    upgraded, after = run("db", "upgrade"), run("db", "check", "--json").json
    with connections.session(Login.WEB) as web:
        unknown = web_keys.refusal(web)

    assert unknown is None
    assert before[-1].startswith("Migrations are due: 0002")
    assert before[-1].endswith(
        f"{revisions.CODE}. Run “keypool db upgrade”; keypool of revision "
        f"{migrating.oldest_code(revisions.CODE)} and newer runs with the database afterwards."
    )
    assert not [told for told in before[:-1] if "a crash can lose keys" not in told]
    pending = listed.json["pending"]
    assert (pending[0]["revision"], pending[-1]["revision"]) == ("0002", revisions.CODE)
    assert {step["revision"] for step in pending if step["in_pieces"]} >= {"0017", "0019"}
    assert tried.out.splitlines()[-1] == (
        "Due, and not applied. Before it is, stop processes older than revision "
        f"{migrating.oldest_code(revisions.CODE)}; others may go on."
    )
    assert len(tried.out.splitlines()) == len(pending) + 1
    lines = [line for line in upgraded.err.splitlines() if line.startswith("0002")]
    assert (
        lines[0]
        == "0002: One time zone database: no abbreviations, days that SQL begins and ends as Python does."
    )
    assert lines[1].startswith("0002: done in ")
    assert upgraded.out.startswith("Applied: 0002")
    assert "Migrations are due" not in str(after)


@pytest.mark.parametrize("words", [["pools", "list"], ["up", "--port", "{port}"]])
def test_a_command_refuses_an_older_database_and_migrates_nothing(fresh_database, run, port, words):
    upgrading.pretend("0001")

    refused = run(*(word.format(port=port) for word in words))

    assert refused.code == 2
    assert f"at revision 0001 and this keypool needs {revisions.CODE}" in refused.err
    assert "run “keypool db upgrade”" in refused.err
    with connections.session() as session:
        assert revisions.standing(session).revision == "0001"


@pytest.mark.usefixtures("fresh_database")
def test_a_database_that_is_too_new_is_neither_worked_on_nor_upgraded(run):
    upgrading.pretend("9999", oldest_code="9998")

    listed, upgraded, checked = run("pools", "list"), run("db", "upgrade"), run("db", "check")

    assert [listed.code, upgraded.code, checked.code] == [2, 2, 2]
    for refused in (listed, upgraded, checked):
        assert "The database is at revision 9999" in refused.err
        assert f"this keypool is of {revisions.CODE}" in refused.err


def test_a_database_that_is_not_made_is_told_how_to_make_it(servers, run):
    with cloned(servers, "template0") as empty, using(empty):
        refused = run("pools", "list")

    assert refused.code == 2
    assert refused.err == "The database is not keypool's yet; run “keypool db init”.\n"


def test_a_secret_key_is_replaced_and_the_check_says_when_the_old_one_can_go(
    run, monkeypatch, first_release
):
    newer = "a newer key than the first release's"
    run("db", "upgrade")
    monkeypatch.setenv("KEYPOOL_SECRET_KEY", f"{newer},{upgrading.SECRET_KEY}")
    settings.cache_clear()

    def notes() -> list[str]:
        told = run("db", "check", "--json").json["notes"]
        return [note for note in told if "KEYPOOL_SECRET_KEY" in note]

    before, done, after = notes(), run("secrets", "reencrypt"), notes()

    assert "does not know webs by the first key" in before[0]
    assert "keypool secrets reencrypt" in before[1]
    assert (done.code, done.out.splitlines()[0][:37]) == (
        0,
        "Encrypted anew with the newest key: 2",
    )
    assert "remove all but the first" in after[0]
    monkeypatch.setenv("KEYPOOL_SECRET_KEY", newer)
    settings.cache_clear()
    assert "lets webs in with a key that is not in KEYPOOL_SECRET_KEY" in notes()[0]
    run("secrets", "reencrypt")
    assert notes() == []


@pytest.fixture
def login(fresh_database):
    """A login of its own in the analyst's place, since others test with that; gives its address."""
    name = f"keypool_test_{secrets.token_hex(4)}"
    address = make_url(fresh_database.analyst_database_url).set(
        username=name, password="configured"
    )
    with connect(fresh_database.database_url) as owner:
        owner.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'configured'")
    given = address.render_as_string(hide_password=False)
    with using(replace(fresh_database, analyst_database_url=given)):
        yield address
    with connect(fresh_database.database_url) as owner:
        owner.execute(f"DROP ROLE {name}")


def configured(told: list[str]) -> list[str]:
    return [line for line in told if "configured password" in line]


def test_a_password_that_a_login_gave_itself_is_told_and_set_back(run, login):
    address = login.render_as_string(hide_password=False)
    before = configured(run("db", "check", "--json").json["differences"])
    with connect(address) as itself:
        itself.execute(f"ALTER ROLE {login.username} PASSWORD 'mine from now on'")

    [told] = configured(run("db", "check", "--json").json["differences"])
    upgraded, again = run("db", "upgrade"), run("db", "upgrade")

    assert before == []
    assert told.startswith(
        f"The login {login.username} does not sign in with its configured password"
    )
    assert f"The login {login.username} has its configured password again" in upgraded.err
    assert "configured password" not in again.err
    assert configured(run("db", "check", "--json").json["differences"]) == []
    connect(address).close()


def test_a_login_that_is_refused_for_another_reason_keeps_its_password(run, fresh_database, login):
    with connect(fresh_database.database_url) as owner:
        owner.execute(f"ALTER ROLE {login.username} CONNECTION LIMIT 0")

    assert configured(run("db", "check", "--json").json["differences"]) == []


@pytest.mark.parametrize("option", ["--webs", "--children"])
def test_fewer_processes_than_none_are_refused(run, option):
    refused = run("db", "check", option, "-1")

    assert refused.code == 2
    assert f"Invalid value for '{option}'" in refused.err
