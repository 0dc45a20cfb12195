"""Answering a query from the lake: closed months from its files, the rest from PostgreSQL, by DuckDB.

DuckDB gets views of schema "report" over both, and runs the query itself. What the lake cannot answer (a
name, an address, a view that it does not have) is not answered here, and PostgreSQL is asked as ever. The rows
of open and changed months are kept for a minute, or until the next question.
"""

import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING

from psycopg import sql

from worker import errors
from worker.days import following_month
from worker.reporting import postgres
from worker.reporting.lake import asking, engine, facts, places, views
from worker.reporting.lake.asking import Asked, Span
from worker.reporting.lake.engine import DuckDB, Engine
from worker.reporting.lake.facts import Fact
from worker.reporting.lake.places import Manifest, Place

if TYPE_CHECKING:
    import pyarrow as pa

LASTS = 60  # seconds
MOST_CHANGED = 3  # months that are read from the tables besides the open ones
LONGEST_OPEN = timedelta(days=70)
DIGITS, PLACES = 38, 10

STATE = "SELECT written, now FROM report.lake"
MONTHS = "SELECT organization_id, month, version::text AS version FROM report.lake_month"
CHANGED = "SELECT organization_id, month FROM report.lake_change"
KNOWN = {
    "known_organization": "SELECT organization_id, name FROM report.organization",
    "known_course": "SELECT course_id, course, title FROM report.course",
    "known_labels": "SELECT label_set, labels FROM report.lake_labels",
    "known_pool": """
        SELECT pool_id, pool, course, course_title, expires_at FROM report.lake_pool
        UNION SELECT pool_id, name, course, course_title, expires_at FROM report.pool""",
}
# Views that are small: a query may join facts with them.
WHOLE = (
    "family",
    "organization",
    "pool",
    "course",
    "price",
    "growth",
    "pool_label",
    "pool_pause",
    "invoice",
)

FACTS = {fact.name: fact for fact in facts.ALL if fact.is_asked}
MENTIONS = re.compile(rf"\breport\.({'|'.join(FACTS)})\b")
FOREVER = date(9000, 1, 1)


@dataclass
class Lake:
    """What is known of the lake for a while: its months, those that changed, and rows of PostgreSQL."""

    place: Place
    written: date
    now: datetime
    versions: dict[date, dict[int, str]]
    changed: dict[date, set[int]]
    began: float
    engine: Engine
    manifests: dict[date, dict[int, Manifest]] = field(default_factory=dict)
    registered: set[str] = field(default_factory=set)

    def months(self, span: Span) -> list[date]:
        """Give the months of a span that the lake has."""
        return [month for month in sorted(self.versions) if _overlaps(month, span)]

    def wholes(self, month: date) -> dict[int, Manifest]:
        """Give what a month's organizations have, of those whose files say what the tables say."""
        if month not in self.manifests:
            self.manifests[month] = dict(self._read(month))
        return self.manifests[month]

    def _read(self, month: date) -> Iterator[tuple[int, Manifest]]:
        for organization, version in sorted(self.versions[month].items()):
            if organization in self.changed.get(month, ()):
                continue
            manifest = self.place.manifest(organization, month)
            if manifest and manifest["version"] == version:
                yield organization, manifest
            else:
                self.changed.setdefault(month, set()).add(organization)


_lake: Lake | None = None
_elsewhere: Engine | None = None


def forget() -> None:
    """Look anew at what there is, with the next query."""
    global _lake
    _lake = None


@contextmanager
def asking_elsewhere(other: Engine) -> Iterator[None]:
    """Have queries be answered by an engine other than this process's own meanwhile."""
    global _elsewhere
    forget()
    _elsewhere = other
    try:
        yield
    finally:
        _elsewhere = None
        forget()


def answer(query: str) -> "pa.Table | None":
    """Answer a query from the lake; None if it is not for the lake.

    What was divided is a float; other figures with places are decimals.

    Raises:
        DatabaseAwayError: the database cannot be reached.
    """
    if not MENTIONS.search(query) or not places.is_there():
        return None
    if (asked := asking.read(query)) is None or not _is_answerable(asked):
        return None
    lake, needed = _known(), _needed(asked)
    if lake is None or not all(_is_near(lake, span) for span in needed.values()):
        return None
    refusals: tuple[type[Exception], ...] = (*lake.engine.refusals, errors.InvalidInputError)
    try:
        for name, span in needed.items():
            _show_facts(lake, FACTS[name], span)
        for name in asked.spans:
            _show_view(lake, name, asked.columns)
        return lake.engine.answer(asked.tree)
    except refusals:
        # A column that the lake lacks, or words that the engine has not: PostgreSQL is asked.
        return None


def _is_answerable(asked: Asked) -> bool:
    """Whether it asks for facts of a period; who has access at present, PostgreSQL finds by an index."""
    present = "live" in asked.columns and asked.spans.get("assignment", Span(FOREVER)).first is None
    return asked.spans.keys() <= {*FACTS, *WHOLE} and not present


def _needed(asked: Asked) -> dict[str, Span]:
    """Give the days that are needed of each fact, those of joined ones too.

    These came later, but for an attempt that was repeated: its assignment is older.
    """
    needed = {name: span for name, span in asked.spans.items() if name in FACTS}
    for name, span in list(needed.items()):
        for join in views.joined(name, asked.columns):
            if read := views.READS.get(join):
                wanted = Span() if name == "redemption" and not span.redeemed else span.onwards()
                needed[read] = needed[read].widened(wanted) if read in needed else wanted
    return needed


def _is_near(lake: Lake, span: Span) -> bool:
    """Whether little of a span is to be read from the tables."""
    months = lake.months(span)
    changed = sum(len(lake.wholes(month)) < len(lake.versions[month]) for month in months)
    open_to = span.last is None or span.last >= lake.written
    return changed <= MOST_CHANGED and not (
        open_to and lake.now.date() - lake.written > LONGEST_OPEN
    )


def _overlaps(month: date, span: Span) -> bool:
    first, last = span.first or date.min, span.last or date.max
    return month <= last and following_month(month) > first


# What is there ----------------------------------------------------------------------------------------


def _known() -> Lake | None:
    global _lake
    if _lake is None or time.monotonic() > _lake.began + LASTS:
        _lake = _look()
    return _lake


def _look() -> Lake | None:
    """Look what the lake has; its changes first, so that a build meanwhile is no harm."""
    place, begun = places.ours(), postgres.table(STATE).to_pylist()
    if not begun or not (place.is_local or _elsewhere):
        return None
    changed: dict[date, set[int]] = {}
    for row in postgres.table(CHANGED).to_pylist():
        changed.setdefault(row["month"], set()).add(row["organization_id"])
    versions: dict[date, dict[int, str]] = {}
    for row in postgres.table(MONTHS).to_pylist():
        versions.setdefault(row["month"], {})[row["organization_id"]] = row["version"]
    written = begun[0]["written"]
    return Lake(
        place=place,
        written=written,
        now=begun[0]["now"],
        versions={month: known for month, known in versions.items() if month < written},
        changed={month: known for month, known in changed.items() if month < written},
        began=time.monotonic(),
        engine=_elsewhere or DuckDB(engine.fenced(_folders(place, versions))),
    )


def _folders(place: Place, versions: dict[date, dict[int, str]]) -> Iterator[str]:
    organizations = sorted({one for known in versions.values() for one in known})
    return (place.folder(name, one) for name in FACTS for one in organizations)


# What DuckDB sees -------------------------------------------------------------------------------------


def _show_facts(lake: Lake, fact: Fact, span: Span) -> None:
    """Have a view of the facts of some days: the files' and the tables'."""
    more = ["labels"] * fact.has_labels + [*views.NAMED.get(fact.name, ())]
    shown, absent = ", ".join(fact.columns), "".join(f", NULL AS {name}" for name in more)
    parts = [
        f"SELECT {shown}{number}{others} FROM {source}"  # noqa: S608  # ours
        for source, number, others in (
            *(
                (files, ", label_set" * fact.has_labels, absent)
                for files in _files(lake, fact, span)
            ),
            *(
                (
                    table,
                    ", NULL::bigint AS label_set" * fact.has_labels,
                    "".join(f", {name}" for name in more),
                )
                for table in _rest(lake, fact, span, more)
            ),
        )
    ]
    if not parts:
        raise errors.InvalidInputError("There are no such months.")
    lake.engine.view(f"{fact.name}_facts", " UNION ALL ".join(parts))


def _files(lake: Lake, fact: Fact, span: Span) -> Iterator[str]:
    paths = [
        lake.place.file(fact.name, organization, month)
        for month in lake.months(span)
        for organization, manifest in lake.wholes(month).items()
        if fact.name in manifest["rows"]
    ]
    if paths:
        yield lake.engine.files(lake.place, paths)


def _rest(lake: Lake, fact: Fact, span: Span, more: Iterable[str]) -> Iterator[str]:
    """Name the tables with a fact's rows of PostgreSQL: the open months', and each changed month's."""
    if span.last is None or span.last >= lake.written:
        first = lake.written if span.first is None else max(span.first, lake.written)
        yield _registered(lake, fact, more, max(lake.written, first.replace(day=1)), FOREVER)
    for month, organizations in sorted(lake.changed.items()):
        if _overlaps(month, span):
            yield _registered(lake, fact, more, month, following_month(month), organizations)


def _registered(
    lake: Lake,
    fact: Fact,
    more: Iterable[str],
    first: date,
    until: date,
    organizations: Iterable[int] | None = None,
) -> str:
    name = f"{fact.name}_{first:%Y_%m}"
    some = "AND organization_id = ANY ({only})" if organizations is not None else ""
    query = sql.SQL("SELECT {} {} {}").format(
        fact.selected(*more),
        fact.rows(first, until),
        sql.SQL(some).format(only=sql.Literal(sorted(organizations or ()))),
    )
    _register(lake, name, query, fact.decimals)
    return name


def _show_view(lake: Lake, name: str, used: set[str]) -> None:
    """Have a view of schema "report" with the columns that a query uses."""
    if name not in FACTS:
        query = _whole(name, used)
        whole = f"whole_{name}_{abs(hash(query))}"
        _register(lake, whole, query)
        shown = f"SELECT * FROM {whole}"  # noqa: S608  # ours
    else:
        for join in views.joined(name, used):
            for known, query in KNOWN.items():
                if known in views.JOINS[join]:
                    _register(lake, known, query)
        shown = views.select(name, FACTS[name].columns, used, now=lake.now.isoformat())
    lake.engine.view(f"report.{name}", shown)


def _whole(name: str, used: set[str]) -> str:
    listed = ", ".join(f'"{column}"' for column in _columns(name) if column in used)
    return f"SELECT {listed or '1 AS one'} FROM report.{name}"  # noqa: S608  # ours


@cache
def _columns(name: str) -> tuple[str, ...]:
    read = postgres.table(f"SELECT * FROM report.{name} LIMIT 0")  # noqa: S608  # ours
    return tuple(read.schema.names)


def _register(
    lake: Lake, name: str, query: postgres.Query, decimals: Mapping[str, int] | None = None
) -> None:
    if name not in lake.registered:
        lake.engine.register(name, _typed(postgres.table(query), decimals or {}))
        lake.registered.add(name)


def _typed(table: "pa.Table", decimals: Mapping[str, int]) -> "pa.Table":
    """Give exact decimals a type that DuckDB has."""
    import pyarrow as pa

    for name in postgres.numerics(table):
        texts = table[name].combine_chunks().storage
        exact = texts.cast(pa.decimal128(DIGITS, decimals.get(name, PLACES)))
        table = table.set_column(table.schema.get_field_index(name), name, exact)
    return table
