"""What a database gives the sessions that a pooler opens."""

from collections.abc import Iterator

import pytest

from tests.worker.database.conftest import run
from worker.database import pooling, schema
from worker.settings import settings


@pytest.fixture
def behind_a_pooler(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("KEYPOOL_DATABASE_URL", "postgresql+psycopg://somewhere/keypool")
    monkeypatch.setenv("KEYPOOL_SECRET_KEY", "x" * 32)
    monkeypatch.setenv("KEYPOOL_POOLER", "transaction")
    settings.cache_clear()
    yield
    settings.cache_clear()


@pytest.mark.parametrize("role", ["CURRENT_USER", "keypool_web"])
def test_defaults_that_the_database_lacks_are_told_until_it_is_closed_again(
    role, databases, behind_a_pooler
):
    engine = databases.made()
    schema.init(engine)
    run(engine, f"ALTER ROLE {role} IN DATABASE {engine.url.database} RESET statement_timeout")

    with engine.connect() as connection:
        [told] = pooling.lacking_defaults(connection)
    schema.init(engine)

    assert "sessions begin without our timeouts" in told
    with engine.connect() as connection:
        assert pooling.lacking_defaults(connection) == []


def test_without_a_pooler_no_defaults_are_asked_for(databases, monkeypatch):
    monkeypatch.delenv("KEYPOOL_POOLER", raising=False)
    settings.cache_clear()

    with databases.made().connect() as connection:
        told = pooling.lacking_defaults(connection)

    settings.cache_clear()
    assert told == []
