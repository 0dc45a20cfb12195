"""Which connection the pool hands out, and how long the web waits for the database: timeouts.

A server's own timeouts end a statement that runs too long, but a server that is frozen or cut off
keeps no time. So the web's connections are watched from here, and one that is held for too long is
hung up on: the request that waits on it then fails at once, as away, instead of never.
"""

import os
import socket
import threading
import time
from contextlib import suppress
from typing import Any

from psycopg.pq import TransactionStatus
from sqlalchemy import Engine, event, text
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.orm import Session

HELD = 3.5  # seconds from a transaction's first word to its last
PING = 1.0
FRESH = 1.0  # a connection that answered within this time is not asked whether it lives
LOOK = 0.1


class Watch:
    """The connections of one engine that are in use, and when each is to be hung up on."""

    def __init__(self, *, hurried: bool) -> None:
        self._hurried = hurried
        self._lock = threading.Lock()
        self._due: dict[int, tuple[float, int]] = {}
        self._looking = False

    def begin(self, connection: Any, seconds: float) -> None:
        """Hang up on a connection unless `end` is called in time; never where nothing is hurried."""
        if not self._hurried:
            return
        with self._lock:
            self._due[id(connection)] = (time.monotonic() + seconds, connection.fileno())
            if not self._looking:
                self._looking = True
                threading.Thread(target=self._look, name="patience", daemon=True).start()

    def end(self, connection: Any) -> None:
        """Forget a connection: it was given back, or has all the time it wants."""
        with self._lock:
            self._due.pop(id(connection), None)

    def _look(self) -> None:
        while True:
            time.sleep(LOOK)
            with self._lock:
                late = [c for c, (due, _) in self._due.items() if due < time.monotonic()]
                for connection in late:
                    _hang_up(self._due.pop(connection)[1])


def watch(engine: Engine, *, hurried: bool) -> None:
    """Hand out only connections that are alive and idle; it replaces pool_pre_ping.

    Where `hurried`, it also bounds how long anything may wait for the engine's server.
    """
    watching = Watch(hurried=hurried)

    @event.listens_for(engine, "checkout")
    def _begin(connection: Any, record: Any, _proxy: Any) -> None:
        record.info["watch"] = watching
        _require_idle(connection)
        if time.monotonic() - record.info["used"] > FRESH:
            watching.begin(connection, PING)
            _ping(engine, connection)
        watching.begin(connection, HELD)

    @event.listens_for(engine, "connect")
    def _opened(_connection: Any, record: Any) -> None:
        record.info["used"] = time.monotonic()

    @event.listens_for(engine, "checkin")
    @event.listens_for(engine, "invalidate")
    def _end(connection: Any, record: Any, _error: Any = None) -> None:
        watching.end(connection)
        record.info["used"] = time.monotonic()


def unhurried(session: Session) -> None:
    """Let the session's transaction take its time: for what is streamed."""
    proxy = session.connection().connection
    if watching := proxy.info.get("watch"):
        watching.end(proxy.dbapi_connection)
    session.execute(text("SET LOCAL statement_timeout = 0"))


def waiting(session: Session) -> None:
    """Let the session's transaction wait, too, for what other transactions do meanwhile."""
    unhurried(session)
    session.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))


def _require_idle(connection: Any) -> None:
    """Have the pool replace a connection that is amid a transaction: somebody still uses it."""
    if connection.info.transaction_status is not TransactionStatus.IDLE:
        raise DisconnectionError


def _ping(engine: Engine, connection: Any) -> None:
    try:
        engine.dialect.do_ping(connection)
    except engine.dialect.loaded_dbapi.Error:
        raise DisconnectionError from None  # the pool opens a new one


def _hang_up(fileno: int) -> None:
    with suppress(OSError), socket.socket(fileno=os.dup(fileno)) as line:
        line.shutdown(socket.SHUT_RDWR)
