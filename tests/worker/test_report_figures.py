"""Reports on usage, billing, pools and learners at risk: every figure recomputed in Python."""

import base64
import re
from collections import Counter, defaultdict
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import nbformat
import pandas as pd
import pytest
from sqlalchemy import text

from tests.conftest import Addresses
from worker import database as databases
from worker import reporting, simulation
from worker.reporting import billing, showing

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


@pytest.fixture(scope="module")
def billed(database: Addresses) -> None:
    """A history that ends last midnight, with its closed months invoiced."""
    databases.transaction(simulation.simulate, organizations=6, months=8, redemptions=2500, seed=7)
    simulation.bill()


@pytest.fixture(scope="module", params=["Alder Academy", None])
def asked(request: pytest.FixtureRequest, billed: None) -> reporting.Question:
    latest = reporting.ask(organization=request.param).last
    return reporting.ask(
        organization=request.param,
        from_=latest - timedelta(days=120),
        to=latest - timedelta(days=2),
    )


def raw(question: reporting.Question, query: str) -> list[dict[str, Any]]:
    """Rows of a query on raw tables that gives organization_id, kept where they are asked about."""
    with databases.session() as session:
        rows = [dict(row) for row in session.execute(text(query)).mappings()]
        ours = {row.id: row for row in session.execute(text("SELECT * FROM organization"))}
    if question.organization:  # its tree is those named after it
        ours = {n: row for n, row in ours.items() if row.name.startswith("Alder")}
    zones = {n: ZoneInfo(row.time_zone) for n, row in ours.items()}
    kept = [row for row in rows if row["organization_id"] in ours]
    for row in kept:
        for name, value in list(row.items()):
            if isinstance(value, datetime):
                row[f"{name}_day"] = value.astimezone(zones[row["organization_id"]]).date()
                row[f"{name}_there"] = value.astimezone(zones[row["organization_id"]])
    return kept


def during(question: reporting.Question, rows: list[dict[str, Any]], day: str) -> list[Any]:
    return [row for row in rows if question.first <= row[day] <= question.last]


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return frame.to_dict("records")


# --------------------------------------------------------------------------------- usage


@pytest.fixture(scope="module")
def launches(asked) -> list[dict[str, Any]]:
    rows = raw(asked, "SELECT * FROM launch WHERE outcome = 'launched'")
    return during(asked, rows, "launched_at_day")


@pytest.fixture(scope="module")
def assignments(asked) -> list[dict[str, Any]]:
    """What was redeemed in the period and not undone, with the instants of all its launches."""
    taken = defaultdict(list)
    for launch in raw(asked, "SELECT * FROM launch WHERE outcome = 'launched'"):
        taken[launch["assignment_id"]].append(launch["launched_at"])
    rows = raw(
        asked,
        """SELECT assignment.*, course.code AS course FROM assignment
             JOIN course ON course.id = course_id WHERE NOT undone""",
    )
    for row in rows:
        row["launched"] = sorted(taken[row["id"]])
        row["live"] = row["status"] == "active" and asked.asked_at < row["expires_at"]
    return during(asked, rows, "redeemed_at_day")


def test_launches_are_totalled(asked, launches):
    (totals,) = records(reporting.usage_totals(asked))

    ended = [row for row in launches if row["ended_at"]]
    hours = sum((row["ended_at"] - row["launched_at"]).total_seconds() for row in ended) / 3600
    completed = sum(bool(row["completed"]) for row in launches)
    assert totals["launches"] == len(launches)
    assert totals["assignments_used"] == len({row["assignment_id"] for row in launches})
    assert float(totals["hours"]) == pytest.approx(hours, abs=0.06)
    assert (totals["ended"], totals["completed"]) == (len(ended), completed)
    assert float(totals["completed_share"]) == pytest.approx(completed / len(ended))


def test_launches_are_counted_by_day(asked, launches):
    per_day = records(reporting.launches_per_day(asked))

    counted = Counter(row["launched_at_day"] for row in launches)
    assert {row["day"].date(): row["launches"] for row in per_day if row["launches"]} == counted
    assert len(per_day) == (asked.last - asked.first).days + 1


def test_assignments_are_counted_by_their_launches(asked, assignments):
    told = {
        row["launched"]: row["assignments"]
        for row in records(reporting.launches_per_assignment(asked))
    }

    names = ["Not once", "Once", "Twice", "3 times", "4 times or more"]
    assert told == Counter(names[min(len(row["launched"]), 4)] for row in assignments)


def test_first_launches_are_counted_by_how_soon_they_came(asked, assignments):
    told = {
        row["first_launch"]: row["assignments"] for row in records(reporting.first_launches(asked))
    }

    def name(row: dict[str, Any]) -> str:
        if not row["launched"]:
            return "Not yet" if row["live"] else "Never, and it is over"
        days = (row["launched"][0] - row["redeemed_at"]) / timedelta(days=1)
        names = {1: "Within a day", 7: "1 to 7 days later", 30: "7 to 30 days later"}
        return next((name for end, name in names.items() if days < end), "After 30 days")

    assert told == Counter(map(name, assignments))


def test_cohorts_share_out_their_launches_by_week(asked, assignments):
    told = records(reporting.cohorts(asked))

    sizes: Counter[date] = Counter()
    used: Counter[tuple[date, int]] = Counter()
    for row in assignments:
        month = row["redeemed_at_day"].replace(day=1)
        sizes[month] += 1
        for week in {(at - row["redeemed_at"]) // timedelta(weeks=1) for at in row["launched"]}:
            used[month, week] += 1
    assert told
    for row in told:
        month = row["month"].date()
        assert row["assignments"] == sizes[month]
        assert float(row["share"]) == pytest.approx(used[month, row["week"]] / sizes[month])


def test_assignments_that_ended_unused_are_counted_by_course(asked, assignments):
    told = {
        row["course"]: (row["ended"], row["unused"])
        for row in records(reporting.unused_assignments(asked))
    }

    over = [row for row in assignments if not row["live"]]
    unused = Counter(row["course"] for row in over if not row["launched"])
    assert told == {
        course: (ended, unused[course])
        for course, ended in Counter(r["course"] for r in over).items()
    }


def test_busy_hours_are_those_of_the_organizations_clock(asked, launches):
    told = {
        (row["weekday"], row["hour"]): row["launches"]
        for row in records(reporting.busiest_hours(asked))
    }

    there = [row["launched_at_there"] for row in launches]
    assert told == Counter((moment.isoweekday(), moment.hour) for moment in there)


# ------------------------------------------------------------------------------- billing


@pytest.fixture(scope="module")
def charges(asked) -> list[dict[str, Any]]:
    rows = raw(
        asked,
        """SELECT charge.*, course.code AS course, organization.name AS organization
             FROM charge JOIN course ON course.id = course_id
             JOIN organization ON organization.id = charge.organization_id""",
    )
    return during(asked, rows, "occurred_at_day")


def test_revenue_is_what_was_charged_less_what_was_credited(asked, charges):
    totals = {row["currency"]: row for row in records(reporting.revenue_totals(asked))}

    assert totals.keys() == {row["currency"] for row in charges}
    for currency, row in totals.items():
        ours = [charge for charge in charges if charge["currency"] == currency]
        assert row["charged"] == sum(c["amount"] for c in ours if c["kind"] != "credit")
        assert row["credited"] == sum(c["amount"] for c in ours if c["kind"] == "credit")
        assert row["revenue"] == sum(c["amount"] for c in ours)
        assert row["unbilled"] == sum(c["amount"] for c in ours if c["unbilled"])
        assert row["invoiced"] == row["revenue"] - row["unbilled"]
        assert row["redemptions"] == sum(1 for c in ours if c["kind"] == "redemption")


@pytest.mark.parametrize(
    ("figures", "name"),
    [
        (reporting.revenue_by_month, "service_month"),
        (reporting.revenue_by_course, "course"),
        (reporting.revenue_by_organization, "organization"),
    ],
)
def test_revenue_is_shared_out(asked, charges, figures, name):
    told = records(figures(asked))

    def key(row: dict[str, Any]) -> Any:
        return row["occurred_at_day"].replace(day=1) if name == "service_month" else row[name]

    sums: dict[Any, Decimal] = defaultdict(Decimal)
    for row in charges:
        sums[key(row), row["currency"]] += row["amount"]
    keys = [row[name].date() if name == "service_month" else row[name] for row in told]
    assert {(k, row["currency"]): row["revenue"] for k, row in zip(keys, told, strict=True)} == sums


def test_invoices_are_counted_by_status_with_overdue_ones_apart(asked):
    told = records(reporting.invoices_by_status(asked))

    rows = [
        row
        for row in raw(asked, "SELECT *, status::text AS state FROM invoice")
        if asked.first.replace(day=1) <= row["month"] <= asked.last
    ]
    today = asked.asked_at.date()
    late = [row for row in rows if row["state"] == "finalized" and row["due_on"] < today]
    assert sum(row["total"] for row in told) == sum(row["total"] for row in rows)
    assert sum(row["invoices"] for row in told) == len(rows)
    assert sum(row["invoices"] for row in told if row["status"] == "overdue") == len(late)


def test_books_that_agree_are_said_to_agree(asked):
    told = reporting.verdict(asked)

    assert told.agrees
    assert told.sentence == "Invoices, charges and redemptions agree to the minor unit."
    assert (reporting.reconciliation(asked)["difference"] == 0).all()


def test_the_reconciliation_compares_what_the_raw_tables_say(asked):
    told = records(reporting.reconciliation(asked))

    redeemed = raw(asked, "SELECT * FROM redemption WHERE outcome = 'redeemed'")
    subtotals: dict[str, Decimal] = defaultdict(Decimal)
    for row in raw(asked, "SELECT * FROM invoice WHERE status <> 'void'"):
        subtotals[row["currency"]] += row["subtotal"]
    assert told[0]["one_side"] == len(redeemed)
    assert {
        row["currency"]: row["other_side"] for row in told if row["compared"].startswith("Invoiced")
    } == subtotals


def test_books_that_do_not_agree_are_told_by_name(asked, monkeypatch):
    tampered = reporting.reconciliation(asked)
    tampered.loc[1, "difference"] = Decimal("0.01")
    monkeypatch.setattr(billing, "reconciliation", lambda _: tampered)

    told = reporting.verdict(asked)

    assert not told.agrees
    assert told.sentence.endswith("looked into: Invoiced charges against invoices.")


# ------------------------------------------------------------------------- pools, learners


@pytest.fixture(scope="module")
def pools(asked) -> list[dict[str, Any]]:
    rows = raw(
        asked,
        """SELECT pool.*, course.archived_at,
                  count(*) FILTER (WHERE state = 'issued') AS issued,
                  count(*) FILTER (WHERE state = 'issued' AND distribution_id IS NULL) AS free,
                  count(*) FILTER (WHERE state = 'redeemed') AS redeemed, count(key.id) AS keys
             FROM pool JOIN course ON course.id = course_id LEFT JOIN key ON key.pool_id = pool.id
            GROUP BY pool.id, course.id""",
    )
    for row in rows:
        over = row["archived_at"] or (row["expires_at"] <= asked.asked_at and not row["paused_at"])
        begun = row["starts_at"] <= asked.asked_at
        row["over"], row["active"] = over, begun and not over and not row["paused_at"]
    return rows


def test_keys_are_totalled_over_pools(asked, pools):
    (totals,) = records(reporting.stock_totals(asked))

    assert totals["pools"] == len(pools)
    assert totals["keys"] == sum(row["keys"] for row in pools)
    assert totals["issued"] == sum(row["issued"] for row in pools)
    assert totals["undistributed"] == sum(row["free"] for row in pools)
    assert totals["redeemed"] == sum(row["redeemed"] for row in pools)
    assert totals["breakage"] == sum(row["issued"] for row in pools if row["over"])


def test_stock_lasts_as_long_as_at_the_pace_of_four_weeks(asked, pools):
    told = {
        (row["organization"], row["pool"]): row for row in records(reporting.pools_by_stock(asked))
    }

    names = {row["id"]: row["name"] for row in raw_organizations()}
    redeemed = raw(asked, "SELECT * FROM redemption WHERE outcome = 'redeemed'")
    lately = Counter(
        row["pool_id"]
        for row in redeemed
        if asked.last - timedelta(days=27) <= row["received_at_day"] <= asked.last
    )
    active = [row for row in pools if row["active"]]
    assert len(told) == len(active)
    for row in active:
        ours = told[names[row["organization_id"]], row["name"]]
        assert (ours["issued"], ours["undistributed"]) == (row["issued"], row["free"])
        pace = lately[row["id"]]
        lasts = row["issued"] * 28 // pace if pace else None
        assert lasts == (None if pd.isna(ours["days_of_stock"]) else ours["days_of_stock"])


def raw_organizations() -> list[dict[str, Any]]:
    with databases.session() as session:
        return [
            dict(r) for r in session.execute(text("SELECT id, name FROM organization")).mappings()
        ]


def test_pools_that_expire_soon_and_keys_that_were_lost_are_listed(asked, pools):
    soon = asked.asked_at + timedelta(days=30)
    expiring = [
        row["name"] for row in pools if row["active"] and row["issued"] and row["expires_at"] < soon
    ]
    lost = [row["issued"] for row in pools if row["over"] and row["issued"]]

    assert sorted(reporting.expiring_pools(asked)["pool"]) == sorted(expiring)
    assert reporting.breakage(asked)["breakage"].tolist() == sorted(lost, reverse=True)


@pytest.fixture(scope="module")
def at_risk(asked) -> list[dict[str, Any]]:
    begun = {row["assignment_id"] for row in raw(asked, "SELECT * FROM launch")}
    rows = raw(
        asked,
        """SELECT assignment.*, learner.email FROM assignment
             JOIN learner ON learner.id = learner_id WHERE status = 'active'""",
    )
    soon = asked.asked_at + timedelta(days=30)
    return [
        row for row in rows if asked.asked_at < row["expires_at"] < soon and row["id"] not in begun
    ]


def test_learners_at_risk_are_listed_the_soonest_first(asked, at_risk):
    told = records(reporting.learners_at_risk(asked))

    expected = sorted(at_risk, key=lambda row: (row["expires_at"], row["email"]))
    assert [row["email"] for row in told] == [row["email"] for row in expected]
    assert [row["days_left"] for row in told] == [
        (row["expires_at"] - asked.asked_at).days for row in expected
    ]
    assert records(reporting.risk_totals(asked))[0]["at_risk"] == len(told)


def test_the_list_can_be_saved_as_csv_that_no_spreadsheet_runs(asked):
    frame = pd.DataFrame({"email": ["=1+1@x.example"], "days_left": [3]})
    frame.attrs["download"] = "list.csv"

    page = showing.table(frame, asked.babel)

    (data,) = re.findall(r'href="data:text/csv;charset=utf-8;base64,([^"]+)"', page)
    assert base64.b64decode(data).decode() == "email,days_left\n'=1+1@x.example,3\n"


# ----------------------------------------------------------------------------- whole runs


@pytest.fixture(scope="module")
def all_in_one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The other notebooks' cells in one: a kernel takes seconds to start."""
    parts = [
        nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
        for name in ("usage", "billing", "pools", "learners_at_risk")
    ]
    whole = parts[0]
    whole.cells = [cell for part in parts for cell in part.cells if "parameters" not in tags(cell)]
    whole.cells.insert(0, next(cell for cell in parts[1].cells if tags(cell)))
    path = tmp_path_factory.mktemp("notebooks") / "all.ipynb"
    nbformat.write(whole, path)
    return path


def tags(cell: nbformat.NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def test_the_other_notebooks_run_and_make_a_page_that_loads_nothing(billed, all_in_one, tmp_path):
    made = reporting.run(all_in_one, organization="Alder Academy", output=tmp_path / "r.html")

    page = made.read_text()
    loads = re.findall(r"""(?:src|href)\s*=\s*["']?([^"'\s>,]+)""", page)
    assert {load.split(";")[0] for load in loads} == {"data:image/svg+xml", "data:text/csv"}
    assert page.count("<img") == 6
    assert page.count("Nothing yet") <= 1


def test_the_other_notebooks_say_of_an_empty_database_that_there_is_nothing_yet(
    fresh_database, all_in_one, tmp_path
):
    page = reporting.run(all_in_one, output=tmp_path / "empty.html").read_text()

    assert page.lower().count("nothing yet") == 22
