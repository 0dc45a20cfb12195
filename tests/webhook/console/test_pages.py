"""What each page shows and to whom, and that no page tells of a foreign organization."""

import re
from html import unescape
from urllib.parse import quote, unquote

import pytest

from tests.webhook.conftest import redemption, settle
from tests.world import OPERATOR
from webhook.console import words
from webhook.console.answers import HEADERS
from worker.catalogue import courses
from worker.database import connections as databases
from worker.pools import batches, distributions, keys, pools
from worker.tenancy import organizations
from worker.tenancy.actors import Role

PAGES = {
    "/": {"manager", "finance", "analyst", "sender"},
    "/search": {"manager", "finance", "analyst", "sender"},
    "/pools": {"manager", "analyst"},
    "/pools/new": {"manager"},
    "/pools/new/words": {"manager"},
    "/courses/choose": {"manager"},
    "/pools/{pool}": {"manager", "analyst"},
    "/pools/{pool}/edit": {"manager"},
    "/pools/{pool}/keys/add": {"manager"},
    "/pools/{pool}/distribute/table": {"manager"},
    "/pools/{pool}/keys.csv": {"manager", "analyst"},
    "/pools/{pool}/keys/selected/retire?row={key_id}": {"manager"},
    "/pools/{pool}/keys/selected/replace?row={key_id}": {"manager"},
    "/pools/{pool}/keys/selected/distribute?row={key_id}": {"manager"},
    "/pools/{pool}/keys/selected/mail?row={key_id}": {"manager"},
    "/batches": {"manager", "analyst"},
    "/batches/{batch}/progress": {"manager", "analyst"},
    "/batches/{batch}.csv": {"manager", "analyst"},
    "/trouble": {"manager", "analyst"},
    "/assignments": {"manager", "analyst"},
    "/assignments/{assignment}": {"manager", "analyst"},
    "/assignments/selected/extend?row={assignment}": {"manager"},
    "/assignments/selected/cancel?row={assignment}": {"manager"},
    "/assignments/selected/mail?row={assignment}": {"manager"},
    "/assignments.csv?all=1": {"manager", "analyst"},
    "/bulk-acts": {"manager", "analyst"},
    "/bulk-acts/{act}": {"manager", "analyst"},
    "/bulk-acts/{act}/progress": {"manager", "analyst"},
    "/bulk-acts/{act}.csv": {"manager", "analyst"},
    "/learners/{email}": {"manager", "analyst"},
    "/redemptions": {"manager", "analyst"},
    "/invoices": {"finance", "analyst"},
    "/charges": {"finance", "analyst"},
    "/invoices/{invoice}": {"finance", "analyst"},
    "/invoices/{invoice}/lines/{line}": {"finance", "analyst"},
    "/invoices/{invoice}.pdf": {"finance", "analyst"},
    "/invoices/{invoice}.csv": {"finance", "analyst"},
    "/invoices.zip?from=2026-01-01&to=2026-01-02": {"finance", "analyst"},
    "/sources": {"manager"},
    "/sources/{source}": {"manager"},
    "/events/{event}": {"manager", "analyst", "sender"},
    "/events": {"manager", "analyst", "sender"},
    "/endpoints": {"manager"},
    "/endpoints/{endpoint}": {"manager"},
    "/deliveries/{delivery}": {"manager"},
    "/messages": {"manager"},
    "/messages/{message}": {"manager"},
    "/templates": {"manager"},
    "/reminders": {"manager"},
    "/organizations": {"manager", "finance", "analyst", "sender"},
    "/organizations/{organization}": {"manager", "finance", "analyst"},
    "/organizations/{organization}/logo.png": {"manager", "finance", "analyst"},
    "/organizations/{organization}/redeem-page.svg": {"manager", "finance", "analyst"},
    "/organizations/{organization}/redeem-page.png": {"manager", "finance", "analyst"},
    "/organizations/{child}/shared-pools": {"manager", "analyst"},
    "/organizations/{child}/shared-pools/{shared}": {"manager", "analyst"},
    "/organizations/{organization}/statement": {"finance", "analyst"},
    "/organizations/{organization}/statement.pdf": {"finance", "analyst"},
    "/organizations/{organization}/statement.csv": {"finance", "analyst"},
    "/seller": set(),
    "/first-steps": set(),
    "/help": {"manager", "finance", "analyst", "sender"},
    "/first-steps/progress": set(),
    "/courses": {"manager", "analyst"},
    "/courses/{course}": {"manager", "analyst"},
    "/prices": {"finance", "analyst"},
    "/tokens": {"manager"},
    "/users": {"manager"},
    "/sessions": {"manager"},
    "/reports": {"manager", "finance", "analyst"},
    "/reports/schedules": {"manager", "finance", "analyst"},
    "/reports/{report}/progress": {"manager", "analyst"},  # of usage
    "/reports/{report}.html": {"manager", "analyst"},  # of usage
    "/reports/{report}.pdf": {"manager", "analyst"},  # of usage
    "/history": {"manager"},
    "/history.csv": {"manager"},
    "/account": {"manager", "finance", "analyst", "sender"},
}
FILES = (
    "/invoices/*",
    "/organizations/*/statement",
    "/organizations/*/redeem-page",
)  # pages that are documents, too, in two formats
PUBLIC = {"/courses/{course}"}  # what every organization may know
ACTS = {
    "/pools/new": {"manager"},
    "/pools/{pool}/edit": {"manager"},
    "/pools/{pool}/pause": {"manager"},
    "/pools/{pool}/resume": {"manager"},
    "/pools/{pool}/keys/add": {"manager"},
    "/pools/{pool}/distribute/table": {"manager"},
    "/pools/{pool}/keys/generate": {"manager"},
    "/pools/{pool}/keys/retire": {"manager"},
    "/pools/{pool}/keys/selected/retire?row={key_id}": {"manager"},
    "/pools/{pool}/keys/selected/replace?row={key_id}": {"manager"},
    "/pools/{pool}/keys/selected/distribute?row={key_id}": {"manager"},
    "/pools/{pool}/keys/selected/mail?row={key_id}": {"manager"},
    "/keys/{code}/replace": {"manager"},
    "/keys/{code}/extend": {"manager"},
    "/pools/{pool}/distribute": {"manager"},
    "/pools/{pool}/recall": {"manager"},
    "/batches/{batch}/cancel": {"manager"},
    "/assignments/{assignment}/extend": {"manager"},
    "/assignments/{assignment}/cancel": {"manager"},
    "/assignments/selected/extend?row={assignment}": {"manager"},
    "/assignments/selected/cancel?row={assignment}": {"manager"},
    "/assignments/selected/mail?row={assignment}": {"manager"},
    "/bulk-acts/{act}/cancel": {"manager"},
    "/learners/{email}": {"manager"},
    "/events/{event}/retry": {"manager"},
    "/sources/{source}/rotate": {"manager"},
    "/sources/{source}/test": {"manager"},
    "/tokens/{token}/revoke": {"manager"},
    "/invoices/{invoice}/finalize": set(),
    "/invoices/journal": set(),
    "/invoices/{invoice}/pay": set(),
    "/invoices/{invoice}/payments/{payment}/unpay": set(),
    "/invoices/{invoice}/void": set(),
    "/invoices/{invoice}/lines/{line}/charges/{charge}/credit": set(),
    "/courses": set(),
    "/courses/{course}": set(),
    "/courses/{course}/archive": set(),
    "/organizations": set(),
    "/organizations/{organization}": set(),
    "/organizations/{organization}/logo": set(),
    "/organizations/{organization}/redeem-page": set(),
    "/prices": set(),
    "/prices/{price}/withdraw": set(),
    "/seller": set(),
    "/first-steps/samples": set(),
    "/sources": {"manager"},
    "/endpoints": {"manager"},
    "/endpoints/{endpoint}": {"manager"},
    "/endpoints/{endpoint}/rotate": {"manager"},
    "/endpoints/{endpoint}/pause": {"manager"},
    "/endpoints/{endpoint}/resume": {"manager"},
    "/endpoints/{endpoint}/ping": {"manager"},
    "/endpoints/{endpoint}/remove": {"manager"},
    "/endpoints/{endpoint}/resend": {"manager"},
    "/messages/{message}/resend": {"manager"},
    "/templates": {"manager"},
    "/reminders": {"manager"},
    "/tokens": {"manager"},
    "/users": {"manager"},
    "/users/{user}/reset": {"manager"},
    "/users/{user}/reset-second-factor": {"manager"},
    "/organizations/{organization}/sign-in": set(),
    "/organizations/{organization}/single-sign-on": set(),
    "/users/{user}/enable": {"manager"},
    "/users/{user}/disable": {"manager"},
    "/sessions/{session_id}/end": {"manager"},
    "/reports": {"manager", "analyst"},  # of usage
    "/reports/schedules": {"manager", "analyst"},  # of usage
    "/reports/schedules/{schedule}/edit": {"manager", "finance", "analyst"},
    "/reports/schedules/{schedule}/pause": {"manager", "finance", "analyst"},
    "/reports/schedules/{schedule}/resume": {"manager", "finance", "analyst"},
    "/reports/schedules/{schedule}/remove": {"manager", "finance", "analyst"},
}
ALONE = (".html", ".pdf", ".csv", ".zip", ".png", ".svg")  # no pages
ROLES = [role for role in Role if role is not Role.OPERATOR]
FORM = {
    "name": "N",
    "starts": "2026-01-01",
    "expires": "2099-01-01",
    "content_availability": "9",
    "generate": "1",
    "recipient": "r@example.com",
    "count": "1",
    "by_days": "1",
    "email": "n@example.com",
    "reason": "why",
    "on": "2026-01-01",
    "code": "{code}",
    "pasted": "SOME-KEY-0001",
    "organization": "{organization}",
    "course": "{course}",
    "role": "analyst",
    "password": "correct horse battery",
    "notebook": "usage",
    "url": "https://hooks.example/y",
    "subject": "Your key",
    "text": "{{% for key in keys %}}{{{{ key }}}}{{% endfor %}}",
    "redemption.decided": "on",
    "pool_low": "10",
    "pool_expiring_days": "10",
}


@pytest.mark.parametrize("path", PAGES)
def test_a_page_opens_to_its_roles_and_to_no_other(somebody, things, path):
    allowed = {
        role for role in ROLES if somebody(role).get(path.format(**things.ids)).status_code == 200
    }

    assert allowed == PAGES[path]
    assert somebody(Role.OPERATOR).get(path.format(**things.ids)).status_code == 200


@pytest.mark.parametrize("path", PAGES)
def test_a_page_links_to_nothing_that_its_visitor_may_not_open(app, somebody, things, path):
    routes = app.url_map.bind("localhost")

    for role in PAGES[path]:
        page = somebody(Role(role)).get(path.format(**things.ids))
        if page.mimetype != "text/html":
            continue
        for address in set(re.findall(r'href="(/console/[^"?#]*)', page.text)):
            endpoint, _ = routes.match(unquote(unescape(address)))
            roles = vars(app.view_functions[endpoint]).get("roles", PAGES[path])
            assert role in roles, (role, address)


@pytest.mark.parametrize("path", PAGES)
def test_a_page_runs_nothing_inline_is_framed_nowhere_and_guards_its_forms(somebody, things, path):
    shown = somebody(Role.OPERATOR).get(path.format(**things.ids))

    assert shown.headers["X-Content-Type-Options"] == "nosniff"
    policy = shown.headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in policy
    if not path.partition("?")[0].endswith(ALONE):
        assert policy == HEADERS["Content-Security-Policy"]
        assert not re.findall(
            r"<script(?![^>]* src=)|<style| style=| on\w+=|javascript:", shown.text
        )
        forms = re.findall(r'<form[^>]* method="post".*?</form>', shown.text, re.DOTALL)
        assert [form for form in forms if 'name="csrf_token" value="' not in form] == []


@pytest.mark.parametrize("path", [path for path in PAGES if path not in PUBLIC])
def test_a_page_of_who_is_signed_in_has_a_button_to_sign_out(somebody, things, path):
    page = somebody(Role.OPERATOR).get(path.format(**things.ids))

    if page.mimetype == "text/html" and "<html" in page.text and not path.endswith(ALONE):
        assert 'action="/console/sign-out"' in page.text


@pytest.mark.parametrize("path", [*ACTS, "/sign-in", "/sign-out", "/account"])
def test_a_form_without_its_token_does_nothing(somebody, things, path):
    forged = somebody(Role.OPERATOR).client.post(f"/console{path.format(**things.ids)}", data=FORM)

    assert forged.status_code == 400
    assert "too old, or not from here" in forged.text
    assert forged.headers["Content-Security-Policy"] == HEADERS["Content-Security-Policy"]


@pytest.mark.parametrize("path", [path for path in PAGES if "{" in path and path not in PUBLIC])
def test_a_foreign_organizations_thing_is_not_found(somebody, place, things, path):
    for role in PAGES[path]:
        stranger = somebody(Role(role), place.world.sibling)
        assert stranger.get(path.format(**things.ids)).status_code == 404


@pytest.mark.parametrize("path", ACTS)
def test_an_act_is_refused_to_other_roles_and_to_strangers(somebody, place, things, path):
    form = {name: value.format(**things.ids) for name, value in FORM.items()}
    where = path.format(**things.ids)

    for role in ROLES:
        answer = somebody(role, place.world.sibling).post(where, page="/account", **form)
        assert answer.status_code == (404 if role in ACTS[path] else 403), role


def test_every_page_without_a_session_leads_to_the_sign_in(app, things):
    stranger = app.test_client()

    for path in PAGES:
        answer = stranger.get(f"/console{path.format(**things.ids)}")
        assert answer.status_code == 303, path
        assert answer.location.startswith("/console/sign-in")


@pytest.mark.parametrize(("method", "table"), [("GET", PAGES), ("POST", ACTS)])
def test_every_route_of_the_console_is_in_these_tables(app, method, table):
    told = {re.sub(r"{\w+}", "*", path.partition("?")[0]) for path in table}
    open_to_all = {
        "/sign-in",
        "/forgotten-password",
        "/single-sign-on",
        "/single-sign-on/answer",
        "/sign-out",
        "/static/*",
        "/account",
        "/help/*",
        "/help/images/*",
        "/*",
    }
    own = {
        "/links/*",
        "/first/*",
        "/second-factor",
        "/account/recovery-codes",
        "/account/second-factor/remove",
        "/account/sessions/*/end",
        "/account/sessions/end",
    }
    console = {
        re.sub(r"<[^>]+>", "*", rule.rule).removeprefix("/console")
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith("/console") and method in rule.methods
    }

    files = {f"{path}.{kind}" for path in FILES for kind in ("pdf", "csv", "svg", "png")}
    known = {path[:-3] + "*" if path in files else path for path in told}
    assert known | open_to_all | own >= console


MARKUP = "<img src=x onerror=alert(1)>"
NAMED = "&lt;img src=x onerror=alert(1)&gt;"


@pytest.fixture(scope="module")
def marked(somebody, place):
    """One of everything that has a name, with markup in it, made with the forms; ids by kind."""
    operator = somebody(Role.OPERATOR)
    with databases.session() as session:
        course = courses.add(
            session, actor=OPERATOR, code=MARKUP, title=MARKUP, price="1", currency="EUR"
        )
        owner = organizations.add(session, actor=OPERATOR, name=MARKUP)
        pool = pools.create(
            session,
            actor=OPERATOR,
            name=MARKUP,
            organization=MARKUP,
            course=MARKUP,
            starts="2020-01-01",
            expires="2090-01-01",
            content_availability=9,
        )
        keys.add_keys(session, actor=OPERATOR, pool=pool["id"], codes=["MARKED-KEY-01"])
        distributions.distribute(
            session, actor=OPERATOR, pool=pool["id"], recipient=MARKUP, reference=MARKUP
        )
        batches.generate(session, actor=OPERATOR, pool=pool["id"], count=1)
    named = {"name": MARKUP, "organization": MARKUP, "role": "analyst"}
    for form in ("/sources", "/tokens"):
        operator.post(form, **named)
    operator.post("/prices", course=MARKUP, organization=MARKUP, price="2", currency="EUR")
    operator.post("/seller", name=MARKUP, address=MARKUP, tax_id=MARKUP, payment_details=MARKUP)
    sender = place.sender(int(owner["id"]))
    learner = {"email": "marked@example.com", "name": MARKUP}
    message = redemption("MARKED-KEY-01")
    sender.post({**message, "data": {"key": "MARKED-KEY-01", "learner": learner}})
    settle()
    return {"course": course["id"], "organization": owner["id"], "pool": pool["id"]}


SHOWING = [
    "/pools", "/pools/{pool}", "/pools/{pool}/edit", "/pools/{pool}/keys/add", "/pools/new", "/batches",
    "/courses", "/courses/{course}", "/courses/choose?search=MARKUP", "/organizations",
    "/organizations/{organization}", "/prices", "/prices?course=MARKUP&organization=MARKUP",
    "/sources", "/tokens", "/users", "/seller", "/endpoints", "/templates", "/reminders",
    "/history", "/history?organization=MARKUP",
    "/assignments", "/redemptions", "/charges", "/learners/marked@example.com", "/trouble?q=MARKED-KEY-01",
    "/pools/{pool}?recipient=MARKUP&reference=MARKUP", "/reports", "/reports/schedules",
]  # fmt: skip
SEARCHING = [
    "/trouble?q=MARKUP", "/trouble?q=MARKED-KEY-01&as=MARKUP", "/assignments?learner=MARKUP",
    "/events?webhook_id=MARKUP", "/history?thing=MARKUP&action=MARKUP&by=MARKUP",
    "/courses?search=MARKUP", "/invoices?organization=MARKUP", "/learners/MARKUP", "/batches?pool=MARKUP",
    "/pools/MARKUP", "/invoices/MARKUP", "/messages?recipient=MARKUP",
]  # fmt: skip


@pytest.mark.parametrize("path", [*SHOWING, *SEARCHING])
def test_markup_in_names_and_searches_is_shown_as_text(somebody, marked, path):
    where = path.format(**marked).replace("MARKUP", quote(MARKUP))

    page = somebody(Role.OPERATOR).get(where)

    assert page.status_code in ((200,) if path in SHOWING else (200, 404, 422))
    assert "<img" not in page.text
    assert NAMED in page.text or path in SEARCHING


def test_a_long_list_leads_on_page_by_page_and_keeps_its_filter(somebody, place):
    place.keys(101)
    reader, seen = somebody(), set()
    where = f"/pools/{place.world.pool}?state=issued"

    while where:
        page = reader.get(where).text
        seen |= set(re.findall(r"q=(TEST-[0-9A-F]+)", page))
        following = re.search(r'href="/console([^"]+)" rel="next"', page)
        where = following and unescape(following[1])
        assert not where or "state=issued" in where

    assert len(seen) > 100


@pytest.mark.parametrize("path", ["/nowhere", "/pools/1/nowhere", "/static/nowhere.css"])
def test_a_page_that_is_not_there_is_told_of_on_a_page(somebody, path):
    answer = somebody(Role.MANAGER).get(path)

    assert (answer.status_code, answer.mimetype) == (404, "text/html")
    assert "Content-Security-Policy" in answer.headers


@pytest.mark.parametrize(
    ("value", "told"),
    [(1234567, "1,234,567"), ("3819.38", "3,819.38"), ("-1200.00", "-1,200.00"), ("7", "7")],
)
def test_digits_are_grouped(value, told):
    assert words.number(value) == told


@pytest.mark.parametrize("number", ["-99999999999", "9" * 30, "-" + "9" * 30, "one", "\0"])
@pytest.mark.parametrize(
    "path",
    ["/assignments?expiring_within=", "/history?thing=key&thing_id=", "/history.csv?thing_id="],
)
def test_a_number_in_an_address_may_be_anything(somebody, path, number):
    answer = somebody(Role.MANAGER).get(f"{path}{quote(number)}")

    assert answer.status_code in {200, 400, 422}, answer.text
