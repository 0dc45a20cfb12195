"""A ledger recomputed in plain Python: any history gives the same invoices, to the minor unit."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
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
from worker.billing import charges, crediting, gathering, invoices, payments, runs
from worker.catalogue import courses, prices
from worker.database import connections
from worker.tenancy import organizations

ZONES = ("Europe/Berlin", "Pacific/Auckland", "Asia/Kathmandu")
CURRENCIES = {"EUR": 2, "JPY": 0, "KWD": 3}
START = datetime(2026, 1, 10, tzinfo=UTC)
NEVER = datetime.max.replace(tzinfo=UTC)


# By when a rate began, and the place of the credited invoice among the numbers: subtotal and tax.
Taxed = dict[tuple[datetime | None, int | None], tuple[Decimal, Decimal]]


@dataclass(eq=False)
class Paper:
    """An invoice as plain Python knows it."""

    organization: int
    month: date
    currency: str
    kind: str = "invoice"
    status: str = "draft"
    by_hand: bool = False
    number: str | None = None
    id: int | None = None
    charges: list[int] = field(default_factory=list)
    payments: list[Decimal] = field(default_factory=list)
    place: int = 0
    final: "Taxed | None" = None


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
    cancelled_out: set[int] = field(default_factory=set)
    skips_zero: bool = False

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

    def waiting(self, organization: int) -> list[int]:
        return [
            charge_id
            for charge_id in set(self.charges) - self.billed() - self.cancelled_out
            if self.charges[charge_id]["organization"] == organization
        ]

    def gathering(self, organization: int, month: date, currency: str, kind: str) -> Paper | None:
        """Give the draft that gathers."""
        return next(self.of(organization, month, currency, kind, "draft", by_hand=[False]), None)

    def closed(self, organization: int, month: date, currency: str, kind: str) -> bool:
        hands = [False, True] if kind == "invoice" else [False]
        final = self.of(organization, month, currency, kind, "finalized", "paid", by_hand=hands)
        return any(True for _ in final)

    def of(
        self,
        organization: int,
        month: date,
        currency: str,
        kind: str,
        *statuses: str,
        by_hand: list[bool],
    ) -> Iterator[Paper]:
        for paper in self.papers:
            of = (paper.organization, paper.month, paper.currency, paper.kind)
            alike = of == (organization, month, currency, kind) and paper.by_hand in by_hand
            if alike and paper.status in statuses:
                yield paper

    def carrier(self, charge_id: int) -> Paper | None:
        """Give the final paper that a charge is on."""
        for paper in self.papers:
            if paper.status in ("finalized", "paid") and charge_id in paper.charges:
                return paper
        return None

    def credited_by(self, charge_id: int) -> list[int]:
        return [i for i, c in self.charges.items() if c["credits"] == charge_id]

    def cancel_out(self, organization: int, last: date) -> None:
        waiting = self.waiting(organization)
        for charge_id in waiting:
            charge, credits = self.charges[charge_id], self.credited_by(charge_id)
            if charge["kind"] == "credit" or self.month(organization, charge["at"]) > last:
                continue
            if credits and self.left(charge_id) == 0:
                self.cancelled_out |= {charge_id, *credits}
        if self.skips_zero:
            self.skip_zero(organization, last)

    def skip_zero(self, organization: int, last: date) -> None:
        of_month: dict[tuple[str, date], list[int]] = defaultdict(list)
        for charge_id in self.waiting(organization):
            charge = self.charges[charge_id]
            if charge["kind"] != "credit":
                month = self.month(organization, charge["at"])
                of_month[charge["currency"], month].append(charge_id)
        for (currency, month), ids in of_month.items():
            free = all(self.charges[i]["amount"] == 0 for i in ids)
            if (
                free
                and month <= last
                and not self.gathering(organization, month, currency, "invoice")
            ):
                self.cancelled_out |= set(ids)

    def gather(self, organization: int, only: date | None, kind: str) -> None:
        last = only or gathering.before(self.month(organization, self.now))
        if kind == "invoice":
            self.cancel_out(organization, last)
        for charge_id in filter(self.ready(kind), self.waiting(organization)):
            charge = self.charges[charge_id]
            month, currency = self.month(organization, charge["at"]), charge["currency"]
            if month > last:
                continue
            while self.closed(organization, month, currency, kind):
                month = gathering.following(month)
            if month > last or (only and month != only):
                continue
            draft = self.gathering(organization, month, currency, kind)
            if draft is None:
                draft = Paper(organization, month, currency, kind)
                self.papers.append(draft)
            draft.charges.append(charge_id)

    def ready(self, kind: str) -> Callable[[int], bool]:
        """Say which charges go on a kind: a credit waits until the invoice with its charge is final."""

        def is_ready(charge_id: int) -> bool:
            charge = self.charges[charge_id]
            if charge["kind"] != "credit":
                return kind == "invoice"
            return kind == "credit_note" and self.carrier(charge["credits"]) is not None

        return is_ready

    def finalize(self, papers: list[Paper]) -> None:
        """Number papers, credit notes last; each keeps the taxes that it has then."""
        for paper in sorted(papers, key=lambda p: (p.kind == "credit_note", p.month, p.currency)):
            self.serials[self.now.year] += 1
            paper.final = self.taxed(paper)
            paper.status = "finalized"
            paper.place = len([other for other in self.papers if other.number]) + 1
            paper.number = f"{self.now.year}-{self.serials[self.now.year]:06d}"
        self.settle()

    def settle(self) -> None:
        for paper in self.papers:
            if paper.status in ("finalized", "paid"):
                paper.status = "finalized" if self.open(paper) else "paid"

    def run(self, organization: int, only: date | None, grace: timedelta | None) -> None:
        zone = ZoneInfo(self.zones[organization])
        for kind in ("invoice", "credit_note"):
            self.gather(organization, only, kind)
            if grace is not None:
                self.finalize(
                    [
                        paper
                        for paper in self.papers
                        if (paper.organization, paper.status, paper.by_hand, paper.kind)
                        == (organization, "draft", False, kind)
                        and only in (None, paper.month)
                        and self._end(paper.month, zone) + grace <= self.now
                    ]
                )

    @staticmethod
    def _end(month: date, zone: ZoneInfo) -> datetime:
        following = (month.replace(day=28) + timedelta(days=4)).replace(day=1)
        return datetime(following.year, following.month, 1, tzinfo=zone).astimezone(UTC)

    def notes(self, paper: Paper, *, before: Paper | None = None) -> Decimal:
        """Give what final credit notes (or those numbered before one) credit of an invoice, tax included."""
        return -sum(
            (
                subtotal + tax
                for note in self.papers
                if note.final and (before is None or note.place < before.place)
                for (_, credited), (subtotal, tax) in note.final.items()
                if credited == paper.place
            ),
            Decimal(0),
        )

    def open(self, paper: Paper) -> Decimal:
        if paper.status not in ("finalized", "paid"):
            return Decimal(0)
        unpaid = self.totals(paper)[2] - sum(paper.payments)
        if paper.kind == "invoice":
            return max(unpaid - self.notes(paper), Decimal(0))
        return unpaid + sum(self.set_against(paper), Decimal(0))

    def set_against(self, note: Paper) -> Iterator[Decimal]:
        """Give what of a credit note lowers what is open on each invoice that it credits."""
        assert note.final
        for place in {credited for _, credited in note.final}:
            paper = next(paper for paper in self.papers if paper.place == place)
            given = -sum(s + t for (_, credited), (s, t) in note.final.items() if credited == place)
            room = self.totals(paper)[2] - sum(paper.payments) - self.notes(paper, before=note)
            yield max(min(given, room), Decimal(0))

    def is_credited(self, paper: Paper) -> bool:
        """Say whether a credit note, a draft or final, credits an invoice."""
        credits = {i for charge_id in paper.charges for i in self.credited_by(charge_id)}
        return bool(credits & self.billed())

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

    def taxed(self, paper: Paper) -> Taxed:
        """Give a paper's subtotal and tax by rate; a credit note's by credited invoice, too."""
        if paper.final is not None:
            return paper.final
        subtotals: dict[tuple[datetime | None, int | None], Decimal] = defaultdict(Decimal)
        for charge_id in paper.charges:
            charge = self.charges[charge_id]
            credited = self.carrier(charge["credits"]) if charge["credits"] is not None else None
            subtotals[self.rate(charge), credited and credited.place] += charge["amount"]
        rates = self.taxes[paper.organization]
        unit = Decimal(1).scaleb(-CURRENCIES[paper.currency])
        taxed = {}
        for (start, place), subtotal in subtotals.items():
            tax = (subtotal * (rates[start] if start else 0) / 100).quantize(unit, ROUND_HALF_UP)
            rest = self.rest(start, place)
            if place:  # no more than is left, and the last takes all of that
                tax = -rest[1] if subtotal + rest[0] == 0 else max(tax, -rest[1])
            taxed[start, place] = (subtotal, tax)
        return taxed

    def rest(self, start: datetime | None, place: int | None) -> tuple[Decimal, Decimal]:
        """Give what final credit notes left of an invoice at one rate: subtotal and tax."""
        parts = [
            amounts
            for paper in self.papers
            if paper.final
            for (rate, credited), amounts in paper.final.items()
            if rate == start and (credited == place or (credited is None and paper.place == place))
        ]
        return sum((s for s, _ in parts), Decimal(0)), sum((t for _, t in parts), Decimal(0))

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
    st.tuples(st.just("credit_now"), WHICH, st.one_of(st.none(), st.integers(1, 9_999))),
    st.tuples(st.just("give_back"), WHICH),
    st.tuples(st.just("zero"), st.booleans()),
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

    def credit_now(self, index: int, units: int | None) -> None:
        """Credit a charge on a credit note of its own."""
        if not self.model.charges:
            return
        charge_id = list(self.model.charges)[index % len(self.model.charges)]
        credited = self.model.charges[charge_id]
        left = self.model.left(charge_id) if credited["kind"] != "credit" else Decimal(0)
        amount = left if units is None else Decimal(units).scaleb(-CURRENCIES[credited["currency"]])
        refusal: type[Exception] | None = None
        if self.model.carrier(charge_id) is None:
            refusal = errors.InvoiceStatusError
        elif left <= 0 or amount > left:
            refusal = errors.CreditExceedsChargeError
        with self.refusing(refusal):
            self.credit_at_once({charge_id: amount}, None if units is None else str(amount))

    def give_back(self, index: int) -> None:
        """Credit all that is left of an invoice, on two credit notes."""
        papers = [
            p for p in self.model.papers if p.kind == "invoice" and p.final and p.status != "void"
        ]
        if not papers:
            return
        left = {i: self.model.left(i) for i in papers[index % len(papers)].charges}
        rest = [(i, amount) for i, amount in left.items() if amount > 0]
        for part in (rest[::2], rest[1::2]):
            if part:
                self.credit_at_once(dict(part), None)

    def credit_at_once(self, amounts: dict[int, Decimal], amount: str | None) -> None:
        made = crediting.credit_now(
            self.session, actor=OPERATOR, charges_=[str(i) for i in amounts], reason="disputed",
            amount=amount, anyway=True,
        )  # fmt: skip
        rows = self.session.execute(
            text("""SELECT charge.id, credits_id FROM invoice_charge JOIN charge ON charge.id = charge_id
                     WHERE invoice_id = :id"""),
            {"id": int(made["id"])},
        )
        credits = {credited: credit_id for credit_id, credited in rows}
        for charge_id, part in amounts.items():
            credited = self.model.charges[charge_id]
            self.add(credits[charge_id], "credit", credited["organization"], credited["learners"],
                     credited["pool"], credited["course"], -part, credited["currency"],
                     self.model.now, charge_id)  # fmt: skip
        organization, currency = credited["organization"], credited["currency"]
        month = self.model.month(organization, self.model.now)
        note = Paper(organization, month, currency, "credit_note", by_hand=True)
        note.charges.extend(credits.values())
        self.model.papers.append(note)
        self.model.finalize([note])

    def zero(self, skips: bool) -> None:
        """Say whether the seller makes invoices of 0."""
        self.session.execute(
            text("UPDATE seller SET zero_invoices = :how"), {"how": "skip" if skips else "keep"}
        )
        self.model.skips_zero = skips

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
            if not paper.by_hand:
                self.model.gather(paper.organization, paper.month, paper.kind)
            self.model.finalize([paper])

    def void(self, index: int) -> None:
        if paper := self.pick(index, "finalized"):
            kept = paper.payments or paper.kind == "credit_note" or self.model.is_credited(paper)
            with self.refusing(errors.InvoiceStatusError if kept else None):
                invoices.void(
                    self.session, actor=OPERATOR, invoice=paper.number, reason="wrong address"
                )
            if not kept:
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
            self.model.settle()

    def unpay(self, index: int) -> None:
        papers = [paper for paper in self.model.papers if paper.payments]
        if papers:
            paper = papers[index % len(papers)]
            *_, last = invoices.show(self.session, actor=OPERATOR, invoice=paper.number)["payments"]
            paper.payments.remove(Decimal(last["amount"]))
            refunded = paper.kind == "invoice" and any(
                self.model.open(note) > 0
                for note in self.model.papers
                if note.kind == "credit_note"
            )
            with self.refusing(errors.InvoiceStatusError if refunded else None):
                payments.take_back(
                    self.session, actor=OPERATOR, payment=last["id"], reason="another's"
                )
            if refunded:
                paper.payments.append(Decimal(last["amount"]))
            self.model.settle()

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
            (
                row.organization_id,
                row.month,
                row.currency,
                row.kind,
                row.status,
                row.number,
                row.by_hand,
                tuple(row.carried),
            ): row
            for row in self.session.execute(
                text("""
                SELECT *, status::text AS status, kind::text AS kind,
                       invoice_open(id, status, total) AS open,
                  (SELECT array_agg(charge_id ORDER BY charge_id)
                     FROM invoice_charge WHERE invoice_id = invoice.id) AS carried FROM invoice""")
            )
        }
        expected = {
            (p.organization, p.month, p.currency, p.kind, p.status, p.number, p.by_hand,
             tuple(sorted(p.charges))): p
            for p in self.model.papers
        }  # fmt: skip
        assert found.keys() == expected.keys()
        for key, row in found.items():
            paper = expected[key]
            paper.id = row.id
            assert (row.subtotal, row.tax, row.total) == self.model.totals(paper)
            assert row.open == self.model.open(paper)
            numbers = {p.place: p.number for p in self.model.papers if p.place}
            assert self.taxes(row.id) == {
                (start, numbers.get(place or 0), amounts)
                for (start, place), amounts in self.model.taxed(paper).items()
            }
            shares = self.model.shares(paper)
            assert self.shares(row.id) == shares
            assert self.lines(row.id) == summed(shares)
        self.compare_unbilled()

    def compare_unbilled(self) -> None:
        unbilled = self.session.scalars(text("SELECT id FROM charge WHERE unbilled"))
        waiting = set(self.model.charges) - self.model.billed() - self.model.cancelled_out
        assert set(unbilled) == waiting
        amounts = self.session.execute(text("SELECT id, amount FROM charge")).all()
        assert dict(map(tuple, amounts)) == {i: c["amount"] for i, c in self.model.charges.items()}

    def taxes(self, invoice_id: int) -> set[tuple[Any, ...]]:
        rows = self.session.execute(
            text("""SELECT valid_from, credited.number, invoice_tax.subtotal, invoice_tax.tax
                      FROM invoice_tax
                      LEFT JOIN tax_rate ON tax_rate.id = tax_rate_id
                      LEFT JOIN invoice AS credited ON credited.id = credits_invoice_id
                     WHERE invoice_id = :id"""),
            {"id": invoice_id},
        )
        return {(start, number, (subtotal, tax)) for start, number, subtotal, tax in rows}

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
