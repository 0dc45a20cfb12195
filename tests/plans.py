"""The plan of a statement that some code sends: how many rows each of its steps read."""

import json
from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import Session


def statements_of(session: Session, act: Callable[[], object]) -> list[tuple[str, Any]]:
    """Give the statements that an act sends, with their parameters."""
    sent: list[tuple[str, Any]] = []

    def keep(_connection: Any, _cursor: Any, statement: str, given: Any, *_: Any) -> None:
        sent.append((statement, given))

    connection = session.connection()
    event.listen(connection, "before_cursor_execute", keep)
    try:
        act()
    finally:
        event.remove(connection, "before_cursor_execute", keep)
    return sent


def most_rows(session: Session, act: Callable[[], object]) -> int:
    """Give how many rows the busiest step of an act's statements gave, over all its rounds."""
    return max(_most_rows(session, *sent) for sent in statements_of(session, act))


def _most_rows(session: Session, statement: str, given: Any) -> int:
    explained = session.connection().exec_driver_sql(
        f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {statement}", given
    )
    [[plan]] = explained.all()
    read = json.loads(plan) if isinstance(plan, str) else plan
    return max(int(step["Actual Rows"] * step["Actual Loops"]) for step in _steps(read[0]["Plan"]))


def _steps(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", []):
        yield from _steps(below)
