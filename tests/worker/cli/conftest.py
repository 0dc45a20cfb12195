"""What tests of the command line share: commands run in this process, and what they printed."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest

from tests.world import World, build
from worker import cli
from worker.database import connections as databases


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The document on standard output."""
        return json.loads(self.out)


@pytest.fixture
def run(database, capfd) -> Callable[..., Done]:
    """Run a command on the module's database."""

    def command(*words: str) -> Done:
        capfd.readouterr()  # what a test's own set-up logged
        code = cli.answer(words)
        printed = capfd.readouterr()
        return Done(code, printed.out, printed.err)

    return command


@pytest.fixture
def give(run) -> Callable[..., Any]:
    """Run a command that succeeds, and give its JSON."""

    def command(*words: str) -> Any:
        done = run(*words, "--json")
        assert (done.code, done.err) == (0, ""), done
        return done.json

    return command


@pytest.fixture
def world(database) -> World:
    """A world that is committed, for commands to see; its own session is over."""
    with databases.session() as session:
        return build(session)


@contextmanager
def opened(world: World) -> Iterator[World]:
    """Give the world a session whose changes are committed."""
    with databases.session() as session:
        yield replace(world, session=session)
