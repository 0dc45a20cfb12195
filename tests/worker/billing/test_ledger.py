"""A ledger recomputed in plain Python: any history gives the same invoices, to the minor unit."""

import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, event, text
from sqlalchemy.orm import Session

from tests.conftest import cloned, using
from tests.ledger import (
    BACKDATE,
    NO_GRACE,
    OPERATOR,
    SET_CLOCK,
    Buyer,
    add_pool,
    bill,
    redeem,
    set_clock,
    set_tax_rate,
)
from worker import errors
from worker.billing import charges, gathering, invoices, payments, runs
from worker.catalogue import courses, prices
from worker.database import connections
from worker.tenancy import organizations

ZONES = ("Europe/Berlin", "Pacific/Auckland", "Asia/Kathmandu")
CURRENCIES = {"EUR": 2, "JPY": 0, "KWD": 3}
START = datetime(2026, 1, 10, tzinfo=UTC)
NEVER = datetime.max.replace(tzinfo=UTC)


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
    payments: list[Decimal] = field(default_factory=list)


@dataclass
class Model:
    """The rules of billing in plain Python, with nothing of the database's."""

    parents: dict[int, int | None]
    zones: dict[int, str]
    taxes: dict[int, dict[datetime, Decimal]]
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
        last = only or gathering.before(self.month(organization, self.now))
        for charge_id in set(self.charges) - self.billed():
            charge = self.charges[charge_id]
            if charge["organization"] != organization:
                continue
            month, currency = self.month(organization, charge["at"]), charge["currency"]
            if month > last:
                continue
            while self.paper(organization, month, currency, "finalized", "paid"):
                month = gathering.following(month)
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
            paper.status = "paid" if self.totals(paper)[2] == 0 else "finalized"
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

    def open(self, paper: Paper) -> Decimal:
        issued = paper.status in ("finalized", "paid")
        return self.totals(paper)[2] - sum(paper.payments) if issued else Decimal(0)

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

    def rate(self, charge: dict[str, Any]) -> datetime | None:
        """Give when a charge's tax rate began; a credit's is its charge's."""
        if charge["credits"] is not None:
            return self.rate(self.charges[charge["credits"]])
        begun = [start for start in self.taxes[charge["organization"]] if start <= charge["at"]]
        return max(begun, default=None)

    def refuses_rate(self, organization: int, start: datetime) -> bool:
        later = [begun for begun in self.taxes[organization] if begun > start]
        return any(
            charge["organization"] == organization
            and start <= charge["at"] < min(later, default=NEVER)
            for charge in self.charges.values()
        )

    def taxed(self, paper: Paper) -> dict[datetime | None, tuple[Decimal, Decimal]]:
        """Give a paper's subtotal and tax by rate."""
        subtotals: dict[datetime | None, Decimal] = defaultdict(Decimal)
        for charge_id in paper.charges:
            charge = self.charges[charge_id]
            subtotals[self.rate(charge)] += charge["amount"]
        unit = Decimal(1).scaleb(-CURRENCIES[paper.currency])
        rates = self.taxes[paper.organization]
        return {
            start: (
                subtotal,
                (subtotal * (rates[start] if start else 0) / 100).quantize(unit, ROUND_HALF_UP),
            )
            for start, subtotal in subtotals.items()
        }

    def totals(self, paper: Paper) -> tuple[Decimal, Decimal, Decimal]:
        taxed = self.taxed(paper).values()
        subtotal = sum((subtotal for subtotal, _ in taxed), Decimal(0))
        tax = sum((tax for _, tax in taxed), Decimal(0))
        return subtotal, tax, subtotal + tax

    def shares(self, paper: Paper) -> dict[tuple[Any, ...], int]:
        counted: dict[tuple[Any, ...], int] = defaultdict(int)
        for charge_id in paper.charges:
            c = self.charges[charge_id]
            month = self.month(paper.organization, c["at"])
            percent = self.taxes[paper.organization].get(self.rate(c), Decimal(0))
            counted[c["pool"], c["kind"], month, c["amount"], percent, c["learners"]] += 1
        return dict(counted)


def midnight(day: date, zone: ZoneInfo) -> datetime:
    """Give a day's first instant."""
    return datetime.combine(day, datetime.min.time(), zone).astimezone(UTC)


def summed(shares: dict[tuple[Any, ...], int]) -> dict[tuple[Any, ...], int]:
    """Add shares up to their lines: all but whose learners they were for."""
    lines: dict[tuple[Any, ...], int] = defaultdict(int)
    for (*line, _), quantity in shares.items():
        lines[tuple(line)] += quantity
    return dict(lines)


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
    st.tuples(st.just("redeem"), WHOSE, WHOSE, WHAT, AGES),
    st.tuples(st.just("redeem"), WHOSE, WHOSE, WHAT, AGES),
    RUN,
    RUN,
    st.tuples(
        st.just("price"), WHAT, st.integers(0, 3), st.integers(0, 12_345), st.integers(-40, 10)
    ),
    st.tuples(st.just("credit"), WHICH, st.one_of(st.none(), st.integers(1, 9_999))),
    st.tuples(
        st.just("rate"),
        WHOSE,
        st.integers(0, 30_000),
        st.one_of(st.none(), st.integers(-60, 10)),
    ),
    st.tuples(st.just("move"), st.booleans()),
    st.tuples(st.just("running"), WHOSE),
    st.tuples(st.just("die"), WHOSE),
    st.tuples(st.just("finalize"), WHICH),
    st.tuples(st.just("void"), WHICH),
    st.tuples(st.just("pay"), WHICH, st.booleans()),
    st.tuples(st.just("unpay"), WHICH),
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
                ids[0]: {
                    datetime(2020, 1, 1, tzinfo=UTC): Decimal(19),
                    datetime(2026, 3, 15, tzinfo=UTC): Decimal("20.5"),
                },
                ids[1]: {datetime(2026, 4, 1, tzinfo=UTC): Decimal("7.125")},
                ids[2]: {},
            },
            prices=defaultdict(dict),
        )
        for currency, decimals in CURRENCIES.items():
            first = Decimal(4999).scaleb(-decimals)
            self.model.prices[currency, None][datetime(2000, 1, 1, tzinfo=UTC)] = (first, currency)
        self.tick()

    def do(self, name: str, *arguments: Any) -> None:
        """Do one of the operations."""
        getattr(self, name)(*arguments)

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

    def redeem(self, buyer: int, learners: int, course: int, ages: list[Any]) -> None:
        organization, currency = self.buyers[buyer].id, list(CURRENCIES)[course]
        whose = self.buyers[learners].id
        pool = self.pools[organization, currency]
        times = sorted(self.at(age) for age in ages)
        instants = (at.isoformat() for at in times)
        made = redeem(self.session, pool, *instants, learner_organization=whose)
        for charge_id, at in zip(made, times, strict=True):
            amount, code, _ = self.model.price(currency, organization, at)
            self.add(charge_id, "redemption", organization, whose, pool, currency, amount, code, at)

    def add(self, charge_id: int, kind: str, organization: int, learners: int, pool: int, course: str,
            amount: Decimal, currency: str, at: datetime, credits: int | None = None) -> None:  # fmt: skip
        self.model.charges[charge_id] = {
            "kind": kind, "organization": organization, "learners": learners, "pool": pool,
            "course": course, "amount": amount, "currency": currency, "at": at, "credits": credits,
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

    def rate(self, buyer: int, thousandths: int, days: int | None) -> None:
        """Set a tax rate from a day on: without one from today, or tomorrow where today was charged."""
        organization, zone = self.buyers[buyer], ZoneInfo(ZONES[buyer])
        rates, percent = self.model.taxes[organization.id], Decimal(thousandths).scaleb(-3)
        today = self.model.now.astimezone(zone).date()
        day = today + timedelta(days=days or 0)
        start = midnight(day, zone)
        refused = self.model.refuses_rate(organization.id, start)
        if days is None and refused:
            start, refused = midnight(day + timedelta(days=1), zone), False
        begun = [at for at in rates if at <= self.model.now]
        held = rates[max(begun)] if begun else None
        same = rates.get(start) == percent if days is not None else held == percent
        refused = not same and self.model.refuses_rate(organization.id, start)
        with self.refusing(errors.TaxRateInThePastError if refused else None):
            organizations.edit(
                self.session,
                actor=OPERATOR,
                organization=organization.name,
                tax_rate=str(percent),
                tax_label="VAT",
                tax_from=None if days is None else day.isoformat(),
            )
        if not refused and not same:
            rates[start] = percent

    def move(self, above: bool) -> None:
        """Move the last organization of the chain: its prices are those of whoever is above it."""
        top, _, last = self.buyers
        parent = self.buyers[1] if above else top
        organizations.edit(self.session, actor=OPERATOR, organization=last.name, parent=parent.name)
        self.model.parents[last.id] = parent.id

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
            self.add(int(made["id"]), "credit", credited["organization"], credited["learners"],
                     credited["pool"], credited["course"], -amount, credited["currency"],
                     self.model.now, charge_id)  # fmt: skip

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
            invoices.finalize(self.session, actor=OPERATOR, invoice=str(paper.id), anyway=True)
            self.model.gather(paper.organization, paper.month)
            self.model.finalize([paper])

    def void(self, index: int) -> None:
        if paper := self.pick(index, "finalized"):
            with self.refusing(errors.InvoiceStatusError if paper.payments else None):
                invoices.void(
                    self.session, actor=OPERATOR, invoice=paper.number, reason="wrong address"
                )
            if not paper.payments:
                self.model.void(paper)

    def pay(self, index: int, whole: bool) -> None:
        if paper := self.pick(index, "finalized"):
            still, unit = self.model.open(paper), Decimal(1).scaleb(-CURRENCIES[paper.currency])
            part = still if whole or abs(still) == unit else unit.copy_sign(still)
            payments.pay(
                self.session,
                actor=OPERATOR,
                invoice=paper.number,
                on=self.model.now.date().isoformat(),
                amount=None if part == still else f"{abs(part):f}",
            )
            paper.payments.append(part)
            paper.status = "paid" if part == still else "finalized"

    def unpay(self, index: int) -> None:
        papers = [paper for paper in self.model.papers if paper.payments]
        if papers:
            paper = papers[index % len(papers)]
            *_, last = invoices.show(self.session, actor=OPERATOR, invoice=paper.number)["payments"]
            payments.take_back(self.session, actor=OPERATOR, payment=last["id"], reason="another's")
            paper.payments.remove(Decimal(last["amount"]))
            paper.status = "finalized"

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
                SELECT *, status::text AS status, invoice_open(id, status, total) AS open,
                  (SELECT array_agg(charge_id ORDER BY charge_id)
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
            assert row.open == self.model.open(paper)
            assert self.taxes(row.id) == {
                (start, amounts) for start, amounts in self.model.taxed(paper).items()
            }
            shares = self.model.shares(paper)
            assert self.shares(row.id) == shares
            assert self.lines(row.id) == summed(shares)
        self.compare_unbilled()

    def compare_unbilled(self) -> None:
        unbilled = self.session.scalars(text("SELECT id FROM charge WHERE unbilled"))
        assert set(unbilled) == set(self.model.charges) - self.model.billed()
        amounts = self.session.execute(text("SELECT id, amount FROM charge")).all()
        assert dict(map(tuple, amounts)) == {i: c["amount"] for i, c in self.model.charges.items()}

    def taxes(self, invoice_id: int) -> set[tuple[Any, ...]]:
        rows = self.session.execute(
            text("""SELECT valid_from, subtotal, tax FROM invoice_tax
                      LEFT JOIN tax_rate ON tax_rate.id = tax_rate_id WHERE invoice_id = :id"""),
            {"id": invoice_id},
        )
        return {(start, (subtotal, tax)) for start, subtotal, tax in rows}

    def lines(self, invoice_id: int) -> dict[tuple[Any, ...], int]:
        return self.quantities(
            """SELECT sum(quantity)::bigint, pool_id, kind::text, service_month, unit_price,
                      coalesce(percent, 0)
                 FROM invoice_line LEFT JOIN tax_rate ON tax_rate.id = tax_rate_id
                WHERE invoice_id = :id GROUP BY 2, 3, 4, 5, 6""",
            invoice_id,
        )

    def shares(self, invoice_id: int) -> dict[tuple[Any, ...], int]:
        return self.quantities(
            """SELECT sum(share.quantity)::bigint, pool_id, kind::text, service_month, unit_price,
                      coalesce(percent, 0), learner_organization_id
                 FROM invoice_share AS share JOIN invoice_line ON invoice_line.id = line_id
                 LEFT JOIN tax_rate ON tax_rate.id = tax_rate_id
                WHERE share.invoice_id = :id GROUP BY 2, 3, 4, 5, 6, 7""",
            invoice_id,
        )

    def quantities(self, query: str, invoice_id: int) -> dict[tuple[Any, ...], int]:
        rows = self.session.execute(text(query), {"id": invoice_id})
        return {what: quantity for quantity, *rest in rows for what in [tuple(rest)]}


class Storm(Ledger):
    """Commits each step, so that two runs can meet, and one of them be killed, before the next."""

    killed = 0

    def do(self, name: str, *arguments: Any) -> None:
        super().do(name, *arguments)
        self.session.commit()

    def tick(self) -> None:
        """Nothing: each transaction begins at the model's now."""

    @contextmanager
    def keeping_time(self) -> Iterator[None]:
        """Begin every transaction of this process at the model's now."""
        engine = connections.engine()
        event.listen(engine, "begin", self.begin)
        yield
        event.remove(engine, "begin", self.begin)

    def begin(self, connection: Connection) -> None:
        connection.execute(SET_CLOCK, {"at": self.model.now})

    def storm(self, grace: int, delay: float | None) -> None:
        """Run twice at once; with a delay (seconds), kill one of them, and run again."""
        wait = timedelta(days=grace)
        with ThreadPoolExecutor(2) as both:
            attempts = [both.submit(self.attempt, wait) for _ in range(2)]
            if delay is not None:
                time.sleep(delay)
                self.kill(attempts)
        if not all(attempt.result() for attempt in attempts):
            assert delay is not None, "a run failed beside another"
            assert self.attempt(wait)
        for buyer in self.buyers:
            self.model.run(buyer.id, None, wait)

    def attempt(self, grace: timedelta) -> bool:
        """Bill everybody; say whether this run lived to its end."""
        try:
            run = runs.run(actor=OPERATOR, finalize=True, grace=grace)
        except errors.DatabaseAwayError:
            return False
        return not run.failed

    def kill(self, attempts: list[Future[bool]]) -> None:
        """Kill the first connection that is seen at work, unless both runs end before one is."""
        with connections.engine().connect() as killer:
            while not all(attempt.done() for attempt in attempts):
                if killer.execute(KILL).first():
                    Storm.killed += 1
                    return
                killer.rollback()


KILL = text("""
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
     WHERE datname = current_database() AND pid <> pg_backend_pid()
       AND state <> 'idle' AND backend_type = 'client backend' LIMIT 1
""")


def add_buyers(session: Session) -> list[Buyer]:
    """Add a chain of three organizations, one above the other, in three time zones."""
    above: dict[str, str] = {}
    chain = []
    for zone, currency in zip(ZONES, CURRENCIES, strict=True):
        price = str(Decimal(4999).scaleb(-CURRENCIES[currency]))
        made = courses.add(
            session, actor=OPERATOR, code=currency, title=zone, price=price, currency=currency
        )
        session.execute(BACKDATE, {"course": int(made["id"])})
    for zone in ZONES:
        organizations.add(session, actor=OPERATOR, name=zone, time_zone=zone, **above)
        owner = organizations.find(session, actor=OPERATOR, name=zone)
        chain.append(Buyer(owner.id, zone, "", 0))
        above = {"parent": zone}
    set_tax_rate(session, chain[0], "19", "2020-01-01T00:00Z")
    set_tax_rate(session, chain[0], "20.5", "2026-03-15T00:00Z")
    set_tax_rate(session, chain[1], "7.125", "2026-04-01T00:00Z")
    return chain


def add_pools(session: Session, buyers: list[Buyer]) -> dict[tuple[int, str], int]:
    """Add a pool of each currency's course to each buyer."""
    return {
        (buyer.id, currency): add_pool(session, buyer.name, currency, f"Pool {currency}")
        for buyer in buyers
        for currency in CURRENCIES
    }


def live(ledger: Ledger, operations: list[tuple[Any, ...]]) -> None:
    """Do one thing after another, bill what is left, and compare."""
    for name, *arguments in operations:
        ledger.do(name, *arguments)
    ledger.wait(40, 0)
    ledger.run(0, dies=False)
    ledger.compare()


def test_the_ledger_is_what_plain_python_makes_of_the_same_history(session):
    buyers = add_buyers(session)
    pools = add_pools(session, buyers)

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(OPERATIONS, min_size=40, max_size=80))
    def holds(operations: list[tuple[Any, ...]]) -> None:
        example = session.begin_nested()
        try:
            live(Ledger(session, buyers, pools), operations)
        finally:
            example.rollback()
            session.expunge_all()

    holds()


STORM = st.tuples(
    st.just("storm"), st.sampled_from([0, 3]), st.sampled_from([None, 0.0, 0.002, 0.01, 0.03])
)


def test_the_ledger_holds_with_runs_at_once_and_runs_killed(servers, template):
    Storm.killed = 0

    @settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.one_of(OPERATIONS, STORM, STORM), min_size=25, max_size=40))
    def holds(operations: list[tuple[Any, ...]]) -> None:
        with (
            cloned(servers, template) as addresses,
            using(addresses),
            Session(connections.engine()) as session,
        ):
            buyers = add_buyers(session)
            ledger = Storm(session, buyers, add_pools(session, buyers))
            session.commit()
            with ledger.keeping_time():
                live(ledger, operations)

    holds()
    assert Storm.killed
