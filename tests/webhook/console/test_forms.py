"""What is typed in a form and refused is not lost, and the refusal stands beside its field."""

import re
from html import unescape

import pytest

from worker.tenancy.actors import Role

LONG = "x" * 201

# A form's address, the page that it is on, what is typed, the field that is wrong, and what is said.
REFUSED = {
    "organization": (
        "/organizations", "/organizations",
        {"name": "Kept & so", "time_zone": "Mars/Olympus", "currency": "EUR"}, "time_zone",
    ),
    "organization's days": (
        "/organizations/{organization}", None,
        {"name": "Kept & so", "time_zone": "UTC", "currency": "EUR", "payment_terms_days": "soon"},
        "payment_terms_days",
    ),
    "organization's tax": (
        "/organizations/{organization}", None,
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
    "source": ("/sources", "/sources", {"name": "Kept & so", "organization": "Nobody"}, "organization"),
    "user": (
        "/users", "/users",
        {"email": "kept@example.com", "password": "short", "organization": "{organization}",
         "role": "analyst"},
        "password",
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
        "/charges/{charge}/credit", "/invoices/{invoice}/lines/{line}",
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
    "password": (
        "/account", None, {"old": "guessed", "password": "another horse battery"}, "old",
    ),
}  # fmt: skip


@pytest.fixture
def refused(somebody, things):
    def send(form):
        address, page, typed, _ = REFUSED[form]
        typed = {name: value.format(**things.ids) for name, value in typed.items()}
        where = page and page.format(**things.ids)
        answer = somebody(Role.OPERATOR).post(address.format(**things.ids), page=where, **typed)
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


def test_without_a_referrer_the_page_is_the_nearest_above(somebody, things):
    operator = somebody(Role.OPERATOR)
    token = re.search(r'csrf_token" value="([^"]+)"', operator.get("/pools").text)[1]
    where = f"/console/pools/{things.ids['pool']}/distribute"

    answer = operator.client.post(where, data={"csrf_token": token, "count": "none"})

    assert answer.status_code == 422
    assert 'value="none"' in answer.text


def test_a_referrer_from_elsewhere_is_not_followed(somebody, things):
    operator = somebody(Role.OPERATOR)
    token = re.search(r'csrf_token" value="([^"]+)"', operator.get("/pools").text)[1]
    elsewhere = {"Referer": "http://elsewhere.example/console/users"}

    answer = operator.client.post(
        "/console/prices", data={"csrf_token": token, "course": "none"}, headers=elsewhere
    )

    assert answer.status_code == 404
    assert "<h1>Prices</h1>" in answer.text


def test_what_a_role_may_not_do_is_told_without_the_page(somebody, things):
    answer = somebody(Role.ANALYST).post("/prices", page="/prices", course="x", price="1")

    assert answer.status_code == 403
    assert "does not allow this" in answer.text
