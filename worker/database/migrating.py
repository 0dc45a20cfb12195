"""Bringing an older database to schema.sql, one migration after the other.

Each is a transaction that also records its revision, so a killed run continues where it ended. A
migration has a short lock timeout, so that nobody queues behind it for long, and is retried with
backoff.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import accumulate, islice
from typing import NamedTuple, TypedDict

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import Script, ScriptDirectory
from alembic.script.revision import RevisionError
from alembic.util import CommandError
from psycopg import errors as postgres
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from worker import errors
from worker.database import catalog, revisions

LOCK_TIMEOUT = "300ms"
PAUSES = (1, 2, 4, 8, 15, 30, 30, 30, 30, 30)  # seconds between tries for a lock
TURN_PAUSES = (0.1, 0.5, 1)  # seconds between checks whether the other run has ended
REPORT_SECONDS = 5.0  # seconds between lines of progress of a long migration

Tell = Callable[[str], None]

# No timeouts, whatever the login's settings are. The server checks every second whether the client
# lives, so that a killed run's locks are released.
UNHURRIED = text("""
SELECT set_config(name, CASE name WHEN 'client_connection_check_interval' THEN '1s'
                                  WHEN 'search_path' THEN 'public' ELSE '0' END, false)
  FROM pg_settings
 WHERE name IN ('statement_timeout', 'transaction_timeout', 'idle_in_transaction_session_timeout',
                'client_connection_check_interval', 'search_path')
""")

# Only the database's owner may hold this lock, and it is there before any table is. The comment stays as it is:
# whoever holds it rolls back. Advisory locks and locks of tables that others read are anybody's.
TAKE_TURN = text("""
DO $$
BEGIN
    PERFORM set_config('lock_timeout', '100ms', true);
    EXECUTE format('COMMENT ON DATABASE %I IS %L', current_database(),
                   (SELECT shobj_description(oid, 'pg_database') FROM pg_database
                     WHERE datname = current_database()));
END
$$
""")

DOING = text(r"""
SELECT extract(epoch FROM clock_timestamp() - query_start)::int AS seconds,
       left(regexp_replace(btrim(query, E' \n\t'), '\s+', ' ', 'g'), 80) AS statement,
       coalesce(' (' || phase || coalesce(', ' || 100 * blocks_done / nullif(blocks_total, 0) || ' %', '')
                || ')', '') AS progress
  FROM pg_stat_activity LEFT JOIN pg_stat_progress_create_index USING (pid)
 WHERE pid = :pid AND state = 'active'
""")


class ForeignDatabaseError(errors.RefusedError):
    """The database is not empty and not keypool's; give keypool an empty one of its own."""


class SchemaOwnerError(errors.RefusedError):
    """Only the database's owner can change its schema, or compare it with schema.sql; log in as its owner."""


class MigrationLockedError(errors.KeypoolError):
    """A migration did not get its locks."""

    def __init__(self, revision: str) -> None:
        super().__init__(
            f"Revision {revision} did not get its locks in {len(PAUSES) + 1} attempts; what came "
            "before it is done. End the long transactions that pg_stat_activity shows, then run "
            "“keypool db upgrade” again."
        )


class MigrationFailedError(errors.KeypoolError):
    """A migration failed."""

    def __init__(self, revision: str, cause: BaseException) -> None:
        reason = str(cause).partition("\n")[0]
        super().__init__(f"Revision {revision} failed; what came before it is done: {reason}")


class Step(TypedDict):
    """A migration that is to be applied."""

    revision: str
    """Its number."""
    does: str
    """What it does, in a sentence."""
    in_pieces: bool
    """Whether it works piece by piece while others write; else it is one transaction."""
    oldest_code: str
    """The oldest revision of keypool that runs with the database afterwards."""


def _tell_nobody(sentence: str) -> None:
    pass


def upgrade(engine: Engine, *, to: str = "head", tell: Tell = _tell_nobody) -> list[str]:
    """Apply the pending migrations; give their revisions, in order.

    If another run is under way, it waits for its end. `tell` gets a sentence for each event: a
    migration started or done, a wait, the progress of a long one.

    Raises:
        SchemaOwnerError: the login does not own the database.
        ForeignDatabaseError: the database holds something else; nothing was changed.
        DatabaseTooNewError: the database was made by a newer version.
        MigrationLockedError: a lock was not granted after all retries; earlier migrations are done.
        MigrationFailedError: as above, for any other reason.
    """
    with alone(engine, tell) as turn:
        connection = turn.connection
        refuse_foreign(connection)
        due = pending(connection, to)
        connection.commit()
        for script in due:
            turn.require()
            with _watched(engine, connection, script.revision, tell):
                _apply_patiently(connection, script, tell)
    return [script.revision for script in due]


def plan(engine: Engine) -> list[Step]:
    """Give the pending migrations as `upgrade` would apply them; nothing is changed.

    Raises:
        ForeignDatabaseError, DatabaseTooNewError: as `upgrade`.
    """
    with engine.connect() as connection:
        refuse_foreign(connection)
        now, due = revision(connection), pending(connection)
    before = oldest_code(now) if now else ""
    oldest = accumulate((script.module.oldest_code for script in due), max, initial=before)
    return [
        {
            "revision": script.revision,
            "does": script.doc,
            "in_pieces": not getattr(script.module, "transactional", True),
            "oldest_code": code,
        }
        for script, code in zip(due, islice(oldest, 1, None), strict=True)
    ]


def stamp(connection: Connection) -> None:
    """Record in a database just made from schema.sql that every migration is applied."""
    command.stamp(_alembic(connection), "head")


def revision(connection: Connection) -> str | None:
    """Give the last migration applied to the database; None if the database is not keypool's."""
    return MigrationContext.configure(connection).get_current_revision()


def pending(connection: Connection, to: str = "head") -> list[Script]:
    """Give the pending migrations, in the order in which they will be applied.

    Raises:
        DatabaseTooNewError: the database was made by a newer version.
    """
    now = revision(connection)
    scripts = ScriptDirectory.from_config(_alembic(connection))
    try:
        return list(scripts.iterate_revisions(to, now or "base"))[::-1]
    except (CommandError, RevisionError):
        raise revisions.DatabaseTooNewError(str(now)) from None


def oldest_code(at: str) -> str:
    """Give the oldest code that runs with a database at a revision: the highest that a migration names."""
    scripts = ScriptDirectory(str(revisions.MIGRATIONS)).iterate_revisions(at, "base")
    return str(max(script.module.oldest_code for script in scripts))


def note_oldest_code(connection: Connection, at: str) -> None:
    """Record in the database the oldest code that runs with it."""
    # COMMENT takes no parameters; the value is four digits of our own.
    note = revisions.NOTE + oldest_code(at)
    connection.exec_driver_sql(f"COMMENT ON TABLE alembic_version IS '{note}'")


def refuse_foreign(connection: Connection) -> None:
    """Refuse a database that has objects and is not keypool's.

    Raises:
        ForeignDatabaseError: it is such a database.
    """
    if revision(connection) is None and catalog.describe(connection, kinds=catalog.OCCUPANTS):
        raise ForeignDatabaseError


class Turn(NamedTuple):
    """What a run has while no other run changes the schema."""

    connection: Connection
    """Without timeouts, in autocommit."""
    held: Connection
    """Its transaction keeps the others out, over many of the first one's."""

    def require(self) -> None:
        """Raise DatabaseAwayError if the server ended what keeps the others out."""
        # Not by a SELECT, whose snapshot would last until the next statement.
        self.held.execute(text("SHOW lock_timeout"))


@contextmanager
def alone(engine: Engine, tell: Tell = _tell_nobody) -> Iterator[Turn]:
    """Wait until no other run changes the schema, and keep others from it meanwhile.

    Raises:
        SchemaOwnerError: the login does not own the database.
    """
    with engine.connect() as connection, engine.connect() as held:
        try:
            for one in (connection, held):
                one.execute(UNHURRIED)
                one.commit()
            _wait_for_turn(held, tell)
            yield Turn(connection, held)
        finally:
            connection.invalidate()  # closed, not pooled: its settings end with it
            held.invalidate()


def _wait_for_turn(held: Connection, tell: Tell) -> None:
    # Polls, because waiting inside a statement has a snapshot, for whose end another run's CREATE INDEX
    # CONCURRENTLY would wait: a deadlock. A transaction between two statements has none.
    tries = 0
    while not _has_turn(held):
        if tries == 0:
            tell("Another run is changing the schema; waiting for it to end.")
        time.sleep(TURN_PAUSES[min(tries, len(TURN_PAUSES) - 1)])
        tries += 1


def _has_turn(held: Connection) -> bool:
    try:
        held.execute(TAKE_TURN)
    except (SQLAlchemyError, errors.KeypoolError) as error:
        held.rollback()
        if isinstance(error.__cause__, postgres.LockNotAvailable):
            return False
        if isinstance(error.__cause__, postgres.InsufficientPrivilege):
            raise SchemaOwnerError from None
        raise
    return True


def _apply_patiently(connection: Connection, script: Script, tell: Tell) -> None:
    tell(f"{script.revision}: {script.doc}")
    begun = time.monotonic()
    for attempt, pause in enumerate((*PAUSES, None), start=1):
        if _applied(connection, script, tell):
            tell(f"{script.revision}: done in {time.monotonic() - begun:.1f} s")
            return
        if pause is None:
            raise MigrationLockedError(script.revision)
        tell(
            f"{script.revision}: somebody holds a lock that it needs; attempt {attempt + 1} of "
            f"{len(PAUSES) + 1} in {pause} s"
        )
        time.sleep(pause)


def _applied(connection: Connection, script: Script, tell: Tell) -> bool:
    """Apply a migration; False if it timed out waiting for a lock."""
    by_itself = not getattr(script.module, "transactional", True)
    connection.execution_options(isolation_level="AUTOCOMMIT" if by_itself else "READ COMMITTED")
    connection.exec_driver_sql(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
    connection.commit()
    try:
        command.upgrade(_alembic(connection, tell), script.revision)
    except (SQLAlchemyError, errors.KeypoolError) as error:
        connection.rollback()
        if isinstance(error.__cause__, postgres.LockNotAvailable | postgres.DeadlockDetected):
            return False
        raise MigrationFailedError(script.revision, error.__cause__ or error) from error
    return True


def _alembic(connection: Connection, tell: Tell = _tell_nobody) -> Config:
    config = Config()
    config.set_main_option("script_location", str(revisions.MIGRATIONS))
    config.attributes.update(connection=connection, tell=tell)
    return config


@contextmanager
def _watched(engine: Engine, connection: Connection, revision: str, tell: Tell) -> Iterator[None]:
    """Report every few seconds which statement the connection is running."""
    pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
    connection.commit()
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(REPORT_SECONDS):
            if doing := _doing(engine, pid):
                tell(f"{revision}: {doing}")

    watcher = threading.Thread(target=watch, name="migration watcher", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def _doing(engine: Engine, pid: int) -> str | None:
    """Say which statement a connection is running, and since when; None if unknown."""
    with suppress(SQLAlchemyError, errors.KeypoolError), engine.connect() as other:
        if row := other.execute(DOING, {"pid": pid}).one_or_none():
            return f"for {row.seconds} s: {row.statement}{row.progress}"
    return None
