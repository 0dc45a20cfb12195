"""What is counted by periods: redemptions, refusals and charges, each figure with the list behind it.

A figure's address is made from the filters that it counts by, so that its list has as many rows.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from flask import url_for as url
from sqlalchemy.orm import Session

from webhook.console import choosing, periods, plotting, words
from webhook.console.periods import Period
from webhook.console.plotting import Chart, Point
from worker.billing import charges, spending
from worker.billing.spending import Charged
from worker.database.filters import ListFilters
from worker.days import Span, day_start
from worker.redemption import attempts, recent
from worker.redemption.recent import Lately, Redeemed
from worker.tables.labels import RedemptionOutcome
from worker.tenancy.actors import Actor


@dataclass(frozen=True)
class Figure:
    """A figure as it is said, its value, how many rows its list has, and the list's address."""

    words: str
    value: float
    rows: int
    address: str


@dataclass(frozen=True)
class Beside:
    """A period's figure beside that of the same part of the period before."""

    period: Period
    now: Figure
    before: Figure

    @property
    def change(self) -> str:
        """By how many percent it is more or less than before; empty where there was nothing."""
        if self.before.value <= 0:
            return ""
        percent = round(100 * (self.now.value / self.before.value - 1))
        return f"{percent:+,} %".replace("-", "−")


@dataclass(frozen=True)
class Measure:
    """What is counted, by periods, and its chart by days."""

    title: str
    rows: str
    periods: list[Beside]
    chart: Chart


@dataclass(frozen=True)
class Times:
    """The spans of time that are counted: periods beside those before, and days."""

    running: list[Period]
    days: list[tuple[date, Span]]

    @classmethod
    def as_of(cls, now: datetime) -> "Times":
        """Give those of the visitor's now, and of as many days as the page shows."""
        days = periods.lately(now, words.zone(), plotting.days_shown())
        return cls(periods.running(now, words.zone()), days)

    @property
    def spans(self) -> list[Span]:
        """All of them, each once."""
        both = (span for period in self.running for span in (period.now, period.before))
        return list(dict.fromkeys((*both, *(span for _, span in self.days))))


def figure(page: str, filters: ListFilters, rows: int, most: int | None = None) -> Figure:
    """Give the number of a list's rows, with the list's address; above `most`, it says so alone."""
    query: dict[str, Any] = dict(choosing.asked(filters))
    address = url(f"console.{page}", **query)
    said = words.number(rows) if most is None or rows <= most else f"more than {words.number(most)}"
    return Figure(said, rows, rows, address)


def redemptions(session: Session, actor: Actor, now: datetime) -> list[Measure]:
    """Count what was redeemed and what was refused."""
    times = Times.as_of(now)
    counted = recent.in_spans(session, actor=actor, spans=times.spans)
    tried = dict(zip(times.spans, counted, strict=True))

    def redeemed(span: Span) -> Figure:
        filters = attempts.Filters(outcome=RedemptionOutcome.REDEEMED, **span._asdict())
        return figure("redemptions", filters, tried[span]["redeemed"])

    def refused(span: Span) -> Figure:
        filters = attempts.Filters(refused=True, **span._asdict())
        return figure("redemptions", filters, tried[span]["refused"])

    return [
        _measure("Redemptions", "redeemed", redeemed, times),
        _measure("Refusals", "refused", refused, times),
    ]


def of_pool(lately: Lately, pool: str) -> Chart:
    """Draw a pool's redemptions by day; each day opens its list."""

    def redeemed(one: Redeemed) -> Point:
        zone, day = lately["zone"], one["day"]
        span = Span(day_start(day, zone), day_start(day, zone, after=1))
        filters = attempts.Filters(pool=pool, outcome=RedemptionOutcome.REDEEMED, **span._asdict())
        return _point(day, figure("redemptions", filters, one["redeemed"]))

    return plotting.chart("Redemptions", [redeemed(one) for one in lately["per_day"]])


def charged(session: Session, actor: Actor, now: datetime) -> list[Measure]:
    """Sum what was charged, by currency."""
    times = Times.as_of(now)
    sums = spending.in_spans(session, actor=actor, spans=times.spans)
    by_span = {
        span: {one["currency"]: one for one in of_span}
        for span, of_span in zip(times.spans, sums, strict=True)
    }
    currencies = sorted({currency for of_span in by_span.values() for currency in of_span})
    return [
        _measure(f"Charges in {currency}", "charges", _amounts(by_span, currency), times)
        for currency in currencies
    ]


def _amounts(
    by_span: Mapping[Span, Mapping[str, Charged]], currency: str
) -> Callable[[Span], Figure]:
    def amount(span: Span) -> Figure:
        filters = charges.Filters(currency=currency, **span._asdict())
        one = by_span[span].get(currency)
        counted = figure("charges", filters, one["quantity"] if one else 0)
        sum_ = one["amount"] if one else "0"
        return Figure(
            f"{words.number(sum_)} {currency}", float(sum_), counted.rows, counted.address
        )

    return amount


def _measure(title: str, rows: str, of: Callable[[Span], Figure], times: Times) -> Measure:
    beside = [Beside(period, of(period.now), of(period.before)) for period in times.running]
    points = [_point(day, of(span)) for day, span in times.days]
    return Measure(title, rows, beside, plotting.chart(title, points))


def _point(day: date, its: Figure) -> Point:
    return plotting.point(day, its.value, its.words, its.address)
