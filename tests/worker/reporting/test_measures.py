"""The measures that notebooks, API and console share are the same everywhere."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from tests.conftest import Addresses
from tests.world import OPERATOR, entry_of
from worker import reporting, simulation
from worker.billing import charges
from worker.database import connections as databases
from worker.database.connections import Entry, Login
from worker.pools import pools
from worker.reporting import measures
from worker.tenancy.actors import Actor, Role

ROOT = "Alder Academy"


@pytest.fixture(scope="module")
def billed(database: Addresses) -> None:
    databases.transaction(simulation.simulate, organizations=5, months=5, redemptions=800, seed=11)
    simulation.bill()


@pytest.fixture(scope="module", params=[ROOT, None])
def asked(request: pytest.FixtureRequest, billed: None) -> reporting.Question:
    last = reporting.ask(organization=request.param).last
    return reporting.ask(organization=request.param, from_=last - timedelta(days=90), to=last)


@pytest.fixture
def shown(asked: reporting.Question) -> dict[str, Any]:
    period = {"organization": asked.organization, "from_": asked.first, "to": asked.last}
    return databases.transaction(measures.show, actor=OPERATOR, **period)


def the_row(frame: Any) -> dict[str, Any]:
    (row,) = frame.to_dict("records")
    return row


def test_they_are_those_of_the_notebooks(asked, shown):
    keys, attempts = reporting.stock_totals(asked), reporting.redemption_totals(asked)
    told = reporting.revenue_totals(asked).to_dict("records")

    assert shown["keys"] == the_row(keys)
    assert shown["attempts"] == the_row(attempts.drop(columns="refused_share"))
    assert {row["currency"]: row for row in shown["amounts"]} == {
        row["currency"]: {name: showing(value, row["currency"]) for name, value in row.items()}
        for row in told
    }


def showing(value: Any, currency: str) -> Any:
    decimals = {"JPY": 0}.get(currency, 2)
    return value if isinstance(value, int | str) else f"{value:.{decimals}f}"


def test_they_are_those_of_the_pools(billed):
    with databases.session() as session:
        shown = measures.show(session, actor=OPERATOR)["keys"]
        listed = pools.listing(session, actor=OPERATOR, limit=1000).items

    for figure in ("issued", "redeemed", "retired"):
        assert shown[figure] == sum(pool["keys"][figure] for pool in listed)
    handed_out = sum(pool["keys"]["distributed"] for pool in listed)
    assert shown["undistributed"] == shown["issued"] - handed_out


def test_unbilled_is_what_the_list_of_charges_says(billed):
    with databases.session() as session:
        amounts = measures.show(session, actor=OPERATOR, from_="2000-01-01")["amounts"]
        unbilled = charges.Filters(unbilled=True)
        listed = charges.listing(session, actor=OPERATOR, filters=unbilled, limit=1000)

    assert listed.next is None
    for row in amounts:
        ours = [c["amount"] for c in listed.items if c["currency"] == row["currency"]]
        assert sum(map(float, ours)) == pytest.approx(float(row["unbilled"]))


@pytest.mark.parametrize(
    ("role", "sees"),
    [
        (Role.MANAGER, {"keys", "attempts"}),
        (Role.FINANCE, {"amounts"}),
        (Role.ANALYST, {"keys", "attempts", "amounts"}),
    ],
)
def test_a_role_sees_its_own(billed, role, sees):
    with databases.session() as session:
        home = session.scalar(text("SELECT id FROM organization WHERE name = :n"), {"n": ROOT})
        shown = measures.show(session, actor=Actor("somebody", role, home))

    assert {name for name in ("keys", "attempts", "amounts") if shown[name] is not None} == sees
    assert shown["organization"] == ROOT


def test_the_web_sees_its_requests_tree_alone(billed):
    with databases.session() as session:
        home = session.scalar(text("SELECT id FROM organization WHERE name = :n"), {"n": ROOT})
        actor = Actor("somebody", Role.ANALYST, home)
        ours = measures.show(session, actor=actor)

    with databases.session(Login.WEB, sees=entry_of(home)) as session:
        assert measures.show(session, actor=actor) == ours
    with databases.session(Login.WEB, sees=Entry("enter_token", (b"nobody's",))) as session:
        everything = measures.show(session, actor=OPERATOR)
    assert everything["keys"]["pools"] == 0
