"""What the processes need of PostgreSQL, as operations.md says, and as its settings allow."""

import re
from pathlib import Path

import pytest
from sqlalchemy import text

from worker.database import budget, connections, patience
from worker.database.connections import Login
from worker.database.patience import Pool
from worker.settings import settings

OPERATIONS = Path(__file__).parents[3] / "docs" / "operations.md"


@pytest.fixture
def most() -> dict[str, int]:
    return budget.most()


def test_the_documents_table_is_the_codes(most):
    section = OPERATIONS.read_text().partition("\n## Connections\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([^|]+?) \| (\d+) \| ([^|]*)", section, re.MULTILINE)
    written = {kind.partition(" (")[0].removesuffix(" that is made"): n for kind, n, _ in rows}
    receiver, web = (sum(connections.sizes(login)) for login in (Login.RECEIVER, Login.WEB))

    assert {kind: int(written[kind]) for kind in most} == most
    assert written["worker's main process"] == "0"
    assert (
        f"{receiver} for webhooks, {web} for all else, of which downloads take {web - 1}"
        in rows[0][2]
    )
    assert rows[1][2].startswith(f"keeps {connections.sizes(Login.OWNER)[0]}")


def test_no_pool_hands_out_more_than_the_budget_says(database, monkeypatch):
    monkeypatch.setattr(patience, "Pool", Pool)  # as it is outside of tests
    connections.dispose()

    for login in Login:
        pool = connections.engine(login).pool
        assert pool.size() + pool._max_overflow == sum(connections.sizes(login))

    connections.dispose()


@pytest.mark.parametrize("size", ["4", "8", "33"])
def test_a_webs_connections_are_as_many_as_the_setting_says(size, monkeypatch):
    monkeypatch.setenv("KEYPOOL_WEB_CONNECTIONS", size)
    settings.cache_clear()

    each = budget.most()

    settings.cache_clear()
    assert each["web process"] == int(size)


def test_more_than_the_server_takes_is_told_with_the_excess(session, most):
    takes = session.scalar(text("SELECT current_setting('max_connections')::int")) - 3
    webs = takes // most["web process"] + 1

    drawn_up = budget.drawn_up(session.connection(), webs=webs, children=1)

    needs = sum(n * (webs if kind == "web process" else 1) for kind, n in most.items())
    if not settings().pooler:
        assert drawn_up.excess() == needs - takes
        assert f"{needs - takes} too many" in drawn_up.sentence()


def test_what_the_server_takes_is_enough_for_a_machine_of_its_own(session):
    drawn_up = budget.drawn_up(session.connection(), webs=2, children=2)

    assert drawn_up.excess() == 0
    assert "too many" not in drawn_up.sentence()


def test_behind_a_pooler_what_goes_past_it_alone_needs_the_server(session, most, monkeypatch):
    monkeypatch.setenv("KEYPOOL_DATABASE_URL", "postgresql+psycopg://somewhere/keypool")
    monkeypatch.setenv("KEYPOOL_SECRET_KEY", "x" * 32)
    monkeypatch.setenv("KEYPOOL_POOLER", "transaction")
    settings.cache_clear()

    drawn_up = budget.drawn_up(session.connection(), webs=50, children=50)

    settings.cache_clear()
    asked = 50 * most["web process"] + 50 * most["worker child"] + most["beat"] + most["command"]
    assert drawn_up.needs == most["report"] + most["migration"]
    assert f"for {asked} that are asked of it" in drawn_up.sentence()
