"""Who may do what: tokens, roles, and the walls between organizations."""

import re
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from tests.webhook.conftest import Place, Things
from worker import database as databases
from worker.actors import Role
from worker.database import Login

ROLES = Path(__file__).parents[2] / "docs" / "api.md"

# What a route needs to be asked well; routes that are not here take no body.
BODIES: dict[str, dict[str, Any]] = {
    "PATCH /api/v1/organizations/<organization>": {"currency": "EUR"},
    "PATCH /api/v1/courses/<course>": {"title": "New"},
    "PATCH /api/v1/pools/<pool>": {"content_availability_days": 31},
    "POST /api/v1/pools/<pool>/keys": {"generate": 1},
    "POST /api/v1/pools/<pool>/distributions": {"recipient": "ann@example.com"},
    "POST /api/v1/pools/<pool>/distributions/recall": {"recipient": "ann@example.com"},
    "POST /api/v1/sources/<source>/rotate": {},
    "POST /api/v1/assignments/<assignment>/extend": {"days": 1},
    "POST /api/v1/assignments/<assignment>/cancel": {},
    "POST /api/v1/assignments/<assignment>/launches": {"launch": "L-1"},
    "POST /api/v1/launches/<launch>/end": {"ended_at": "2090-01-01T00:00:00Z"},
    "POST /api/v1/assignments/extend": {"learner": "nobody@example.org", "days": 1},
    "POST /api/v1/assignments/cancel": {"learner": "nobody@example.org"},
    "PATCH /api/v1/learners/<email>": {"name": "New"},
    "POST /api/v1/charges/<charge>/credit": {"reason": "test"},
    "POST /api/v1/invoices/<invoice>/pay": {"on": "2026-01-01"},
    "POST /api/v1/invoices/<invoice>/void": {"reason": "test"},
}


def routes(place: Place) -> list[tuple[str, str, tuple[Role, ...]]]:
    """Every route of the API: its method, its rule, and the roles that it lets in."""
    app = place.client.application
    return [
        (method, rule.rule, app.view_functions[rule.endpoint].roles)
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith("/api/")
        for method in sorted(rule.methods - {"HEAD", "OPTIONS"})
    ]


def ask(place: Place, method: str, rule: str, things: Things, headers: dict[str, str]) -> Any:
    path = re.sub(r"<(?:\w+:)?(\w+)>", lambda name: things.ids[name[1]], rule)
    body = BODIES.get(f"{method} {rule}", {} if method != "GET" else None)
    return place.client.open(path, method=method, json=body, headers=headers)


def test_every_route_lets_in_the_roles_that_the_documentation_says(place):
    documented = {
        (method, rule): tuple(roles.split(", "))
        for method, rule, roles in re.findall(
            r"^\| `(\w+) (/api/\S+)` \| ([\w, ]+) \|", ROLES.read_text(), re.M
        )
    }

    stated = {
        (method, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule)): roles
        for method, rule, roles in routes(place)
    }
    assert documented == stated


def test_without_a_token_every_route_answers_401(place, things):
    answers = {(m, r): ask(place, m, r, things, {}) for m, r, _ in routes(place)}

    assert {answer.status_code for answer in answers.values()} == {401}
    assert {answer.headers["WWW-Authenticate"] for answer in answers.values()} == {"Bearer"}


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        "Basic kp_abc",
        "Bearer kp_" + "x" * 300,
        "Bearer kp_é",
        "Bearer a b",
    ],
)
def test_what_is_no_token_is_answered_401(place, value):
    answer = place.client.get("/api/v1/pools", headers={"Authorization": value})

    assert (answer.status_code, answer.json["type"]) == (401, "/problems/unauthenticated")


def test_a_revoked_token_is_answered_401_at_once(place):
    headers = place.token(Role.MANAGER)
    newest = place.client.get("/api/v1/tokens", headers=headers).json["items"][0]["id"]
    place.client.post(f"/api/v1/tokens/{newest}/revoke", headers=headers)

    assert place.client.get("/api/v1/pools", headers=headers).status_code == 401


@pytest.mark.parametrize("role", [Role.MANAGER, Role.FINANCE, Role.ANALYST, Role.SENDER])
def test_a_role_that_a_route_does_not_name_is_answered_403(place, things, role):
    headers = place.token(role)

    answers = {
        (method, rule): ask(place, method, rule, things, headers).status_code
        for method, rule, roles in routes(place)
        if role not in roles
    }

    assert answers
    assert set(answers.values()) == {403}, answers


PUBLIC = ("/api/v1/courses",)  # courses are everybody's to know
NAME = re.compile("“[^”]*”")  # a problem may repeat the name that was asked for


@pytest.mark.parametrize("role", [Role.MANAGER, Role.FINANCE, Role.ANALYST, Role.SENDER])
@pytest.mark.parametrize("where", ["sibling", "child"])
def test_a_foreign_thing_is_answered_404_exactly_as_an_unknown_one(place, things, role, where):
    headers = place.token(role, getattr(place.world, where))
    unknown = Things(dict.fromkeys(things.ids, "999999999"))

    for method, rule, roles in routes(place):
        if role not in roles or "<" not in rule or rule.startswith(PUBLIC):
            continue
        foreign = ask(place, method, rule, things, headers)
        missing = ask(place, method, rule, unknown, headers)
        assert foreign.status_code == missing.status_code == 404, (method, rule)
        assert NAME.sub("…", foreign.text) == NAME.sub("…", missing.text), (method, rule)


@pytest.mark.parametrize("role", [Role.MANAGER, Role.FINANCE, Role.ANALYST, Role.SENDER])
def test_a_strangers_lists_are_empty_of_what_is_not_theirs(place, things, role):
    headers = place.token(role, place.world.sibling)
    own = {
        "/api/v1/organizations", "/api/v1/tokens", "/api/v1/courses", "/api/v1/prices",
        "/api/v1/reports/notebooks", "/api/v1/reports/measures",
        "/api/v1/history",  # of its own tokens; test_history.py tries it on strangers
    }  # fmt: skip

    for method, rule, roles in routes(place):
        if method == "GET" and "<" not in rule and role in roles and rule not in own:
            assert place.client.get(rule, headers=headers).json["items"] == [], rule


def test_every_reader_reads_its_own_things(place, things):
    wrong = {}
    for role in Role:
        headers, ours = place.token(role), things.ids
        if role is Role.FINANCE:  # of reports, it reads those on what is billed
            ours = ours | {"report": ours["report on billing"]}
        for method, rule, roles in routes(place):
            if method == "GET" and role in roles:
                answer = ask(place, method, rule, Things(ours), headers)
                if answer.status_code != 200:
                    wrong[role, rule] = answer.json

    assert wrong == {}


def test_the_web_login_sees_nothing_before_it_says_for_whom(database):
    with databases.session(Login.WEB) as session:
        tables = session.scalars(
            text("""SELECT relname FROM pg_class WHERE relrowsecurity AND relkind = 'r'
                     AND has_table_privilege(oid, 'SELECT')""")
        ).all()
        counts = {
            table: session.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()
            for table in tables
        }

    everybodys = {"course", "price", "seller"}
    assert {table for table, count in counts.items() if count} <= everybodys
    assert len(counts) > 20


def test_what_one_request_may_see_does_not_leak_into_the_next(place, things):
    for role in (Role.OPERATOR, Role.MANAGER):
        place.client.get("/api/v1/pools", headers=place.token(role))

    with databases.session(Login.WEB) as session:
        assert session.execute(text("SELECT count(*) FROM pool")).scalar_one() == 0


@pytest.mark.parametrize(
    ("rule", "body"),
    [
        ("/api/v1/pools", {"name": "x", "id": 1}),
        ("/api/v1/organizations", {"name": "x", "created_at": "2020-01-01"}),
        ("/api/v1/tokens", {"name": "x", "role": "operator", "hash": "00"}),
    ],
)
def test_unknown_fields_of_a_body_are_refused(place, rule, body):
    answer = place.client.post(rule, json=body, headers=place.token(Role.OPERATOR))

    assert answer.status_code == 422
    assert set(body) & {error["field"] for error in answer.json["errors"]}
