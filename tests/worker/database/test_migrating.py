"""The engine that applies migrations: tried with migrations of the tests' own, after the real ones."""

import re
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from psycopg import errors as postgres
from psycopg.sql import SQL, Identifier
from sqlalchemy import Engine, create_engine, text

from tests import upgrading
from tests.conftest import connect
from tests.worker.database.conftest import described, run
from worker.database import migrating, revisions
from worker.errors import DatabaseAwayError

NEXT, AFTER_NEXT = (f"{int(revisions.CODE) + more:04}" for more in (1, 2))
COMMENT = """
SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()
"""
END_TURN = """
SELECT pg_terminate_backend(pid) FROM pg_locks
 WHERE classid = 'pg_database'::regclass AND mode = 'ShareUpdateExclusiveLock' AND granted
   AND objid = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
LOCK = "LOCK TABLE course IN ACCESS SHARE MODE"


class Migrations:
    """The real migrations, and more after them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(revisions.MIGRATIONS, folder)

    def add(
        self, *statements: str, head: str = "", revision: str = NEXT, oldest: str = "0001"
    ) -> None:
        """Add a migration of some lines of Python."""
        lines = [
            f'"""Migration {revision}."""',
            "from alembic import op",
            "from worker.database import steps",
            f"revision, down_revision = {revision!r}, '{int(revision) - 1:04}'",
            f"oldest_code = {oldest!r}",
            head,
            "def upgrade() -> None:",
            *(f"    {statement}" for statement in statements or ["pass"]),
        ]
        (self.folder / "versions" / f"{revision}_test.py").write_text("\n".join(lines))


@pytest.fixture
def migrations(tmp_path, monkeypatch) -> Migrations:
    made = Migrations(tmp_path / "migrations")
    monkeypatch.setattr(revisions, "MIGRATIONS", made.folder)
    return made


@pytest.fixture
def engine(databases) -> Engine:
    return databases.made()


@pytest.fixture
def _no_pauses(monkeypatch) -> None:
    monkeypatch.setattr(migrating, "LOCK_TIMEOUT", "1ms")
    monkeypatch.setattr(migrating, "PAUSES", (0, 0, 0))


@pytest.fixture
def reports(monkeypatch) -> list[str]:
    """What a long migration is doing, told at once and often."""
    monkeypatch.setattr(migrating, "REPORT_SECONDS", 0.01)
    return []


def execute(statement: str) -> str:
    return f"op.execute({statement!r})"


def answer(engine: Engine, query: str) -> object:
    with engine.connect() as connection:
        return connection.execute(text(query)).scalar_one()


def revision(engine: Engine) -> object:
    return answer(engine, "SELECT schema_revision()")


# One after the other


def test_each_migration_is_a_transaction_of_its_own(engine, migrations):
    migrations.add(execute("CREATE TABLE first AS SELECT pg_current_xact_id()::text AS it"))
    migrations.add(
        execute("CREATE TABLE second AS SELECT pg_current_xact_id()::text AS it"),
        revision=AFTER_NEXT,
    )

    migrating.upgrade(engine)

    assert answer(engine, "SELECT first.it <> second.it FROM first, second")


def test_what_was_done_before_a_failure_stays_and_the_next_run_goes_on(engine, migrations):
    migrations.add(execute("CREATE TABLE first ()"))
    migrations.add(execute("CREATE TABLE second ()"), execute("SELECT 1 / 0"), revision=AFTER_NEXT)

    with pytest.raises(migrating.MigrationFailedError, match=f"{AFTER_NEXT} failed.*division"):
        migrating.upgrade(engine)

    assert revision(engine) == NEXT
    assert ("table", "second") not in described(engine)

    migrations.add(execute("CREATE TABLE second ()"), revision=AFTER_NEXT)

    assert migrating.upgrade(engine) == [AFTER_NEXT]


def test_one_can_stop_at_a_revision(engine, migrations):
    migrations.add()
    migrations.add(revision=AFTER_NEXT)

    assert migrating.upgrade(engine, to=NEXT) == [NEXT]
    assert revision(engine) == NEXT


def test_a_migration_tells_that_it_begins_and_ends(engine, migrations):
    migrations.add("steps.tell('half way')")
    told = []

    migrating.upgrade(engine, tell=told.append)

    assert told[:2] == [f"{NEXT}: Migration {NEXT}.", "half way"]
    assert re.fullmatch(rf"{NEXT}: done in \d+\.\d s", told[2])


def test_the_oldest_code_that_runs_with_it_is_left_in_the_database(engine, migrations):
    migrations.add(oldest=NEXT)
    migrations.add(oldest="0001", revision=AFTER_NEXT)

    migrating.upgrade(engine)

    assert answer(engine, "SELECT obj_description('alembic_version'::regclass)") == (
        f"The oldest code that runs with this database: {NEXT}"
    )


def test_a_new_database_says_which_code_runs_with_it(engine):
    assert answer(engine, "SELECT obj_description('alembic_version'::regclass)").startswith(
        revisions.NOTE
    )


# Without the worker's timeouts


def test_a_migration_has_all_the_time_it_needs_and_waits_briefly_for_locks(databases, migrations):
    engine = databases.made("-c statement_timeout=5s -c idle_in_transaction_session_timeout=5s")
    migrations.add(
        execute(
            "CREATE TABLE found AS SELECT name, setting FROM pg_settings"
            " WHERE name IN ('statement_timeout', 'idle_in_transaction_session_timeout', 'lock_timeout')"
        )
    )

    migrating.upgrade(engine)

    with engine.connect() as connection:
        assert dict(map(tuple, connection.execute(text("TABLE found")))) == {
            "statement_timeout": "0",
            "idle_in_transaction_session_timeout": "0",
            "lock_timeout": "300",
        }


def test_the_connection_that_migrated_is_not_used_for_anything_else(databases, migrations):
    engine = databases.made("-c statement_timeout=5s")
    migrations.add()

    migrating.upgrade(engine)

    assert answer(engine, "SHOW statement_timeout") == "5s"


# Locks


@pytest.mark.usefixtures("_no_pauses")
def test_a_lock_that_is_not_to_be_had_is_tried_again_and_told(engine, migrations):
    migrations.add(execute("ALTER TABLE course ADD note text"))
    told = []
    holder = engine.connect()
    holder.execute(text(LOCK))

    def tell(sentence: str) -> None:
        told.append(sentence)
        if "attempt 3 of 4" in sentence:
            holder.close()

    assert migrating.upgrade(engine, tell=tell) == [NEXT]
    assert told[1] == (f"{NEXT}: somebody holds a lock that it needs; attempt 2 of 4 in 0 s")


def test_where_a_migration_and_a_transaction_wait_for_each_other_the_migration_gives_up(
    engine, migrations, monkeypatch
):
    monkeypatch.setattr(migrating, "PAUSES", (0, 0, 0))
    begun, told = threading.Event(), []
    migrations.add(execute("LOCK TABLE course"), execute("LOCK TABLE learner"))
    monkeypatch.setattr(migrating, "_applied", _signalling(migrating._applied, begun))

    with ThreadPoolExecutor(1) as beside, engine.begin() as others:
        others.execute(text("LOCK TABLE learner IN ROW EXCLUSIVE MODE"))
        upgraded = beside.submit(migrating.upgrade, engine, tell=told.append)
        assert begun.wait(60)
        while not upgraded.done() and not told[1:]:
            others.execute(text("SELECT count(*) FROM course"))  # is never the one that is ended
        others.commit()
        assert upgraded.result(60) == [NEXT]

    assert "somebody holds a lock" in told[1]


def _signalling(work, begun: threading.Event):
    def doing(*words: object) -> object:
        begun.set()
        return work(*words)

    return doing


@pytest.mark.usefixtures("_no_pauses")
def test_a_lock_that_is_never_to_be_had_is_given_up_and_what_came_before_is_kept(
    engine, migrations
):
    migrations.add(execute("CREATE TABLE first ()"))
    migrations.add(execute("ALTER TABLE course ADD note text"), revision=AFTER_NEXT)

    with engine.connect() as holder:
        holder.execute(text(LOCK))
        with pytest.raises(migrating.MigrationLockedError, match=rf"{AFTER_NEXT}.* 4 attempts"):
            migrating.upgrade(engine)

    assert revision(engine) == NEXT


def test_the_pauses_grow_and_end():
    assert list(migrating.PAUSES) == sorted(migrating.PAUSES)
    assert 60 < sum(migrating.PAUSES) < 600


# Without a transaction


def test_an_index_is_built_while_others_write(engine, migrations, reports):
    migrations.add(
        "steps.build_index('course_by_title', 'ON course (title)')", head="transactional = False"
    )
    writer = engine.connect()
    writer.execute(text("INSERT INTO course (code, title) VALUES ('A', 'A')"))

    def tell(sentence: str) -> None:
        if "CREATE INDEX" in sentence:  # it waits for this writer, and for no lock
            writer.commit()
            reports.append(sentence)

    migrating.upgrade(engine, tell=tell)

    assert re.match(rf"{NEXT}: for \d+ s: CREATE INDEX CONCURRENTLY course_by_title", reports[0])
    assert described(engine)["index", "course_by_title on course"].endswith("(title)")
    writer.close()


def test_an_index_that_a_killed_run_left_half_built_is_built_anew(engine, migrations):
    run(engine, "INSERT INTO course (code, title) VALUES ('A', 'A'), ('B', 'A')")
    migrations.add(
        "steps.build_index('title_is_unique', 'ON course (title)', unique=True)",
        head="transactional = False",
    )
    with pytest.raises(migrating.MigrationFailedError, match="could not create unique index"):
        migrating.upgrade(engine)
    assert "(invalid)" in described(engine)["index", "title_is_unique on course"]
    run(engine, "UPDATE course SET title = code")

    migrating.upgrade(engine)

    assert "UNIQUE" in (index := described(engine)["index", "title_is_unique on course"])
    assert "(invalid)" not in index


def test_a_large_table_is_filled_in_chunks_that_are_committed_one_by_one(engine, migrations):
    run(
        engine,
        "INSERT INTO course (code, title) SELECT n, n FROM generate_series(1, 100) AS n",
        "CREATE TABLE chunk (upto bigint, at xid8 DEFAULT pg_current_xact_id())",
    )
    migrations.add(
        "steps.fill('course', "
        "'WITH filled AS (UPDATE course SET title = title WHERE id > :after AND id <= :upto"
        " RETURNING id) INSERT INTO chunk (upto) SELECT max(id) FROM filled', rows=30)",
        head="transactional = False",
    )
    told = []

    migrating.upgrade(engine, tell=told.append)

    assert answer(engine, "SELECT array_agg(upto ORDER BY upto) FROM chunk") == [30, 60, 90, 100]
    assert answer(engine, "SELECT count(DISTINCT at::text) FROM chunk") == 4
    assert told[1:-1] == [f"course: {part} % of 100" for part in (30, 60, 90, 100)]


def test_an_empty_table_is_filled_at_once(engine, migrations):
    migrations.add("steps.fill('course', 'SELECT :after, :upto')")

    assert migrating.upgrade(engine) == [NEXT]


# Runs that meet, and runs that die


def test_of_two_runs_at_once_one_waits_and_then_finds_nothing_due(engine, migrations):
    migrations.add("steps.tell('inside')")
    inside, waiting = threading.Event(), threading.Event()

    def first(sentence: str) -> None:
        if sentence == "inside":
            inside.set()
            waiting.wait(60)

    def second(sentence: str) -> None:
        assert sentence == "Another run is changing the schema; waiting for it to end."
        waiting.set()

    with ThreadPoolExecutor() as threads:
        one = threads.submit(migrating.upgrade, engine, tell=first)
        inside.wait(60)
        other = threads.submit(migrating.upgrade, engine, tell=second)

        assert (one.result(), other.result()) == ([NEXT], [])


def test_no_login_but_the_owners_keeps_a_run_waiting(fresh_database, migrations):
    migrations.add()
    owner, said = create_engine(fresh_database.database_url), []

    with (
        connect(fresh_database.database_url) as anybody,  # on a server of somebody else's
        connect(fresh_database.web_database_url) as web,
    ):
        anybody.execute("SELECT pg_advisory_lock(hashtext('keypool.schema'))")
        web.execute("SELECT FROM organization")
        with pytest.raises(postgres.InsufficientPrivilege), web.transaction():
            web.execute(SQL("COMMENT ON DATABASE {} IS 'mine'").format(Identifier(web.info.dbname)))
        applied = migrating.upgrade(owner, tell=said.append)

    assert applied == [NEXT]
    assert [line for line in said if "Another run" in line] == []
    owner.dispose()


def test_who_does_not_own_the_database_changes_no_schema(fresh_database):
    web = create_engine(fresh_database.web_database_url)

    with pytest.raises(migrating.SchemaOwnerError):
        migrating.upgrade(web)

    web.dispose()


def test_a_run_whose_turn_was_ended_begins_no_further_migration(engine, migrations):
    migrations.add("steps.tell('inside')")
    migrations.add(execute("CREATE TABLE second ()"), revision=AFTER_NEXT)

    def end_turn(sentence: str) -> None:
        if sentence == "inside":
            run(engine, END_TURN)

    with pytest.raises(DatabaseAwayError):
        migrating.upgrade(engine, tell=end_turn)

    assert migrating.upgrade(engine) == [AFTER_NEXT]


def test_a_turn_leaves_the_databases_comment_as_it_is(engine, migrations):
    before = answer(engine, COMMENT)
    migrations.add()

    migrating.upgrade(engine)

    assert before
    assert answer(engine, COMMENT) == before


RUN = """
import sys
from pathlib import Path
from sqlalchemy import create_engine
from worker.database import migrating, revisions
revisions.MIGRATIONS = Path(sys.argv[1])
migrating.upgrade(create_engine(sys.argv[2]), tell=lambda sentence: print(sentence, flush=True))
"""


def test_what_a_killed_run_did_is_recorded_and_the_next_goes_on(engine, migrations):
    migrations.add(execute("CREATE TABLE first ()"))
    migrations.add(
        execute("CREATE TABLE second ()"),
        "steps.tell('inside')",
        execute("SELECT pg_sleep(600)"),
        revision=AFTER_NEXT,
    )
    arguments = [sys.executable, "-c", RUN, str(migrations.folder), upgrading.address(engine)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as killed:
        while killed.stdout.readline() not in ("inside\n", ""):
            pass
        killed.kill()
    assert revision(engine) == NEXT
    migrations.add(execute("CREATE TABLE second ()"), revision=AFTER_NEXT)

    assert migrating.upgrade(engine) == [AFTER_NEXT]
