"""The commonest acts ask the database little.

A thing is found once, locked once, and answered from what was written.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event

from worker.database import connections
from worker.database.connections import Login
from worker.tenancy.actors import Role

# What each may ask beside who asks. No bound is raised: an act that needs more is to be
# done otherwise.
MOST = {
    "GET /pools/{pool}": 2,
    "GET /pools/{pool}/keys": 2,
    "POST /pools/{pool}/pause": 4,
    "POST /pools/{pool}/resume": 4,
    "PATCH /pools/{pool}": 5,
    "GET /keys/{code}": 4,
    "POST /keys/retire": 5,
    "GET /assignments/{assignment}": 3,
    "POST /assignments/{assignment}/extend": 5,
    "GET /invoices/{invoice}": 3,
    "POST /invoices/{invoice}/pay": 9,  # it waits for the billing run, and credit notes may lower what is open
    "POST /pools/{pool}/distributions": 7,
    "POST /assignments/{assignment}/cancel": 9,
}
BODIES: dict[str, Any] = {
    "PATCH /pools/{pool}": {"name": "Renamed", "expires_at": "2099-12-31"},
    "POST /keys/retire": {"codes": ["{unspent}"]},
    "POST /assignments/{assignment}/extend": {"until": "{later}"},
    "POST /assignments/{assignment}/cancel": {},
    "POST /invoices/{invoice}/pay": {"on": "{today}"},
    "POST /pools/{pool}/distributions": {"recipient": "ann@example.com"},
}
BEFORE = {
    "POST /pools/{pool}/resume": ("/pools/{pool}/pause", None),
    "GET /invoices/{invoice}": ("/invoices/{invoice}/finalize", {"anyway": True}),
}
WHO_ASKS = ("find_token(", "note_token(")


@contextmanager
def asked() -> Iterator[list[str]]:
    """Write down what the web asks the database, but for who asks it."""
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if not any(door in statement for door in WHO_ASKS):
            statements.append(" ".join(statement.split()))

    engine = connections.engine(Login.WEB)
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(engine, "before_cursor_execute", note)


def filled(body: Any, **words: object) -> Any:
    """Put words in the place of their names in a body."""
    if isinstance(body, dict):
        return {name: filled(value, **words) for name, value in body.items()}
    return (
        [filled(one, **words) for one in body] if isinstance(body, list) else body.format(**words)
    )


@pytest.mark.parametrize("act", MOST)
def test_the_commonest_acts_ask_the_database_little(place, things, act):
    method, _, route = act.partition(" ")
    operator, path = place.token(Role.OPERATOR), "/api/v1" + route.format(**things.ids)
    today = connections.transaction(connections.clock_now).date()
    words = {"unspent": place.keys(2)[0], "today": today, "later": today + timedelta(days=400)}
    body = filled(BODIES[act], **words) if act in BODIES else None
    if act in BEFORE:
        earlier, form = BEFORE[act]
        path_before = "/api/v1" + earlier.format(**things.ids)
        done = place.client.post(path_before, json=form, headers=operator)
        assert done.status_code == 200, done.json

    with asked() as statements:
        answer = place.client.open(path, method=method, json=body, headers=operator)

    assert answer.status_code in (200, 201), answer.json
    assert 1 < len(statements) <= MOST[act], statements
