"""The facts that the lake has: which columns of which view, and what is counted and added up to compare them.

Columns are ids, instants, days, amounts, flags and codes of the system. Names, addresses, labels and other
free text stay in PostgreSQL; a fact's labels are a number there (report.lake_labels).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

from psycopg import sql

# Rows of some months. The instants let an index skip what is in none of them in any time zone.
WITHIN = """
    day >= {first} AND day < {until}
    AND {at} >= CAST({first} AS timestamptz) - interval '1 day'
    AND {at} < CAST({until} AS timestamptz) + interval '1 day'"""

EVENTS = """(
    SELECT event.id AS event, event.organization_id, event.source_id, event.type::text AS type,
           event.received_at, (event.received_at AT TIME ZONE organization.time_zone)::date AS day,
           event.settled_at, event.status::text AS status, event.assignment_id
      FROM event JOIN organization ON organization.id = event.organization_id) AS event"""

# Keys of a pool that were made, distributed and redeemed on a day. It is grouped below the condition of the
# period, which is therefore in each part.
STOCK = """(
    SELECT organization_id, pool_id, course_id, day, {first}::timestamptz AS at,
           sum(made)::bigint AS made, sum(distributed)::bigint AS distributed, sum(redeemed)::bigint AS redeemed
      FROM (SELECT organization_id, pool_id, course_id, day, keys AS made, 0 AS distributed, 0 AS redeemed
              FROM report.growth WHERE {made}
            UNION ALL
            SELECT organization_id, pool_id, course_id, day, 0, 1, 0
              FROM report.handed_out WHERE {distributed}
            UNION ALL
            SELECT organization_id, pool_id, course_id, day, 0, 0, 1
              FROM report.redemption WHERE answer = 'redeemed' AND {redeemed}) AS flow
     GROUP BY organization_id, pool_id, course_id, day) AS stock"""
FLOWS = {"made": "made_at", "distributed": "distributed_at", "redeemed": "received_at"}


@dataclass(frozen=True)
class Fact:
    """A kind of fact: its columns, the column with its instant, what is added up to compare it, its source.

    `decimals` names the columns that are exact decimals, with their places.
    """

    name: str
    columns: tuple[str, ...]
    at: str
    sums: Mapping[str, str]
    source: str = ""
    has_labels: bool = False
    decimals: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_asked(self) -> bool:
        """Whether reports ask for it: then it is a view of schema "report"."""
        return not self.source

    def rows(self, first: date, until: date) -> sql.Composed:
        """Give the SQL of its rows in the months from `first` up to `until`: FROM and WHERE."""
        parts = {name: within(first, until, at) for name, at in FLOWS.items()}
        source = sql.SQL(self.source or f"report.{self.name}").format(
            first=sql.Literal(first), **parts
        )
        return sql.SQL("FROM {} WHERE {}").format(source, within(first, until, self.at))

    def selected(self, *more: str) -> sql.Composed:
        """Give the SQL list of its columns, and of more expressions."""
        listed = [*map(sql.Identifier, self.columns), *map(sql.SQL, more)]
        return sql.SQL(", ").join(listed)


def within(first: date, until: date, at: str) -> sql.Composed:
    """Give the SQL condition for rows of the months from `first` up to `until`, with their instant in `at`."""
    return sql.SQL(WITHIN).format(
        first=sql.Literal(first), until=sql.Literal(until), at=sql.Identifier(at)
    )


ALL = (
    Fact(
        "redemption",
        (
            "event", "organization_id", "pool_id", "course_id", "key_id", "assignment_id", "outcome",
            "answer", "received_at", "day", "key_created_at", "days_since_creation", "key_made_on",
        ),
        at="received_at",
        sums={"redeemed": "count(*) FILTER (WHERE answer = 'redeemed')"},
        has_labels=True,
        decimals={"days_since_creation": 6},
    ),
    Fact(
        "assignment",
        (
            "assignment_id", "organization_id", "pool_id", "course_id", "key_id", "learner_id", "undone",
            "cancelled_at", "redeemed_at", "expires_at", "day", "last_day",
        ),
        at="redeemed_at",
        sums={"undone": "count(*) FILTER (WHERE undone)", "cancelled": "count(cancelled_at)"},
        has_labels=True,
    ),
    Fact(
        "launch",
        (
            "id", "organization_id", "course_id", "assignment_id", "launched_at", "ended_at", "day", "weekday",
            "hour", "hours", "completed",
        ),
        at="launched_at",
        sums={"hours": "sum(hours)", "completed": "count(*) FILTER (WHERE completed)"},
        decimals={"hours": 6},
    ),
    Fact(
        "charge",
        (
            "charge_id", "organization_id", "learner_organization_id", "course_id", "pool_id",
            "assignment_id", "kind", "amount", "currency", "occurred_at", "day", "service_month",
            "unbilled", "invoice_id", "cancelled_out", "credits_charge_id",
        ),
        at="occurred_at",
        sums={"amount": "sum(amount)", "unbilled": "sum(amount) FILTER (WHERE unbilled)"},
        decimals={"amount": 4},
    ),
    Fact(
        "deferral",
        (
            "charge_id", "credits_charge_id", "kind", "amount", "currency", "decimals", "day", "first_day",
            "days", "earned_by", "organization_id", "course_id", "assignment_id", "occurred_at",
        ),
        at="occurred_at",
        sums={"amount": "sum(amount)", "days": "sum(days)"},
        decimals={"amount": 4},
    ),
    Fact(
        "handed_out",
        (
            "key_id", "organization_id", "pool_id", "course_id", "distribution_id", "distributed_at", "day",
            "retired", "retired_at", "made_on",
        ),
        at="distributed_at",
        sums={"retired": "count(*) FILTER (WHERE retired)"},
        has_labels=True,
    ),
    Fact(
        "event",
        (
            "event", "organization_id", "source_id", "type", "received_at", "day", "settled_at", "status",
            "assignment_id",
        ),
        at="received_at",
        sums={"settled": "count(*) FILTER (WHERE status = 'settled')"},
        source=EVENTS,
    ),
    Fact(
        "stock",
        ("organization_id", "pool_id", "course_id", "day", "made", "distributed", "redeemed"),
        at="at",
        sums={
            "made": "sum(made)", "distributed": "sum(distributed)", "redeemed": "sum(redeemed)",
        },
        source=STOCK,
    ),
)  # fmt: skip
