"""Reports on usage, billing, pools and learners at risk: every figure recomputed in Python."""

import base64
import re
from collections import Counter, defaultdict
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from statistics import mean
from typing import Any
from zoneinfo import ZoneInfo

import nbformat
import pandas as pd
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import sql
from sqlalchemy import text

from tests.conftest import Addresses
from worker import reporting, simulation
from worker.database import connections as databases
from worker.languages import unusual, upkeep
from worker.reporting import billing, comparing, postgres, reading, risk, showing, usage

NOTEBOOKS = Path(__file__).parents[3] / "notebooks"
PAIRED = sorted(NOTEBOOKS.glob("*.py"))
CALL = re.compile(r"reporting\.(\w+)\(question\)")


NOTHING_FORECAST = "Stock is known as of today, and this period is over: nothing is forecast."
# An open pool that rested for three days and a half, a while ago.
PAUSE = """
    INSERT INTO history (at, actor, organization_id, action, thing, thing_id)
    SELECT date_trunc('day', clock_now()) - ago, 'user 1', organization_id, action, 'pool', pool_id
      FROM (SELECT pool_id, pool.organization_id FROM redemption JOIN pool ON pool.id = pool_id
             WHERE outcome = 'redeemed' AND paused_at IS NULL AND expires_at > clock_now()
               AND starts_at < clock_now() - interval '40 days'
               AND received_at > clock_now() - interval '20 days'
             GROUP BY pool_id, pool.organization_id ORDER BY count(*) DESC LIMIT 1) AS busy,
           (VALUES (interval '10 days 4 hours', 'pool paused'), (interval '6 days 16 hours', 'pool resumed'))
               AS act (ago, action)"""


UNUSUAL = """
    INSERT INTO pool_unusual (pool_id, rule, seen, among, usual, most, began_at)
    SELECT min(id), 'strangers'::unusual_rule, 12, 20, 0.1, NULL, clock_now() - interval '20 days' FROM pool
    UNION ALL
    SELECT min(id), 'sudden_pace'::unusual_rule, 40, NULL, 2.5, 9, clock_now() - interval '9 days' FROM pool
    UNION ALL
    SELECT min(id), 'shared_keys'::unusual_rule, 40, NULL, 2.5, 9, clock_now() - interval '300 days'
      FROM pool"""


@pytest.fixture(scope="module")
def billed(database: Addresses) -> None:
    """A history that ends last midnight, with its closed months invoiced."""
    databases.transaction(simulation.simulate, organizations=6, months=8, redemptions=2500, seed=7)
    simulation.bill()
    with databases.session() as session:
        session.execute(text("UPDATE key SET labels = '{gold,b}' WHERE id % 3 = 0"))
        session.execute(text("UPDATE key SET labels = '{gold}' WHERE id % 7 = 0"))
        session.execute(text(PAUSE))
        session.execute(text(UNUSUAL))


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


def assert_shared_out(rows: list[dict[str, Any]], count: str, total: int) -> None:
    """Every row's share is its count's, of the total."""
    shares = [float(row["share"]) for row in rows]
    assert shares == pytest.approx([row[count] / total for row in rows])


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


def test_a_launch_tells_of_what_it_was_a_launch(asked):
    told = reading.frame("SELECT id, course, redeemed_at FROM report.launch")

    rows = raw(
        asked,
        """SELECT launch.id, launch.organization_id, course.code AS course, redeemed_at
             FROM launch JOIN assignment ON assignment.id = assignment_id
             JOIN course ON course.id = course_id WHERE outcome = 'launched'""",
    )
    known = {row["id"]: (row["course"], row["redeemed_at"]) for row in rows}
    shown = {row["id"]: (row["course"], row["redeemed_at"]) for row in records(told)}
    assert {number: shown[number] for number in known} == known


@pytest.mark.parametrize("query", [usage.TOTALS, usage.PER_DAY, usage.HOURS])
def test_launches_are_counted_without_reading_what_they_were_of(asked, query):
    composed = sql.SQL(query).format(
        first=asked.first, last=asked.last, launched=asked.within(at="launched_at")
    )
    with psycopg.connect(postgres.address()) as connection:
        plan = connection.execute(sql.SQL("EXPLAIN ") + composed).fetchall()

    assert " on launch" in str(plan)
    assert " on assignment" not in str(plan)


def test_launches_are_counted_by_day(asked):
    per_day = records(reporting.launches_per_day(asked))

    rows = raw(asked, "SELECT * FROM launch WHERE outcome = 'launched'")
    counted = Counter(row["launched_at_day"] for row in rows)
    days = [asked.first + timedelta(days=n) for n in range((asked.last - asked.first).days + 1)]
    assert [row["day"].date() for row in per_day] == days
    assert [row["launches"] for row in per_day] == [counted[day] for day in days]
    assert [float(row["mean_of_7_days"]) for row in per_day] == pytest.approx(
        [mean(counted[day - timedelta(days=n)] for n in range(7)) for day in days]
    )


def test_assignments_are_counted_by_their_launches(asked, assignments):
    told = records(reporting.launches_per_assignment(asked))

    names = ["Not once", "Once", "Twice", "3 times", "4 times or more"]
    counted = Counter(names[min(len(row["launched"]), 4)] for row in assignments)
    assert {row["launched"]: row["assignments"] for row in told} == counted
    assert_shared_out(told, "assignments", len(assignments))


def test_first_launches_are_counted_by_how_soon_they_came(asked, assignments):
    told = records(reporting.first_launches(asked))

    def name(row: dict[str, Any]) -> str:
        if not row["launched"]:
            return "Not yet" if row["live"] else "Never, and it is over"
        days = (row["launched"][0] - row["redeemed_at"]) / timedelta(days=1)
        names = {1: "Within a day", 7: "1 to 7 days later", 30: "7 to 30 days later"}
        return next((name for end, name in names.items() if days < end), "After 30 days")

    counted = Counter(map(name, assignments))
    assert {row["first_launch"]: row["assignments"] for row in told} == counted
    assert_shared_out(told, "assignments", len(assignments))


def test_cohorts_share_out_their_launches_by_week(asked, assignments):
    told = records(reporting.cohorts(asked))

    sizes: Counter[tuple[date, int]] = Counter()
    used: Counter[tuple[date, int]] = Counter()
    for row in assignments:
        month = row["redeemed_at_day"].replace(day=1)
        lasts = (row["expires_at"] - row["redeemed_at"]) // timedelta(weeks=1)
        sizes.update((month, week) for week in range(lasts))
        weeks = {(at - row["redeemed_at"]) // timedelta(weeks=1) for at in row["launched"]}
        used.update((month, week) for week in weeks if week < lasts)
    assert told
    for row in told:
        its = (row["month"].date(), row["week"])
        assert row["assignments"] == sizes[its]
        assert float(row["share"]) == pytest.approx(used[its] / sizes[its])


def test_assignments_that_ended_unused_are_counted_by_course(asked, assignments):
    told = {
        row["course"]: (row["ended"], row["unused"], round(float(row["unused_share"]), 9))
        for row in records(reporting.unused_assignments(asked))
    }

    over = [row for row in assignments if not row["live"]]
    unused = Counter(row["course"] for row in over if not row["launched"])
    assert told == {
        course: (ended, unused[course], round(unused[course] / ended, 9))
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

    parts: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for row in charges:
        parts[key(row), row["currency"]].append(row)
    keys = [row[name].date() if name == "service_month" else row[name] for row in told]
    assert {(k, row["currency"]) for k, row in zip(keys, told, strict=True)} == set(parts)
    for its_key, row in zip(keys, told, strict=True):
        ours = parts[its_key, row["currency"]]
        assert row["revenue"] == sum(c["amount"] for c in ours)
        assert row["unbilled"] == sum(c["amount"] for c in ours if c["unbilled"])
        assert row["invoiced"] == sum(c["amount"] for c in ours if not c["unbilled"])
        assert row["redemptions"] == sum(1 for c in ours if c["kind"] == "redemption")


def test_invoices_are_counted_by_status_with_overdue_ones_apart(asked):
    told = records(reporting.invoices_by_status(asked))

    rows = [
        row
        for row in raw(asked, "SELECT *, status::text AS state FROM invoice")
        if asked.first.replace(day=1) <= row["month"] <= asked.last
    ]
    today = {
        row["id"]: asked.asked_at.astimezone(ZoneInfo(row["time_zone"])).date()
        for row in raw(asked, "SELECT *, id AS organization_id FROM organization")
    }
    parts: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        late = row["state"] == "finalized" and row["due_on"] < today[row["organization_id"]]
        parts["overdue" if late else row["state"], row["currency"]].append(row)
    assert {(row["status"], row["currency"]) for row in told} == set(parts)
    for row in told:
        ours = parts[row["status"], row["currency"]]
        assert row["invoices"] == len(ours)
        for amount in ("subtotal", "tax", "total"):
            assert row[amount] == sum(invoice[amount] for invoice in ours)


def test_what_is_outstanding_is_the_documents_less_what_was_paid_and_credited_by_then(asked):
    expected: Counter[tuple[str, str]] = Counter()
    for row in raw(
        asked,
        f"""SELECT invoice.organization_id, currency, due_on, total
                   - coalesce((SELECT sum(amount) FROM payment
                                WHERE invoice_id = invoice.id AND paid_on <= '{asked.last}'), 0)
                   + coalesce((SELECT sum(tax.subtotal + tax.tax) FROM invoice_tax AS tax
                                 JOIN invoice AS note ON note.id = tax.invoice_id
                                WHERE tax.credits_invoice_id = invoice.id
                                  AND note.issued_on <= '{asked.last}'), 0) AS open
              FROM invoice WHERE kind = 'invoice' AND issued_on <= '{asked.last}'""",
    ):
        late = (asked.last - row["due_on"]).days
        age = "over_90_days" if late > 90 else "credit" if row["open"] < 0 else "not_due"
        for until, name in ((90, "61_to_90_days"), (60, "31_to_60_days"), (30, "1_to_30_days")):
            age = name if 0 < late <= until else age
        expected[row["currency"], age] += row["open"]
        expected[row["currency"], "outstanding"] += row["open"]

    frame = reporting.outstanding(asked)
    named = reporting.outstanding_by_organization(asked)

    told = {
        (row["currency"], age): row[age]
        for row in frame.to_dict("records")
        for age in frame.columns
        if age != "currency" and row[age]
    }
    assert told == {key: amount for key, amount in expected.items() if amount}
    assert any(age.startswith(("1_", "31_", "61_", "over")) for _, age in told)
    for currency, rows in named.groupby("currency"):
        assert sum(rows["outstanding"]) == told[currency, "outstanding"]


def test_days_to_pay_are_from_issue_to_the_last_payment(asked):
    paid: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in raw(asked, "SELECT * FROM invoice WHERE status = 'paid' AND kind = 'invoice'"):
        if row["total"] > 0 and asked.first <= row["paid_on"] <= asked.last:
            paid[row["currency"]].append(row)

    frame = reporting.days_to_pay(asked).set_index("currency")

    assert set(frame.index) == set(paid) != set()
    for currency, rows in paid.items():
        took = [(row["paid_on"] - row["issued_on"]).days for row in rows]
        told = frame.loc[currency]
        assert (told["invoices"], told["longest"]) == (len(rows), max(took))
        assert told["total"] == sum(row["total"] for row in rows)
        assert told["mean_days"] == pytest.approx(mean(took), abs=0.051)
        late = sum(row["paid_on"] > row["due_on"] for row in rows) / len(rows)
        assert told["late_share"] == pytest.approx(late)


def test_breakage_is_what_was_handed_out_and_lapsed_at_the_price_in_force(asked):
    expected: Counter[str] = Counter()
    for row in raw(
        asked,
        """SELECT pool.organization_id, pool.expires_at - interval '1 microsecond' AS ended,
                  price.amount * count(*) AS value, price.currency
             FROM key JOIN pool ON pool.id = pool_id
             JOIN course ON course.id = course_id
            CROSS JOIN LATERAL price_in_force(course_id, pool.organization_id, clock_now()) AS price
            WHERE state = 'issued' AND distribution_id IS NOT NULL AND expires_at <= clock_now()
            GROUP BY pool.id, price.amount, price.currency""",
    ):
        if asked.first <= row["ended_day"] <= asked.last:
            expected[row["currency"]] += row["value"]

    frame = reporting.breakage_value(asked)
    pools = reporting.breakage_by_pool(asked)

    told = dict(zip(frame["currency"], frame["breakage"], strict=True))
    assert told == expected
    assert {c: sum(rows["breakage"]) for c, rows in pools.groupby("currency")} == expected


def test_deferred_revenue_is_what_each_charge_has_left_of_its_days(asked):
    expected, left = deferred(asked)

    frame = reporting.deferred_revenue(asked)

    told = {(r["currency"], r["month"].date()): r for r in frame.to_dict("records")}
    for (currency, month), (charged, earned) in sorted(expected.items()):
        left[currency] += charged - earned
        if charged or earned:
            row = told.pop((currency, month))
            assert [row["charged"], row["earned"]] == [charged, earned]
            assert row["deferred"] == left[currency]
    assert all(row["charged"] == row["earned"] == 0 for row in told.values())
    assert set(left.values()) <= {0}


def test_the_deferral_journal_balances_and_earns_what_the_schedule_says(asked):
    begin = asked.first.replace(day=1)
    expected, _ = deferred(asked)

    journal = reporting.deferral_journal(replace(asked, first=begin))

    assert sum(journal["to_debit"]) == sum(journal["to_credit"]) > 0
    whole = journal[journal["day"] != pd.Timestamp(asked.last)]  # that month goes on
    earned = whole[whole["account"] == "earned"].groupby(["currency", "day"])
    for (currency, day), rows in earned:
        month = day.date().replace(day=1)
        assert sum(rows["to_credit"]) - sum(rows["to_debit"]) == expected[currency, month][1]


DEFERRED = """
    SELECT charge.organization_id, charge.amount, charge.currency, charge.occurred_at,
           minor_unit(charge.currency) AS decimals, owed.occurred_at AS began, expires_at, cancelled_at
      FROM charge JOIN charge AS owed ON owed.id = coalesce(charge.credits_id, charge.id)
      JOIN assignment ON assignment.id = charge.assignment_id"""


def deferred(question: reporting.Question) -> tuple[dict[Any, list[Decimal]], Counter[str]]:
    """What was charged and earned, by currency and month, and what was left to earn before."""
    begin = question.first.replace(day=1)
    months: dict[Any, list[Decimal]] = defaultdict(lambda: [Decimal()] * 2)
    before: Counter[str] = Counter()
    for row in raw(question, DEFERRED):
        if (day := row["occurred_at_day"]) > question.last:
            continue
        was = earned_until(row, begin - timedelta(days=1))
        before[row["currency"]] += row["amount"] - was if day < begin else 0
        for end in months_from(begin):
            key, now = (row["currency"], end.replace(day=1)), earned_until(row, end)
            charged = row["amount"] if key[1] <= day <= end else 0
            months[key] = [months[key][0] + charged, months[key][1] + now - was]
            was = now
    return months, before


def months_from(first: date) -> list[date]:
    """The last days of the 24 months from a first day of one."""
    starts = [(first + timedelta(days=31 * n + 15)).replace(day=1) for n in range(25)]
    return [after - timedelta(days=1) for after in starts[1:]]


def earned_until(row: dict[str, Any], day: date) -> Decimal:
    """What of a charge is earned by the end of a day, by the rule's own words."""
    days = -(-(row["expires_at"] - row["began"]) // timedelta(days=1))
    last = row["began_day"] + timedelta(days=days - 1)
    if row["cancelled_at"]:
        last = min(last, row["cancelled_at_day"])
    if day < row["occurred_at_day"]:
        return Decimal()
    if day >= max(last, row["occurred_at_day"]):
        return row["amount"]
    share = row["amount"] * ((day - row["began_day"]).days + 1) / days
    return share.quantize(Decimal(1).scaleb(-row["decimals"]), ROUND_HALF_UP)


def test_books_that_agree_are_said_to_agree(asked):
    told = reporting.verdict(asked)

    assert told.agrees
    agree = "Invoices, charges and redemptions agree to the minor unit."
    assert told.sentence == asked.words.say(agree)
    assert (reporting.reconciliation(asked)["difference"] == 0).all()


def test_the_reconciliation_compares_what_the_raw_tables_say(asked, charges):
    told = records(reporting.reconciliation(asked))

    attempts = raw(asked, "SELECT * FROM redemption WHERE outcome = 'redeemed'")
    redeemed = during(asked, attempts, "received_at_day")
    carried = {
        row["charge_id"]
        for row in raw(
            asked,
            """SELECT charge_id, organization_id FROM invoice_charge
                 JOIN invoice ON invoice.id = invoice_id WHERE released_at IS NULL""",
        )
    }
    invoices = [
        row
        for row in raw(asked, "SELECT * FROM invoice WHERE status <> 'void'")
        if asked.first.replace(day=1) <= row["month"] <= asked.last
    ]
    sides: dict[Any, list[Decimal]] = defaultdict(lambda: [Decimal(), Decimal()])
    sides["Redemptions against their charges", None] = [
        Decimal(len(redeemed)), Decimal(sum(1 for c in charges if c["kind"] == "redemption"))
    ]  # fmt: skip
    for row in charges:
        both = sides["Charges on invoices against charges marked as billed", row["currency"]]
        both[0] += row["amount"] if row["id"] in carried else 0
        both[1] += row["amount"] if not row["unbilled"] else 0
    for row in invoices:
        amounts = amounts_on(row["id"])
        for compared, one, other in (
            ("Invoices against the charges on them", row["subtotal"], amounts["charges"]),
            ("Invoices against their lines", row["subtotal"], amounts["lines"]),
            ("Invoices' totals less tax against their subtotals",
             row["total"] - row["tax"], row["subtotal"]),
        ):  # fmt: skip
            sides[compared, row["currency"]][0] += one
            sides[compared, row["currency"]][1] += other
    assert {
        (row["compared"], None if pd.isna(row["currency"]) else row["currency"]): [
            row["one_side"], row["other_side"]
        ]
        for row in told
    } == sides  # fmt: skip


def amounts_on(invoice: int) -> dict[str, Decimal]:
    with databases.session() as session:
        lines = session.scalars(
            text("SELECT amount FROM invoice_line WHERE invoice_id = :id"), {"id": invoice}
        ).all()
        charges = session.scalars(
            text("""SELECT amount FROM charge WHERE id IN (
                        SELECT charge_id FROM invoice_charge
                         WHERE invoice_id = :id AND released_at IS NULL)"""),
            {"id": invoice},
        ).all()
    return {"lines": sum(lines, Decimal()), "charges": sum(charges, Decimal())}


def test_books_that_do_not_agree_are_told_by_name(asked, monkeypatch):
    tampered = reporting.reconciliation(asked)
    charged = tampered["compared"] == "Charges on invoices against charges marked as billed"
    tampered.loc[charged | tampered["currency"].isna(), "difference"] = Decimal("0.01")
    twice = pd.concat([tampered, tampered[charged].head(1).assign(currency="KWD")])
    monkeypatch.setattr(billing, "reconciliation", lambda _: twice)

    told = reporting.verdict(asked)

    assert not told.agrees
    currencies = ", ".join([*tampered[charged]["currency"], "KWD"])
    line = asked.words.translate("Charges on invoices against charges marked as billed")
    named = f"{asked.words.translate('Redemptions against their charges')}; {line} ({currencies})"
    assert told.sentence == asked.words.say(
        "These do not agree, and should be looked into: {named}.", named=named
    )


# ------------------------------------------------------------------------- pools, learners


@pytest.fixture(scope="module")
def pools(asked) -> list[dict[str, Any]]:
    rows = raw(
        asked,
        """SELECT pool.*, course.archived_at,
                  count(*) FILTER (WHERE state = 'issued') AS issued,
                  count(*) FILTER (WHERE state = 'issued' AND distribution_id IS NULL) AS free,
                  count(*) FILTER (WHERE state = 'redeemed') AS redeemed,
                  count(*) FILTER (WHERE state = 'retired') AS retired,
                  count(key.id) AS keys, organization.time_zone,
                  (SELECT min(made_at) FROM pool_growth WHERE pool_id = pool.id) AS filled_at,
                  course.code AS course, organization.name AS owner
             FROM pool JOIN course ON course.id = course_id LEFT JOIN key ON key.pool_id = pool.id
             JOIN organization ON organization.id = pool.organization_id
            GROUP BY pool.id, course.id, organization.id""",
    )
    for row in rows:
        over = row["archived_at"] or (row["expires_at"] <= asked.asked_at and not row["paused_at"])
        begun = row["starts_at"] <= asked.asked_at
        row["over"], row["active"] = over, begun and not over and not row["paused_at"]
        row["state"] = "archived" if row["archived_at"] else "expired"  # of those that are over
        end = row["expires_at_there"] - timedelta(microseconds=1)
        row["last_day"] = end.date()
    return rows


def test_keys_are_totalled_over_pools(asked, pools):
    (totals,) = records(reporting.stock_totals(asked))

    assert totals["pools"] == len(pools)
    assert totals["keys"] == sum(row["keys"] for row in pools)
    assert totals["issued"] == sum(row["issued"] for row in pools)
    assert totals["undistributed"] == sum(row["free"] for row in pools)
    assert totals["redeemed"] == sum(row["redeemed"] for row in pools)
    assert totals["retired"] == sum(row["retired"] for row in pools)
    assert totals["breakage"] == sum(row["issued"] for row in pools if row["over"])


@pytest.fixture(scope="module")
def current(asked: reporting.Question) -> reporting.Question:
    """The same question up to yesterday."""
    return replace(asked, last=asked.asked_at.date() - timedelta(days=1))


def test_a_pools_end_is_forecast_from_the_days_on_which_it_was_open(current, pools):
    told = records(reporting.pools_by_run_out(current))

    redeemed = raw(current, "SELECT * FROM redemption WHERE outcome = 'redeemed'")
    counted = Counter((row["pool_id"], row["received_at_day"]) for row in redeemed)
    pauses = raw(
        current, "SELECT * FROM history WHERE thing = 'pool' AND action LIKE 'pool %d' ORDER BY id"
    )
    active = {(row["owner"], row["name"]): row for row in pools if row["active"]}
    assert {(row["organization"], row["pool"]) for row in told} == set(active)
    for row in told:
        pool = active[row["organization"], row["pool"]]
        paused = [row for row in pauses if row["thing_id"] == pool["id"]]
        zone = ZoneInfo(pool["time_zone"])
        today = current.asked_at.astimezone(zone).date()
        whole = min(current.last, today - timedelta(days=1))
        days = [whole - timedelta(days=n) for n in range(28)]
        open_days = [day for day in days if is_open(pool, day, paused)]
        pace = [counted[pool["id"], day] for day in open_days]
        assert row["open_days"] == len(open_days)
        assert (row["issued"], row["undistributed"]) == (pool["issued"], pool["free"])
        if len(pace) < 14 or not any(pace):
            assert pd.isna(row["redeemed_a_day"])
            continue
        assert row["redeemed_a_day"] == pytest.approx(sum(pace) / len(pace), abs=0.0501)
        left = (pool["last_day"] - today).days + 1
        lasts = pool["issued"] * len(pace) / sum(pace)
        unspent = pool["issued"] - int(sum(pace) / len(pace) * left)
        end = today + timedelta(days=int(lasts)) if lasts <= left else pool["last_day"]
        assert current.words.short_day(end) in row["forecast"]
        assert (current.words.number(unspent) in row["forecast"]) or lasts <= left
    if pauses:
        assert 23 in [row["open_days"] for row in told]


def is_open(pool: dict[str, Any], day: date, pauses: list[dict[str, Any]]) -> bool:
    """Whether a pool is open for a whole day that is over."""
    zone = ZoneInfo(pool["time_zone"])
    begin, end = (
        datetime.combine(day + timedelta(days=n), datetime.min.time(), zone) for n in (0, 1)
    )
    if not max(pool["starts_at"], pool["filled_at"]) <= begin < end <= pool["expires_at"]:
        return False
    stops = zip(pauses[::2], pauses[1::2], strict=True)
    return not any(stop["at"] < end and go["at"] > begin for stop, go in stops)


def test_forecasts_are_tested_on_the_periods_own_past(asked):
    (row,) = records(reporting.run_out_back_test(asked))

    assert 0 < row["held"] < row["forecasts"]
    assert row["held_share"] == row["held"] / row["forecasts"]


def test_nothing_is_forecast_as_of_the_end_of_a_past_period(asked):
    past = replace(asked, last=asked.last - timedelta(days=60))

    frame = reporting.pools_by_run_out(past)

    assert past.words.say(NOTHING_FORECAST) in showing.table(frame, past.babel)
    assert past.words.say(NOTHING_FORECAST) in showing.picture(reporting.draw_run_out(past))


def test_pools_that_expire_soon_are_listed(asked, pools):
    told = records(reporting.expiring_pools(asked))

    soon = asked.asked_at + timedelta(days=30)
    expiring = [
        row for row in pools if row["active"] and row["issued"] and row["expires_at"] < soon
    ]
    assert sorted(listed(row, "issued", "undistributed", "days_left") for row in told) == sorted(
        (row["name"], row["owner"], row["course"], row["last_day"],
         row["issued"], row["free"], (row["expires_at"] - asked.asked_at).days)
        for row in expiring
    )  # fmt: skip


def listed(row: dict[str, Any], *figures: str) -> tuple[Any, ...]:
    names = (row["pool"], row["organization"], row["course"], row["last_day"].date())
    return (*names, *(row[figure] for figure in figures))


def test_pools_that_were_unusual_in_the_period_are_explained(asked):
    told = records(reporting.unusual_pools(asked))

    spells = during(
        asked,
        raw(
            asked,
            """SELECT pool_unusual.*, pool.organization_id, pool.name AS pool
                 FROM pool_unusual JOIN pool ON pool.id = pool_id""",
        ),
        "began_at_day",
    )
    latest = sorted(spells, key=lambda row: row["began_at"], reverse=True)
    assert [(row["pool"], row["began"].date()) for row in told] == [
        (row["pool"], row["began_at_day"]) for row in latest
    ]
    assert [row["what"] for row in told] == [
        unusual.sentence(
            asked.words, **{n: row[n] for n in ("rule", "seen", "usual", "among", "most")}
        )
        for row in latest
    ]
    assert len(told) == 2


def test_keys_that_were_lost_are_listed_by_pool(asked, pools):
    told = records(reporting.breakage(asked))

    lost = [row for row in pools if row["over"] and row["issued"]]
    assert [row["breakage"] for row in told] == sorted(
        (row["issued"] for row in lost), reverse=True
    )
    assert {
        (row["pool"], row["organization"], row["course"], row["state"], row["keys"],
         row["redeemed"], row["breakage"], round(float(row["breakage_share"]), 9))
        for row in told
    } == {
        (row["name"], row["owner"], row["course"], row["state"], row["keys"],
         row["redeemed"], row["issued"], round(row["issued"] / row["keys"], 9))
        for row in lost
    }  # fmt: skip


@pytest.fixture(scope="module")
def accesses(asked) -> list[dict[str, Any]]:
    """Every assignment that was not cancelled before the period's end, with its first launch."""
    first: dict[int, datetime] = {}
    for row in raw(asked, "SELECT * FROM launch WHERE outcome = 'launched'"):
        at = row["assignment_id"]
        first[at] = min(first.get(at, row["launched_at"]), row["launched_at"])
    rows = raw(
        asked,
        """SELECT assignment.*, learner.email, learner.name, course.code AS course,
                  organization.name AS organization, organization.time_zone
             FROM assignment JOIN learner ON learner.id = learner_id
             JOIN course ON course.id = course_id
             JOIN organization ON organization.id = assignment.organization_id""",
    )
    return [row | {"first": first.get(row["id"])} for row in rows]


def gone(row: dict[str, Any], at: datetime) -> int:
    """How much of an access is gone at an instant, in whole percents."""
    return 100 * (at - row["redeemed_at"]) // (row["expires_at"] - row["redeemed_at"])


def stood(asked: reporting.Question, accesses: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The accesses that went on at the end of the period, or now."""
    told = []
    for row in accesses:
        next_day = asked.last + timedelta(days=1)
        end = datetime.combine(next_day, datetime.min.time(), ZoneInfo(row["time_zone"]))
        at = min(asked.asked_at, end)
        if row["redeemed_at"] <= at < row["expires_at"] and not (
            row["cancelled_at"] and row["cancelled_at"] <= at
        ):
            waits = row["first"] is None or row["first"] > at
            told.append(row | {"at": at, "waits": waits, "gone": gone(row, at)})
    return told


@pytest.fixture(scope="module")
def at_risk(asked, accesses) -> list[dict[str, Any]]:
    return [row for row in stood(asked, accesses) if row["waits"] and row["gone"] >= 50]


@pytest.fixture(scope="module")
def ended(asked, accesses) -> dict[str, list[int | None]]:
    """By course, the percents at which those started whose access ended in the year before."""
    told = defaultdict(list)
    for row in accesses:
        next_day = asked.last + timedelta(days=1)
        end = datetime.combine(next_day, datetime.min.time(), ZoneInfo(row["time_zone"]))
        if end - timedelta(days=365) <= row["expires_at"] <= end and row["status"] != "cancelled":
            told[row["course"]].append(gone(row, row["first"]) if row["first"] else None)
    return dict(told)


def told_chance(ended: dict[str, list[int | None]], course: str, percent: int) -> tuple[Any, ...]:
    """How many still started of those who had not at a point; of all courses if they are under 30."""
    alike = {
        based_on: [at for c in courses for at in ended.get(c, ()) if at is None or at >= percent]
        for based_on, courses in (("this_course", [course]), ("all_courses", list(ended)))
    }
    based_on = "this_course" if len(alike["this_course"]) >= 30 else "all_courses"
    started, count = sum(at is not None for at in alike[based_on]), len(alike[based_on])
    return (started / count if count >= 30 else None), count, based_on


def test_learners_at_risk_are_listed_by_how_seldom_such_learners_start(asked, at_risk, ended):
    frame = reporting.learners_at_risk(asked)

    told = records(frame)
    assert {
        (row["email"], row["name"], row["organization"], row["course"], row["redeemed"].date(),
         row["access_ends"].date(), row["days_left"], row["gone_share"], row["assignment"])
        for row in told
    } == {
        (row["email"], row["name"], row["organization"], row["course"], row["redeemed_at_day"],
         (row["expires_at_there"] - timedelta(microseconds=1)).date(),
         (row["expires_at"] - row["at"]).days, row["gone"] / 100, str(row["id"]))
        for row in at_risk
    }  # fmt: skip
    for row in told:
        chance = told_chance(ended, row["course"], round(row["gone_share"] * 100))
        assert (row["still_started_share"], row["earlier_learners"], row["based_on"]) == chance
    order = [(row["still_started_share"], row["access_ends"]) for row in told]
    assert order == sorted(order)
    page = showing.table(frame, asked.babel)
    assert page.count('<a href="http://127.0.0.1:8080/console/assignments/') == min(200, len(told))


def test_courses_are_ranked_by_how_seldom_learners_at_risk_start(asked, at_risk, ended):
    told = records(reporting.risk_by_course(asked))

    assert {row["course"]: row["at_risk"] for row in told} == Counter(
        row["course"] for row in at_risk
    )
    for row in told:
        assert (row["still_started_share"], row["earlier_learners"], row["based_on"]) == (
            told_chance(ended, row["course"], 50)
        )
    assert [row["still_started_share"] for row in told] == sorted(
        row["still_started_share"] for row in told
    )


def test_learners_at_risk_are_totalled_as_they_stood_and_beside_earlier_ones(
    asked, accesses, at_risk
):
    frame = reporting.risk_totals(asked)
    opening = reporting.risk_changed(asked).sentence

    (totals,) = records(frame)
    live = stood(asked, accesses)
    assert totals["live_assignments"] == len(live)
    assert totals["not_launched"] == sum(row["waits"] for row in live)
    assert totals["at_risk"] == len(at_risk)
    before, _ = frame.attrs["compared"]
    ((then, now),) = before["rows"]
    earlier = stood(asked.before(), accesses)
    assert then["live_assignments"] == len(earlier)
    assert then["at_risk"] == sum(row["waits"] and row["gone"] >= 50 for row in earlier)
    assert now == totals
    assert asked.words.day(asked.before().last) in before["said"]
    assert asked.words.number(len(at_risk)) in opening


PERCENTS = st.dictionaries(st.none() | st.integers(0, 99), st.integers(0, 40), max_size=6)


@given(PERCENTS, PERCENTS, st.integers(50, 99))
def test_a_chance_rests_on_enough_learners_or_is_not_told(course, others, gone):
    everyone = Counter(course) + Counter(others)

    its = risk.chance(course, everyone, gone=gone)

    rests_on = course if its.based_on == "this_course" else everyone
    assert its.learners == sum(n for at, n in rests_on.items() if at is None or at >= gone)
    assert 0 <= its.started <= its.learners
    assert (its.share is None) == (its.learners < 30)
    assert its.based_on == "all_courses" or its.learners >= 30


def test_the_list_can_be_saved_as_csv_that_no_spreadsheet_runs(asked):
    frame = pd.DataFrame({"email": ["=1+1@x.example", "\t=1@x.example"], "days_left": [3, 4]})
    frame.attrs["download"] = "list.csv"

    page = showing.table(frame, asked.babel)

    (data,) = re.findall(r'href="data:text/csv;charset=utf-8;base64,([^"]+)"', page)
    lines = base64.b64decode(data).decode().splitlines()
    assert lines == ["email,days_left", "'=1+1@x.example,3", "'\t=1@x.example,4"]


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
    console = "http://127.0.0.1:8080/console/"
    assert {load.split(";")[0] for load in loads if not load.startswith(console)} == {
        "data:image/svg+xml",
        "data:text/csv",
    }
    assert not re.search(f'src="{console}', page)
    assert page.count("<img") == 6
    assert "othing yet" not in page


def test_the_other_notebooks_say_of_an_empty_database_that_there_is_nothing_yet(
    fresh_database, all_in_one, tmp_path
):
    page = reporting.run(all_in_one, output=tmp_path / "empty.html").read_text()

    assert page.count("Nothing yet") == 1
    questions = re.findall("<li>(.*?)</li>", page)
    assert len(questions) == len(set(questions)) > 10


@pytest.fixture(scope="module")
def answers(current) -> dict[str, list[object]]:
    """What each notebook's functions give, charts aside, in its order."""
    called = {path.stem: CALL.findall(path.read_text()) for path in PAIRED}
    return {
        notebook: [getattr(reporting, name)(current) for name in names if "draw_" not in name]
        for notebook, names in called.items()
    }


@pytest.fixture(scope="module")
def frames(answers) -> list[pd.DataFrame]:
    return [
        answer for given in answers.values() for answer in given if isinstance(answer, pd.DataFrame)
    ]


def test_each_notebook_opens_with_a_sentence_on_what_changed_most(answers):
    openings = [given[0] for given in answers.values()]

    assert len(openings) == len(PAIRED) > 4
    assert all(isinstance(opening, comparing.Opening) for opening in openings)


def test_the_period_before_and_the_year_before_stand_beside_each_large_figure(frames):
    large = [frame for frame in frames if frame.attrs.get("figures") and len(frame)]

    compared = [len(frame.attrs["compared"]) for frame in large]
    assert len(compared) > 4
    assert set(compared) == {2}


def test_amounts_of_several_rows_are_totalled_by_currency(frames):
    for frame in filter(len, frames):
        if {"compared", "status"} & set(
            frame
        ):  # two sides of one sum; void invoices, which add nothing
            continue
        amounts = {name for name in frame if isinstance(frame[name].iloc[0], Decimal)}
        if "currency" in frame and amounts and max(Counter(frame["currency"]).values()) > 1:
            assert amounts & set(frame.attrs.get("sums", ())), list(frame)


def test_courses_are_named_with_their_titles(frames):
    of_courses = [frame for frame in frames if "course" in frame and len(frame)]

    assert len(of_courses) > 6
    assert all(frame.attrs.get("titles") for frame in of_courses)


def test_every_column_of_a_table_has_its_word_in_every_language(frames):
    said = {message.id for message in upkeep.read("de") if message.id}

    columns = {showing.words(column) for frame in frames for column in frame}
    values = {
        showing.words(value)
        for frame in frames
        for column in set(frame) & set(showing.CODES)
        for value in frame[column]
    }
    assert len(frames) > 20
    assert (columns | values) - said == set()


# --------------------------------------------------------------------------------- labels


def test_keys_are_counted_by_label(asked):
    told = records(reporting.keys_by_label(asked))

    rows = raw(
        asked,
        """SELECT pool.organization_id, key.state, key.distribution_id, label
             FROM key JOIN pool ON pool.id = pool_id, unnest(labels) AS label""",
    )
    assert {row["label"]: row["keys"] for row in told} == Counter(row["label"] for row in rows)
    for state in ("issued", "redeemed", "retired"):
        counted = Counter(row["label"] for row in rows if row["state"] == state)
        assert {row["label"]: row[state] for row in told if row[state]} == counted


def test_attempts_are_counted_by_label(asked):
    told = records(reporting.redemptions_by_label(asked))

    rows = raw(
        asked,
        """SELECT redemption.organization_id, received_at, outcome, label
             FROM redemption JOIN key ON key.id = key_id, unnest(labels) AS label""",
    )
    rows = during(asked, rows, "received_at_day")
    redeemed = Counter(row["label"] for row in rows if row["outcome"] == "redeemed")
    assert {row["label"]: row["attempts"] for row in told} == Counter(r["label"] for r in rows)
    assert {row["label"]: row["redeemed"] for row in told} == redeemed
    assert [row["label"] for row in told] == ["gold", "b"]


def test_use_is_counted_by_label(asked, assignments):
    told = records(reporting.usage_by_label(asked))

    with databases.session() as session:
        query = "SELECT id, labels FROM key WHERE labels IS NOT NULL"
        labels = dict(session.execute(text(query)).all())
    rows = [(label, row) for row in assignments for label in labels.get(row["key_id"], [])]
    used = Counter(label for label, row in rows if row["launched"])
    assert {r["label"]: r["assignments"] for r in told} == Counter(label for label, _ in rows)
    assert {r["label"]: r["used"] for r in told} == used


@pytest.mark.parametrize("view", ["redemption", "handed_out", "assignment", "launch", "charge"])
def test_a_view_has_the_labels_of_its_rows_key(billed, view):
    told = reading.frame(f"SELECT DISTINCT array_to_string(labels, ',') AS l FROM report.{view}")

    assert set(told["l"].dropna()) == {"gold,b", "gold"}
