"""Timeouts on the client's side, and which connection the pool hands out.

PostgreSQL's statement timeout does not help when the server is frozen or cut off. So a thread watches
the web's connections and closes one that waits for too long: its request then fails at once with
503. A request of a burst waits for up to 3 s for one of the pool's connections. A ping has 1 s, connecting and
the transaction together 3.5 s, and all of it 4.5 s: less than 5 s.

A network that is cut tells neither side. TCP keepalives find out, on both: until then the session of a worker
that is cut off holds its locks, and that of a web its place among `max_connections`.
"""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from psycopg.pq import TransactionStatus
from sqlalchemy import Engine, PoolProxiedConnection, QueuePool, event, text
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session

CONNECT = 3  # seconds; libpq takes whole numbers only
CONNECT_UNHURRIED = 5
SHORTEST_CONNECT = 2  # libpq waits for no fewer
SLOT = 3.0  # seconds for one of the pool's connections
WHOLE = 4.5  # seconds, of the slot and the transaction together
# TCP keepalives: who was silent for so long is asked so often, and let go after so long without an answer.
KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_COUNT, LET_GO = 3, 1, 3, 6  # seconds, and a number
TRANSACTION_TIMEOUT = 3.5  # seconds that a transaction may wait for the server, connecting included
PING = 1.0
FRESH = 1.0  # a connection that answered within this time is not pinged
POLL_SECONDS = 0.1


class _Asking(threading.local):
    """Since when this thread wants the connection that it gets."""

    since: float = 0.0


_asking = _Asking()

SET_IDLE = text("SELECT set_config('idle_in_transaction_session_timeout', :timeout, true)")


# The client's side, as libpq's options, and the server's, as PostgreSQL's settings. Sockets in the file system
# ignore them.
OURS = {
    "keepalives_idle": KEEPALIVE_IDLE,
    "keepalives_interval": KEEPALIVE_INTERVAL,
    "keepalives_count": KEEPALIVE_COUNT,
    "tcp_user_timeout": LET_GO * 1000,
}
THEIRS = {
    "tcp_keepalives_idle": f"{KEEPALIVE_IDLE}s",
    "tcp_keepalives_interval": f"{KEEPALIVE_INTERVAL}s",
    "tcp_keepalives_count": f"{KEEPALIVE_COUNT}",
    "tcp_user_timeout": f"{LET_GO}s",
    "client_connection_check_interval": "5s",  # while a statement runs, nobody listens to the line
}


class Pool(QueuePool):
    """Connections of one login; it notes since when a thread has waited for one."""

    __module__ = QueuePool.__module__  # after which SQLAlchemy names its log: not among ours

    def connect(self) -> PoolProxiedConnection:
        """Lend a connection, once there is one."""
        _asking.since = time.monotonic()
        return super().connect()


@dataclass
class Loan:
    """A connection in use, and how many seconds it may still wait for the server.

    Only waiting counts, because on a busy machine the process's own work may take long.
    """

    connection: Any
    left: float
    asking: bool = False

    def __post_init__(self) -> None:
        self._line = self.connection.fileno()

    def overdue(self, passed: float) -> bool:
        """Count the seconds since the last check, if it waits; say whether its timeout is over."""
        asked, self.asking = self.asking, _status(self.connection) is TransactionStatus.ACTIVE
        if asked and self.asking:
            self.left -= passed
        return self.left < 0

    def hang_up(self) -> None:
        """Close the socket, so that the thread that waits for the server fails at once."""
        with suppress(OSError), socket.socket(fileno=os.dup(self._line)) as line:
            line.shutdown(socket.SHUT_RDWR)


class Watch:
    """The connections of one engine that are in use; it closes those whose timeout is over."""

    def __init__(self, *, hurried: bool) -> None:
        self._hurried = hurried
        self._lock = threading.Lock()
        self._loans: dict[int, Loan] = {}
        self._looking = False

    def begin(self, connection: Any, seconds: float) -> None:
        """Start a connection's timeout, until `end`; nothing on engines without one."""
        if not self._hurried:
            return
        with self._lock:
            self._loans[id(connection)] = Loan(connection, seconds)
            if not self._looking:
                self._looking = True
                threading.Thread(target=self._look, name="patience", daemon=True).start()

    def end(self, connection: Any) -> None:
        """Forget a connection: it was given back, or has no timeout any more."""
        with self._lock:
            self._loans.pop(id(connection), None)

    def _look(self) -> None:
        looked = time.monotonic()
        while True:
            time.sleep(POLL_SECONDS)
            now = time.monotonic()
            with self._lock:
                late = [key for key, loan in self._loans.items() if loan.overdue(now - looked)]
                for key in late:
                    self._loans.pop(key).hang_up()
            looked = now


def watch(engine: Engine, *, hurried: bool) -> None:
    """Hand out only connections that are alive and idle; it replaces pool_pre_ping.

    With `hurried`, it also bounds how long a connection may wait for the server.
    """
    watching = Watch(hurried=hurried)

    @event.listens_for(engine, "do_connect")
    def _connect(_dialect: Any, record: Any, _words: Any, parameters: dict[str, Any]) -> None:
        record.info["asked"] = time.monotonic()
        if hurried:
            parameters["connect_timeout"] = min(CONNECT, _seconds_to_connect())

    @event.listens_for(engine, "connect", insert=True)  # without the queries of SQLAlchemy's own
    def _opened(connection: Any, record: Any) -> None:
        record.info["used"] = time.monotonic()
        record.info["opened"] = True
        watching.begin(connection, _left(record.info["asked"]))

    @event.listens_for(engine, "checkout")
    def _lent(connection: Any, record: Any, _proxy: Any) -> None:
        record.info["watch"] = watching
        _require_idle(connection)
        if record.info.pop("opened", False):
            return
        lent = time.monotonic()
        if lent - record.info["used"] > FRESH:
            watching.begin(connection, PING)
            _ping(engine, connection)
        watching.begin(connection, _left(lent))

    @event.listens_for(engine, "checkin")
    @event.listens_for(engine, "invalidate")
    def _end(connection: Any, record: Any, _error: Any = None) -> None:
        watching.end(connection)
        record.info["used"] = time.monotonic()


def unhurried(session: Session) -> None:
    """Lift the timeouts of the session's transaction, for streaming."""
    proxy = session.connection().connection
    if watching := proxy.info.get("watch"):
        watching.end(proxy.dbapi_connection)
    session.execute(text("SET LOCAL statement_timeout = 0"))


def waiting(session: Session) -> None:
    """Lift the timeouts of the session's transaction, the one for idling included."""
    unhurried(session)
    session.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))


@contextmanager
def computing(session: Session) -> Iterator[None]:
    """Lift the timeout for idling in the session's transaction while this process reads an input.

    No row should be locked meanwhile, because a frozen process would keep it locked.
    """
    before = session.scalar(text("SHOW idle_in_transaction_session_timeout"))
    session.execute(SET_IDLE, {"timeout": "0"})
    yield
    session.execute(SET_IDLE, {"timeout": before})


def _left(begun: float) -> float:
    """Give the seconds that are left to a transaction which began then, and to its thread as a whole."""
    now = time.monotonic()
    return min(TRANSACTION_TIMEOUT - (now - begun), WHOLE - (now - _asking.since))


def _seconds_to_connect() -> int:
    """Give the whole seconds that are left for connecting.

    Raises:
        TimeoutError: fewer than libpq takes.
    """
    left = int(WHOLE - (time.monotonic() - _asking.since))
    if left < SHORTEST_CONNECT:
        raise PoolTimeoutError
    return left


def _require_idle(connection: Any) -> None:
    """Have the pool replace a connection that is inside a transaction: something still uses it."""
    if _status(connection) is not TransactionStatus.IDLE:
        raise DisconnectionError


def _status(connection: Any) -> TransactionStatus:
    status: TransactionStatus = connection.info.transaction_status
    return status


def _ping(engine: Engine, connection: Any) -> None:
    try:
        engine.dialect.do_ping(connection)
    except engine.dialect.loaded_dbapi.Error:
        raise DisconnectionError from None  # the pool opens a new one
