"""Spark as the engine that answers from the lake, where one machine is too small to read it.

The questions are those of reports, and the views are those that DuckDB has, written in Spark's SQL.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from worker import errors
from worker.reporting.lake import answering, engine
from worker.reporting.lake.places import Place

with errors.of_extra("spark"):
    from pyspark.errors import AnalysisException
    from sqlglot.errors import UnsupportedError

    from worker.reporting.lake import sparksql

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import SparkSession
    from sqlglot import exp

# The functions of schema.sql, as engine.MACROS has them for DuckDB.
FUNCTIONS = {
    """gives_access(cancelled_at TIMESTAMP, until TIMESTAMP, moment TIMESTAMP)
       RETURNS BOOLEAN""": engine.ACCESS,
    """earned(amount DECIMAL(18, 4), decimals INT, day DATE, first_day DATE, days INT, earned_by DATE,
              until DATE) RETURNS DECIMAL(22, 4)""": engine.EARNED,
}


@contextmanager
def answers(session: "SparkSession") -> Iterator[None]:
    """Have questions about closed months be answered by Spark meanwhile.

    Its workers must see the lake at the same address.
    """
    with answering.asking_elsewhere(Spark(session)):
        yield


class Spark:
    """The engine of a cluster."""

    refusals = (AnalysisException, UnsupportedError)

    def __init__(self, session: "SparkSession") -> None:
        """Answer by a session, which gets functions and views of its own."""
        self._session = session
        session.conf.set("spark.sql.session.timeZone", "UTC")
        for declared, body in FUNCTIONS.items():
            session.sql(
                f"CREATE OR REPLACE TEMPORARY FUNCTION {declared} RETURN {sparksql.translated(body)}"
            )

    def register(self, name: str, rows: "pa.Table") -> None:
        """Have rows as a table."""
        self._session.createDataFrame(rows).createOrReplaceTempView(name)

    def files(self, place: Place, paths: list[str]) -> str:
        """Give what stands after FROM for the rows of files."""
        name = f"files_{abs(hash(tuple(paths)))}"
        if self._session.catalog.tableExists(name):
            return name
        addresses = [place.files.unstrip_protocol(path) for path in paths]
        self._session.read.parquet(*addresses).createOrReplaceTempView(name)
        return name

    def view(self, name: str, select: str) -> None:
        """Have a view, or another by its name."""
        self._session.sql(
            f"CREATE OR REPLACE TEMPORARY VIEW {sparksql.plain(name)} AS {sparksql.translated(select)}"
        )

    def answer(self, query: "exp.Expr") -> "pa.Table":
        """Run a query."""
        rows: pa.Table = self._session.sql(sparksql.written(query)).toArrow()
        return rows
