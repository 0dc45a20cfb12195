"""Every pattern of ours takes linear time, whatever a stranger writes (ReDoS)."""

import ast
import itertools
import re
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.growth import grows_too_fast

HOUSE = Path(__file__).parent.parent
ANCHORED = {"fullmatch", "match"}
SEEKING = {"search", "sub", "subn", "split", "findall", "finditer"}
MOST_SIGNS = 6  # of a pattern that are tried in every pair
NO_SIGNS = re.compile(r"\\[A-Za-z]|\(\?[:=!<P]*|(?<!\\)[\[\]^$*?|]")

# Made from our own text alone, or from words that a constraint of the database bounds.
OWN_TEXT = {
    "worker.database.rules": "comments of schema.sql",
    "worker.reporting.personal": "pages that we rendered",
    "worker.tables.columns": "names of our classes",
    "worker.errors": "names of our classes",
    "worker.machine.embedded.redis": "what the server prints of itself",
    "webhook.http.openapi": "our routes",
    "webhook.http.schemas": "names of our classes",
}


class Use(NamedTuple):
    """A pattern, and the method that is called on it."""

    module: str
    name: str
    pattern: "re.Pattern[Any]"
    method: str


def trees() -> Iterator[tuple[str, ast.Module]]:
    for package in ("worker", "webhook"):
        for file in sorted((HOUSE / package).rglob("*.py")):
            module = ".".join(file.relative_to(HOUSE).with_suffix("").parts)
            yield module.removesuffix(".__init__"), ast.parse(file.read_text())


def named(tree: ast.Module) -> set[str]:
    """Give the names of a module's own patterns."""
    return {
        statement.targets[0].id
        for statement in tree.body
        if isinstance(statement, ast.Assign)
        and isinstance(statement.targets[0], ast.Name)
        and ast.unparse(statement.value).startswith("re.compile(")
    }


def methods(module: str, tree: ast.Module) -> Iterator[tuple[str, str, str]]:
    """Give the methods that a module takes of patterns: whose room, which name, which method."""
    origins = {
        alias.name: node.module or ""
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in ANCHORED | SEEKING:
            room, _, name = ast.unparse(node.value).rpartition(".")
            yield (
                f"{origins[room]}.{room}" if room in origins else origins.get(name, module),
                name,
                node.attr,
            )


def inline(module: str, tree: ast.Module) -> Iterator[Use]:
    """Give the patterns that are written where they are used."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        if ast.unparse(node.func.value) == "re" and node.func.attr in ANCHORED | SEEKING:
            written = node.args[0]
            if isinstance(written, ast.Constant):
                yield Use(module, f"line {node.lineno}", re.compile(written.value), node.func.attr)


@cache
def uses() -> list[Use]:
    read = dict(trees())
    found = {use for module, tree in read.items() for use in inline(module, tree)}
    for user, tree in read.items():
        for module, name, method in methods(user, tree):
            if name in named(read.get(module, ast.Module([], []))):
                found.add(Use(module, name, getattr(import_module(module), name), method))
    return sorted(found, key=lambda use: (use.module, use.name, use.method))


def characters(pattern: "re.Pattern[Any]") -> list[str]:
    """Give the signs that a pattern names, its first letter, and one of each kind."""
    written = pattern.pattern
    source = written if isinstance(written, str) else written.decode("latin-1")
    named = dict.fromkeys(NO_SIGNS.sub("", source))
    signs = [sign for sign in named if not sign.isalnum()]
    first = next(filter(str.isalpha, named), "b")
    return [*signs[:MOST_SIGNS], first, "a", "1", " "]


def hostile(pattern: "re.Pattern[Any]") -> Iterator[Callable[[int], Any]]:
    """Give makers of texts of a size: a character or a pair again and again, and then no match."""
    kinds = dict.fromkeys(characters(pattern))
    pumps = [*kinds, *map("".join, itertools.permutations(kinds, 2))]
    for pump in pumps:

        def made(size: int, pump: str = pump) -> Any:
            text = f"{pump * (size // len(pump))}\x01"
            return text if isinstance(pattern.pattern, str) else text.encode("latin-1", "replace")

        yield made


def consumed(use: Use, text: Any) -> object:
    if use.method in ANCHORED:
        return getattr(use.pattern, use.method)(text)
    return sum(1 for _ in use.pattern.finditer(text))  # as all of them go through the whole text


def slow(use: Use) -> str | None:
    """Give the beginning of a text that a pattern takes too long for, if there is one."""
    for text in hostile(use.pattern):
        if grows_too_fast(lambda size, text=text: consumed(use, text(size))):
            return repr(text(24))
    return None


@pytest.mark.parametrize("room", ["worker", "webhook"])
def test_every_pattern_takes_linear_time_whatever_the_text(room):
    met = [use for use in uses() if use.module.startswith(room) and use.module not in OWN_TEXT]

    found = {(use.module, use.name, use.method): slow(use) for use in met}

    assert {where: texts for where, texts in found.items() if texts} == {}
    assert len(met) > 5


@pytest.mark.parametrize(
    ("pattern", "method"),
    [
        (r'"(?:[^"\\]|\\.)*"', "sub"),  # how the depth of JSON was once counted
        (r"[(].*?[)]", "sub"),
        (r"[^@\s]+@[^@\s]+", "search"),
        (r"(?:a+)+b", "fullmatch"),
    ],
)
def test_a_pattern_of_more_than_linear_time_is_found(pattern, method):
    assert slow(Use("here", "it", re.compile(pattern), method))
