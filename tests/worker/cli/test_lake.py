"""The lake on the command line."""

from sqlalchemy import text

from worker.database import connections as databases
from worker.settings import settings


def test_a_lake_is_built_and_what_differs_from_the_tables_is_named(
    run, world, tmp_path, monkeypatch
):
    monkeypatch.setenv("KEYPOOL_LAKE", str(tmp_path / "lake"))
    settings.cache_clear()
    run("keys", "generate", world.pool, "3")
    with databases.session() as session:
        session.execute(text("UPDATE pool_growth SET made_at = made_at - interval '70 days'"))

    built = run("lake", "build", "--json").json
    checked = run("lake", "check")
    next((tmp_path / "lake" / "stock").rglob("*.parquet")).unlink()
    spoiled = run("lake", "check")

    assert built["facts"]
    facts = f"{built['facts']} facts in {built['months']} months"
    assert checked.out.splitlines()[-1] == f"The lake agrees with the tables: {facts}."
    assert (checked.code, spoiled.code) == (0, 1)
    assert "stock: rows 0 in the lake, 1 in the tables" in spoiled.out
