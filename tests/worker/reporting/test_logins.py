"""A report's own database login: what it may read, and that nothing is left of it."""

import secrets
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import make_url, text

from tests.conftest import Addresses, connect, forget
from tests.world import OPERATOR
from worker import errors, reporting, simulation
from worker.database import budget, schema
from worker.database import connections as databases
from worker.learning import learners
from worker.reporting import lasting, logins

COMPOSE = Path(__file__).parents[3] / "compose.yaml"
ROOT = "Alder Academy"
BRANCH = "Alder North"  # a child of the root
STRANGER = "Borealis Training"


@pytest.fixture(scope="module")
def simulated(database: Addresses) -> None:
    databases.transaction(simulation.simulate, organizations=6, months=2, redemptions=50, seed=5)


@pytest.fixture(scope="module")
def branch_id(simulated: Addresses) -> int:
    with databases.session() as session:
        return session.scalar(
            text("SELECT id FROM organization WHERE name = :name"), {"name": BRANCH}
        )


def seen(connection: psycopg.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM report.organization")}


def test_a_reports_login_sees_its_organizations_tree_alone(branch_id):
    with logins.login(branch_id) as url, connect(url) as report:
        names = seen(report)
        report.execute("SELECT set_config('keypool.organization', '*', false)")

        assert seen(report) == names
    assert BRANCH in names
    assert ROOT not in names
    assert STRANGER not in names


@pytest.mark.parametrize(
    "attempt",
    [
        "SELECT code FROM public.key",
        "SELECT * FROM public.report_login",
        "SET ROLE keypool_analyst",
        "INSERT INTO report_login VALUES (session_user, 1)",
        "ALTER ROLE CURRENT_USER VALID UNTIL 'infinity'",
        "CREATE TABLE public.mine ()",
    ],
)
def test_a_reports_login_may_do_nothing_but_read(branch_id, attempt):
    with logins.login(branch_id) as url, connect(url) as report:
        report.read_only = False  # as any SQL may ask

        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            report.execute(attempt)


def logins_left(session: Any) -> tuple[int, int]:
    return tuple(
        session.execute(
            text("""
                SELECT (SELECT count(*) FROM report_login),
                       (SELECT count(*) FROM pg_roles WHERE rolname IN (SELECT login FROM report_login))""")
        ).one()
    )


def test_the_login_is_gone_after_the_run_even_when_its_notebook_left_things_behind(branch_id):
    with logins.login(branch_id) as url, connect(url) as report:
        report.read_only = False
        report.execute("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO keypool_analyst")
        report.commit()

    with pytest.raises(psycopg.OperationalError):
        connect(url)
    with databases.session() as session:
        assert logins_left(session) == (0, 0)


def test_a_login_that_a_killed_run_left_is_dropped_by_the_next_run(branch_id):
    killed = logins.login(branch_id)
    url = killed.__enter__()
    name = url.split("//")[1].split(":")[0]
    with databases.session() as session:
        session.execute(text(f"ALTER ROLE {name} VALID UNTIL '2000-01-01'"))

    with logins.login(branch_id), databases.session() as session:
        assert logins_left(session) == (1, 1)
        assert (
            session.scalar(text("SELECT count(*) FROM pg_roles WHERE rolname = :n"), {"n": name})
            == 0
        )
    killed.__exit__(None, None, None)


def test_an_owner_who_may_not_make_roles_is_told_what_to_allow(branch_id, monkeypatch):
    monkeypatch.setattr(logins, "CREATE", "DO $$ BEGIN RAISE insufficient_privilege; END $$")

    with pytest.raises(reporting.ReportLoginError, match="CREATEROLE"), logins.login(branch_id):
        pass


@pytest.fixture
def owner_as_in_compose(simulated: None, database: Addresses) -> Iterator[str]:
    """An owner who is no superuser, with the rights that compose.yaml gives and no more."""
    name, password = f"owner_{secrets.token_hex(4)}", secrets.token_hex(8)
    grant = next(
        line for line in COMPOSE.read_text().splitlines() if "GRANT keypool_analyst" in line
    )
    made = sql.Identifier(name)
    with connect(database.database_url) as maker:
        maker.execute(sql.SQL("CREATE ROLE {} LOGIN CREATEROLE PASSWORD {}").format(made, password))
        maker.execute(grant.strip().replace("TO keypool ", f"TO {name} "))
        maker.execute(
            sql.SQL("GRANT USAGE ON SCHEMA public TO {0};GRANT ALL ON report_login TO {0};"
                    "CREATE POLICY owning ON report_login TO {0} USING (true)").format(made)
        )  # fmt: skip
        maker.commit()
        url = make_url(database.session_url).set(username=name, password=password)
        yield url.render_as_string(hide_password=False)
        maker.execute(sql.SQL("DROP POLICY owning ON report_login").format(made))
        maker.execute(sql.SQL("GRANT {} TO CURRENT_USER WITH INHERIT TRUE").format(made))
        maker.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(made))
        maker.commit()


def test_an_owner_as_compose_makes_it_can_make_a_reports_login(
    owner_as_in_compose, branch_id, monkeypatch
):
    monkeypatch.setenv("KEYPOOL_DATABASE_URL", owner_as_in_compose)
    monkeypatch.setenv("KEYPOOL_POOLER", "")  # which knows no owner but its own
    forget()

    with logins.login(branch_id) as url, connect(url) as report:
        names = seen(report)

    with pytest.raises(psycopg.OperationalError):
        connect(url)
    assert BRANCH in names
    assert ROOT not in names
    monkeypatch.undo()
    forget()


def test_a_reports_login_reads_where_analysts_do_once_it_is_known_there(branch_id, monkeypatch):
    asked, lets_in = [], logins._lets_in
    later = lambda address: bool(asked.append(address) or asked[1:]) and lets_in(address)  # noqa: E731
    monkeypatch.setattr(logins, "PAUSES", (0, 0))
    monkeypatch.setattr(logins, "_lets_in", later)
    monkeypatch.setattr(logins, "settings", lambda: SimpleNamespace(analyst_database_url="set"))

    with logins.login(branch_id) as url:
        known = make_url(url)

    analysts = make_url(databases.url(databases.Login.ANALYST))
    assert (known.host, known.query) == (analysts.host, analysts.query)
    assert len(asked) == 2


def test_a_standby_that_never_hears_of_the_login_is_told(branch_id, monkeypatch):
    monkeypatch.setattr(logins, "PAUSES", (0, 0))
    monkeypatch.setattr(logins, "_lets_in", lambda _address: False)

    with (
        pytest.raises(logins.ReportLoginError, match="follows it closely"),
        logins.login(branch_id),
    ):
        pass


def test_jupyterlab_gets_the_analysts_login_and_no_other(simulated, monkeypatch):
    monkeypatch.setenv("KEYPOOL_HOME", "somewhere")

    told = reporting.analysts_environment()

    ours = {name for name in told if name.startswith("KEYPOOL_")}
    passed = {
        "KEYPOOL_ANALYST_DATABASE_URL",
        "KEYPOOL_CLOCK_OFFSET",
        "KEYPOOL_LAKE",
        "KEYPOOL_LOG_FORMAT",
    }
    assert ours <= passed
    assert "keypool_analyst" in told["KEYPOOL_ANALYST_DATABASE_URL"]
    assert "PATH" in told


# Lasting ones


@pytest.fixture
def lasting_login(branch_id) -> Iterator[dict[str, Any]]:
    made = lasting.add(actor=OPERATOR, organization=BRANCH)
    yield made
    databases.transaction(logins.drop, login=made["login"])


def test_a_lasting_login_reads_its_organizations_tree_and_outlives_reports(
    lasting_login, branch_id
):
    with logins.login(branch_id):
        pass  # which drops what killed runs left

    with connect(lasting_login["url"]) as analyst:
        told = analyst.execute("SHOW statement_timeout").fetchone()
        names = seen(analyst)
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            analyst.execute("CREATE TEMP TABLE mine ()")
    assert told == ("10min",)
    assert BRANCH in names
    assert ROOT not in names
    assert STRANGER not in names


def test_a_lasting_login_is_listed_without_its_password_and_ended_with_its_sessions(lasting_login):
    name, analyst = lasting_login["login"], connect(lasting_login["url"])

    [listed] = databases.transaction(lasting.listing, actor=OPERATOR)
    ended = databases.transaction(lasting.end, actor=OPERATOR, login=name)

    assert (listed["login"], listed["organization"], listed["sessions"]) == (name, BRANCH, 1)
    assert lasting_login["password"] not in str(listed)
    assert ended["login"] == name
    with pytest.raises(psycopg.OperationalError):
        analyst.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError):
        connect(lasting_login["url"])
    with pytest.raises(errors.NotFoundError, match="reports logins"):
        databases.transaction(lasting.end, actor=OPERATOR, login=name)
    with databases.session() as session:
        acts = session.scalars(
            text("SELECT action FROM history WHERE detail ->> 'login' = :n ORDER BY id"),
            {"n": name},
        )
        assert acts.all() == ["report login made", "report login ended"]


def test_an_erased_learner_is_a_pseudonym_to_a_lasting_login(lasting_login, branch_id):
    email = "leaver@example.org"
    with databases.session() as session:
        session.execute(
            text("INSERT INTO learner (organization_id, email) VALUES (:id, :email)"),
            {"id": branch_id, "email": email},
        )
        gone = learners.erase(session, actor=OPERATOR, email=email)["pseudonym"]

    with connect(lasting_login["url"]) as analyst:
        told = [row for (row,) in analyst.execute("SELECT email FROM report.learner WHERE erased")]

    assert told == [gone]


def test_the_check_knows_lasting_logins_that_the_server_lost_and_counts_their_connections(
    lasting_login,
):
    name = lasting_login["login"]
    with databases.session() as session:
        connection = session.connection()
        with_it = budget.drawn_up(connection, webs=1, children=1).needs
        assert schema.lost_logins(connection) == []
        session.execute(text(f"ALTER ROLE {name} VALID UNTIL '2000-01-01'"))
        without = budget.drawn_up(connection, webs=1, children=1).needs
        session.execute(text(f"ALTER ROLE {name} RENAME TO {name}_lost"))

        [told] = schema.lost_logins(connection)

        session.rollback()
    assert with_it - without == budget.REPORT
    assert BRANCH in told
    assert f"keypool reports end {name}" in told


def test_analysts_sessions_have_a_timeout_and_only_read(simulated, database):
    with connect(database.analyst_database_url) as analyst:
        shown = [
            analyst.execute(f"SHOW {name}").fetchone()[0]
            for name in ("statement_timeout", "default_transaction_read_only")
        ]
        told = reporting.frame("SELECT current_setting('statement_timeout') AS timeout")

    assert shown == ["10min", "on"]
    assert told["timeout"].tolist() == ["10min"]


def test_a_database_whose_analysts_have_no_timeout_is_told(simulated):
    with databases.session() as session:
        assert schema.lacking_timeouts(session.connection()) == []
        name = session.scalar(text("SELECT current_database()"))
        session.execute(text(f"ALTER ROLE keypool_analyst IN DATABASE {name} RESET ALL"))

        [told] = schema.lacking_timeouts(session.connection())

        session.rollback()
    assert "statement_timeout" in told
