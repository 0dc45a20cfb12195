"""Migration 0027: organizations that are there get slugs made from their names."""

from sqlalchemy import text

from tests import upgrading
from tests.worker.database.conftest import run
from worker.database import migrating


def test_older_organizations_get_slugs_of_their_names_each_its_own(databases):
    engine = databases.empty()
    upgrading.make_first_release(engine, up_to="0026")
    run(
        engine,
        "INSERT INTO organization (name) VALUES ('Röhm & Söhne'), ('Roehm Soehne'), ('学校')",
    )

    migrating.upgrade(engine, to="0027")

    with engine.connect() as connection:
        slugs = connection.scalars(text("SELECT slug FROM organization ORDER BY id")).all()
    assert slugs[-3:] == ["roehm-soehne", "roehm-soehne-2", "organization"]
    assert "" not in slugs
    assert len({*slugs}) == len(slugs)
