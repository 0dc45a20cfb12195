"""Real servers for every test: one PostgreSQL and one Redis a run, a database of its own a module.

Where KEYPOOL_DATABASE_URL is set, the tests make their databases on that server instead.
"""

import fcntl
import hashlib
import logging
import os
import secrets
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import hypothesis
import psycopg
import pytest
import structlog
from argon2 import PasswordHasher
from psycopg import sql
from sqlalchemy import Engine, create_engine, event, make_url, text
from sqlalchemy.orm import Session
from structlog.testing import LogCapture
from structlog.types import EventDict

from tests import pooler
from webhook.http import counting
from worker import logs
from worker.database import connections as databases
from worker.database import patience, pooling
from worker.database import schema as schemas
from worker.machine import embedded, signals
from worker.reporting import printing
from worker.settings import settings
from worker.tenancy import passwords, web_keys

# To explain failures, hypothesis would trace every line that is run: the web's answers would be
# slower than they may be.
hypothesis.settings.register_profile(
    "untraced",
    phases=[phase for phase in hypothesis.Phase if phase is not hypothesis.Phase.explain],
    deadline=None,  # nor is any test about how fast a machine is that has other work
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("untraced")

SCHEMA = Path(__file__).parents[1] / "schema.sql"
SECRET_KEY = "only for tests and long enough for them"
# Invoices are finalized by whoever runs, as a seller's are who lacks nothing.
COMPLETE_SELLER = text("""
    UPDATE seller SET name = 'keypool operator', street = 'Dock 1', postcode = '20457',
           city = 'Hamburg', country = 'DE', tax_id = 'DE136695976'
""")
NEEDS_CHROMIUM = pytest.mark.skipif(
    not any(map(shutil.which, printing.BROWSERS)), reason="there is no Chromium here"
)


@dataclass(frozen=True)
class Addresses:
    """Where one database is reached with each login, and the broker."""

    database_url: str
    web_database_url: str
    analyst_database_url: str
    redis_url: str
    receiver_database_url: str = ""  # the web's for messages alone, where there is a pooler
    direct_database_url: str = ""  # the owner's way past the pooler, where there is one

    def named(self, database: str) -> "Addresses":
        """Give the same servers' addresses with another database."""
        urls = [name for name in self.__annotations__ if name.endswith("database_url")]
        known = {name: url for name in urls if (url := getattr(self, name))}
        return replace(self, **{name: _renamed(url, database) for name, url in known.items()})

    @property
    def session_url(self) -> str:
        """Where the owner has a session of its own."""
        return self.direct_database_url or self.database_url

    def environment(self) -> dict[str, str]:
        """Give the variables with which keypool's own processes reach this database."""
        pooled = {
            "KEYPOOL_RECEIVER_DATABASE_URL": self.receiver_database_url,
            "KEYPOOL_DIRECT_DATABASE_URL": self.direct_database_url,
            "KEYPOOL_POOLER": "transaction",
        }
        return {
            "KEYPOOL_DATABASE_URL": self.database_url,
            "KEYPOOL_WEB_DATABASE_URL": self.web_database_url,
            "KEYPOOL_ANALYST_DATABASE_URL": self.analyst_database_url,
            "KEYPOOL_REDIS_URL": self.redis_url,
            "KEYPOOL_SECRET_KEY": SECRET_KEY,
            **(pooled if self.direct_database_url else {}),
        }


def _renamed(url: str, database: str) -> str:
    return make_url(url).set(database=database).render_as_string(hide_password=False)


@contextmanager
def default_signals_in_children() -> Iterator[None]:
    """Have children begin with the default for signals that this process ignores (nohup, `&` in a script).

    What is ignored is inherited; what has a handler is not. This process goes on ignoring them.
    """
    ignored = [number for number in signals.ENDINGS if signal.getsignal(number) == signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, lambda *_: None)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


@pytest.fixture(scope="session", autouse=True)
def default_signals() -> Iterator[None]:
    """Send signals to children with the same effect, however the run was started."""
    with default_signals_in_children():
        yield


@pytest.fixture(scope="session", autouse=True)
def cheap_passwords() -> Iterator[None]:
    """Hash passwords at a hundredth of keypool's cost, which test_passwords.py pins."""
    sizes = {"salt_len": passwords.SALT_BYTES, "hash_len": passwords.HASH_BYTES}
    hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1, **sizes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "_hasher", lambda: hasher)
        yield


@pytest.fixture(scope="session", autouse=True)
def counts_stay() -> Iterator[None]:
    """Have no thread of this process carry what one test counted to the broker that another looks at."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counting.carrier, "begin", lambda: None)
        yield


class Roomy(patience.Pool):
    """Pools that open what is asked of them, but for the web's: threads of tests stand for processes."""

    def __init__(self, *args: Any, max_overflow: int, **kwargs: Any) -> None:
        super().__init__(*args, max_overflow=max_overflow and 100, **kwargs)


@pytest.fixture(scope="session", autouse=True)
def roomy_pools() -> Iterator[None]:
    """Let the pools of the worker's logins be roomy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patience, "Pool", Roomy)
        yield


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[EventDict]:
    """What keypool logs from here on, with its context, unmasked: whatever set the log up before."""
    kept = LogCapture()
    logger = structlog.wrap_logger(
        None,
        processors=[structlog.contextvars.merge_contextvars, kept],
        wrapper_class=structlog.make_filtering_bound_logger(logging.NOTSET),
    ).bind()
    monkeypatch.setattr(logs, "_logger", lambda: logger)
    return kept.entries


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of this test run share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def unpooled(run_folder: Path) -> Iterator[Addresses]:
    """The servers of this run: those of the environment, or embedded ones."""
    names = ("database_url", "web_database_url", "analyst_database_url", "redis_url")
    given = {name: os.environ.get(f"KEYPOOL_{name.upper()}") for name in names}
    if given["database_url"]:
        yield Addresses(**{name: url or given["database_url"] for name, url in given.items()})
        return
    with embedded.lease(run_folder / "home", durable=False) as running:
        addresses = Addresses(**{name: getattr(running, name) for name in given})
        yield replace(addresses, redis_url=_by_itself(addresses.redis_url))


@pytest.fixture(scope="session")
def servers(unpooled: Addresses) -> Iterator[Addresses]:
    """The same, through a pooler if POOLER is set."""
    if not pooler.MODE:
        yield unpooled
        return
    with pooler.pooled(unpooled) as through:
        yield through


def _by_itself(redis_url: str) -> str:
    """Give each process of a run a Redis database of its own: another's hints are not to be counted."""
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    return f"{redis_url}?virtual_host={number % 16}"


@pytest.fixture(scope="session")
def template(servers: Addresses, run_folder: Path) -> str:
    """The name of a database that schema.sql made, from which each test's own is cloned."""
    schema = SCHEMA.read_text()
    name = (
        f"keypool_template_{hashlib.sha256((str(run_folder) + schema).encode()).hexdigest()[:12]}"
    )
    with (run_folder / "template.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with _administration(servers) as connection:
            exists = connection.execute("SELECT FROM pg_database WHERE datname = %s", [name])
            if exists.fetchone() is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
                engine = create_engine(servers.named(name).session_url)
                schemas.init(engine)
                with using(servers.named(name)), Session(engine) as owner, owner.begin():
                    owner.execute(COMPLETE_SELLER)
                    web_keys.tell(owner)
                engine.dispose()
    return name


@contextmanager
def _administration(servers: Addresses) -> Iterator[psycopg.Connection]:
    with psycopg.connect(_plain(servers.session_url), autocommit=True) as connection:
        yield connection


def connect(url: str) -> psycopg.Connection:
    """Connect without SQLAlchemy, for tests that speak SQL."""
    return psycopg.connect(_plain(url))


def _plain(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


@contextmanager
def cloned(servers: Addresses, template: str) -> Iterator[Addresses]:
    """Clone the template, and close it as it is; drop the clone afterwards, once it proved to be ours."""
    name, proof = f"keypool_test_{secrets.token_hex(6)}", secrets.token_hex(16)
    database = sql.Identifier(name)
    with _administration(servers) as connection:
        # Through the log, as PostgreSQL copies by default, takes ten times the processor.
        make = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy")
        connection.execute(make.format(database, sql.Identifier(template)))
        connection.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(database, proof))
        if template != "template0":
            schemas.close(connection, name)
        if servers.direct_database_url:
            pooling.set_defaults(connection, name)
        try:
            yield servers.named(name)
        finally:
            comment = connection.execute(
                "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s",
                [name],
            ).fetchone()
            assert comment == (proof,), f"{name} is not this test's own database"
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(database))


@contextmanager
def using(addresses: Addresses) -> Iterator[Addresses]:
    """Point this process's settings, and so worker.database, at a database."""
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in addresses.environment().items():
            patch.setenv(variable, value)
        forget()
        yield addresses
        forget()


def forget() -> None:
    """Let go of this process's connections and settings, so that the next use reads them anew."""
    if databases.url.cache_info().currsize:
        databases.dispose()
    settings.cache_clear()


@pytest.fixture(scope="module")
def database(servers: Addresses, template: str) -> Iterator[Addresses]:
    """A database that the module's tests share; settings and worker.database point at it."""
    with cloned(servers, template) as addresses, using(addresses):
        yield addresses


@pytest.fixture
def fresh_database(servers: Addresses, template: str) -> Iterator[Addresses]:
    """A database for one test alone, for tests whose code commits; settings point at it."""
    with cloned(servers, template) as addresses, using(addresses):
        yield addresses


@pytest.fixture(scope="session")
def compiled(servers: Addresses) -> Iterator[Engine]:
    """The one engine of all modules: it keeps the statements that it compiled for any of them."""
    zone = {"prepare_threshold": None} if pooler.MODE else {"options": "-c timezone=UTC"}
    made = create_engine(servers.database_url, connect_args=zone)
    yield made
    made.dispose()


@pytest.fixture(scope="module")
def engine(database: Addresses, compiled: Engine) -> Iterator[Engine]:
    """The owner's way to the module's database: to connect anew takes longer than most tests."""
    name = make_url(database.database_url).database

    def lead(_dialect: object, _record: object, _words: object, named: dict[str, object]) -> None:
        named["dbname"] = name

    event.listen(compiled, "do_connect", lead)
    yield compiled
    event.remove(compiled, "do_connect", lead)
    compiled.dispose()


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    """A transaction of the owner's that is rolled back after the test."""
    with engine.connect() as connection, connection.begin() as outer:
        with Session(connection, join_transaction_mode="create_savepoint") as opened:
            yield opened
        outer.rollback()


def pass_time(session: Session, *, seconds: float = 0, days: float = 0) -> None:
    """Shift the one clock, for the rest of the session's transaction."""
    moved = session.execute(
        text("SELECT coalesce(nullif(current_setting('keypool.clock_offset', true), ''), '0')")
    ).scalar_one()
    session.execute(
        text("SELECT set_config('keypool.clock_offset', :offset, true)"),
        {"offset": str(float(moved) + seconds + days * 86400)},
    )
