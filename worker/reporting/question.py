"""A report's parameters: the organization, the first and the last day."""

import html
from calendar import monthrange
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

import babel
from psycopg import sql

from worker import days, errors
from worker.languages.phrasebooks import Phrasebook, phrasebook
from worker.reporting import measures, reading, rendering
from worker.reporting.lake import answering

DAY = timedelta(days=1)
ALMOST_A_YEAR = timedelta(days=350)

if TYPE_CHECKING:
    import pandas as pd

_latest: deque["Question"] = deque(maxlen=1)

HOME = """
    SELECT name, time_zone, locale, clock_now() AS now,
           (SELECT {today} FROM report.organization AS one JOIN report.family ON member = one.name
             WHERE family.organization = home.name) AS today
      FROM report.organization AS home
     WHERE name = {name} OR id::text = {name} ORDER BY name <> {name} LIMIT 1"""
# The earliest day that goes on somewhere.
TODAY = "min((clock_now() AT TIME ZONE time_zone)::date)"


@dataclass(frozen=True)
class Question:
    """The organization and the period of a report's figures; a notebook shows it as a line.

    `organization` is a name and includes its descendants; None means all that the login may see. The
    period is from `first` to `last`, both included. `today` is the first day that is not over yet in all
    of them.
    """

    organization: str | None
    first: date
    last: date
    time_zone: str
    locale: str
    asked_at: datetime
    today: date

    def within(self, *, at: str = "received_at", earlier: int = 0) -> sql.Composed:
        """Give the SQL condition for rows of the period, starting so many days earlier.

        `at` is the column with the rows' instant.
        """
        return self._between(self.first - timedelta(days=earlier), at) + self.family()

    def lately(self, span: int) -> sql.Composed:
        """Give the SQL condition for attempts in so many days up to the last one."""
        return self._between(self.last - timedelta(days=span - 1), "received_at") + self.family()

    def months(self) -> sql.Composed:
        """Give the SQL condition for invoices of the months that the period touches."""
        first = sql.Literal(self.first.replace(day=1))
        between = sql.SQL("month BETWEEN {} AND {}").format(first, sql.Literal(self.last))
        return between + self.family()

    def family(self) -> sql.Composed:
        """Give the SQL condition, after AND, for rows of the organization and its descendants."""
        named = f" AND {measures.FAMILY}" if self.organization else ""
        return sql.SQL(named).format(name=sql.Literal(self.organization))

    def _between(self, first: date, at: str) -> sql.Composed:
        return sql.SQL(measures.WITHIN).format(
            first=sql.Literal(first), last=sql.Literal(self.last), at=sql.Identifier(at)
        )

    @property
    def words(self) -> Phrasebook:
        """The phrasebook of the organization's language, which all of a report is in."""
        return phrasebook(self.locale)

    @property
    def babel(self) -> babel.Locale:
        """The locale of that phrasebook: English if the language has no catalogue."""
        return self.words.locale

    @property
    def whole(self) -> date:
        """The last day of the period that is over; the day before the period if none is."""
        return max(min(self.last, self.today - DAY), self.first - DAY)

    def unfinished(self, months: Iterable[date]) -> dict[date, tuple[int, int]]:
        """Give, of these months, those that are not wholly counted: days that are, and that there are."""
        told = {}
        for month in months:
            length = monthrange(month.year, month.month)[1]
            first, last = max(month, self.first), min(month + (length - 1) * DAY, self.last)
            if (last - first).days + 1 < length or last > self.whole:
                told[month] = (max(0, (min(last, self.whole) - first).days + 1), length)
        return told

    @property
    def yesterday(self) -> date:
        """The last day that is over."""
        return self.today - DAY

    @property
    def is_past(self) -> bool:
        """Whether the period ended before yesterday: what is known as of now is not as of its end."""
        return self.last < self.yesterday

    def ended(self) -> "Question | None":
        """The same question up to the last whole day; None if no day of the period is over."""
        return replace(self, last=self.whole) if self.whole >= self.first else None

    def before(self) -> "Question":
        """The same question about as many days before the period."""
        return replace(
            self, first=self.first - (self.last - self.first) - DAY, last=self.first - DAY
        )

    def year_before(self) -> "Question | None":
        """The same question about these days of the year before; None if they are about the period before."""
        if self.last - self.first >= ALMOST_A_YEAR:
            return None
        return replace(self, first=_year_ago(self.first), last=_year_ago(self.last))

    def titled(self, frame: "pd.DataFrame") -> "pd.DataFrame":
        """Have a frame's courses shown with their titles."""
        frame.attrs["titles"] = self._titles
        return frame

    @cached_property
    def _titles(self) -> dict[str, str]:
        read = reading.frame("SELECT course, title FROM report.course WHERE title <> course")
        return dict(zip(read["course"], read["title"], strict=True))

    @property
    def subject(self) -> str:
        """The organization, in words."""
        return self.organization or self.words.say("All organizations")

    @property
    def period(self) -> str:
        """The period, in words."""
        if self.first == self.last:
            return self.words.day(self.first)
        first, last = self.words.day(self.first), self.words.day(self.last)
        return self.words.say("{first} to {last}", first=first, last=last)

    @property
    def clock(self) -> str:
        """The time zone of days and hours, in words."""
        return (
            self.time_zone if self.organization else self.words.say("each organization's own time")
        )

    def _repr_html_(self) -> str:
        book, zone = self.words, self.time_zone
        when = book.say("{period}, days in {clock}", period=self.period, clock=self.clock)
        read = book.say(
            "Data of {moment} ({zone})", moment=book.moment(self.asked_at, zone), zone=zone
        )
        return (
            f'<p class="question"><strong>{html.escape(self.subject)}</strong>'
            f"<span>{html.escape(when)}</span><span>{html.escape(read)}</span></p>"
        )

    def _repr_mimebundle_(self, **_: object) -> dict[str, rendering.Asked]:
        """Tell the page in which language it is, and what stands below each printed page."""
        asked: rendering.Asked = {
            "language": self.locale,
            "organization": self.subject,
            "period": self.period,
        }
        return {rendering.ASKED: asked}


def ask(
    *,
    organization: str | None = None,
    from_: str | date | None = None,
    to: str | date | None = None,
) -> Question:
    """Make a question about an organization (by name or id) and its descendants, or about all.

    Days are inclusive; the default is the year that ends today. In a notebook, tables and pictures
    are shown in the organization's locale from here on.

    Raises:
        NotFoundError: the login sees no such organization.
        InvalidInputError: a day is malformed, or the last is before the first.
    """
    answering.forget()
    home = _home(organization)
    first, last = days.period(from_, to, now=home["now"], zone=home["time_zone"])
    question = Question(
        organization=home["name"],
        first=first,
        last=last,
        time_zone=home["time_zone"],
        locale=home["locale"],
        asked_at=home["now"],
        today=home["today"],
    )
    _show_in(question.babel)
    _latest.append(question)
    return question


def latest() -> Question:
    """Give the question that was asked last.

    Raises:
        InvalidInputError: none was.
    """
    if not _latest:
        raise errors.InvalidInputError("Ask first: question = reporting.ask(…).")
    return _latest[-1]


def _home(organization: str | None) -> dict[str, Any]:
    if organization is None:
        now = reading.row(f"SELECT clock_now() AS now, {TODAY} AS today FROM report.organization")  # noqa: S608  # a constant
        today = now["today"] or now["now"].date()
        return {"name": None, "time_zone": "UTC", "locale": "en"} | now | {"today": today}
    today, name = sql.SQL(TODAY), sql.Literal(organization)
    row = reading.row(sql.SQL(HOME).format(today=today, name=name))
    if not row:
        raise errors.NotFoundError(f"There is no organization “{organization}” in sight.")
    return row


def _show_in(locale: babel.Locale) -> None:
    from worker.reporting import showing

    showing.register(locale)


def _year_ago(day: date) -> date:
    """Give the same day of the year before; of 29 February the 28th."""
    return day.replace(year=day.year - 1, day=28 if (day.month, day.day) == (2, 29) else day.day)
