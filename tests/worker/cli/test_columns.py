"""Tables show fields that their objects have, and none besides."""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import TypedDict

import pytest
import rich_click as click

from worker import cli
from worker.cli import printing
from worker.cli.frame import Command
from worker.cli.printing import Table


class Counts(TypedDict):
    issued: int
    redeemed: int


class Thing(TypedDict):
    id: str
    name: str
    counts: Counts


@dataclass
class Other:
    code: str


def modules() -> Iterator[ModuleType]:
    for found in pkgutil.iter_modules(cli.__path__, "worker.cli."):
        yield importlib.import_module(found.name)


def commands(group: click.Group) -> Iterator[Command]:
    for name in group.list_commands(click.Context(group)):
        found = group.get_command(click.Context(group), name)
        if isinstance(found, click.Group):
            yield from commands(found)
        elif isinstance(found, Command):
            yield found


COMMANDS = [one for one in commands(cli.keypool) if isinstance(one.shows, Table)]


@pytest.mark.parametrize("table", [
    pytest.param(value, id=f"{module.__name__}.{name}")
    for module in modules()
    for name, value in vars(module).items()
    if isinstance(value, Table)
])  # fmt: skip
def test_each_table_names_fields_of_its_type(table):
    assert table.columns()


@pytest.mark.parametrize("command", COMMANDS, ids=lambda one: str(one.callback.__module__))
def test_the_table_of_a_command_is_of_what_the_command_gives(command):
    given = str(inspect.signature(inspect.unwrap(command.callback)).return_annotation)

    assert command.shows.columns()
    [item] = re.findall(r"(?:Page|list)\[(?:\w+\.)*(\w+)\]", given)
    assert item == command.shows.of().__name__


def test_no_other_command_prints_a_list():
    listing = {
        one
        for one in commands(cli.keypool)
        if one not in COMMANDS
        and re.match(r"'?(Page|list)\[", str(inspect.signature(one.callback).return_annotation))
    }

    assert listing == set()


@pytest.mark.parametrize(
    ("table", "columns"),
    [
        (printing.table(lambda: Thing), ["id", "name", "counts"]),
        (printing.table(lambda: Thing, without=("id",)), ["name", "counts"]),
        (printing.table(lambda: Thing, "name", "counts.issued"), ["name", "counts.issued"]),
        (printing.table(lambda: Other), ["code"]),
    ],
)
def test_a_table_shows_the_fields_of_its_type_or_those_that_are_named(table, columns):
    assert table.columns() == columns


@pytest.mark.parametrize(
    "table",
    [
        printing.table(lambda: Thing, "id", "colour"),
        printing.table(lambda: Thing, "counts.lost"),
        printing.table(lambda: Thing, without=("colour",)),
        printing.table(lambda: Other, "name"),
    ],
)
def test_a_field_that_a_type_does_not_have_is_no_column(table):
    with pytest.raises(AttributeError, match="has no"):
        table.columns()
    with pytest.raises(AttributeError, match="has no"):
        table([{"id": "1", "name": "One", "code": "A"}])


def test_a_table_prints_a_row_for_each_object(capsys):
    printing.table(lambda: Thing, "name", "counts.issued")(
        [{"id": "1", "name": "One", "counts": {"issued": 1_200, "redeemed": 0}}]
    )

    heading, _, row = (line.split() for line in capsys.readouterr().out.splitlines())
    assert (heading, row) == (["name", "issued"], ["One", "1,200"])
