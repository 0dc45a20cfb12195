"""Comparing the lake with the tables: counts and sums of each fact, organization and month."""

from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from typing import Any

from psycopg import sql
from sqlalchemy import text
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from worker import errors
from worker.database import connections
from worker.database.connections import Login
from worker.days import following_month
from worker.reporting import postgres
from worker.reporting.lake import facts, places
from worker.reporting.lake.facts import Fact
from worker.reporting.lake.places import Place

MONTHS = text("""
    SELECT month::date FROM lake, generate_series(
           (SELECT min(month) FROM lake_month), written - interval '1 month', interval '1 month') AS month
""")
WRITTEN = text("""
    SELECT organization.id, organization.name, lake_month.version::text AS version,
           EXISTS (SELECT FROM lake_change WHERE organization_id = organization.id AND month = :month) AS noted
      FROM organization LEFT JOIN lake_month ON organization_id = organization.id AND month = :month
""")

Figures = dict[str, Decimal]


class Difference(TypedDict):
    """A figure of a month that is another one in the lake than in the tables."""

    organization: str
    """Whose."""
    month: date
    """The month's first day."""
    fact: str
    """The kind of fact."""
    figure: str
    """What was counted or added up."""
    lake: str
    """What the lake has."""
    tables: str
    """What the tables have."""
    noted: bool
    """Whether the change is noted: reports read this month from the tables until it is written anew."""


class Checked(TypedDict):
    """What a check compared."""

    ok: bool
    """Whether all agrees, but for changes that are noted."""
    months: int
    """How many months were compared."""
    facts: int
    """How many facts the lake has in them."""
    differences: list[Difference]
    """What does not agree."""


def check(*, advance: Callable[[int, int], None] = lambda _done, _all: None) -> Checked:
    """Compare each month of the lake with the tables.

    Raises:
        ExtraMissingError: what reads Parquet is not installed.
        NotFoundError: there is no lake.
    """
    months = connections.transaction(_months)
    if not months:
        raise errors.NotFoundError("There is no lake yet: “keypool lake build” begins one.")
    checked = Checked(ok=True, months=len(months), facts=0, differences=[])
    for done, month in enumerate(months):
        advance(done, len(months))
        checked["differences"].extend(_month(month, checked))
    advance(len(months), len(months))
    checked["ok"] = all(difference["noted"] for difference in checked["differences"])
    return checked


def _months(session: Session) -> list[date]:
    return list(session.scalars(MONTHS))


def _month(month: date, checked: Checked) -> Iterator[Difference]:
    place = places.ours()
    with connections.session() as session:
        written = session.execute(WRITTEN, {"month": month}).all()
    with postgres.snapshot(Login.DIRECT) as cursor:
        for fact in facts.ALL:
            cursor.execute(postgres.text(_added_up(fact, month)))
            tables = {
                int(row.pop("organization_id")): row for row in _rows(cursor.fetch_arrow_table())
            }
            for organization in written:
                lake = _lakes(place, fact, month, organization.id, organization.version)
                checked["facts"] += int(lake.get("rows", 0))
                yield from _differences(
                    fact, month, organization, lake, tables.get(organization.id, {})
                )


def _differences(
    fact: Fact, month: date, organization: Any, lake: Figures, tables: Figures
) -> Iterator[Difference]:
    for figure in ("rows", *fact.sums):
        ours, theirs = lake.get(figure, Decimal()), tables.get(figure, Decimal())
        if ours != theirs:
            yield {
                "organization": organization.name,
                "month": month,
                "fact": fact.name,
                "figure": figure,
                "lake": str(ours),
                "tables": str(theirs),
                "noted": organization.noted,
            }


def _added_up(fact: Fact, month: date) -> sql.Composed:
    return sql.SQL("SELECT organization_id, {} {} GROUP BY organization_id").format(
        _sums(fact), fact.rows(month, following_month(month))
    )


def _sums(fact: Fact) -> sql.Composed:
    return sql.SQL(", ").join(
        sql.SQL("{}::text AS {}").format(sql.SQL(added), sql.Identifier(figure))
        for figure, added in {"rows": "count(*)", **fact.sums}.items()
    )


def _lakes(
    place: Place, fact: Fact, month: date, organization: int, version: str | None
) -> Figures:
    """Add up a file; nothing where the month is not there in the version that the database knows."""
    with errors.of_extra("notebooks"):
        import duckdb
        from pyarrow import parquet

    manifest = place.manifest(organization, month) if version else None
    if not manifest or manifest["version"] != version or fact.name not in manifest["rows"]:
        return {}
    path = place.file(fact.name, organization, month)
    try:
        rows = parquet.read_table(path, filesystem=place.files, partitioning=None)
    except (OSError, ValueError):  # it is gone, or no Parquet
        return {}
    added_up = duckdb.from_arrow(rows).aggregate(_sums(fact).as_string(None))
    (figures,) = _rows(added_up.to_arrow_table())
    return figures


def _rows(table: Any) -> list[Figures]:
    return [{name: Decimal(value or 0) for name, value in row.items()} for row in table.to_pylist()]
