"""Options of commands that list things, made from the noun's filters.

They are made when they are needed, so that a group's help does not import the domain.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any

import rich_click as click

from worker.cli import completing
from worker.cli.frame import WHOLE, Command, deferred
from worker.cli.options import DAYS, SINCE, UNTIL

with deferred():
    from worker.database import filters as asked

if TYPE_CHECKING:
    from worker.database.filters import Criterion, ListFilters

AFTER = click.Option(["--after"], metavar="CURSOR", help="Go on where a list ended.")
LIMIT = click.Option(
    ["--limit"], type=WHOLE, default=100, show_default=True, help="How many at once, up to 1000."
)


class PagedCommand(Command):
    """A command that shows a page of a list; its function gets `limit` and `after`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params[-1:-1] = [LIMIT, AFTER]  # before --json


class ChoosingCommand(Command):
    """A command with an option for each filter of a noun; its function gets `filters`.

    A filter that is an argument of the command has no option.
    """

    def __init__(
        self, *args: Any, filters: "Callable[[], type[ListFilters]]", **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.filters = filters

    @cached_property
    def options(self) -> list[click.Option]:
        """The options made from the filters."""
        return self.made()

    def made(self) -> list[click.Option]:
        """Make the options."""
        return [_option(one) for one in asked.criteria(self.filters())]

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Give the options of the filters, and the command's own parameters."""
        own = super().get_params(ctx)
        names = {one.name for one in own}
        return [*(one for one in self.options if one.name not in names), *own]

    def invoke(self, ctx: click.Context) -> int:
        """Run the command with the given filters."""
        kind = self.filters()
        values = {one.name: _read(one, ctx.params.pop(one.name)) for one in asked.criteria(kind)}
        ctx.params["filters"] = kind(**values)
        return super().invoke(ctx)


class ListCommand(ChoosingCommand, PagedCommand):
    """A command that lists things, filtered, sorted and paged."""

    def made(self) -> list[click.Option]:
        """Make the options of the filters, and `--sort`."""
        sort = click.Option(
            ["--sort"],
            type=click.Choice(asked.orders(self.filters())),
            help=asked.ordering(self.filters()),
        )
        return [*super().made(), sort]


def _option(one: "Criterion") -> click.Option:
    name = one.name.replace("_", "-")
    if one.kind is bool:
        names = f"--{name}/--{one.otherwise}" if one.otherwise else f"--{name}"
        return click.Option([names], is_flag=True, default=one.default, help=one.words)
    if one.kind is datetime:
        until = one.name == "until"
        return click.Option(
            [f"--{name}"], type=UNTIL if until else SINCE, metavar="TIME", help=one.words
        )
    if one.kind is timedelta:
        return click.Option([f"--{name}"], type=DAYS, metavar="DAYS", help=one.words)
    if one.kind in (str, int):
        kind = WHOLE if one.kind is int else completing.text(one.name)
        return click.Option([f"--{name}"], type=kind, help=one.words)
    return click.Option([f"--{name}"], type=click.Choice(_labels(one.kind)), help=one.words)


def _labels(kind: type[StrEnum]) -> list[str]:
    return [label.value for label in kind]


def _read(one: "Criterion", value: Any) -> Any:
    return one.kind(value) if isinstance(value, str) else value
