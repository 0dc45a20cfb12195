"""Who may do what: tokens, roles, and the walls between organizations."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from flask.testing import FlaskClient
from sqlalchemy import event, text
from sqlalchemy.orm import Session

from tests.webhook.checking import openapi
from tests.webhook.conftest import Place, Things
from tests.world import OPERATOR
from webhook.http import inward
from worker.billing import invoices, seller
from worker.database import connections as databases
from worker.database.connections import Login
from worker.learning import launches
from worker.pools import distributions
from worker.tenancy import identity_providers, organizations
from worker.tenancy.actors import Role

ROLES = Path(__file__).parents[2] / "docs" / "api.md"

# What a route needs to be asked well; routes that are not here take no body. {names} are of Things.
BODIES: dict[str, Any] = {
    "POST /api/v1/organizations": {"name": "New"},
    "PATCH /api/v1/organizations/<organization>": {"currency": "EUR"},
    "POST /api/v1/organizations/<organization>/single-sign-on": {
        "issuer": "https://login.example.com", "client_id": "keypool", "client_secret": "x",
        "domains": ["walked.example"],
    },
    "POST /api/v1/courses": {"code": "NEW", "title": "New", "price": "1.00", "currency": "EUR"},
    "PATCH /api/v1/courses/<course>": {"title": "New"},
    "POST /api/v1/prices": {
        "course": "{course}", "organization": "{organization}", "price": "2.00"
    },
    "POST /api/v1/prices/<price>/withdraw": {"from": "2090-01-01"},
    "POST /api/v1/pools": {
        "name": "New", "organization": "{organization}", "course": "{course}",
        "starts_at": "2020-01-01", "expires_at": "2090-12-31", "content_availability_days": 30,
    },
    "PATCH /api/v1/pools/<pool>": {"content_availability_days": 31},
    "POST /api/v1/pools/<pool>/keys": {"generate": 1},
    "POST /api/v1/pools/<pool>/distributions": {"recipient": "ann@example.com"},
    "POST /api/v1/pools/<pool>/distributions/recall": {"recipient": "ann@example.com"},
    "POST /api/v1/keys/retire": {"codes": ["{issued key}"]},
    "POST /api/v1/keys/<code>/replace": {"reason": "test", "recipient": "ann@example.com"},
    "POST /api/v1/sources": {"name": "New", "organization": "{organization}"},
    "POST /api/v1/sources/<source>/rotate": {},
    "POST /api/v1/tokens": {"name": "New", "role": "sender", "organization": "{organization}"},
    "POST /api/v1/users": {
        "email": "new@example.com", "role": "sender",
        "organization": "{organization}",
    },
    "POST /api/v1/endpoints": {"url": "https://hooks.example/new", "organization": "{organization}"},
    "PATCH /api/v1/endpoints/<endpoint>": {"pool_low": 1},
    "POST /api/v1/endpoints/<endpoint>/rotate": {},
    "POST /api/v1/endpoints/<endpoint>/ping": {},
    "POST /api/v1/endpoints/<endpoint>/resend": {"since": "2020-01-01T00:00:00Z"},
    "POST /api/v1/reminders": {"organization": "{organization}", "kind": "pool_low", "keys": 10},
    "POST /api/v1/reminders/stop": {"organization": "{organization}", "kind": "trouble"},
    "POST /api/v1/templates": {
        "name": "New", "organization": "{organization}", "subject": "Your key",
        "text": "{{% for key in keys %}}{{{{ key }}}}{{% endfor %}}",
    },
    "POST /api/v1/templates/preview": {
        "subject": "Your key", "text": "{{% for key in keys %}}{{{{ key }}}}{{% endfor %}}",
    },
    "POST /api/v1/assignments/<assignment>/extend": {"days": 1},
    "POST /api/v1/assignments/<assignment>/cancel": {"reason": "test"},
    "POST /api/v1/assignments/<assignment>/launches": {"launch": "L-1"},
    "POST /api/v1/launches/<launch>/end": {"ended_at": "2090-01-01T00:00:00Z"},
    "POST /api/v1/assignments/extend": {"assignments": ["{assignment}"], "days": 1},
    "POST /api/v1/assignments/cancel": {"assignments": ["{assignment}"], "reason": "test"},
    "POST /api/v1/bulk-acts": {"act": "extend", "ids": ["{assignment}"], "days": 1},
    "POST /api/v1/bulk-acts/preview": {"act": "extend", "ids": ["{assignment}"]},
    "PATCH /api/v1/learners/<email>": {"name": "New"},
    "POST /api/v1/learners/duplicates/<duplicate>/join": {},
    "POST /api/v1/charges/<charge>/credit": {"reason": "test"},
    "POST /api/v1/invoices/credit": {"charges": ["{billed charge}"], "reason": "test"},
    "POST /api/v1/invoices/run": {},
    "POST /api/v1/invoices/journal": {"from": "2020-01-01", "to": "2020-01-31"},
    "POST /api/v1/invoices/<invoice>/finalize": {"anyway": True},
    "POST /api/v1/invoices/<invoice>/pay": {"on": "2026-01-01"},
    "POST /api/v1/invoices/<invoice>/void": {"reason": "test"},
    "POST /api/v1/payments/<payment>/unpay": {"reason": "test"},
    "POST /api/v1/reports": {
        "notebook": "{notebook}", "organization": "{organization}", "format": "pdf"
    },
    "POST /api/v1/reports/schedules": {
        "notebook": "{notebook}", "organization": "{organization}", "every": "week",
        "mail": ["boss@example.com"],
    },
    "PATCH /api/v1/reports/schedules/<schedule>": {"every": "day", "mail": ["clerk@example.com"]},
    "PATCH /api/v1/seller": {"name": "New"},
}  # fmt: skip
QUERIES = {
    "GET /api/v1/history": "?thing=pool&thing_id={pool}",
    "GET /api/v1/invoices/export": "?from=2020-01-01&to=2020-01-31",
    "GET /api/v1/reports/deferred": "?organization={organization}",
    "GET /api/v1/reports/deferred.csv": "?from=2020-01-01&to=2020-01-31",
    "GET /api/v1/reports/measures": "?organization={organization}",
}
# Where another of its kind is meant than the one in Things by that name.
INSTEAD = {
    "GET /api/v1/invoices/<invoice>.facturx": {"invoice": "finalized invoice"},
    "GET /api/v1/invoices/<invoice>.ubl": {"invoice": "finalized invoice"},
    "GET /api/v1/invoices/<invoice>.xrechnung": {"invoice": "finalized invoice"},
    "GET /api/v1/organizations/<organization>/shared-pools": {"organization": "child"},
    "GET /api/v1/organizations/<organization>/shared-pools/<pool>/redemptions": {
        "organization": "child",
        "pool": "shared",
    },
    "POST /api/v1/bulk-acts/<act>/cancel": {"act": "queued act"},
    "POST /api/v1/keys/<code>/replace": {"code": "issued key"},
    "POST /api/v1/events/<event>/retry": {"event": "failed event"},
    "POST /api/v1/invoices/<invoice>/pay": {"invoice": "finalized invoice"},
    "POST /api/v1/invoices/<invoice>/void": {"invoice": "finalized invoice"},
}
# What a child is told of what its parent shares with it.
SHARED = {route.partition(" ")[2] for route in INSTEAD if "/shared-pools" in route}
# By which field a list tells the thing that is in it.
LISTED = {
    "/api/v1/assignments": ("id", "assignment"),
    "/api/v1/batches": ("id", "batch"),
    "/api/v1/bulk-acts": ("id", "act"),
    "/api/v1/charges": ("id", "charge"),
    "/api/v1/deliveries": ("id", "delivery"),
    "/api/v1/endpoints": ("id", "endpoint"),
    "/api/v1/events": ("id", "event"),
    "/api/v1/history": ("thing_id", "pool"),
    "/api/v1/invoices": ("id", "invoice"),
    "/api/v1/learners/duplicates": ("id", "duplicate"),
    "/api/v1/messages": ("id", "message"),
    "/api/v1/organizations": ("name", "organization"),
    "/api/v1/pools": ("id", "pool"),
    "/api/v1/prices": ("id", "price"),
    "/api/v1/redemptions": ("event", "event"),
    "/api/v1/reports": ("id", "report"),
    "/api/v1/reports/schedules": ("id", "schedule"),
    "/api/v1/sessions": ("id", "session_id"),
    "/api/v1/sources": ("id", "source"),
    "/api/v1/reminders": ("organization", "organization"),
    "/api/v1/templates": ("name", "template"),
    "/api/v1/tokens": ("id", "token"),
    "/api/v1/users": ("id", "user"),
}
# Acts on many things, each of which has a result of its own.
BULK = {"/api/v1/assignments/extend", "/api/v1/assignments/cancel", "/api/v1/keys/retire"}
# What belongs to no organization, or to each its own, so that whoever has the role is answered.
NOBODYS_LISTS = {
    "/api/v1/courses", "/api/v1/invoices/export", "/api/v1/reports/dictionary", "/api/v1/reports/notebooks",
}  # fmt: skip
NOBODYS = NOBODYS_LISTS | {"/api/v1/courses/<course>", "/api/v1/templates/preview"}

NAME = re.compile("“[^”]*”")  # a problem may repeat the name that was asked for


class Route(NamedTuple):
    """A route of the API, and the roles that it lets in."""

    method: str
    rule: str
    roles: tuple[Role, ...]

    def __str__(self) -> str:
        return f"{self.method} {self.rule}"


class Whose(StrEnum):
    """Whose the things are, as the organization of who asks stands to it."""

    OWN = "itself"
    CHILD = "a child"
    PARENT = "its parent"
    SIBLING = "a sibling"
    STRANGER = "a stranger"


def routes(place: Place) -> list[Route]:
    """Every route of the API."""
    app = place.client.application
    return [
        Route(method, rule.rule, app.view_functions[rule.endpoint].roles)
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith("/api/")
        for method in sorted(rule.methods - {"HEAD", "OPTIONS"})
    ]


def ask(place: Place, route: Route, things: Things, headers: dict[str, str]) -> Any:
    ids = things.ids | {
        name: things.ids[other] for name, other in INSTEAD.get(str(route), {}).items()
    }
    path = re.sub(r"<(?:\w+:)?(\w+)>", lambda name: ids[name[1]], route.rule)
    query = QUERIES.get(str(route), "").format_map(ids)
    body = None if route.method == "GET" else told(BODIES.get(str(route), {}), ids)
    return place.client.open(path + query, method=route.method, json=body, headers=headers)


def told(body: Any, ids: dict[str, str]) -> Any:
    if isinstance(body, dict):
        return {name: told(value, ids) for name, value in body.items()}
    if isinstance(body, list):
        return [told(value, ids) for value in body]
    return body.format_map(ids) if isinstance(body, str) else body


# ------------------------------------------------------------------------------------------ the walk


@pytest.fixture(scope="module")
def askers(place: Place) -> dict[Whose, int]:
    """Organizations of which the owner of all things is itself, the child, the parent and so on."""
    owner, child = place.world.parent, place.world.child
    with databases.session() as session:
        top, beside = (
            organizations.add(session, actor=OPERATOR, name=f"{name} {owner}")["id"]
            for name in ("Top", "Beside")
        )
        for below in (str(owner), beside):
            organizations.edit(session, actor=OPERATOR, organization=below, parent=top)
    return {
        Whose.OWN: owner,
        Whose.CHILD: int(top),
        Whose.PARENT: child,
        Whose.SIBLING: int(beside),
        Whose.STRANGER: place.world.sibling,
    }


def complete(session: Session, organization: str) -> None:
    """Give the seller and an organization what e-invoices need."""
    where = {"postcode": "1", "city": "Town", "country": "DE", "electronic_address": "a@b.example"}
    person = {"contact": "Ann", "phone": "1", "email": "ann@b.example", "payment_details": "Cash"}
    seller.edit(session, actor=OPERATOR, **where, **person)
    organizations.edit(
        session, actor=OPERATOR, organization=organization, buyer_reference="1", **where
    )


@pytest.fixture(scope="module")
def everything(place: Place, things: Things) -> Things:
    """Things of the owner's, and what only some routes take."""
    ids = dict(things.ids)
    ids |= {"issued key": place.keys(2)[0], "notebook": "usage"}
    with databases.session() as session:
        distributions.distribute(
            session, actor=OPERATOR, pool=ids["pool"], recipient="ann@example.com"
        )
        ids["failed event"] = str(session.scalar(text("""
            INSERT INTO event (source_id, organization_id, webhook_id, body_hash, type, status, error)
            SELECT source_id, organization_id, 'failed', body_hash, 'training.launched', 'failed', 'x'
              FROM event WHERE id = :event RETURNING id"""), ids))  # fmt: skip
        ids["queued act"] = str(session.scalar(text("""
            INSERT INTO bulk_act (organization_id, actor, role, act, how, asked_as, requested)
            SELECT organization_id, 'test', 'manager', 'extend', '{}', 'queued', 1 FROM bulk_act
             WHERE id = :act RETURNING id"""), ids))  # fmt: skip
        ids["finalized invoice"] = str(session.scalar(text("""
            INSERT INTO invoice (organization_id, month, currency, subtotal, total)
            SELECT organization_id, '2020-01-01', 'EUR', 10, 10 FROM invoice WHERE id = :invoice
            RETURNING id"""), ids))  # fmt: skip
        ids["billed charge"] = str(session.scalar(text("""
            INSERT INTO charge (kind, organization_id, learner_organization_id, course_id, pool_id,
                                assignment_id, amount, currency, occurred_at)
            SELECT 'extension', organization_id, organization_id, course_id, id, :assignment, 10, 'EUR',
                   '2020-01-05Z' FROM pool WHERE id = :pool RETURNING id"""), ids))  # fmt: skip
        session.execute(text("""
            WITH line AS (
                INSERT INTO invoice_line (invoice_id, course_id, pool_id, kind, service_month, unit_price,
                                          quantity, amount)
                SELECT :invoice, course_id, id, 'extension', '2020-01-01', 10, 1, 10 FROM pool
                 WHERE id = :pool RETURNING id, invoice_id)
            INSERT INTO invoice_charge (invoice_id, line_id, charge_id)
            SELECT invoice_id, id, :charge FROM line"""),
            ids | {"invoice": ids["finalized invoice"], "charge": ids["billed charge"]})  # fmt: skip
        complete(session, ids["organization"])
        identity_providers.save(
            session, actor=OPERATOR, organization=ids["organization"], issuer="https://login.example.com",
            client_id="keypool", client_secret="x", domains=["walked.example"],
        )  # fmt: skip
        ids["launch"] = launches.begin(
            session, actor=OPERATOR, assignment=ids["assignment"], launch="walked"
        )["id"]
        final = invoices.finalize(session, actor=OPERATOR, invoice=ids["finalized invoice"])
        BODIES["POST /api/v1/invoices/<invoice>/pay"]["on"] = str(final["issued_on"])
    return Things(ids)


@pytest.fixture
def nothing_kept(place: Place, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have the web's transactions undone where they would be committed: the next ask meets the same."""
    monkeypatch.setattr(inward, "WAIT_SECONDS", 0)  # nobody decides here

    def undo(connection: Any) -> None:
        connection.connection.rollback()

    engine = databases.engine(Login.WEB)
    event.listen(engine, "commit", undo)
    yield
    event.remove(engine, "commit", undo)


@pytest.fixture(scope="module")
def documented() -> dict[tuple[str, str], tuple[str, ...]]:
    """The documentation's table of roles."""
    rows = re.findall(r"^\| `(\w+) (/api/\S+)` \| ([\w, ]+) \|", ROLES.read_text(), re.M)
    return {(method, rule): tuple(roles.split(", ")) for method, rule, roles in rows}


@pytest.fixture(scope="module")
def in_sight() -> dict[Whose, bool]:
    """The documentation's table of whose things are seen."""
    rows = re.findall(r"^\| (\w[\w ]+) \| (shown|left out) \| (.+) \|$", ROLES.read_text(), re.M)
    assert {row[1:] for row in rows} == {("shown", "found"), ("left out", "404")}
    return {Whose(whose): shown == "shown" for whose, shown, _ in rows}


def plain(rule: str) -> str:
    return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule)


def test_every_route_lets_in_the_roles_that_the_documentation_says(place, documented):
    stated = {(route.method, plain(route.rule)): route.roles for route in routes(place)}

    assert documented == stated


@dataclass
class Walker:
    """One who asks, with a role in an organization that stands somehow to the owner of all things."""

    place: Place
    role: Role
    headers: dict[str, str]
    things: Things
    sees: bool

    def asks(self, route: Route, roles: tuple[str, ...]) -> tuple[bool, Any]:
        """Ask one route; say whether it answered as is documented, and what."""
        answer = ask(self.place, route, self.things, self.headers)
        if self.role not in roles:
            return answer.status_code == 403, answer
        if self.sees or route.rule in NOBODYS:
            return answered(self.place, answer, route) and tells(answer, route, self.things), answer
        if seeks(route):
            return answer.status_code == 200 and not tells(answer, route, self.things), answer
        unknown = {
            name: value if name == "notebook" else "999999999"
            for name, value in self.things.ids.items()
        }
        missing = ask(self.place, route, Things(unknown), self.headers)
        return answer.status_code == 404 and alike(answer, missing), answer


def walkers(place: Place, askers: dict[Whose, int], everything: Things, role: Role) -> Any:
    ids = everything.ids
    if role is Role.FINANCE:  # of reports, it reads those on what is billed
        ids = ids | {name: ids[f"{name} on billing"] for name in ("report", "schedule")}
        ids = ids | {"notebook": "billing"}
    for whose, organization in askers.items():
        if role is not Role.OPERATOR or whose is Whose.OWN:  # the operator's belongs to none
            yield whose, place.token(role, organization), Things(ids)


@pytest.mark.parametrize("role", Role)
def test_every_route_answers_each_role_of_each_organization_as_the_documentation_says(
    place, everything, askers, documented, in_sight, nothing_kept, role
):
    wrong = {}

    for whose, headers, things in walkers(place, askers, everything, role):
        for route in routes(place):
            told = in_sight[whose] or (whose is Whose.PARENT and route.rule in SHARED)
            walker = Walker(place, role, headers, things, told)
            well, answer = walker.asks(route, documented[route.method, plain(route.rule)])
            if not well:
                wrong[str(route), whose] = answer.status_code, answer.text[:200]

    assert wrong == {}


def seeks(route: Route) -> bool:
    """Say whether a route answers what is foreign by leaving it out."""
    return route.rule in BULK or (route.method == "GET" and route.rule in LISTED)


def answered(place: Place, answer: Any, route: Route) -> bool:
    paths = openapi(place.client.application)["paths"]
    operation = paths[plain(route.rule)][route.method.lower()]
    return answer.status_code < 300 and str(answer.status_code) in operation["responses"]


def alike(foreign: Any, missing: Any) -> bool:
    return NAME.sub("…", foreign.text) == NAME.sub("…", missing.text)


def tells(answer: Any, route: Route, things: Things) -> bool:
    """Say whether a list has the thing, and whether an act on many did it; true of all else."""
    if route.rule in BULK:
        return {item["code"] for item in answer.json["items"]} != {"not_found"}
    if route.method == "GET" and route.rule in LISTED:
        field, thing = LISTED[route.rule]
        return things.ids[thing] in {item[field] for item in answer.json["items"]}
    return True


def test_the_walk_leaves_out_no_list(place):
    lists = {
        route.rule for route in routes(place)
        if route.method == "GET" and "<" not in route.rule
    }  # fmt: skip

    alone = {"/api/v1/seller"} | {
        f"/api/v1/reports/{name}" for name in ("measures", "deferred", "deferred.csv")
    }
    assert lists == LISTED.keys() | NOBODYS_LISTS | alone


# ---------------------------------------------------------------------------------------- the tokens


def test_without_a_token_every_route_answers_401(place, everything):
    answers = {str(route): ask(place, route, everything, {}) for route in routes(place)}

    assert {answer.status_code for answer in answers.values()} == {401}
    assert {answer.headers["WWW-Authenticate"] for answer in answers.values()} == {"Bearer"}


def test_a_refusal_is_logged_with_who_asked_and_what_was_wrong(place, logged):
    analyst = place.token(Role.ANALYST)
    client = place.client

    client.get("/api/v1/pools")
    client.post("/api/v1/tokens", json={"name": "x", "role": "manager"}, headers=analyst)
    client.get("/api/v1/pools/no-such", headers=analyst)
    client.get("/api/v1/pools?colour=blue", headers=analyst)
    client.post("/console/sign-in", data={"email": "a@example.com"})
    client.post("/redeem", data={}, headers={"Sec-Fetch-Site": "cross-site"})

    told = [
        (one["status"], one["problem"], str(one.get("actor")).rstrip("0123456789"))
        for one in logged
        if one["event"] == "request"
    ]
    assert told == [
        (401, "unauthenticated", "None"),
        (403, "forbidden", "token "),
        (404, "not_found", "token "),
        (422, "invalid_input", "token "),
        (400, "forged_form", "None"),
        (400, "forged_form", "None"),
    ]


def test_an_error_of_ours_is_logged_without_its_values(place, logged, monkeypatch):
    who = "ann@example.com"

    def fail() -> None:
        raise ValueError(who)

    monkeypatch.setitem(place.client.application.view_functions, "docs.page", fail)
    FlaskClient(place.client.application).get("/docs")

    [line] = [one for one in logged if one["event"] == "request failed"]
    assert (line["error"], line["log_level"]) == ("ValueError", "error")
    assert "in fail" in line["where"]
    assert who not in str(logged)


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


def test_a_tokens_last_use_is_listed_also_where_it_was_refused(place):
    operator = place.token(Role.OPERATOR)
    made = place.client.post(
        "/api/v1/tokens",
        json={
            "name": "noted",
            "role": "sender",
            "organization": str(place.world.parent),
            "expires_at": "2090-12-31",
        },
        headers=operator,
    ).json

    refused = place.client.get(
        "/api/v1/tokens", headers={"Authorization": f"Bearer {made['token']}"}
    )
    [listed] = [
        token
        for token in place.client.get("/api/v1/tokens", headers=operator).json["items"]
        if token["id"] == made["id"]
    ]

    assert (refused.status_code, made["last_used_at"]) == (403, None)
    assert listed["last_used_at"] > made["created_at"]
    assert listed["works_until"] == "the end of 31 Dec 2090, UTC"


def test_a_revoked_token_is_answered_401_at_once(place):
    headers = place.token(Role.MANAGER)
    newest = place.client.get("/api/v1/tokens", headers=headers).json["items"][0]["id"]
    place.client.post(f"/api/v1/tokens/{newest}/revoke", headers=headers)

    assert place.client.get("/api/v1/pools", headers=headers).status_code == 401


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

    everybodys = {"course", "price", "seller", "seller_bank"}
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
