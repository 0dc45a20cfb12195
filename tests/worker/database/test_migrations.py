"""The migrations themselves: what each says, and that what the first release kept is kept."""

import hashlib
import re
from collections.abc import Iterator

import pytest
from alembic.script import Script, ScriptDirectory
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from tests import upgrading
from tests.worker.database.conftest import Databases, described
from worker.audit import auditing
from worker.database import migrating, revisions
from worker.database.catalog import differences
from worker.settings import settings
from worker.tenancy import secrets

FROZEN = "b78acc216763058bd20f6db9f904889a45647d0931bcc24eb796b08ecd0d6ecb"
SCRIPTS: list[Script] = list(ScriptDirectory(str(revisions.MIGRATIONS)).walk_revisions())[::-1]

# What migrations say they change of older rows, with a reason each: columns as `table.column`, whose
# contents are theirs then, and tables, whose rows are.
CHANGED = {thing for script in SCRIPTS for thing in getattr(script.module, "changes", {})}

KEPT = text("""
SELECT table_name::text, array_agg(column_name::text) FROM information_schema.columns
 WHERE table_schema = 'public' AND table_name::text <> ALL (:changed)
   AND table_name || '.' || column_name <> ALL (:changed)
   AND table_name IN (SELECT relname FROM pg_class WHERE relkind = 'r' AND relname <> 'alembic_version')
 GROUP BY table_name
""")


# What a migration says


def test_the_first_release_is_never_edited():
    sql = (revisions.MIGRATIONS / "versions" / "0001_initial.sql").read_bytes()

    assert hashlib.sha256(sql).hexdigest() == FROZEN


def test_the_code_is_of_the_newest_migrations_revision():
    assert SCRIPTS[-1].revision == revisions.CODE


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.revision)
def test_a_migration_says_what_it_does_and_which_code_runs_with_it(script):
    assert re.fullmatch(r"[A-Z].+\.", script.doc)
    assert "0001" <= script.module.oldest_code <= script.revision


# The first release's database, brought to the present


@pytest.fixture(scope="module")
def first_release(module_databases: Databases) -> Engine:
    engine = module_databases.empty()
    upgrading.make_first_release(engine)
    return engine


@pytest.fixture(scope="module")
def kept(first_release: Engine) -> dict[str, list[str]]:
    """The first release's tables and columns whose contents no migration says it changes."""
    with first_release.connect() as connection:
        rows = connection.execute(KEPT, {"changed": sorted(CHANGED)}).all()
    return dict(map(tuple, rows))


@pytest.fixture(scope="module")
def before(first_release: Engine, kept: dict[str, list[str]]) -> upgrading.Rows:
    return upgrading.rows_of(first_release, kept)


@pytest.fixture(scope="module")
def upgraded(first_release: Engine, before: upgrading.Rows) -> Engine:
    migrating.upgrade(first_release)
    return first_release


def test_the_dump_is_loaded_whole(before):
    dumped = {
        table: rows.count("\n")
        for _, table, rows in upgrading.TABLE.findall(upgrading.FIRST_RELEASE.read_text())
    }

    loaded = {table: rows.total() for table, rows in before.items() if table in dumped}

    assert {**dumped, **loaded} == dumped
    assert len(dumped) > 30


def test_an_upgrade_keeps_every_row_of_the_first_release(upgraded, before, kept):
    after = upgrading.rows_of(upgraded, kept)

    for table, rows in before.items():
        assert after[table] == rows, f"{table}: what a migration changes, it says in “changes”"


def test_an_upgraded_database_is_what_schema_sql_says(upgraded, made):
    assert differences(described(upgraded), wanted=described(made)) == []


def test_the_audit_holds_after_an_upgrade(upgraded):
    with Session(upgraded) as session:
        result = auditing.audit(session)

    assert [check for check in result["checks"] if not check["ok"]] == []


@pytest.fixture
def _secret_key(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("KEYPOOL_SECRET_KEY", f"{'a newer key' * 3},{upgrading.SECRET_KEY}")
    settings.cache_clear()
    yield
    settings.cache_clear()


@pytest.mark.usefixtures("_secret_key")
@pytest.mark.parametrize("table", ["source_secret", "endpoint_secret"])
def test_what_the_first_release_sealed_still_opens(upgraded, table):
    with upgraded.connect() as connection:
        sealed = connection.execute(text(f"SELECT encrypted FROM {table}")).scalar_one()

    assert len(secrets.decrypt(sealed)) == secrets.SECRET_BYTES
