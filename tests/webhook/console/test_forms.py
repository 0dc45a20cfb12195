"""What is typed in a form and refused is not lost, and the refusal stands beside its field."""

import re
from html import unescape

import pytest

from tests.webhook.console.test_pages import PAGES
from worker.tenancy.actors import Role

LONG = "x" * 201

# Acts whose forms stand on more pages than the one that they name: what they go on to.
STANDS_ON_SEVERAL = {
    "console.cancel_batch",
    "console.resend",
    "console.retry_event",
    "console.rotate_source",
}

# A form's address, the page that it is on, what is typed, the field that is wrong, and what is said.
REFUSED = {
    "organization": (
        "/organizations", "/organizations",
        {"name": "Kept & so", "time_zone": "Mars/Olympus", "currency": "EUR"}, "time_zone",
    ),
    "organization's days": (
        "/organizations/{parent}", None,
        {"name": "Kept & so", "time_zone": "UTC", "currency": "EUR", "payment_terms_days": "soon"},
        "payment_terms_days",
    ),
    "organization's tax": (
        "/organizations/{parent}", None,
        {"name": "Kept & so", "time_zone": "UTC", "currency": "EUR", "payment_terms_days": "30",
         "tax_rate": "many"},
        "tax_rate",
    ),
    "course": (
        "/courses", "/courses",
        {"code": "Kept & so", "title": LONG * 2, "price": "1", "currency": "EUR"}, "title",
    ),
    "course's price": (
        "/courses", "/courses",
        {"code": "Kept & so", "title": "T", "price": "dear", "currency": "EUR"}, "price",
    ),
    "price of no course": (
        "/prices", "/prices", {"course": "Kept & so", "price": "1"}, "course",
    ),
    "price's start": (
        "/prices", "/prices?course={course}", {"course": "{course}", "price": "7", "from": "then"}, "from",
    ),
    "seller": ("/seller", None, {"name": " ", "address": "Kept & so"}, "name"),
    "reminder": (
        "/reminders", "/reminders?organization={organization}",
        {"organization": "{organization}", "pool_low": "on", "pool_low_number": "12",
         "pool_low_to": "no address"},
        "pool_low_to",
    ),
    "reminder's number": (
        "/reminders", "/reminders?organization={organization}",
        {"organization": "{organization}", "key_unused": "on", "key_unused_number": "99999"},
        "key_unused_number",
    ),
    "template": (
        "/templates", "/templates",
        {"name": "Kept & so", "organization": "{organization}", "subject": "Yours", "text": "No key & so"},
        "text",
    ),
    "source": ("/sources", "/sources", {"name": "Kept & so", "organization": "Nobody"}, "organization"),
    "user": (
        "/users", "/users",
        {"email": "kept", "organization": "{organization}", "role": "analyst"},
        "email",
    ),
    "token": ("/tokens", "/tokens", {"name": "Kept & so", "role": "king"}, "role"),
    "pool": (
        "/pools/{pool}/edit", None,
        {"name": "Kept & so", "starts": "2026-01-01", "expires": "2025-01-01",
         "content_availability": "9"},
        "expires",
    ),
    "distribution": (
        "/pools/{pool}/distribute", "/pools/{pool}",
        {"recipient": "Kept & so", "count": "all", "reference": "PO"}, "count",
    ),
    "generation": (
        "/pools/{pool}/keys/generate", "/pools/{pool}/keys/add", {"generate": "many"}, "generate",
    ),
    "extension": (
        "/assignments/{assignment}/extend", "/assignments/{assignment}",
        {"by_days": "", "until": "2001-01-01", "price": "7"}, "until",
    ),
    "credit": (
        "/invoices/{invoice}/lines/{line}/charges/{charge}/credit", "/invoices/{invoice}/lines/{line}",
        {"amount": "99999", "reason": "Kept & so"}, None,
    ),
    "void": (
        "/invoices/{invoice}/void", "/invoices/{invoice}", {"reason": "Kept & so"}, None,
    ),
    "learner": (
        "/learners/{email}", "/learners/{email}", {"email": "no address", "name": "Kept"}, "email",
    ),
    "report": (
        "/reports", "/reports",
        {"notebook": "usage", "organization": "", "from": "2026-02-01", "to": "2026-01-01"}, "to",
    ),
    "report's format": (
        "/reports", "/reports", {"notebook": "usage", "organization": "", "format": "JPEG"}, "format",
    ),
    "schedule": (
        "/reports/schedules", "/reports/schedules",
        {"notebook": "usage", "every": "week", "format": "PDF", "mail": "nobody"}, "mail",
    ),
    "schedule's edit": (
        "/reports/schedules/{schedule}/edit", "/reports/schedules", {"every": "week", "mail": "nobody"}, "mail",
    ),
    "password": (
        "/account", None, {"old": "guessed", "password": "another horse battery"}, "old",
    ),
}  # fmt: skip


@pytest.fixture
def refused(somebody, things, place):
    ids = things.ids | {"parent": str(place.world.parent)}

    def send(form):
        address, page, typed, _ = REFUSED[form]
        typed = {name: value.format(**ids) for name, value in typed.items()}
        where = page and page.format(**ids)
        answer = somebody(Role.OPERATOR).post(address.format(**ids), page=where, **typed)
        return answer, typed

    return send


@pytest.mark.parametrize("form", REFUSED)
def test_nothing_typed_is_lost_and_the_refusal_stands_beside_its_field(refused, form):
    answer, typed = refused(form)

    page, wrong = answer.text, REFUSED[form][3]
    assert answer.status_code in (404, 409, 422)
    assert '<p class="told refused" role="alert">' in page
    for name, value in typed.items():
        fields = re.findall(rf'<(?:input|textarea)[^>]* name="{name}"[^>]*>[^<]*', page)
        if value and fields and name not in ("password", "old"):
            assert any(value in unescape(field) for field in fields), name
    noted = re.findall(r'<small id="[\w-]+?-(\w+)-note" class="wrong">', page)
    assert noted == ([wrong] if wrong else [])


def test_a_password_is_never_written_into_a_page(refused):
    assert "another horse battery" not in refused("password")[0].text
    assert 'value="short"' not in refused("user")[0].text


def test_a_dialog_that_was_refused_stays_open(refused):
    assert re.findall(r'<dialog id="(\w+)"[^>]* open>', refused("distribution")[0].text) == [
        "distribute"
    ]


def test_a_refused_form_keeps_the_page_and_its_filter(refused):
    answer, typed = refused("price's start")

    assert f'id="f-course" name="course" type="text" value="{typed["course"]}"' in answer.text


def test_the_page_of_a_refused_form_depends_on_its_act_and_not_on_the_referer(somebody, things):
    operator = somebody(Role.OPERATOR)
    token = re.search(r'csrf_token" value="([^"]+)"', operator.get("/pools").text)[1]
    where = f"/console/pools/{things.ids['pool']}/distribute"

    for came_from in ({}, {"Referer": "http://localhost/console/users"}):
        typed = {"csrf_token": token, "count": "none"}
        answer = operator.client.post(where, data=typed, headers=came_from)

        assert answer.status_code == 422
        assert 'value="none"' in answer.text


def test_a_page_that_is_shown_again_leads_where_it_led(somebody, things):
    page, pool = "/pools/{pool}?state=issued", things.ids["pool"]

    answer = somebody().post(f"/pools/{pool}/distribute", page=page.format(pool=pool), count="all")

    assert answer.status_code == 422
    assert "<option selected>issued</option>" in answer.text
    assert f'<form method="get" action="/console/pools/{pool}?state=issued#keys"' in answer.text


# Acts before and after a session: their forms are those of the sign-in.
WITHOUT_A_SESSION = {
    f"console.{view}"
    for view in ("ask_for_link", "begin", "begin_first", "chosen", "give_second_factor", "sign_out")
}


def test_every_act_names_the_page_that_its_form_stands_on(app):
    views, rules = app.view_functions, list(app.url_map.iter_rules())
    acts = [
        rule for rule in rules if rule.endpoint.startswith("console.") and "POST" in rule.methods
    ]

    for act in acts:
        if act.endpoint in WITHOUT_A_SESSION:
            continue
        [page] = app.url_map.iter_rules(f"console.{views[act.endpoint].on}")
        assert "GET" in page.methods
        assert page.arguments <= act.arguments
        assert set(views[act.endpoint].roles) <= set(views[page.endpoint].roles)


@pytest.mark.parametrize("page", [where for where in PAGES if "." not in where])
def test_every_form_of_a_page_is_sent_to_an_act_that_names_that_page(app, somebody, things, page):
    where = page.format(**things.ids)
    shown = somebody(Role.OPERATOR).get(where)
    urls = app.url_map.bind("localhost")
    endpoint, _ = urls.match(f"/console{where.partition('?')[0]}")

    acts = re.findall(r'<form[^>]* method="post" action="([^"?]+)', shown.text)

    named = {urls.match(act, method="POST")[0]: act for act in acts}
    elsewhere = named.keys() - STANDS_ON_SEVERAL - {"console.sign_out"}
    assert {app.view_functions[act].on for act in elsewhere} <= {endpoint.removeprefix("console.")}


def test_what_a_role_may_not_do_is_told_without_the_page(somebody, things):
    answer = somebody(Role.ANALYST).post("/prices", page="/prices", course="x", price="1")

    assert answer.status_code == 403
    assert "does not allow this" in answer.text
