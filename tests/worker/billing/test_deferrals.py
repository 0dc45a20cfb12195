"""Deferred revenue: each charge is earned to the minor unit, and the journal balances."""

import csv
import io
from collections import Counter
from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from tests.ledger import OPERATOR, add_buyer, redeem, set_clock
from worker import errors
from worker.billing import charges, deferrals, journals, seller
from worker.learning import cancelling, extending

FIRST = date(2026, 1, 10)
EARNED = text("""
    SELECT report.earned(:amount, :decimals, :day, :first, :days, :by, CAST(:day AS date) + n)
      FROM generate_series(-2, 800) AS n ORDER BY n
""")


@given(
    minor=st.integers(-10_000_000, 10_000_000),
    decimals=st.integers(0, 3),
    days=st.integers(1, 400),
    late=st.integers(0, 400),
    cut=st.none() | st.integers(0, 400),
)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)  # the session only computes
def test_what_is_earned_by_day_is_the_charge_to_the_minor_unit(
    session, minor, decimals, days, late, cut
):
    amount = Decimal(minor).scaleb(-decimals)
    first = FIRST - timedelta(days=late)  # a credit is booked after its charge's access began
    last = first + timedelta(days=days - 1)
    by = max(FIRST, last if cut is None else min(last, first + timedelta(days=cut)))

    earned = session.execute(EARNED, {
        "amount": amount, "decimals": decimals, "day": FIRST, "first": first, "days": days, "by": by,
    }).scalars().all()  # fmt: skip

    parts = [after - before for before, after in pairwise(earned)]
    assert earned[1] == 0  # the day before
    assert sum(parts) == amount == earned[-1]
    assert all(part == round(part, decimals) and part * amount >= 0 for part in parts)
    exact = amount / days
    inner = parts[2 : (by - FIRST).days]  # neither the first day, which may catch up, nor the last
    assert all(abs(part - exact) <= Decimal(1).scaleb(-decimals) for part in inner)


def populate(session) -> None:
    """Charge, extend, cancel and credit in two currencies; it is 2 October 2026."""
    euros = add_buyer(session, "Euros", time_zone="Europe/Berlin", tax_rate="19")
    yen = add_buyer(session, "Yen", price="4990", currency="JPY")
    charged = redeem(session, euros.pool, *[f"2026-0{month}-20T22:30Z" for month in (5, 6, 7, 8)])
    redeem(session, yen.pool, "2026-06-30", "2026-07-01T12:00Z")
    held = {row.id: row.assignment_id for row in session.execute(HELD)}
    set_clock(session, "2026-06-10T12:00Z")
    extending.extend(
        session, actor=OPERATOR, assignment=str(held[charged[0]]), by_days=10, price="5.00"
    )
    set_clock(session, "2026-07-05T12:00Z")
    charges.credit(session, actor=OPERATOR, charge=str(charged[1]), amount="19.90", reason="Late")
    set_clock(session, "2026-07-31T12:00Z")
    cancelling.cancel(
        session, actor=OPERATOR, assignment=str(held[charged[2]]), reason="Left the company"
    )
    set_clock(session, "2026-10-02T12:00Z")


HELD = text("SELECT id, assignment_id FROM charge")
OWED = text("SELECT currency, sum(amount) AS owed FROM charge GROUP BY currency")
SPELLS = text("""
    SELECT kind, day, first_day, days, earned_by FROM report.deferral ORDER BY occurred_at
""")


def lines(session, first: str, last: str, **asked: str) -> list[dict[str, str]]:
    made = b"".join(deferrals.journal(session, actor=OPERATOR, from_=first, to=last, **asked))
    return list(csv.DictReader(io.StringIO(made.decode())))


def test_charges_are_earned_over_the_access_that_each_paid_for(session):
    populate(session)

    told = {(row.kind, str(row.day)): row[2:] for row in session.execute(SPELLS)}

    # A charge at half past midnight in Berlin; its access is the 30 days from there on.
    assert told["redemption", "2026-05-21"] == (date(2026, 5, 21), 30, date(2026, 6, 19))
    # The extension is earned over the ten days that it added, not from when it was bought.
    assert told["extension", "2026-06-10"] == (date(2026, 6, 20), 10, date(2026, 6, 29))
    # A credit is earned over what it credits.
    assert told["credit", "2026-07-05"] == (date(2026, 6, 21), 30, date(2026, 7, 20))
    # Nothing is left to earn once access is cancelled.
    assert told["redemption", "2026-07-21"] == (date(2026, 7, 21), 30, date(2026, 7, 31))


def test_the_schedule_adds_up_to_the_charges_and_ends_with_nothing_deferred(session):
    populate(session)

    whole = deferrals.schedule(session, actor=OPERATOR, from_="2026-05-01", to="2026-09-30")
    owed = {row.currency: row.owed for row in session.execute(OWED)}

    earned: Counter[str] = Counter()
    charged: Counter[str] = Counter()
    left: dict[str, Decimal] = {}
    for month in whole["months"]:
        currency = month["currency"]
        earned[currency] += Decimal(month["earned"])  # type: ignore[assignment]
        charged[currency] += Decimal(month["charged"])  # type: ignore[assignment]
        left[currency] = Decimal(month["deferred"])
        assert left[currency] == charged[currency] - earned[currency]
    assert earned == charged == owed
    assert set(left.values()) == {0}
    euros = {m["month"]: m["earned"] for m in whole["months"] if m["currency"] == "EUR"}
    assert euros["2026-05"] == "18.30"  # 11 of 30 days of 49.90: 18.2967


def test_a_later_period_begins_with_what_is_deferred_then(session):
    populate(session)

    whole = deferrals.schedule(session, actor=OPERATOR, from_="2026-05-01", to="2026-09-30")
    later = deferrals.schedule(session, actor=OPERATOR, from_="2026-07-15", to="2026-09-30")

    assert later["from"] == date(2026, 7, 1)
    assert later["months"] == [m for m in whole["months"] if m["month"] >= "2026-07"]


def test_a_journal_balances_in_each_entry_and_months_add_up_to_the_schedule(session):
    populate(session)
    seller.edit(session, actor=OPERATOR, accounts={"deferred": "3900", "earned:C-Euros": "4400"})

    months = [
        line
        for first, last in [("2026-05-01", "2026-05-31"), ("2026-06-01", "2026-06-30"),
                            ("2026-07-01", "2026-07-12"), ("2026-07-13", "2026-07-31"),
                            ("2026-08-01", "2026-09-30")]
        for line in lines(session, first, last)
    ]  # fmt: skip
    at_once = lines(session, "2026-05-01", "2026-09-30")

    assert ",".join(at_once[0]) == journals.HEADER.strip()
    for made in (months, at_once):
        entries: Counter[tuple[str, ...]] = Counter()
        for line in made:
            amount = Decimal(line["debit"]) - Decimal(line["credit"])
            entries[line["day"], line["event"], line["currency"], line["organization"]] += amount  # type: ignore[assignment]
        assert set(entries.values()) == {0}
    assert balances(months) == balances(at_once)
    assert balances(at_once)["EUR", "4400", "C-Euros"] == Decimal("-184.70")
    assert {line["account"] for line in at_once} == {"unbilled", "3900", "4400", "earned"}
    assert {line["day"] for line in at_once} == {
        "2026-05-31", "2026-06-30", "2026-07-31", "2026-08-31", "2026-09-30"
    }  # fmt: skip
    assert not any(account == "3900" for _, account, _ in balances(at_once))  # all is earned


def balances(made: list[dict[str, str]]) -> dict[tuple[str, str, str], Decimal]:
    totals: Counter[tuple[str, str, str]] = Counter()
    for line in made:
        amount = Decimal(line["debit"]) - Decimal(line["credit"])
        totals[line["currency"], line["account"], line["course"]] += amount  # type: ignore[assignment]
    return {key: Decimal(total) for key, total in totals.items() if total}


def test_a_journal_of_days_that_are_not_over_is_refused(session):
    set_clock(session, "2026-10-01T11:00Z")  # the evening before, in the westernmost zone

    with pytest.raises(errors.InvalidInputError, match="is not over yet"):
        lines(session, "2026-09-01", "2026-09-30")
