"""Connections to the database, by login; transactions; broken constraints translated into errors."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cache
from typing import Concatenate, NamedTuple, ParamSpec, TypeVar, cast

from psycopg import Connection
from psycopg import errors as postgres
from psycopg.pq import TransactionStatus
from sqlalchemy import Engine, ExceptionContext, create_engine, event, func, select
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session

from worker import errors, logs
from worker.database import patience, rules
from worker.machine import homes
from worker.settings import settings

P = ParamSpec("P")
T = TypeVar("T")


class Login(StrEnum):
    """The login of a connection; schema.sql grants its privileges.

    The receiver has the web's login, and connections of its own: whatever the other doors do, messages are
    recorded. `DIRECT` is the owner past a pooler, for what needs a session of its own: migrations.
    """

    OWNER = "database_url"
    DIRECT = "direct_database_url"
    WEB = "web_database_url"
    RECEIVER = "receiver_database_url"
    ANALYST = "analyst_database_url"


WEBS = (Login.WEB, Login.RECEIVER)
POOLED = (Login.OWNER, *WEBS)  # through the pooler, where there is one

# Whose URL a login has that has none of its own.
OTHERWISE = {Login.DIRECT: Login.OWNER, Login.RECEIVER: Login.WEB}


class Entry(NamedTuple):
    """How a transaction of the web enters: a function of schema.sql, and what it is given as proof."""

    function: str
    arguments: tuple[bytes | int | timedelta, ...]


# PostgreSQL's own timeouts: a frozen process must not hold locks on keys, and the web
# answers 503 within five seconds when the database hangs.
TIMEOUTS = {
    Login.OWNER: {
        "statement_timeout": "110s",
        "lock_timeout": "30s",
        "idle_in_transaction_session_timeout": "1min",
    },
    Login.WEB: {
        "statement_timeout": "4s",
        "lock_timeout": "3s",
        "idle_in_transaction_session_timeout": "15s",
    },
    Login.ANALYST: {
        "statement_timeout": "10min",
        "lock_timeout": "30s",
        "idle_in_transaction_session_timeout": "10min",
    },
}

TIMEOUTS |= {login: TIMEOUTS[other] for login, other in OTHERWISE.items()}

# What sessions of analysts begin with, whoever opens them.
READS = TIMEOUTS[Login.ANALYST] | {"default_transaction_read_only": "on"}

# At most so many connections of a process: those that it keeps, and those that it opens besides.
KEPT = {Login.OWNER: (2, 2), Login.DIRECT: (1, 2), Login.ANALYST: (1, 3)}

BESIDE = "beside"  # key of Session.info: contexts to leave before the transaction ends


@cache
def url(login: Login = Login.OWNER) -> str:
    """Give the database URL of a login: from the environment, else the running embedded server's.

    Raises:
        DatabaseAwayError: no URL is set and no embedded server runs.
        SettingsError: what needs a session of its own was not told the way past the pooler.
    """
    if configured := getattr(settings(), login):
        return str(configured)
    if login is Login.DIRECT and settings().pooler:
        raise errors.SettingsError(
            "KEYPOOL_DIRECT_DATABASE_URL must be set where KEYPOOL_POOLER is: migrations and reports "
            "go to PostgreSQL itself."
        )
    if login in OTHERWISE:
        return url(OTHERWISE[login])
    known = homes.addresses(settings().home)
    if known is None:
        raise errors.DatabaseAwayError("No database runs here; start one with “keypool up”.")
    return known[login]


def sizes(login: Login) -> tuple[int, int]:
    """Give how many connections a process keeps for a login, and how many it may open besides.

    The web keeps all of its own, since opening one costs more than a request. Half is for messages.
    """
    if login not in WEBS:
        return KEPT[login]
    half = settings().web_connections // 2
    return (half if login is Login.RECEIVER else settings().web_connections - half), 0


def defaults(login: Login) -> dict[str, str]:
    """Give what a login's sessions begin with: PostgreSQL's settings, by name."""
    return TIMEOUTS[login] | {
        # JIT takes a hundred milliseconds for a statement that runs in one.
        "jit": "on" if login is Login.ANALYST else "off",
        "timezone": "UTC",
    }


def options(login: Login) -> dict[str, object]:
    """Give libpq's and psycopg's options for a login's connections.

    A pooler takes no startup options, so the database gives a login its defaults (`keypool db init`). And a
    statement that was prepared on one of its connections is unknown on the next.
    """
    if settings().pooler and login in POOLED:
        return {"prepare_threshold": None}
    offset = {"keypool.clock_offset": str(settings().clock_offset.total_seconds())}
    flags = defaults(login) | offset
    return {"options": " ".join(f"-c {name}={value}" for name, value in flags.items())}


@cache
def _engine(login: Login, address: str, pid: int) -> Engine:
    # pid: a forked child must not share its parent's connections.
    pool_size, max_overflow = sizes(login)
    made = create_engine(
        address,
        poolclass=patience.Pool,
        pool_size=pool_size,
        max_overflow=max_overflow,
        pool_timeout=patience.SLOT,
        pool_use_lifo=login not in WEBS,
        connect_args={
            "application_name": f"keypool {logs.origin()['service']}",
            "connect_timeout": patience.CONNECT if login in WEBS else patience.CONNECT_UNHURRIED,
            **patience.OURS,
            **options(login),
        },
    )
    patience.watch(made, hurried=login in WEBS)
    return made


def engine(login: Login = Login.OWNER) -> Engine:
    """Give this process's engine for a login."""
    return _engine(login, url(login), os.getpid())


def dispose() -> None:
    """Close this process's connections; the next use reads the addresses and opens new ones."""
    for login in Login:
        with suppress(errors.DatabaseAwayError, errors.SettingsError):
            engine(login).dispose()
    _engine.cache_clear()
    url.cache_clear()


@contextmanager
def connection(login: Login = Login.OWNER) -> Iterator[Connection]:
    """Lend the driver's own connection, in autocommit: for code that must be fast.

    Raises:
        KeypoolError: a constraint was broken (its own error), or the database is unreachable.
    """
    try:
        with (
            closing(engine(login).raw_connection()) as pooled,
            _by_itself(cast(Connection, pooled.driver_connection)) as driver,
        ):
            yield driver
    except PoolTimeoutError:
        raise errors.DatabaseAwayError from None
    except postgres.Error as error:
        raise _named(error) or error from error


@contextmanager
def session(
    login: Login = Login.OWNER, *, sees: Entry | None = None, snapshot: bool = False
) -> Iterator[Session]:
    """Open one transaction and commit it at the end; roll it back when anything is raised.

    `sees` is as whom the web enters: its row level security shows what that one may see.
    With `snapshot`, all its statements read the same snapshot (repeatable read).

    Raises:
        KeypoolError: a constraint was broken (its own error), or the database is unreachable.
    """
    try:
        with (
            Session(engine(login), expire_on_commit=False) as opened,
            opened.begin(),
            ExitStack() as opened.info[BESIDE],
        ):
            if snapshot:
                opened.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            if sees is not None:
                enter(opened, sees)
            yield opened
    except PoolTimeoutError:
        raise errors.DatabaseAwayError from None


def enter(opened: Session, entry: Entry) -> None:
    """Set whose rows the web sees in the session's transaction; nothing, where the proof is not good."""
    opened.execute(select(getattr(func, entry.function)(*entry.arguments)))


def beside(opened: Session, worker: AbstractContextManager[T]) -> T:
    """Enter a context that uses a session's connection concurrently, for instance in a thread.

    It is exited before the transaction ends, also after an error, so that none of its statements runs
    on a connection that is back in the pool.
    """
    contexts: ExitStack = opened.info[BESIDE]
    return contexts.enter_context(worker)


def transaction(
    function: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Run a function in a transaction of its own, with the owner's login, and give its result."""
    with session() as opened:
        return function(opened, *args, **kwargs)


def copy(opened: Session, statement: str, rows: bytes) -> None:
    """Send rows to a COPY … FROM STDIN, in the session's transaction."""
    connection = cast(Connection, opened.connection().connection.driver_connection)
    with connection.cursor() as cursor, cursor.copy(statement) as copying:
        copying.write(rows)


def clock_now(opened: Session) -> datetime:
    """Give the current time by the only clock (T2): the database's, shifted by KEYPOOL_CLOCK_OFFSET.

    A statement that compares many rows with it takes it as a parameter: SQL's `clock_now()` is
    computed for each row.
    """
    now: datetime = opened.execute(select(func.clock_now())).scalar_one()
    return now


@event.listens_for(Engine, "handle_error")
def _translate(context: ExceptionContext) -> BaseException | None:
    """Translate the database's error into the named error of the broken constraint.

    A signal during a statement may leave a connection that cannot even roll back. The connection is
    closed and the interrupt raised again, so that a retry loop does not swallow the interrupt.
    """
    if signal := errors.interruption(context.original_exception.__context__):
        context.is_disconnect, context.invalidate_pool_on_disconnect = True, False
        return signal
    return _named(context.original_exception)


@contextmanager
def _by_itself(driver: Connection) -> Iterator[Connection]:
    """Switch a connection to autocommit; a broken one is left for the pool to discard."""
    driver.autocommit = True
    try:
        yield driver
    finally:
        if driver.info.transaction_status is TransactionStatus.IDLE:
            driver.autocommit = False


def _named(original: BaseException) -> errors.KeypoolError | None:
    if isinstance(original, postgres.IntegrityError):
        return rules.broken(original.diag.constraint_name)
    if isinstance(original, postgres.DataError):
        return errors.InvalidInputError(
            "A value is too large, or has a character that cannot be kept."
        )
    if isinstance(original, postgres.InvalidAuthorizationSpecification):  # see require_proof
        return errors.UnknownWebError()
    if isinstance(original, postgres.OperationalError | postgres.InterfaceError):
        return errors.DatabaseAwayError()
    if isinstance(original, postgres.InternalError) and original.sqlstate is None:
        # psycopg's own: where a backend is ended, a pooler tells so a second time.
        return errors.DatabaseAwayError()
    return None
