"""What a report is asked: about which organization, from which day to which."""

import html
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Any
from zoneinfo import ZoneInfo

import babel
from psycopg import sql

from worker import days, errors
from worker.reporting import measures, reading

EVERYTHING = "All organizations"

HOME = """
    SELECT name, time_zone, locale, clock_now() AS now FROM report.organization
     WHERE name = {name} OR id::text = {name} ORDER BY name <> {name} LIMIT 1"""


@dataclass(frozen=True)
class Question:
    """What every figure of a report is about. Shown in a notebook, it says so in a line.

    `organization` is a name and means its descendants too; None means all that may be seen. Days
    count from `first` to `last`, both included.
    """

    organization: str | None
    first: date
    last: date
    time_zone: str
    locale: str
    asked_at: datetime

    def within(self, *, at: str = "received_at", earlier: int = 0) -> sql.Composed:
        """Give the SQL condition of rows that the question is about, from so many days earlier.

        `at` is the rows' column of the instant whose day it is.
        """
        return self._between(self.first - timedelta(days=earlier), at) + self.family()

    def lately(self, span: int) -> sql.Composed:
        """Give the SQL condition of attempts in so many days up to the last one."""
        return self._between(self.last - timedelta(days=span - 1), "received_at") + self.family()

    def months(self) -> sql.Composed:
        """Give the SQL condition of invoices of the months that the period touches."""
        first = sql.Literal(self.first.replace(day=1))
        between = sql.SQL("month BETWEEN {} AND {}").format(first, sql.Literal(self.last))
        return between + self.family()

    def family(self) -> sql.Composed:
        """Give the SQL condition of rows of the organization and its descendants, behind AND."""
        named = f" AND {measures.FAMILY}" if self.organization else ""
        return sql.SQL(named).format(name=sql.Literal(self.organization))

    def _between(self, first: date, at: str) -> sql.Composed:
        return sql.SQL(measures.WITHIN).format(
            first=sql.Literal(first), last=sql.Literal(self.last), at=sql.Identifier(at)
        )

    @cached_property
    def babel(self) -> babel.Locale:
        """How the organization writes numbers; as in English where its locale is unknown."""
        try:
            return babel.Locale.parse(self.locale.replace("-", "_"))
        except (ValueError, babel.UnknownLocaleError):
            return babel.Locale("en")

    @property
    def subject(self) -> str:
        """Whom it is about, in words."""
        return self.organization or EVERYTHING

    @property
    def period(self) -> str:
        """Which days it is about, in words."""
        if self.first == self.last:
            return _in_words(self.first)
        return f"{_in_words(self.first)} to {_in_words(self.last)}"

    @property
    def clock(self) -> str:
        """Whose days and hours count, in words."""
        return self.time_zone if self.organization else "each organization's own time"

    def _repr_html_(self) -> str:
        zone = f"days in {self.clock}"
        asked = self.asked_at.astimezone(ZoneInfo(self.time_zone))
        told = f"Data of {_in_words(asked)}, {asked:%H:%M} ({self.time_zone})"
        return (
            f'<p class="question"><strong>{html.escape(self.subject)}</strong>'
            f"<span>{self.period}, {html.escape(zone)}</span><span>{html.escape(told)}</span></p>"
        )


def ask(
    *,
    organization: str | None = None,
    from_: str | date | None = None,
    to: str | date | None = None,
) -> Question:
    """Ask about an organization (by name or id) and its descendants, or about all in sight.

    Days are inclusive; without them it is the year that ends today. In a notebook, tables and
    pictures are shown from here on in the organization's locale.

    Raises:
        NotFoundError: no such organization is in sight.
        InvalidInputError: a day is none, or the last comes before the first.
    """
    home = _home(organization)
    first, last = days.period(from_, to, now=home["now"], zone=home["time_zone"])
    question = Question(
        organization=home["name"],
        first=first,
        last=last,
        time_zone=home["time_zone"],
        locale=home["locale"],
        asked_at=home["now"],
    )
    _show_in(question.babel)
    return question


def _home(organization: str | None) -> dict[str, Any]:
    if organization is None:
        row = reading.row("SELECT clock_now() AS now")
        return {"name": None, "time_zone": "UTC", "locale": "en"} | row
    row = reading.row(sql.SQL(HOME).format(name=sql.Literal(organization)))
    if not row:
        raise errors.NotFoundError(f"There is no organization “{organization}” in sight.")
    return row


def _show_in(locale: babel.Locale) -> None:
    from worker.reporting import showing

    showing.register(locale)


def _in_words(moment: date) -> str:
    return f"{moment.day} {moment:%B %Y}"
