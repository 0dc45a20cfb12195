"""The billing run: months, drafts, late charges; and a ledger recomputed in plain Python."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.orm import Session

from tests.ledger import OPERATOR, Buyer, add_buyer, add_pool, redeem, set_clock
from worker import billing, charges, courses, errors, invoices, organizations, prices

NO_GRACE = timedelta()


def bill(session: Session, buyer: Buyer, **options: Any) -> tuple[dict[int, int], list[int]]:
    return invoices.bill(session, actor=OPERATOR, organization_id=buyer.id, **options)


def months_of(session: Session, buyer: Buyer) -> dict[str, tuple[str, int]]:
    """Give each invoice's month with its status and how many charges it carries."""
    rows = session.execute(
        text("""SELECT to_char(month, 'YYYY-MM'), status::text,
                       (SELECT count(*) FROM invoice_charge WHERE invoice_id = invoice.id)
                  FROM invoice WHERE organization_id = :id ORDER BY month, id"""),
        {"id": buyer.id},
    )
    return {month: (status, carried) for month, status, carried in rows}


def lines_of(session: Session, invoice_id: int) -> list[tuple[str, str, int, str]]:
    shown = invoices.show(session, actor=OPERATOR, invoice=str(invoice_id))
    return [
        (line["kind"], line["service_month"], line["quantity"], line["amount"])
        for line in shown["lines"]
    ]


@pytest.mark.parametrize(
    ("zone", "last_of_may", "first_of_june"),
    [
        ("UTC", "2026-05-31T23:59:59.999999", "2026-06-01T00:00"),
        ("Pacific/Auckland", "2026-05-31T11:59:59", "2026-05-31T12:00"),
        ("America/New_York", "2026-06-01T03:59:59", "2026-06-01T04:00"),
        ("Asia/Kathmandu", "2026-05-31T18:14:59", "2026-05-31T18:15"),
        ("Pacific/Kiritimati", "2026-05-31T09:59:59", "2026-05-31T10:00"),
    ],
)
def test_a_month_is_a_calendar_month_in_the_organizations_time_zone(
    session, zone, last_of_may, first_of_june
):
    buyer = add_buyer(session, time_zone=zone)
    redeem(session, buyer.pool, last_of_may, first_of_june)
    set_clock(session, "2026-07-15")

    bill(session, buyer)

    assert months_of(session, buyer) == {"2026-05": ("draft", 1), "2026-06": ("draft", 1)}


@pytest.mark.parametrize(
    ("zone", "at", "month"),
    [
        # Clocks go back in the midst of a month, and forward.
        ("America/New_York", "2026-11-01T03:59:59", "2026-10"),
        ("America/New_York", "2026-11-01T04:00:00", "2026-11"),
        ("America/New_York", "2026-12-01T04:59:59", "2026-11"),
        ("America/New_York", "2026-12-01T05:00:00", "2026-12"),
        ("Europe/Berlin", "2026-03-31T21:59:59", "2026-03"),
        ("Europe/Berlin", "2026-03-31T22:00:00", "2026-04"),
        ("Pacific/Auckland", "2026-09-30T10:59:59", "2026-09"),
        ("Pacific/Auckland", "2026-09-30T11:00:00", "2026-10"),
        # In Havana the month's first hour comes twice: the first of them begins it.
        ("America/Havana", "2026-11-01T03:59:59", "2026-10"),
        ("America/Havana", "2026-11-01T04:30:00", "2026-11"),
        ("America/Havana", "2026-11-01T05:30:00", "2026-11"),
    ],
)
def test_a_clock_change_moves_no_charge_to_another_month(session, zone, at, month):
    buyer = add_buyer(session, time_zone=zone)
    redeem(session, buyer.pool, at)
    set_clock(session, "2027-02-15")

    bill(session, buyer)

    assert list(months_of(session, buyer)) == [month]


def test_every_closed_month_that_was_missed_is_caught_up_oldest_first(session):
    buyer = add_buyer(session)
    redeem(session, buyer.pool, "2026-03-05", "2026-01-05", "2026-05-05", "2026-06-05")
    set_clock(session, "2026-06-20")

    _, finalized = bill(session, buyer, grace=NO_GRACE)

    numbered = [invoices.show(session, actor=OPERATOR, invoice=str(i)) for i in finalized]
    assert [(n["number"], n["month"]) for n in numbered] == [
        ("2026-000001", "2026-01"),
        ("2026-000002", "2026-03"),
        ("2026-000003", "2026-05"),
    ]


def test_a_run_again_changes_nothing(session):
    buyer = add_buyer(session)
    redeem(session, buyer.pool, "2026-05-05")
    set_clock(session, "2026-06-20")
    bill(session, buyer, grace=NO_GRACE)

    again = bill(session, buyer, grace=NO_GRACE)

    assert again == ({}, [])


def test_the_running_month_waits_unless_it_is_asked_for(session):
    buyer = add_buyer(session)
    redeem(session, buyer.pool, "2026-06-05")
    set_clock(session, "2026-06-20")

    left_alone = bill(session, buyer, grace=NO_GRACE)
    drafted, finalized = bill(session, buyer, month=date(2026, 6, 1), grace=NO_GRACE)

    assert left_alone == ({}, [])
    assert (list(drafted.values()), finalized) == ([1], [])


def test_a_draft_still_gathers(session):
    buyer = add_buyer(session)
    redeem(session, buyer.pool, "2026-05-05")
    set_clock(session, "2026-06-02")
    first, _ = bill(session, buyer)
    redeem(session, buyer.pool, "2026-05-31")

    second, _ = bill(session, buyer)

    assert first.keys() == second.keys()
    assert lines_of(session, *first) == [("redemption", "2026-05", 2, "99.80")]


def test_a_month_that_is_named_is_billed_alone(session):
    buyer = add_buyer(session)
    redeem(session, buyer.pool, "2026-03-05", "2026-04-05", "2026-05-05")
    set_clock(session, "2026-06-20")

    bill(session, buyer, month=date(2026, 4, 1))

    assert months_of(session, buyer) == {"2026-04": ("draft", 1)}


def test_a_charge_of_a_finalized_month_goes_on_the_next_open_months_invoice(session):
    buyer = add_buyer(session)
    redeem(session, buyer.pool, "2026-04-05", "2026-05-05", "2026-06-05")
    set_clock(session, "2026-06-20")
    bill(session, buyer, grace=NO_GRACE)
    redeem(session, buyer.pool, "2026-04-30")

    not_yet = bill(session, buyer)
    set_clock(session, "2026-07-02")
    drafted, _ = bill(session, buyer)

    assert not_yet == ({}, [])
    assert lines_of(session, *drafted) == [
        ("redemption", "2026-04", 1, "49.90"),
        ("redemption", "2026-06", 1, "49.90"),
    ]


def test_a_late_charge_goes_on_its_own_months_draft_while_that_is_open(session):
    buyer = add_buyer(session)
    redeem(session, buyer.pool, "2026-04-05", "2026-05-05")
    set_clock(session, "2026-06-20")
    bill(session, buyer)
    bill(session, buyer, month=date(2026, 5, 1), grace=NO_GRACE)
    redeem(session, buyer.pool, "2026-04-30")

    bill(session, buyer)

    assert months_of(session, buyer) == {"2026-04": ("draft", 2), "2026-05": ("finalized", 1)}


@pytest.mark.parametrize(
    ("now", "status"),
    [("2026-06-03T21:59", "draft"), ("2026-06-03T22:00", "finalized")],
)
def test_a_draft_is_finalized_once_its_grace_is_over(session, now, status):
    buyer = add_buyer(session, time_zone="Europe/Berlin")
    redeem(session, buyer.pool, "2026-05-05")
    set_clock(session, now)

    bill(session, buyer, grace=timedelta(days=3))

    assert months_of(session, buyer) == {"2026-05": (status, 1)}


def test_each_currency_has_an_invoice_of_its_own(session):
    buyer = add_buyer(session, price="49.90", currency="EUR")
    dollars = add_buyer(session, "Dollars", price="10.00", currency="USD")
    redeem(session, buyer.pool, "2026-05-05")
    redeem(session, add_pool(session, buyer.name, dollars.course, "Second"), "2026-05-06")
    set_clock(session, "2026-06-20")

    drafted, _ = bill(session, buyer)

    shown = [invoices.show(session, actor=OPERATOR, invoice=str(i)) for i in drafted]
    assert [(s["currency"], s["total"]) for s in shown] == [("EUR", "49.90"), ("USD", "10.00")]


def test_lines_are_apart_by_course_pool_kind_month_and_unit_price(session):
    buyer = add_buyer(session)
    second = add_pool(session, buyer.name, buyer.course, "Second")
    redeem(session, buyer.pool, "2026-05-01", "2026-05-02")
    redeem(session, second, "2026-05-03")
    set_clock(session, "2026-05-04")
    prices.set_price(
        session, actor=OPERATOR, course=buyer.course, price="40", from_="2026-05-10T00:00Z"
    )
    third, *_ = redeem(session, buyer.pool, "2026-05-11")
    set_clock(session, "2026-05-12")
    charges.credit(session, actor=OPERATOR, charge=str(third), reason="disputed", amount="5.00")
    set_clock(session, "2026-06-20")

    drafted, _ = bill(session, buyer)

    shown = invoices.show(session, actor=OPERATOR, invoice=str(*drafted))
    assert [
        (line["pool_name"], line["kind"], line["unit_price"], line["quantity"], line["amount"])
        for line in shown["lines"]
    ] == [
        ("Pool", "redemption", "49.90", 2, "99.80"),
        ("Pool", "redemption", "40.00", 1, "40.00"),
        ("Pool", "credit", "-5.00", 1, "-5.00"),
        ("Second", "redemption", "49.90", 1, "49.90"),
    ]
    assert shown["subtotal"] == "184.70"


def test_a_price_of_zero_is_a_price(session):
    buyer = add_buyer(session, price="0")
    redeem(session, buyer.pool, "2026-05-05")
    set_clock(session, "2026-06-20")

    drafted, _ = bill(session, buyer)

    assert lines_of(session, *drafted) == [("redemption", "2026-05", 1, "0.00")]


@pytest.mark.parametrize(
    ("price", "currency", "rate", "tax"),
    [
        ("0.50", "EUR", "1", "0.01"),  # 0.005: half goes up
        ("0.49", "EUR", "1", "0.00"),
        ("49.90", "EUR", "19", "9.48"),
        ("1050", "JPY", "10", "105"),
        ("5", "JPY", "10", "1"),  # 0.5
        ("12.345", "KWD", "15", "1.852"),  # 1.85175
        ("0.10", "EUR", "2.5", "0.00"),
        ("9999999999.99", "EUR", "19.123", "1912300000.00"),
    ],
)
def test_tax_is_rounded_half_up_to_the_minor_unit_once(session, price, currency, rate, tax):
    buyer = add_buyer(session, price=price, currency=currency, tax_rate=rate)
    redeem(session, buyer.pool, "2026-05-05")
    set_clock(session, "2026-06-20")

    drafted, _ = bill(session, buyer)

    shown = invoices.show(session, actor=OPERATOR, invoice=str(*drafted))
    assert shown["tax"] == tax
    assert Decimal(shown["total"]) == Decimal(shown["subtotal"]) + Decimal(tax)


def set_tax_rate(session: Session, buyer: Buyer, percent: str, valid_from: str) -> None:
    session.execute(
        text("""INSERT INTO tax_rate (organization_id, label, percent, valid_from)
                VALUES (:id, 'VAT', :percent, :valid_from)"""),
        {"id": buyer.id, "percent": percent, "valid_from": valid_from},
    )


def test_the_tax_rate_is_the_one_in_force_as_the_month_ends(session):
    buyer = add_buyer(session, time_zone="Europe/Berlin")
    set_tax_rate(session, buyer, "19", "2020-01-01T00:00+01:00")
    set_tax_rate(session, buyer, "21", "2026-06-01T00:00+02:00")
    redeem(session, buyer.pool, "2026-05-05", "2026-06-05")
    set_clock(session, "2026-07-20")

    drafted, _ = bill(session, buyer, grace=NO_GRACE)

    shown = [invoices.show(session, actor=OPERATOR, invoice=str(i)) for i in drafted]
    assert [(s["month"], s["tax_label"], s["tax_percent"]) for s in shown] == [
        ("2026-05", "VAT", "19"),
        ("2026-06", "VAT", "21"),
    ]


def test_the_first_tax_rate_counts_for_months_before_it_too(session):
    buyer = add_buyer(session)
    redeem(session, buyer.pool, "2026-05-05")
    set_tax_rate(session, buyer, "7.5", "2026-06-10T00:00Z")
    set_tax_rate(session, buyer, "9", "2026-06-11T00:00Z")
    set_clock(session, "2026-06-20")

    drafted, _ = bill(session, buyer)

    assert invoices.show(session, actor=OPERATOR, invoice=str(*drafted))["tax_percent"] == "7.5"


def test_due_leaves_out_who_has_nothing_to_bill(session):
    closed = add_buyer(session, "Closed")
    running = add_buyer(session, "Running")
    add_buyer(session, "Idle")
    redeem(session, closed.pool, "2026-05-05")
    redeem(session, running.pool, "2026-06-05")
    set_clock(session, "2026-06-20")

    assert billing.due(session, month=None, finalize=True) == [closed.id]
    assert billing.due(session, month=date(2026, 6, 1), finalize=True) == [closed.id, running.id]


@pytest.mark.parametrize(
    "month", ["2026-13", "2026-00", "26-01", "2026-1", "May", "", "0000-01", "٢٠٢٦-٠١"]
)
def test_what_is_no_month_is_refused(month):
    with pytest.raises(errors.InvalidInputError, match="is not a month"):
        billing.month_of(month)


# The ledger, recomputed ---------------------------------------------------------------------------

ZONES = ("Europe/Berlin", "Pacific/Auckland", "Asia/Kathmandu")
CURRENCIES = {"EUR": 2, "JPY": 0, "KWD": 3}
START = datetime(2026, 1, 10, tzinfo=UTC)


@dataclass
class Paper:
    """An invoice as plain Python knows it."""

    organization: int
    month: date
    currency: str
    status: str = "draft"
    by_hand: bool = False
    number: str | None = None
    id: int | None = None
    charges: list[int] = field(default_factory=list)


@dataclass
class Model:
    """The rules of billing in plain Python, with nothing of the database's."""

    parents: dict[int, int | None]
    zones: dict[int, str]
    taxes: dict[int, list[tuple[datetime, str]]]
    prices: dict[tuple[str, int | None], dict[datetime, tuple[Decimal, str]]]
    now: datetime = START
    charges: dict[int, dict[str, Any]] = field(default_factory=dict)
    papers: list[Paper] = field(default_factory=list)
    serials: dict[int, int] = field(default_factory=lambda: defaultdict(int))

    def price(self, course: str, organization: int | None, at: datetime) -> tuple[Any, ...] | None:
        """Give the price in force, and which one it is."""
        levels = [organization]
        while levels[-1] is not None:
            levels.append(self.parents[levels[-1]])
        for level in levels:
            begun = [start for start in self.prices[course, level] if start <= at]
            if begun:
                return (*self.prices[course, level][max(begun)], (level, max(begun)))
        return None

    def refuses_price(self, course: str, organization: int | None, start: datetime) -> bool:
        return any(
            charge["kind"] == "redemption"
            and charge["course"] == course
            and self.price(course, charge["organization"], charge["at"])[2] == (organization, start)
            for charge in self.charges.values()
        )

    def month(self, organization: int, at: datetime) -> date:
        return at.astimezone(ZoneInfo(self.zones[organization])).date().replace(day=1)

    def left(self, charge_id: int) -> Decimal:
        charge = self.charges[charge_id]
        given = [c["amount"] for c in self.charges.values() if c["credits"] == charge_id]
        return charge["amount"] + sum(given)

    def billed(self) -> set[int]:
        return {c for paper in self.papers if paper.status != "void" for c in paper.charges}

    def paper(self, organization: int, month: date, currency: str, *statuses: str) -> Paper | None:
        for paper in self.papers:
            of = (paper.organization, paper.month, paper.currency)
            if of == (organization, month, currency) and paper.status in statuses:
                return paper
        return None

    def gather(self, organization: int, only: date | None) -> None:
        last = only or billing.before(self.month(organization, self.now))
        for charge_id in set(self.charges) - self.billed():
            charge = self.charges[charge_id]
            if charge["organization"] != organization:
                continue
            month, currency = self.month(organization, charge["at"]), charge["currency"]
            if month > last:
                continue
            while self.paper(organization, month, currency, "finalized", "paid"):
                month = billing.following(month)
            if month > last or (only and month != only):
                continue
            draft = self.paper(organization, month, currency, "draft")
            if draft is None:
                draft = Paper(organization, month, currency)
                self.papers.append(draft)
            draft.charges.append(charge_id)

    def finalize(self, papers: list[Paper]) -> None:
        for paper in sorted(papers, key=lambda p: (p.month, p.currency)):
            self.serials[self.now.year] += 1
            paper.status = "finalized"
            paper.number = f"{self.now.year}-{self.serials[self.now.year]:06d}"

    def run(self, organization: int, only: date | None, grace: timedelta | None) -> None:
        self.gather(organization, only)
        if grace is None:
            return
        zone = ZoneInfo(self.zones[organization])
        self.finalize(
            [
                paper
                for paper in self.papers
                if (paper.organization, paper.status, paper.by_hand)
                == (organization, "draft", False)
                and only in (None, paper.month)
                and self._end(paper.month, zone) + grace <= self.now
            ]
        )

    @staticmethod
    def _end(month: date, zone: ZoneInfo) -> datetime:
        following = (month.replace(day=28) + timedelta(days=4)).replace(day=1)
        return datetime(following.year, following.month, 1, tzinfo=zone).astimezone(UTC)

    def void(self, paper: Paper) -> None:
        paper.status = "void"
        self.papers.append(
            Paper(
                paper.organization,
                paper.month,
                paper.currency,
                by_hand=True,
                charges=[*paper.charges],
            )
        )

    def totals(self, paper: Paper) -> tuple[Decimal, Decimal, Decimal]:
        subtotal = sum((self.charges[c]["amount"] for c in paper.charges), Decimal(0))
        zone = ZoneInfo(self.zones[paper.organization])
        rates = sorted(self.taxes[paper.organization])
        held = [rate for start, rate in rates if start < self._end(paper.month, zone)]
        rate = Decimal(held[-1] if held else rates[0][1]) if rates else Decimal(0)
        unit = Decimal(1).scaleb(-CURRENCIES[paper.currency])
        tax = (subtotal * rate / 100).quantize(unit, ROUND_HALF_UP)
        return subtotal, tax, subtotal + tax

    def lines(self, paper: Paper) -> dict[tuple[Any, ...], int]:
        counted: dict[tuple[Any, ...], int] = defaultdict(int)
        for charge_id in paper.charges:
            c = self.charges[charge_id]
            month = self.month(paper.organization, c["at"])
            counted[c["pool"], c["kind"], month, c["amount"]] += 1
        return dict(counted)


# How old redemptions are when they are settled: days, or hours around the last month's turn.
AGES = st.lists(
    st.one_of(st.integers(0, 70 * 86_400), st.tuples(st.integers(0, 2), st.integers(-14, 14))),
    min_size=1,
    max_size=4,
)
WHOSE, WHAT, WHICH = st.integers(0, 2), st.integers(0, 2), st.integers(0, 99)
RUN = st.tuples(st.just("run"), st.sampled_from([0, 0, 3, None]), st.sampled_from([False, True]))
OPERATIONS = st.one_of(
    st.tuples(st.just("wait"), st.integers(1, 40), st.integers(0, 86_399)),
    st.tuples(st.just("redeem"), WHOSE, WHAT, AGES),
    st.tuples(st.just("redeem"), WHOSE, WHAT, AGES),
    RUN,
    RUN,
    st.tuples(
        st.just("price"), WHAT, st.integers(0, 3), st.integers(0, 12_345), st.integers(-40, 10)
    ),
    st.tuples(st.just("credit"), WHICH, st.one_of(st.none(), st.integers(1, 9_999))),
    st.tuples(st.just("running"), WHOSE),
    st.tuples(st.just("die"), WHOSE),
    st.tuples(st.just("finalize"), WHICH),
    st.tuples(st.just("void"), WHICH),
    st.tuples(st.just("pay"), WHICH),
)


class Ledger:
    """Does everything twice, in the database and in the model, and compares."""

    def __init__(
        self, session: Session, buyers: list[Buyer], pools: dict[tuple[int, str], int]
    ) -> None:
        self.session = session
        self.buyers = buyers
        self.pools = pools
        ids = [buyer.id for buyer in buyers]
        self.model = Model(
            parents=dict(zip(ids, [None, ids[0], ids[1]], strict=True)),
            zones=dict(zip(ids, ZONES, strict=True)),
            taxes={
                ids[0]: [
                    (datetime(2020, 1, 1, tzinfo=UTC), "19"),
                    (datetime(2026, 3, 15, tzinfo=UTC), "20.5"),
                ],
                ids[1]: [(datetime(2026, 4, 1, tzinfo=UTC), "7.125")],
                ids[2]: [],
            },
            prices=defaultdict(dict),
        )
        for currency, decimals in CURRENCIES.items():
            first = Decimal(4999).scaleb(-decimals)
            self.model.prices[currency, None][datetime(2000, 1, 1, tzinfo=UTC)] = (first, currency)
        self.tick()

    def tick(self) -> None:
        set_clock(self.session, self.model.now.isoformat())

    def wait(self, days: int, seconds: int) -> None:
        self.model.now += timedelta(days=days, seconds=seconds)
        self.tick()

    def at(self, age: int | tuple[int, int]) -> datetime:
        if isinstance(age, int):
            return self.model.now - timedelta(seconds=age)
        months, hours = age
        turn = self.model.now.replace(day=1, hour=0, minute=0, second=0)
        for _ in range(months):
            turn = (turn - timedelta(days=1)).replace(day=1)
        return min(turn + timedelta(hours=hours), self.model.now)

    def redeem(self, buyer: int, course: int, ages: list[Any]) -> None:
        organization, currency = self.buyers[buyer].id, list(CURRENCIES)[course]
        pool = self.pools[organization, currency]
        times = sorted(self.at(age) for age in ages)
        made = redeem(self.session, pool, *(at.isoformat() for at in times))
        for charge_id, at in zip(made, times, strict=True):
            amount, code, _ = self.model.price(currency, organization, at)
            self.add(charge_id, "redemption", organization, pool, currency, amount, code, at)

    def add(self, charge_id: int, kind: str, organization: int, pool: int, course: str,
            amount: Decimal, currency: str, at: datetime, credits: int | None = None) -> None:  # fmt: skip
        self.model.charges[charge_id] = {
            "kind": kind, "organization": organization, "pool": pool, "course": course,
            "amount": amount, "currency": currency, "at": at, "credits": credits,
        }  # fmt: skip

    def price(self, course: int, level: int, units: int, days: int) -> None:
        currency = list(CURRENCIES)[course]
        organization = self.buyers[level].id if level < 3 else None
        start = self.model.now + timedelta(days=days)
        amount = Decimal(units).scaleb(-CURRENCIES[currency])
        own = self.model.prices[currency, organization]
        before = dict(own)
        own[start] = (amount, currency)
        refused = before.get(start) != own[start] and self.model.refuses_price(
            currency, organization, start
        )
        if refused:
            self.model.prices[currency, organization] = before
        with self.refusing(errors.PriceInThePastError if refused else None):
            prices.set_price(
                self.session,
                actor=OPERATOR,
                course=currency,
                price=str(amount),
                currency=currency,
                organization=self.buyers[level].name if level < 3 else None,
                from_=start.isoformat(),
            )

    def credit(self, index: int, units: int | None) -> None:
        if not self.model.charges:
            return
        charge_id = list(self.model.charges)[index % len(self.model.charges)]
        credited = self.model.charges[charge_id]
        left = self.model.left(charge_id) if credited["kind"] != "credit" else Decimal(0)
        amount = left if units is None else Decimal(units).scaleb(-CURRENCIES[credited["currency"]])
        refused = left <= 0 or amount > left
        with self.refusing(errors.CreditExceedsChargeError if refused else None):
            made = charges.credit(
                self.session, actor=OPERATOR, charge=str(charge_id), reason="disputed",
                amount=None if units is None else str(amount),
            )  # fmt: skip
            self.add(int(made["id"]), "credit", credited["organization"], credited["pool"],
                     credited["course"], -amount, credited["currency"], self.model.now, charge_id)  # fmt: skip

    def run(self, grace: int | None, dies: bool) -> None:
        wait = None if grace is None else timedelta(days=grace)
        for buyer in self.buyers:
            bill(self.session, buyer, grace=wait)
            self.model.run(buyer.id, None, wait)
            if dies:  # the others are left to the next run
                return

    def running(self, buyer: int) -> None:
        organization = self.buyers[buyer]
        month = self.model.month(organization.id, self.model.now)
        bill(self.session, organization, month=month, grace=NO_GRACE)
        self.model.run(organization.id, month, NO_GRACE)

    def die(self, buyer: int) -> None:
        death = self.session.begin_nested()
        bill(self.session, self.buyers[buyer], grace=NO_GRACE)
        death.rollback()

    def finalize(self, index: int) -> None:
        if paper := self.pick(index, "draft"):
            invoices.finalize(self.session, actor=OPERATOR, invoice=str(paper.id))
            self.model.gather(paper.organization, paper.month)
            self.model.finalize([paper])

    def void(self, index: int) -> None:
        if paper := self.pick(index, "finalized"):
            invoices.void(
                self.session, actor=OPERATOR, invoice=paper.number, reason="wrong address"
            )
            self.model.void(paper)

    def pay(self, index: int) -> None:
        if paper := self.pick(index, "finalized"):
            day = self.model.now.date().isoformat()
            invoices.pay(self.session, actor=OPERATOR, invoice=paper.number, on=day)
            paper.status = "paid"

    def pick(self, index: int, status: str) -> Paper | None:
        self.compare()  # which also learns the drafts' ids
        papers = [paper for paper in self.model.papers if paper.status == status]
        return papers[index % len(papers)] if papers else None

    @contextmanager
    def refusing(self, refusal: type[Exception] | None) -> Iterator[None]:
        if refusal is None:
            yield
            return
        attempt = self.session.begin_nested()
        with pytest.raises(refusal):
            yield
        attempt.rollback()

    def compare(self) -> None:
        found = {
            (row.organization_id, row.month, row.currency, row.status, row.number): row
            for row in self.session.execute(
                text("""
                SELECT *, status::text AS status, (SELECT array_agg(charge_id ORDER BY charge_id)
                  FROM invoice_charge WHERE invoice_id = invoice.id) AS carried FROM invoice""")
            )
        }
        expected = {
            (p.organization, p.month, p.currency, p.status, p.number): p for p in self.model.papers
        }
        assert found.keys() == expected.keys()
        for key, row in found.items():
            paper = expected[key]
            paper.id = row.id
            assert row.by_hand == paper.by_hand
            assert row.carried == sorted(paper.charges)
            assert (row.subtotal, row.tax, row.total) == self.model.totals(paper)
            assert self.lines(row.id) == self.model.lines(paper)
        self.compare_unbilled()

    def compare_unbilled(self) -> None:
        unbilled = self.session.scalars(text("SELECT id FROM charge WHERE unbilled"))
        assert set(unbilled) == set(self.model.charges) - self.model.billed()
        amounts = self.session.execute(text("SELECT id, amount FROM charge")).all()
        assert dict(map(tuple, amounts)) == {i: c["amount"] for i, c in self.model.charges.items()}

    def lines(self, invoice_id: int) -> dict[tuple[Any, ...], int]:
        rows = self.session.execute(
            text("""SELECT pool_id, kind::text, service_month, unit_price, quantity
                      FROM invoice_line WHERE invoice_id = :id"""),
            {"id": invoice_id},
        )
        return {tuple(row[:4]): row.quantity for row in rows}


@pytest.fixture
def buyers(session: Session) -> list[Buyer]:
    """A chain of three organizations, one above the other, in three time zones."""
    above: dict[str, str] = {}
    chain = []
    for zone, currency in zip(ZONES, CURRENCIES, strict=True):
        price = str(Decimal(4999).scaleb(-CURRENCIES[currency]))
        made = courses.add(
            session, actor=OPERATOR, code=currency, title=zone, price=price, currency=currency
        )
        session.execute(
            text("UPDATE price SET valid_from = '2000-01-01' WHERE course_id = :id"),
            {"id": int(made["id"])},
        )
    for zone in ZONES:
        organizations.add(session, actor=OPERATOR, name=zone, time_zone=zone, **above)
        owner = organizations.find(session, actor=OPERATOR, name=zone)
        chain.append(Buyer(owner.id, zone, "", 0))
        above = {"parent": zone}
    set_tax_rate(session, chain[0], "19", "2020-01-01T00:00Z")
    set_tax_rate(session, chain[0], "20.5", "2026-03-15T00:00Z")
    set_tax_rate(session, chain[1], "7.125", "2026-04-01T00:00Z")
    return chain


def test_the_ledger_is_what_plain_python_makes_of_the_same_history(session, buyers):
    pools = {
        (buyer.id, currency): add_pool(session, buyer.name, currency, f"Pool {currency}")
        for buyer in buyers
        for currency in CURRENCIES
    }

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(OPERATIONS, min_size=40, max_size=80))
    def holds(operations: list[tuple[Any, ...]]) -> None:
        example = session.begin_nested()
        try:
            ledger = Ledger(session, buyers, pools)
            for name, *arguments in operations:
                getattr(ledger, name)(*arguments)
            ledger.wait(40, 0)
            ledger.run(0, dies=False)
            ledger.compare()
        finally:
            example.rollback()
            session.expunge_all()

    holds()
