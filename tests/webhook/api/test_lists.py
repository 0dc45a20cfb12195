"""Lists: filtered and sorted, a page at a time, each row once though rows are added meanwhile."""

import base64
import secrets
from typing import Any

import pytest
from sqlalchemy import text

from tests.webhook.checking import openapi
from tests.webhook.conftest import Place, redemption, settle
from tests.world import OPERATOR
from worker.billing import runs
from worker.database import connections as databases
from worker.outgoing import endpoints
from worker.pools import batches, distributions, pools
from worker.reporting import keeping
from worker.tenancy.actors import Role

# What else a list must be asked for to be sorted so: what it has an index for.
ALSO = {
    ("/api/v1/assignments", "redeemed_at"): {"pool": "{pool}"},
    ("/api/v1/assignments", "expires_at"): {"status": "active"},
}


@pytest.fixture(scope="module")
def operator(place: Place) -> dict[str, str]:
    return place.token(Role.OPERATOR)


def pool(place: Place, name: str, expires: str) -> None:
    with databases.session() as session:
        owner, course = session.execute(
            text("SELECT organization_id, code FROM pool JOIN course ON course.id = course_id"
                 " WHERE pool.id = :id"), {"id": place.world.pool}
        ).one()  # fmt: skip
        pools.create(
            session,
            actor=OPERATOR,
            name=name,
            organization=str(owner),
            course=course,
            starts="2020-01-01",
            expires=expires,
            content_availability=30,
        )


def hand_out(place: Place, recipient: str) -> None:
    with databases.session() as session:
        distributions.distribute(
            session, actor=OPERATOR, pool=place.world.pool, recipient=recipient, mail=True
        )


# Seven of what people set up, some alike but for their letter case.
SET_UP = """
    INSERT INTO bulk_act (organization_id, actor, role, act, how, asked_as)
    SELECT :owner, 'test', 'manager', 'extend', '{}', number::text FROM generate_series(1, 7) AS number;
    INSERT INTO organization (name, parent_id)
    SELECT 'Branch ' || number, :owner FROM generate_series(1, 7) AS number;
    INSERT INTO console_user (organization_id, email, role)
    SELECT :owner, (CASE number % 2 WHEN 0 THEN 'L' ELSE 'l' END) || number || '@example.com', 'analyst'
      FROM generate_series(1, 7) AS number;
    INSERT INTO token (organization_id, name, role, hash)
    SELECT :owner, 'Token ' || number / 3, 'analyst', sha256(number::text::bytea)
      FROM generate_series(1, 7) AS number;
    INSERT INTO source (organization_id, name)
    SELECT :owner, 'Source ' || number FROM generate_series(1, 7) AS number;
    INSERT INTO endpoint (organization_id, url, types)
    SELECT :owner, 'https://hooks.example/' || number, '{pool.low}' FROM generate_series(1, 7) AS number;
    INSERT INTO mail_template (organization_id, name, subject, body)
    SELECT :owner, 'Text ' || number, 'Keys', '-' FROM generate_series(1, 7) AS number;
    INSERT INTO reminder (organization_id, kind, threshold, looked_to)
    SELECT :owner, kind,
           CASE WHEN kind NOT IN ('invoice_sent', 'report_made', 'trouble') THEN 7 END, clock_now()
      FROM unnest(enum_range(NULL::reminder_kind)) AS kind
"""


@pytest.fixture(scope="module")
def full(place: Place) -> Place:
    """Seven and more of everything, some alike in what lists are sorted by."""
    owner = str(place.world.parent)
    with databases.session() as session:
        endpoints.add(session, actor=OPERATOR, url="https://hooks.example/", organization=owner)
    sender = place.sender()
    for number, key in enumerate(place.keys(7)):
        sender.post(redemption(key, f"ann{number}@example.com"))
    settle()
    for number in range(7):
        pool(place, f"Zé {7 - number} pool", f"208{number // 3}-12-31")
    with databases.session() as session:
        session.execute(text("""
            INSERT INTO invoice (organization_id, month, currency)
            SELECT :owner, month, currency
              FROM generate_series('2020-01-01'::date, '2020-04-01', '1 month') AS month,
                   unnest('{EUR,USD}'::text[]) AS currency"""), {"owner": place.world.parent})  # fmt: skip
        session.execute(text("""
            INSERT INTO course (code, title)
            SELECT (CASE number % 2 WHEN 0 THEN 'l-' ELSE 'L-' END) || number, 'Of a list'
              FROM generate_series(1, 7) AS number"""))  # fmt: skip
        for statement in SET_UP.split(";"):
            session.execute(text(statement), {"owner": place.world.parent})
        for _ in range(7):
            batches.generate(session, actor=OPERATOR, pool=place.world.pool, count=1)
            keeping.ask(session, actor=OPERATOR, notebook="usage", organization=owner)
        session.execute(text("""
            INSERT INTO price (course_id, organization_id, amount, currency, valid_from)
            SELECT course_id, organization_id, 9.90, 'EUR', clock_now() + months * interval '1 month'
              FROM pool, generate_series(1, 7) AS months WHERE pool.id = :pool"""),
            {"pool": place.world.pool})  # fmt: skip
        session.execute(text("""
            WITH made AS (
                INSERT INTO console_user (organization_id, email, role)
                VALUES (:owner, 'seven@example.com', 'analyst') RETURNING id)
            INSERT INTO console_session (user_id, hash, device, client, ends_at)
            SELECT id, number::text::bytea, '', '192.0.2.0/24', clock_now() + interval '1 hour'
              FROM made, generate_series(1, 7) AS number"""), {"owner": place.world.parent})  # fmt: skip
    place.keys(7)
    for number in range(7):
        hand_out(place, f"bob{number}@example.com")
    runs.run(actor=OPERATOR)
    return place


def more(place: Place) -> None:
    """Add to every list."""
    place.sender().post(redemption(place.keys()[0], "late@example.com"))
    settle()
    pool(place, f"A {secrets.token_hex(4)}", "2079-12-31")


def sorts(place: Place) -> list[tuple[str, str]]:
    """Every list that can be sorted, with each way to."""
    paths = openapi(place.client.application)["paths"]
    return [
        (path, name)
        for path, operations in paths.items()
        for parameter in operations.get("get", {}).get("parameters", ())
        if parameter["name"] == "sort"
        for choice in parameter["schema"]["anyOf"]
        for name in choice.get("enum", ())
    ]


def pages(place: Place, path: str, asked: dict[str, Any], headers: Any) -> list[list[Any]]:
    found: list[list[Any]] = []
    cursor: dict[str, str] = {}
    while True:
        answer = place.client.get(path, query_string=asked | cursor, headers=headers)
        assert answer.status_code == 200, answer.json
        found.append(answer.json["items"])
        if len(found) == 1:
            more(place)
        if answer.json["next"] is None:
            return found
        cursor = {"cursor": answer.json["next"]}


def test_each_list_is_sorted_each_way_and_gives_each_row_once_though_rows_are_added(full, operator):
    for path, sort in sorts(full):
        name = sort.removeprefix("-")
        also = {
            field: value.format(pool=full.world.pool)
            for field, value in ALSO.get((path, name), {}).items()
        }
        where = path.replace("{pool}", full.world.pool)
        before = full.client.get(where, query_string=also | {"limit": 1000}, headers=operator).json[
            "items"
        ]

        found = pages(full, where, also | {"sort": sort, "limit": 3}, operator)

        rows = [str(item) for page in found for item in page]
        assert len(found) > 2, (path, sort)
        assert len(rows) == len(set(rows)), (path, sort)
        kept = [row for row in rows if row in set(map(str, before))]
        assert len(kept) >= len(before) - 1, (path, sort)  # a pool's figures moved on
        if name != "made":
            told = [item[name] for page in found for item in page]
            key: Any = {"total": float, "code": str.lower, "email": str.lower}.get(name, str)
            assert told == sorted(told, key=key, reverse=sort.startswith("-")), (path, sort)


def test_a_cursor_leads_on_only_where_it_came_from(full, operator):
    listed = full.client.get(
        "/api/v1/pools", query_string={"sort": "name", "limit": 1}, headers=operator
    ).json

    for asked in ({}, {"sort": "expires_at"}, {"sort": "-made"}):
        answer = full.client.get(
            "/api/v1/pools", query_string={"cursor": listed["next"], **asked}, headers=operator
        )
        assert (answer.status_code, answer.json["field"]) == (422, "cursor")


@pytest.mark.parametrize(
    "place_",
    ["", " ", "after", "name", "name 1", "name x y", "name 1 \0", "name -1 x", f"name {2**63} x",
     "expires_at 1 soon", "expires_at 1 2026-01-01", "expires_at 1 10000-01-01T00:00:00+00:00",
     "expires_at 1 0001-01-01T00:00:00+14:00", "name 1 \ud800"],
)  # fmt: skip
@pytest.mark.parametrize("sort", ["name", "expires_at", "made"])
def test_a_cursor_that_was_altered_is_refused_in_words(full, operator, place_, sort):
    cursor = base64.urlsafe_b64encode(place_.encode(errors="surrogatepass")).decode().rstrip("=")

    answer = full.client.get(
        "/api/v1/pools", query_string={"cursor": cursor or "=", "sort": sort}, headers=operator
    )

    read = place_.startswith("name 1 ") and sort == "name" and place_.isprintable()
    assert answer.status_code in ((200, 422) if read or "0001" in place_ else (422,))
    assert answer.content_type in ("application/json", "application/problem+json")


@pytest.mark.parametrize("amount", ["NaN", "sNaN", "Infinity", "x", "1E+999999"])
def test_an_altered_amount_in_a_cursor_is_refused(full, operator, amount):
    cursor = base64.urlsafe_b64encode(f"total 1 {amount}".encode()).decode().rstrip("=")

    answer = full.client.get(
        "/api/v1/invoices", query_string={"cursor": cursor, "sort": "total"}, headers=operator
    )

    assert answer.status_code == 422


def test_a_list_is_sorted_only_by_what_it_has_an_index_for(full, operator):
    answer = full.client.get(
        "/api/v1/assignments", query_string={"sort": "expires_at"}, headers=operator
    )

    assert (answer.status_code, answer.json["field"]) == (422, "sort")


def test_lists_are_filtered(full, operator):
    def found(path: str, **asked: str) -> list[Any]:
        answer = full.client.get(f"/api/v1/{path}", query_string=asked, headers=operator)
        assert answer.status_code == 200, answer.json
        return list(answer.json["items"])

    owner, stranger = str(full.world.parent), str(full.world.sibling)
    assert {it["name"][:2] for it in found("pools", search="zÉ ", organization=owner)} == {"Zé"}
    assert found("pools", search="%") == found("pools", organization=stranger) == []
    assert found("pools", state="paused") == []
    assert {it["state"] for it in found("pools", state="active")} == {"active"}
    some = found("assignments", pool=full.world.pool, organization=owner, status="active")
    assert {it["pool"] for it in some} == {full.world.pool}
    assert found("assignments", status="cancelled") == []
    assert found("assignments", learner="nobody@example.com") == []
    assert found("assignments", course=some[0]["course"]) != []
    assert {it["kind"] for it in found("charges", kind="redemption")} == {"redemption"}
    assert found("charges", since="2999-01-01T00:00:00Z") == found("charges", kind="credit") == []
    assert {it["status"] for it in found("events", status="settled")} == {"settled"}
    assert found("events", type="training.ended") == []
    assert found("events", until="1999-01-01T00:00:00Z") == []
