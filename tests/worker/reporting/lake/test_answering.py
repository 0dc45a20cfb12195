"""Questions that the lake answers: the same figures as without it, and nothing of anybody else."""

import inspect
import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import jupytext
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from tests.worker.reporting.lake.conftest import run
from worker import reporting
from worker.demo import scratch
from worker.reporting import drawing, logins, postgres, reading, rendering
from worker.reporting.lake import (
    answering,
    asking,
    building,
    engine,
    places,
    sharing,
    sparksql,
)

# Only PostgreSQL knows addresses, and it finds by an index who has access at present.
AT_RISK = rendering.NOTEBOOKS / "learners_at_risk.ipynb"
NAMED = re.compile(r"reporting\.(\w+)\(question")


@pytest.fixture(autouse=True)
def looked_anew() -> Iterator[None]:
    answering.forget()
    yield
    answering.forget()


@contextmanager
def told(**variables: str) -> Iterator[None]:
    with scratch.environment(variables):
        answering.forget()
        yield
    answering.forget()


@pytest.fixture(scope="module")
def organization(lake: Path) -> tuple[int, str]:
    """An organization with a child, so that not all of the lake is its own."""
    return run("""SELECT id, name FROM organization WHERE parent_id IS NOT NULL
                   AND id IN (SELECT organization_id FROM lake_month) ORDER BY id LIMIT 1""")[0]


@contextmanager
def asking_about(organization: tuple[int, str] | None) -> Iterator[reporting.Question]:
    with (
        logins.login(organization and organization[0]) as url,
        told(KEYPOOL_ANALYST_DATABASE_URL=url),
    ):
        yield reporting.ask(organization=organization and organization[1])


# ------------------------------------------------------------------------------- both ways


def shown(notebook: Path, question: reporting.Question) -> dict[str, Any]:
    """What the cells of a notebook show, by their source."""
    known = {"reporting": reporting, "question": question}
    return {
        cell.source: plain(eval(cell.source, known))  # noqa: S307  # ours
        for cell in jupytext.read(notebook).cells
        if cell.cell_type == "code" and NAMED.search(cell.source)
    }


@pytest.fixture
def undrawn(monkeypatch) -> None:
    """Charts are what they are drawn from: drawing takes most of the time."""
    for name, function in inspect.getmembers(drawing, inspect.isfunction):
        if function.__annotations__.get("return") in (Figure, "Figure"):
            monkeypatch.setattr(drawing, name, lambda *data, **options: (*data, options))


def plain(made: Any) -> Any:
    match made:
        case pd.DataFrame():
            rows = [plain(row) for row in made.itertuples(index=False)]
            return [list(made.columns), rows, plain(made.attrs.get("compared"))]
        case dict():
            return {name: plain(value) for name, value in made.items()}
        case list() | tuple():
            return [plain(value) for value in made]
        case np.ndarray():
            return plain(made.tolist())
        case _ if callable(made):  # how a chart writes its numbers
            return made.__qualname__
        case _ if hasattr(made, "_repr_html_"):
            return made._repr_html_()
        case _:
            return rounded(made)


def rounded(value: Any) -> Any:
    """Exact amounts as they are; shares, which the lake has as floats, to six places."""
    if value is None or value is pd.NaT:
        return None
    if isinstance(value, Decimal | float):
        return None if value != value else round(Decimal(value), 6)
    return value


def test_every_notebook_has_the_same_figures_with_and_without_the_lake(
    organization, tmp_path, monkeypatch, undrawn
):
    asked, answer = [], answering.answer

    def noting(query: str) -> Any:
        answered = answer(query)
        asked.append((answered is not None, query))
        return answered

    monkeypatch.setattr(answering, "answer", noting)
    with asking_about(organization) as question:
        with_lake = {AT_RISK.stem: shown(AT_RISK, question)}
        asked.clear()
        with_lake |= {
            path.stem: shown(path, question) for path in rendering.notebooks() if path != AT_RISK
        }
        from_lake, asked[:] = [*asked], []
        with told(KEYPOOL_LAKE=str(tmp_path / "none")):
            without = {path.stem: shown(path, question) for path in rendering.notebooks()}

    assert sum(map(len, with_lake.values())) > 40
    for notebook, cells in without.items():
        for source, figures in cells.items():
            assert with_lake[notebook][source] == figures, source
    assert not any(answered for answered, _ in asked)
    assert {
        query for answered, query in from_lake if not answered and is_of_the_lake(query)
    } == set()
    # Spark, which `make scale` asks the same, has words for each of them.
    assert all(
        sparksql.written(asking.read(query).tree) for answered, query in from_lake if answered
    )


def is_of_the_lake(query: str) -> bool:
    """Whether a query is about facts of the lake's months."""
    if not answering.MENTIONS.search(query):
        return False
    ((earliest,),) = run("SELECT min(month) FROM lake_month")
    spans = asking.read(query).spans
    asked = [span for name, span in spans.items() if name in answering.FACTS]
    return any(span.last is None or span.last >= earliest for span in asked)


# Queries that notebooks of one's own may ask.
QUERIES = {
    "of all time": "SELECT count(*) AS n, max(received_at) AS last FROM report.redemption",
    "of attempts that were repeated, too": "SELECT launched, completed, undone, count(*) AS n "
    "FROM report.redemption WHERE day >= '2026-01-01' GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
    "joined with a pool": "SELECT state, sum(amount) AS owed "
    "FROM report.charge JOIN report.pool USING (pool_id) "
    "WHERE charge.day BETWEEN '2026-01-01' AND '2030-01-01' GROUP BY state ORDER BY state",
    "by label": "SELECT label, count(*) AS n FROM report.assignment, unnest(labels) AS label "
    "GROUP BY label ORDER BY label",
}


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_a_query_has_the_same_rows_with_and_without_the_lake(lake, query):
    answered = answering.answer(query)

    assert answered is not None
    with told(KEYPOOL_LAKE="/nowhere"):
        frame = reporting.frame(query)
    assert [list(map(rounded, row.values())) for row in answered.to_pylist()] == [
        list(map(rounded, row.values())) for row in frame.to_dict("records")
    ]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT recipient FROM report.redemption",
        "SELECT * FROM report.redemption",
        "SELECT name FROM report.pool",
        "SELECT count(*) FROM report.redemption JOIN public.key ON true",
        "COPY (SELECT 1 FROM report.redemption) TO '/tmp/out'",
        "no SQL about report.redemption",
    ],
)
def test_what_the_lake_does_not_have_is_asked_of_the_tables(lake, query):
    assert answering.answer(query) is None


def test_what_changed_since_is_read_from_the_tables_of_the_organizations_that_it_is_of(lake):
    query = "SELECT organization_id, count(*) AS n FROM report.launch WHERE completed GROUP BY 1 ORDER BY 1"
    before = answering.answer(query).to_pylist()

    run("""UPDATE launch SET completed = false WHERE id = (
              SELECT id FROM launch WHERE completed AND outcome = 'launched'
                 AND launched_at < clock_now() - interval '65 days' ORDER BY id LIMIT 1)""")
    answering.forget()
    after = answering.answer(query).to_pylist()

    assert sum(row["n"] for row in after) == sum(row["n"] for row in before) - 1
    building.build()


def test_a_month_whose_files_are_of_another_database_is_read_from_the_tables(lake):
    query = "SELECT count(*) AS n FROM report.launch"
    before = answering.answer(query).to_pylist()
    known = next((lake / places.COMPLETE).glob("organization=*/*.json"))
    whole = known.read_text()
    known.write_text(whole.replace('"version": "', '"version": "x'))
    for path in (lake / "launch" / known.parent.name / f"month={known.stem}").glob("*.parquet"):
        path.rename(path.with_suffix(".away"))

    answering.forget()
    after = answering.answer(query).to_pylist()

    known.write_text(whole)
    for path in lake.glob("launch/*/*/*.away"):
        path.rename(path.with_suffix(".parquet"))
    assert after == before


def test_the_days_that_a_query_needs_are_those_of_its_conditions():
    asked = asking.read("""
        WITH late AS (SELECT day FROM report.launch WHERE launched_at >= '2026-03-05'::timestamptz),
        owed AS (SELECT amount FROM report.deferral WHERE day <= '2026-04-01'::date
                    AND earned_by >= '2026-02-01'::date)
        SELECT count(*) FROM report.redemption WHERE answer = 'redeemed'
           AND day BETWEEN '2026-01-02'::date AND '2026-01-03'::date""")

    assert asked.spans["launch"] == asking.Span(date(2026, 3, 3))
    assert asked.spans["deferral"] == asking.Span(None, date(2026, 4, 1))
    assert asked.spans["redemption"] == asking.Span(
        date(2026, 1, 2), date(2026, 1, 3), redeemed=True
    )


def test_what_is_earned_is_rounded_as_in_the_database(lake):
    drawn, rows = random.Random(1), []  # noqa: S311  # no secret
    for _ in range(1000):
        decimals, day = (
            drawn.choice([0, 2, 3, 4]),
            date(2026, 1, 1) + timedelta(drawn.randrange(20)),
        )
        amount = round(
            drawn.choice([-1, 1]) * drawn.choice([1.01, 10.05, 33.335, 0.5, 99.99]), decimals
        )
        first, days = day + timedelta(drawn.randrange(-3, 5)), drawn.randrange(1, 400)
        until = first + timedelta(drawn.randrange(-5, days + 5))
        rows.append(f"({amount}::numeric(14,4), {decimals}, '{day}'::date, '{first}'::date, {days}, "
                    f"'{first + timedelta(days - 1)}'::date, '{until}'::date)")  # fmt: skip
    query = f"""SELECT report.earned(amount, decimals, day, first_day, days, earned_by, until) AS earned
                  FROM (VALUES {", ".join(rows)})
                    AS row (amount, decimals, day, first_day, days, earned_by, until)"""

    earned = [row[0] for row in engine.fenced([]).sql(query).fetchall()]

    assert earned == [row["earned"] for row in postgres.rows(query)]


# ------------------------------------------------------------------------------- the fence


@pytest.fixture(scope="module")
def fenced(lake: Path, organization: tuple[int, str]) -> Iterator[duckdb.DuckDBPyConnection]:
    """The engine of a report about one organization."""
    with asking_about(organization):
        answering.answer("SELECT count(*) FROM report.redemption")
        yield answering._lake.engine.connection


def folders(lake: Path, organization: tuple[int, str]) -> tuple[Path, Path]:
    own = lake / "redemption" / f"organization={organization[0]}"
    seen = run(
        "SELECT descendant_id FROM organization_ancestry WHERE ancestor_id = :id",
        id=organization[0],
    )
    names = {f"organization={number}" for (number,) in seen}
    others = [path for path in lake.glob("redemption/organization=*") if path.name not in names]
    return own, others[0]


ATTACKS = (
    "SELECT * FROM read_parquet('{other}/*/facts.parquet')",
    "SELECT * FROM '{other}/month=2026-01/facts.parquet'",
    "SELECT * FROM read_parquet('{own}/../{name}/*/facts.parquet')",
    "SELECT * FROM glob('{other}/*')",
    "SELECT * FROM read_text('/etc/hostname')",
    "COPY (SELECT 1) TO '{other}/out.csv'",
    "COPY (SELECT 1) TO '/tmp/out.csv'",
    "EXPORT DATABASE '/tmp/out'",
    "ATTACH '/tmp/out.db'",
    "ATTACH 'dbname=keypool' AS keypool (TYPE postgres)",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET enable_external_access = true",
    "SET allowed_directories = ['/']",
    "RESET allowed_directories",
    "SET lock_configuration = false",
    "SET memory_limit = '100GB'",
    "SET threads = 64",
    "SET temp_directory = '/tmp/elsewhere'",
    "SET home_directory = '/'",
)


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_engine_of_a_report_opens_its_own_organizations_folders_alone(
    attack, fenced, lake, organization
):
    own, other = folders(lake, organization)
    statement = attack.format(own=own, other=other, name=other.name)

    assert fenced.sql(f"SELECT count(*) FROM read_parquet('{own}/*/facts.parquet')").fetchall()[0][
        0
    ]
    with pytest.raises(duckdb.Error):
        fenced.execute(statement).fetchall()
    assert not Path("/tmp/out.csv").exists()  # noqa: S108  # what an attack would write
    assert not (other / "out.csv").exists()


@pytest.mark.parametrize("attack", [attack for attack in ATTACKS if "{o" in attack])
def test_a_query_of_a_notebook_is_never_run_by_the_engine_but_as_a_question(
    attack, lake, organization
):
    own, other = folders(lake, organization)
    statement = attack.format(own=own, other=other, name=other.name) + " -- report.redemption"

    assert answering.answer(statement) is None
    with pytest.raises(Exception, match=r"read_parquet|syntax|permission|denied|exist|glob"):
        reading.frame(statement)


def test_a_report_is_shown_the_folders_of_its_own_organizations(lake, organization, tmp_path):
    own, other = folders(lake, organization)

    root, readable = sharing.shown(organization[0], None, tmp_path)

    assert root == lake
    assert own in readable
    assert not any(other.is_relative_to(folder) for folder in readable)


def test_a_lake_elsewhere_is_copied_for_a_report_as_far_as_it_is_needed(
    lake, organization, tmp_path
):
    elsewhere = places.place("memory://bucket/lake")
    for path in lake.rglob("[!.]*.*"):
        elsewhere.files.pipe_file(f"{elsewhere.root}/{path.relative_to(lake)}", path.read_bytes())
    first = max(row[0] for row in run("SELECT month FROM lake_month"))

    with told(KEYPOOL_LAKE="memory://bucket/lake"):
        folder, readable = sharing.shown(organization[0], first, tmp_path)

    copied = {path.relative_to(folder) for path in folder.rglob("*.parquet")}
    own, _ = folders(lake, organization)
    assert readable == (folder,)
    assert copied == {
        path.relative_to(lake)
        for path in lake.glob(f"*/{own.name}/month=*/facts.parquet")
        if path.parts[-4] in answering.FACTS
        and date.fromisoformat(f"{path.parent.name[6:]}-01") >= first - timedelta(days=45)
    }
    query = (
        f"SELECT count(*) AS n FROM report.redemption WHERE day BETWEEN '{first}' AND '9000-01-01'"
    )
    with asking_about(organization), told(KEYPOOL_LAKE=str(folder)):
        assert answering.answer(query).to_pylist() == postgres.rows(query)


def test_another_engine_answers_where_one_is_named(lake, organization):
    class Other(engine.DuckDB):
        asked = 0

        def answer(self, query: Any) -> Any:
            Other.asked += 1
            return super().answer(query)

    query = "SELECT count(*) AS n FROM report.launch"
    own = answering.answer(query)

    with answering.asking_elsewhere(Other(engine.fenced([str(lake)]))):
        others = answering.answer(query)
    answering.answer(query)

    assert others == own
    assert Other.asked == 1


def test_without_a_lake_nothing_is_read_but_the_tables(monkeypatch, lake):
    def refuse(_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(asking, "read", refuse)
    with told(KEYPOOL_LAKE="/nowhere"):
        assert answering.answer("SELECT count(*) FROM report.redemption") is None
