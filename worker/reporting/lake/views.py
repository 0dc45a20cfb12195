"""The views of schema "report" over the lake's facts: their columns, in DuckDB's and Spark's common SQL.

What a view shows of a fact stands in schema.sql, and is in the file; what is joined to it stands here: names by
their ids, and what became of it since.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# What an expression needs beside the fact f, by the name that it has there.
JOINS = {
    "o": "JOIN known_organization AS o ON o.organization_id = f.organization_id",
    "lo": "LEFT JOIN known_organization AS lo ON lo.organization_id = f.learner_organization_id",
    "c": "JOIN known_course AS c ON c.course_id = f.course_id",
    "p": "LEFT JOIN known_pool AS p ON p.pool_id = f.pool_id",
    "l": "LEFT JOIN known_labels AS l ON l.label_set = f.label_set",
    "a": "LEFT JOIN assignment_facts AS a ON a.assignment_id = f.assignment_id",
    "taken": """LEFT JOIN (
        SELECT assignment_id, count(*) AS launches, min(launched_at) AS first_launched_at,
               bool_or(coalesce(completed, false)) AS completed
          FROM launch_facts GROUP BY assignment_id) AS taken ON taken.assignment_id = f.assignment_id""",
    "spent": """LEFT JOIN (
        SELECT key_id, min(redeemed_at) AS redeemed_at FROM assignment_facts
         WHERE NOT undone GROUP BY key_id) AS spent ON spent.key_id = f.key_id""",
}
# Facts that these joins read.
READS = {"a": "assignment", "taken": "launch", "spent": "assignment"}
NOW = "CAST('{now}' AS timestamptz)"


@dataclass(frozen=True)
class View:
    """A view over a fact: the expressions of those of its columns that are not the fact's own."""

    fact: str
    columns: Mapping[str, str]


_OWNED = {
    "organization": "o.name",
    "pool": "p.pool",
    "course": "p.course",
    "course_title": "p.course_title",
}
_LABELS = {"labels": "coalesce(f.labels, l.labels)"}

ALL = {
    view.fact: view
    for view in (
        View(
            "redemption",
            _OWNED
            | _LABELS
            | {
                "launched": "taken.launches IS NOT NULL",
                "completed": "coalesce(taken.completed, false)",
                "undone": "a.undone",
                "live": "CASE WHEN a.assignment_id IS NOT NULL"
                f" THEN gives_access(a.cancelled_at, a.expires_at, {NOW}) END",
            },
        ),
        View(
            "assignment",
            _OWNED
            | _LABELS
            | {
                "id": "f.assignment_id",
                "pool": "coalesce(p.pool, f.pool)",
                "course": "coalesce(p.course, f.course)",
                "live": f"gives_access(f.cancelled_at, f.expires_at, {NOW})",
                "launches": "coalesce(taken.launches, 0)",
                "first_launched_at": "taken.first_launched_at",
                "completed": "coalesce(taken.completed, false)",
            },
        ),
        View("launch", {"organization": "o.name", "course": "c.course"}),
        View("deferral", {"organization": "o.name", "course": "c.course"}),
        View(
            "charge",
            _OWNED | {"id": "f.charge_id", "learner_organization": "lo.name"},
        ),
        View(
            "handed_out",
            _OWNED
            | _LABELS
            | {
                "key": "f.key_id",
                "redeemed_at": "spent.redeemed_at",
                "until": f"least({NOW}, p.expires_at)",
                "pool_ended_at": f"CASE WHEN p.expires_at = least({NOW}, p.expires_at) THEN p.expires_at END",
            },
        ),
    )
}
# Columns that rows from the tables have besides: names that a pool may have here alone.
NAMED = {"assignment": ("pool", "course")}


def select(name: str, own: Sequence[str], used: set[str], *, now: str) -> str:
    """Give the SELECT of a view's used columns, over its facts."""
    columns = {column: f"f.{column}" for column in own} | dict(ALL[name].columns)
    shown = [f"{text} AS {column}" for column, text in columns.items() if column in used]
    joins = " ".join(JOINS[one] for one in joined(name, used))
    text = f"SELECT {', '.join(shown) or 'f.day'} FROM {name}_facts AS f {joins}"  # noqa: S608  # ours
    return text.replace("{now}", now)


def joined(name: str, used: set[str]) -> list[str]:
    """Name what a view's used columns are joined with."""
    texts = [text for column, text in ALL[name].columns.items() if column in used]
    return [one for one in JOINS if any(re.search(rf"\b{one}\.", text) for text in texts)]
