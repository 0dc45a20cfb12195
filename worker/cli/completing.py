"""What a shell completes: the names of pools, courses and organizations, where keypool is up."""

import re
from contextlib import suppress
from typing import TYPE_CHECKING

import rich_click as click
from click.shell_completion import BashComplete, CompletionItem, add_completion_class
from click.types import StringParamType

if TYPE_CHECKING:
    from sqlalchemy.orm import InstrumentedAttribute

MOST = 50
# Whose names the arguments and options of these names want.
NAMED = {
    "organization": "organization",
    "parent": "organization",
    "course": "course",
    "pool": "pool",
}
SPECIAL = re.compile(r"([^\w@%+=:,./-])")


class Named(StringParamType):
    """A text that names a pool, a course or an organization; a shell completes it."""

    def __init__(self, thing: str) -> None:
        self.thing = thing

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Give names that begin so; none where keypool is not up. Nothing is started for it."""
        with suppress(Exception):  # whatever is wrong, a shell has nobody to tell
            return [CompletionItem(name) for name in _names(self.thing, incomplete)]
        return []


@add_completion_class
class Bash(BashComplete):
    """Click's completion in bash, which inserts a name as it is: so spaces are escaped."""

    def format_completion(self, item: CompletionItem) -> str:
        """Write a completion as the script reads it."""
        escaped = SPECIAL.sub(r"\\\1", item.value)
        return f"{item.type},{escaped}"


def text(name: str) -> StringParamType:
    """Give the type of a text whose argument or option has this name."""
    return Named(NAMED[name]) if name in NAMED else StringParamType()


def name(params: list[click.Parameter]) -> None:
    """Have those parameters completed that want a name."""
    for param in params:
        if param.type is click.STRING:
            param.type = text(str(param.name))


def _names(thing: str, begun: str) -> list[str]:
    from sqlalchemy import func, select

    from worker.database import connections

    column = _column(thing)
    fitting = func.lower(column).startswith(begun.lower(), autoescape=True)
    asked = select(column).where(fitting).order_by(func.lower(column)).limit(MOST)
    with connections.session() as session:
        return list(session.scalars(asked))


def _column(thing: str) -> "InstrumentedAttribute[str]":
    from worker.tables.catalogue import Course
    from worker.tables.pools import Pool
    from worker.tables.tenancy import Organization

    return {"organization": Organization.name, "course": Course.code, "pool": Pool.name}[thing]
