"""A scratch system: temporary, on servers of its own or on those of the environment."""

import os
import secrets
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import create_engine, make_url, text

from worker.database import connections, schema
from worker.database.connections import Login
from worker.machine import embedded, supervisor
from worker.settings import settings
from worker.tenancy import web_keys

HOST = "127.0.0.1"


@contextmanager
def system() -> Iterator[Path]:
    """Make a temporary system, for this process and its children, and give its home.

    If KEYPOOL_DATABASE_URL is set, it has a database of its own on that server.

    Raises:
        EmbeddedServersError, DatabaseAwayError: the servers do not start or answer.
    """
    made = _beside() if settings().database_url else _embedded()
    with made as variables, environment(variables):
        schema.init(connections.engine(connections.Login.DIRECT))
        connections.transaction(web_keys.tell)
        yield settings().home


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for the block, and restore them."""
    before = dict(os.environ)
    os.environ.update(variables)
    _forget()
    try:
        yield
    finally:
        _forget()
        os.environ.clear()
        os.environ.update(before)
        settings.cache_clear()


@contextmanager
def services(home: Path, meanwhile: Callable[[], None] = lambda: None) -> Iterator[str]:
    """Run keypool's own services on the system, and give the address of the web.

    `meanwhile` is called while they start.
    """
    port = free_port()
    running = supervisor.services(home, host=HOST, port=port)
    with supervisor.supervised(running, logs=home / "log") as supervision:
        meanwhile()
        supervision.wait_until_ready()
        yield f"http://{HOST}:{port}"


@contextmanager
def _embedded() -> Iterator[dict[str, str]]:
    with embedded.scratch() as servers:
        yield {"KEYPOOL_HOME": str(servers.home)}


@contextmanager
def _beside() -> Iterator[dict[str, str]]:
    """Make a database on the configured server, and drop it afterwards."""
    name = f"keypool_demo_{secrets.token_hex(6)}"
    server = create_engine(connections.url(Login.DIRECT), isolation_level="AUTOCOMMIT")
    with tempfile.TemporaryDirectory(prefix="keypool-demo-") as home, server.connect() as opened:
        (Path(home) / "run").mkdir()
        opened.execute(text(f"CREATE DATABASE {name}"))
        try:
            yield {"KEYPOOL_HOME": home, **_renamed(name)}
        finally:
            opened.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


def _renamed(name: str) -> dict[str, str]:
    """Give each login's URL with another database; the owner's URL if it has none."""
    known = settings()
    addresses = {
        login: make_url(str(getattr(known, login.value) or known.database_url))
        for login in Login
        if login not in connections.OTHERWISE or getattr(known, login.value)
    }
    return {
        f"KEYPOOL_{login.value.upper()}": address.set(database=name).render_as_string(
            hide_password=False
        )
        for login, address in addresses.items()
    }


def free_port() -> int:
    """Give a port of this machine on which nobody listens."""
    with socket.socket() as trial:
        trial.bind((HOST, 0))
        port: int = trial.getsockname()[1]
        return port


def _forget() -> None:
    """Drop connections and cached settings, so that the next use reads the environment."""
    if connections.url.cache_info().currsize:
        connections.dispose()
    settings.cache_clear()
