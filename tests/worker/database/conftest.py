"""Databases for tests that make, change and compare whole databases."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from sqlalchemy import Engine, create_engine

from tests.conftest import Addresses, cloned
from worker.database.catalog import Catalog, describe


class Databases:
    """Databases that are dropped when their user is done."""

    def __init__(self, servers: Addresses, template: str, closing: ExitStack) -> None:
        self.servers = servers
        self.template = template
        self.closing = closing

    def made(self, options: str = "") -> Engine:
        return self.cloned(self.template, options)

    def empty(self) -> Engine:
        return self.cloned("template0")

    def cloned(self, template: str, options: str = "") -> Engine:
        addresses = self.closing.enter_context(cloned(self.servers, template))
        engine = create_engine(addresses.session_url, connect_args={"options": options})
        self.closing.callback(engine.dispose)
        return engine


@pytest.fixture
def databases(servers: Addresses, template: str) -> Iterator[Databases]:
    with ExitStack() as closing:
        yield Databases(servers, template, closing)


@pytest.fixture(scope="module")
def module_databases(servers: Addresses, template: str) -> Iterator[Databases]:
    with ExitStack() as closing:
        yield Databases(servers, template, closing)


@pytest.fixture(scope="module")
def made(module_databases: Databases) -> Engine:
    """A database for tests that leave it as it was."""
    return module_databases.made()


def described(engine: Engine) -> Catalog:
    with engine.connect() as connection:
        return describe(connection)


def run(engine: Engine, *statements: str) -> None:
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
