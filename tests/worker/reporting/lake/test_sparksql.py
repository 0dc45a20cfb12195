"""DuckDB's and PostgreSQL's words in Spark's SQL. `make scale` asks Spark itself."""

import pytest
import sqlglot
from sqlglot.errors import UnsupportedError

from worker.reporting.lake import asking, engine, sparksql, views

SERIES = "SELECT day FROM generate_series('2026-01-01'::date, '2026-01-03'::date, interval '1 day') AS day"

WRITTEN = {
    "SELECT count(*) FROM report.redemption": "FROM report_redemption AS redemption",
    "SELECT report.earned(amount, 2) FROM report.deferral": "SELECT EARNED(amount, 2) FROM",
    "WITH a AS MATERIALIZED (SELECT 1 AS one) SELECT one FROM a": "WITH a AS (SELECT 1 AS one)",
    "SELECT coalesce(resumed_at, 'infinity') FROM report.pool_pause": "CAST('9999-12-31' AS TIMESTAMP)",
    "SELECT 'infinity'::date": "CAST('9999-12-31' AS DATE)",
    "SELECT extract(epoch FROM b_at - a_at) FROM a": "UNIX_MICROS(b_at) - UNIX_MICROS(a_at)",
    "SELECT redeemed_at AT TIME ZONE zone FROM a": "FROM_UTC_TIMESTAMP(redeemed_at, zone)",
    "SELECT (day + interval '1 day') AT TIME ZONE zone FROM a": "TO_UTC_TIMESTAMP((day + ",
    "SELECT count(a)::numeric / b FROM a": "CAST(CAST(COUNT(a) AS DECIMAL(38, 10)) AS DOUBLE) / b",
    "SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY a) FROM b": "CAST(PERCENTILE_DISC(0.5) WITHIN GROUP",
    SERIES: "FROM (SELECT EXPLODE(CASE WHEN",
    "SELECT n FROM a CROSS JOIN generate_series(0, 11) AS n": "CROSS JOIN LATERAL (SELECT EXPLODE(",
    "SELECT n FROM a CROSS JOIN LATERAL generate_series(a.b, a.c) AS n": "LATERAL (SELECT EXPLODE(CASE",
    "SELECT label FROM report.assignment, unnest(labels) AS label": "LATERAL (SELECT EXPLODE(labels) AS label)",
    "SELECT n FROM a CROSS JOIN LATERAL (VALUES ('x', b), ('y', -b)) AS side (n, v)": (
        "LATERAL (SELECT INLINE(ARRAY(NAMED_STRUCT('n', 'x', 'v', b), NAMED_STRUCT('n', 'y', 'v', -b))))"
    ),
    "SELECT a, count(*) / sum(count(*)) OVER () AS share FROM b GROUP BY a ORDER BY min(c)": (
        "MIN(c) AS order_0 FROM b GROUP BY a) AS summed ORDER BY order_0"
    ),
}


@pytest.mark.parametrize(("query", "part"), WRITTEN.items(), ids=WRITTEN)
def test_what_spark_says_otherwise_is_written_so(query, part):
    asked = asking.read(query)

    assert asked is not None or "report" not in query
    assert part in sparksql.written(
        asked.tree if asked else sqlglot.parse_one(query, read="postgres")
    )


def test_what_spark_cannot_say_is_refused():
    with pytest.raises(UnsupportedError):
        sparksql.written(sqlglot.parse_one("SELECT a FROM b FOR UPDATE", read="postgres"))


@pytest.mark.parametrize("name", views.ALL)
def test_the_views_of_the_lake_are_written_for_spark(name):
    view = views.select(name, (), set(views.ALL[name].columns), now="2026-01-01T00:00:00+00:00")

    written = sparksql.translated(view)

    assert f"FROM {name}_facts AS f" in written
    assert "TIMESTAMPTZ" not in written


def test_the_functions_of_the_lake_are_written_for_spark():
    written = [sparksql.translated(body) for body in (engine.ACCESS, engine.EARNED)]

    assert "DATEDIFF(DAY, first_day, until)" in written[1]
    assert " DIV " in written[1]
    assert written[0] == "cancelled_at IS NULL AND moment < until"
