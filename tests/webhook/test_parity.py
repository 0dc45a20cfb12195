"""Everything that the command line can do, over HTTP; and what of it came last."""

import re
from collections.abc import Iterator
from pathlib import Path

import rich_click as click

from tests.webhook.checking import openapi
from tests.webhook.conftest import Place
from worker import cli
from worker.cli.reports import FORMATS
from worker.database import connections as databases
from worker.pools import batches, keys
from worker.tenancy.actors import Actor, Role

DOCUMENT = Path(__file__).parents[2] / "docs" / "api.md"

# The route (after /api/v1) that does what each command does.
ROUTES = {
    "organizations add": "POST /organizations",
    "organizations edit": "PATCH /organizations/{organization}",
    "organizations list": "GET /organizations",
    "organizations shared-pools": "GET /organizations/{organization}/shared-pools",
    "organizations shared-redemptions": (
        "GET /organizations/{organization}/shared-pools/{pool}/redemptions"
    ),
    "organizations single-sign-on": "POST /organizations/{organization}/single-sign-on",
    "organizations show": "GET /organizations/{organization}",
    "courses add": "POST /courses",
    "courses archive": "POST /courses/{course}/archive",
    "courses edit": "PATCH /courses/{course}",
    "courses list": "GET /courses",
    "prices list": "GET /prices",
    "prices set": "POST /prices",
    "prices withdraw": "POST /prices/{price}/withdraw",
    "seller edit": "PATCH /seller",
    "seller show": "GET /seller",
    "sources add": "POST /sources",
    "sources list": "GET /sources",
    "sources requests": "GET /sources/{source}/requests",
    "sources show": "GET /sources/{source}",
    "sources rotate": "POST /sources/{source}/rotate",
    "tokens add": "POST /tokens",
    "tokens list": "GET /tokens",
    "tokens revoke": "POST /tokens/{token}/revoke",
    "sessions end": "POST /sessions/{session_id}/end",
    "sessions list": "GET /sessions",
    "users disable": "POST /users/{user}/disable",
    "users list": "GET /users",
    "users enable": "POST /users/{user}/enable",
    "users invite": "POST /users",
    "users reset-second-factor": "POST /users/{user}/reset-second-factor",
    "users reset": "POST /users/{user}/reset",
    "endpoints add": "POST /endpoints",
    "endpoints deliveries": "GET /deliveries",
    "endpoints edit": "PATCH /endpoints/{endpoint}",
    "endpoints list": "GET /endpoints",
    "endpoints pause": "POST /endpoints/{endpoint}/pause",
    "endpoints ping": "POST /endpoints/{endpoint}/ping",
    "endpoints remove": "POST /endpoints/{endpoint}/remove",
    "endpoints resend": "POST /endpoints/{endpoint}/resend",
    "endpoints resume": "POST /endpoints/{endpoint}/resume",
    "endpoints rotate": "POST /endpoints/{endpoint}/rotate",
    "endpoints show": "GET /deliveries/{delivery}",
    "pools charges": "GET /pools/{pool}/charges",
    "pools create": "POST /pools",
    "pools edit": "PATCH /pools/{pool}",
    "pools labels": "GET /pools/{pool}/labels",
    "pools list": "GET /pools",
    "pools pause": "POST /pools/{pool}/pause",
    "pools resume": "POST /pools/{pool}/resume",
    "pools show": "GET /pools/{pool}",
    "keys add": "POST /pools/{pool}/keys",
    "keys distribute": "POST /pools/{pool}/distributions",
    "keys distributions": "GET /pools/{pool}/distributions",
    "keys export": "GET /pools/{pool}/keys",
    "keys generate": "POST /pools/{pool}/keys",
    "keys import": "POST /pools/{pool}/keys",
    "keys list": "GET /pools/{pool}/keys",
    "keys recall": "POST /pools/{pool}/distributions/recall",
    "keys replace": "POST /keys/{code}/replace",
    "keys retire": "POST /keys/retire",
    "keys show": "GET /keys/{code}",
    "batches cancel": "POST /batches/{batch}/cancel",
    "batches list": "GET /batches",
    "batches report": "GET /batches/{batch}/report",
    "batches show": "GET /batches/{batch}",
    "batches watch": "GET /batches/{batch}",
    "bulk-acts cancel": "POST /bulk-acts/{act}/cancel",
    "bulk-acts list": "GET /bulk-acts",
    "bulk-acts report": "GET /bulk-acts/{act}/report",
    "bulk-acts show": "GET /bulk-acts/{act}",
    "events list": "GET /events",
    "events retry": "POST /events/{event}/retry",
    "events show": "GET /events/{event}",
    "redemptions list": "GET /redemptions",
    "assignments cancel": "POST /assignments/cancel",
    "assignments extend": "POST /assignments/extend",
    "assignments list": "GET /assignments",
    "assignments show": "GET /assignments/{assignment}",
    "learners correct": "PATCH /learners/{email}",
    "learners duplicates": "GET /learners/duplicates",
    "learners join": "POST /learners/duplicates/{duplicate}/join",
    "learners erase": "POST /learners/{email}/erase",
    "learners export": "GET /learners/{email}/export",
    "learners show": "GET /learners/{email}",
    "messages list": "GET /messages",
    "messages resend": "POST /messages/{message}/resend",
    "messages show": "GET /messages/{message}",
    "reminders list": "GET /reminders",
    "reminders save": "POST /reminders",
    "reminders stop": "POST /reminders/stop",
    "templates list": "GET /templates",
    "templates preview": "POST /templates/preview",
    "templates save": "POST /templates",
    "history export": "GET /history",
    "history list": "GET /history",
    "invoices charges": "GET /charges",
    "invoices credit": "POST /charges/{charge}/credit",
    "invoices export": "GET /invoices/{invoice}.csv",
    "invoices finalize": "POST /invoices/{invoice}/finalize",
    "invoices list": "GET /invoices",
    "invoices unpay": "POST /payments/{payment}/unpay",
    "invoices pay": "POST /invoices/{invoice}/pay",
    "invoices run": "POST /invoices/run",
    "invoices statement": "GET /organizations/{organization}/statement",
    "invoices show": "GET /invoices/{invoice}",
    "invoices void": "POST /invoices/{invoice}/void",
    "reports deferred": "GET /reports/deferred",
    "reports dictionary": "GET /reports/dictionary",
    "reports export": "GET /reports/{report}.html",
    "reports kept": "GET /reports",
    "reports list": "GET /reports/notebooks",
    "reports measures": "GET /reports/measures",
    "reports pause": "POST /reports/schedules/{schedule}/pause",
    "reports reschedule": "PATCH /reports/schedules/{schedule}",
    "reports resume": "POST /reports/schedules/{schedule}/resume",
    "reports run": "POST /reports",
    "reports schedule": "POST /reports/schedules",
    "reports schedules": "GET /reports/schedules",
    "reports show": "GET /reports/{report}",
    "reports unschedule": "POST /reports/schedules/{schedule}/remove",
}


def commands(group: click.Group, *path: str) -> Iterator[str]:
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        if isinstance(found, click.Group):
            yield from commands(found, *path, name)
        else:
            yield " ".join((*path, name))


def test_each_command_has_a_route_or_a_reason_in_the_documentation(place: Place):
    served = {
        f"{method.upper()} {path.removeprefix('/api/v1')}"
        for path, operations in openapi(place.client.application)["paths"].items()
        for method in operations
    }
    alone = set(re.findall(r"^\| `keypool ([a-z ]+)` \| .+ \|$", DOCUMENT.read_text(), re.M))

    assert set(commands(cli.keypool)) == ROUTES.keys() | alone
    assert not ROUTES.keys() & alone
    assert set(ROUTES.values()) <= served


def test_a_report_comes_over_http_in_each_format_that_the_command_line_has(place: Place):
    document = openapi(place.client.application)

    formats = document["components"]["schemas"]["ReportFormat"]["enum"]

    assert formats == list(FORMATS.choices)
    for format in formats:
        assert f"/api/v1/reports/{{report}}.{format}" in document["paths"]


def test_a_user_is_invited_given_a_link_let_in_no_more_and_let_in_again(place, things):
    manager = place.token(Role.MANAGER)

    def post(path: str, **body: str):
        return place.client.post(f"/api/v1/users{path}", json=body, headers=manager)

    organization = things.ids["organization"]
    given = {"email": "ops@example.com", "role": "analyst", "organization": organization}
    typed = post("", password="correct horse battery", **given)
    invited = post("", **given)
    where = f"/{invited.json['id']}"
    reset = post(f"{where}/reset")
    disabled = post(f"{where}/disable")
    too_late = post(f"{where}/reset")
    enabled = post(f"{where}/enable")
    listed = place.client.get("/api/v1/users", headers=manager)

    assert (typed.status_code, typed.json["errors"][0]["field"]) == (422, "password")
    assert (invited.status_code, reset.status_code, too_late.status_code) == (201, 200, 422)
    assert {answer.json["link"][:15] for answer in (invited, reset)} == {"/console/links/"}
    assert invited.json["link"] != reset.json["link"]
    assert disabled.json["disabled_at"] is not None
    assert enabled.json["disabled_at"] is None
    assert enabled.json in listed.json["items"]
    assert "/console/links/" not in listed.text


def test_what_became_of_each_line_of_an_import_comes_as_csv(place, monkeypatch):
    monkeypatch.setattr(keys, "AT_ONCE", 1)
    manager = Actor("test", Role.MANAGER, place.world.parent)
    with databases.session() as session:
        lines = ["LINE-KEY-0001", "line key 0001", "?"]
        told = keys.add_keys(session, actor=manager, pool=place.world.pool, codes=lines)
    while databases.transaction(batches.work_chunk) is not None:
        pass

    headers = place.token(Role.ANALYST) | {"Accept": "text/csv"}
    answer = place.client.get(f"/api/v1/batches/{told['batch']}/report", headers=headers)

    header, *rows = answer.text.splitlines()
    assert answer.mimetype == "text/csv"
    assert header.startswith("line,code,result")
    assert [row.split(",")[2] for row in rows] == ["added", "duplicate_in_input", "invalid"]
