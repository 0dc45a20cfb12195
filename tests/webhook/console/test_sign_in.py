"""Signing in: passwords, sessions, limits, forged forms."""

import pytest
from flask import session

from tests.world import OPERATOR
from webhook import create_app
from webhook.console.answers import HEADERS
from worker.database import connections as databases
from worker.settings import settings
from worker.tenancy import users
from worker.tenancy.actors import Role


def test_a_right_password_leads_to_the_page_that_was_asked_for(person):
    somebody = person(signed_in=False)

    asked = somebody.get("/pools")
    began = somebody.sign_in(next="/console/pools")

    assert asked.location == "/console/sign-in?next=/console/pools"
    assert began.location == "/console/pools"
    assert somebody.get("/pools").status_code == 200


def test_a_sign_in_leads_nowhere_else(person):
    for elsewhere in ("https://evil.example/", "//evil.example/console/", "/console/\\evil"):
        assert person(signed_in=False).sign_in(next=elsewhere).location == "/console/"


def test_a_wrong_password_and_an_unknown_address_are_told_alike(person):
    known, unknown = person(signed_in=False), person(signed_in=False)
    unknown.email = "nobody@example.com"

    told = [somebody.sign_in("not the password").text for somebody in (known, unknown)]

    assert "do not fit" in told[0]
    assert told[0].count("do not fit") == told[1].count("do not fit") == 1
    assert known.get("/pools").status_code == 303


def test_the_eleventh_attempt_waits_however_right_it_is(person):
    somebody = person(signed_in=False)

    tried = [somebody.sign_in("wrong password").status_code for _ in range(10)]

    assert tried == [422] * 10
    assert somebody.sign_in().status_code == 429
    assert somebody.get("/pools").status_code == 303


def test_a_new_password_ends_every_session(person):
    here = person()
    there = type(here)(here.client.application.test_client(), here.email)
    there.sign_in()

    here.post("/account", old="correct horse battery", password="another horse battery")

    assert [p.get("/pools").status_code for p in (here, there)] == [303, 303]
    assert here.sign_in("another horse battery").status_code == 303


def test_a_wrong_old_password_changes_nothing(person):
    somebody = person()

    refused = somebody.post("/account", old="guessed", password="another horse battery")

    assert refused.status_code == 422
    assert "not your present password" in refused.text
    assert somebody.get("/pools").status_code == 200


def test_a_disabled_user_is_out_at_once(person):
    somebody = person()

    with databases.session() as session:
        users.disable(session, actor=OPERATOR, user=somebody.email)

    assert somebody.get("/pools").status_code == 303
    assert somebody.sign_in().status_code == 422


def test_signing_out_ends_the_session(person):
    somebody = person()

    somebody.post("/sign-out", page="/pools")

    assert somebody.get("/pools").status_code == 303


def test_a_form_without_its_token_is_refused(person):
    somebody = person(Role.OPERATOR)

    forged = somebody.client.post("/console/organizations", data={"name": "Forged"})

    assert forged.status_code == 400
    assert "Forged" not in somebody.get("/organizations").text


def test_the_cookie_is_for_this_site_and_for_no_script(person):
    cookie = person(signed_in=False).sign_in().headers["Set-Cookie"]

    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie


def test_pages_allow_no_inline_script_and_no_frame(person):
    page = person().get("/pools")

    assert {name: page.headers[name] for name in HEADERS} == HEADERS
    assert "unsafe" not in page.headers["Content-Security-Policy"]
    assert "<script>" not in page.text
    assert " style=" not in page.text
    assert page.headers["Cache-Control"] == "no-store"


def test_a_manager_makes_no_operator_and_sees_none(person):
    person(Role.OPERATOR)
    manager = person()

    refused = manager.post("/users", email="x@example.com", password="p" * 12, role="operator")

    assert refused.status_code == 403
    assert "operator-" not in manager.get("/users").text


def test_only_pages_read_the_session(person):
    somebody = person()
    app = somebody.client.application
    cookie = {"Cookie": f"keypool={somebody.client.get_cookie('keypool').value}"}

    with app.test_request_context("/console/pools", headers=cookie):
        assert session["_user_id"]
    with app.test_request_context("/api/v1/pools", headers=cookie):
        assert not session


@pytest.fixture
def newer_key(monkeypatch):
    """A secret key that was put first, before the one that the people's app has."""
    monkeypatch.setenv("KEYPOOL_SECRET_KEY", f"{'newer' * 8},{settings().secret_key[0]}")
    settings.cache_clear()
    yield
    settings.cache_clear()


@pytest.mark.usefixtures("newer_key")
def test_an_old_secret_key_signs_no_session(person):
    signed_by_the_old_one = person()

    signed_by_the_old_one.client.application = create_app()

    assert signed_by_the_old_one.get("/pools").status_code == 303
