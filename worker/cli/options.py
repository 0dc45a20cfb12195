"""Options and parameter types that several commands share."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import rich_click as click

from worker.cli.frame import deferred
from worker.errors import InvalidInputError

with deferred():
    from worker import days, settings


def together(*options: Callable[..., Any]) -> Callable[..., Any]:
    """Combine several options into one decorator."""

    def give(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return give


class Duration(click.ParamType[timedelta]):
    """A duration: seconds, or a number with s, m, h or d."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        """Read it; a usage error where it is none."""
        try:
            return settings.duration(value)
        except (ValueError, OverflowError):
            self.fail(f"“{value}” is no length of time; write 90s, 15m, 24h or 40d.", param, ctx)


class Instant(click.ParamType[datetime]):
    """An instant: ISO 8601 with its offset, or a day of UTC, which an `end` includes."""

    name = "time"

    def __init__(self, *, end: bool = False) -> None:
        self.end = end

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """Read it; a usage error where it is none."""
        try:
            return days.instant(str(value), zone="UTC", field=self.name, end=self.end)
        except InvalidInputError as error:
            self.fail(str(error), param, ctx)


class Days(click.ParamType[timedelta]):
    """A number of days, as `14` or `14d`."""

    name = "days"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        """Give the days as a time."""
        try:
            return days.ahead(str(value), field=self.name)
        except InvalidInputError as error:
            self.fail(str(error), param, ctx)


class Listed(click.ParamType[list[str]]):
    """Several words with commas between them; an empty text is none."""

    name = "A,B,…"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[str]:
        """Give the words."""
        return [word for word in str(value).split(",") if word.strip()]


DAYS = Days()
LIST = Listed()
DURATION = Duration()
SINCE, UNTIL = Instant(), Instant(end=True)

# For commands that rotate a signing secret.
old_valid = click.option(
    "--old-valid",
    type=DURATION,
    default="24h",
    show_default=True,
    help="For how long the old secret counts, too.",
)
