"""Signing in: passwords, sessions, limits, forged forms."""

import re
from pathlib import Path

import pytest
from flask import session
from sqlalchemy import text

from tests.webhook.console.people import PASSWORD, at_the_door_of, confirmations_of
from tests.world import OPERATOR
from webhook import create_app
from webhook.console import answers
from webhook.console.answers import HEADERS
from worker.database import connections as databases
from worker.database.connections import Login
from worker.settings import settings
from worker.tenancy import links, passwords, users
from worker.tenancy.actors import Role


def test_a_right_password_leads_to_the_page_that_was_asked_for(person):
    somebody = person(signed_in=False)

    asked = somebody.get("/pools")
    began = somebody.sign_in(next="/console/pools")

    assert asked.location == "/console/sign-in?next=/console/pools"
    assert began.location == "/console/pools"
    assert somebody.get("/pools").status_code == 200


def test_a_sign_in_leads_nowhere_else(person):
    outside = ("https://evil.example/", "//evil.example/console/", "/console/\\evil")
    above = ("/console/../my", "/console/%252e%252e/my", "/console/..//evil.example/")
    for elsewhere in (*outside, *above, "/console/%0D%0ASet-Cookie:a=b"):
        assert person(signed_in=False).sign_in(next=elsewhere).location == "/console/"


def test_a_wrong_password_and_an_unknown_address_are_told_alike(person):
    known, unknown = person(signed_in=False), person(signed_in=False)
    unknown.email = "nobody@example.com"

    told = [somebody.sign_in("not the password").text for somebody in (known, unknown)]

    assert "do not fit" in told[0]
    assert told[0].count("do not fit") == told[1].count("do not fit") == 1
    assert known.get("/pools").status_code == 303


def as_if_failed(times: int) -> None:
    """Have whatever failed before failed so often by now; argon2 would take its time."""
    with databases.session() as opened:
        changed = "UPDATE sign_in_throttle SET failures = :times, last_at = now()"
        opened.execute(
            text(f"{changed} WHERE last_at > now() - interval '1 minute'"), {"times": times}
        )


def test_after_five_failures_an_attempt_waits_however_right_it_is(person):
    somebody = person(signed_in=False)

    tried = [somebody.sign_in("wrong password").status_code for _ in range(2)]
    as_if_failed(7)
    waits = somebody.sign_in()

    assert tried == [422] * 2
    assert (waits.status_code, int(waits.headers["Retry-After"]) in (3, 4)) == (429, True)
    assert re.search("wait [34] seconds and try again", waits.text)
    assert somebody.get("/pools").status_code == 303


def test_a_strangers_failures_keep_nobody_out_of_a_browser_that_was_signed_in_before(person):
    known = person()
    known.post("/sign-out", page="/pools")
    stranger = type(known)(known.client.application.test_client(), known.email)
    stranger.sign_in("wrong password")
    as_if_failed(12)

    assert stranger.sign_in().status_code == 429
    assert known.sign_in().status_code == 303


def test_a_session_is_over_at_its_end_and_when_it_was_idle(person, monkeypatch):
    somebody = person()
    older = "UPDATE console_session SET {} WHERE id = (SELECT max(id) FROM console_session)"

    def asked_after(change: str) -> int:
        with databases.session() as opened:
            opened.execute(text(older.format(change)))
        return somebody.get("/pools").status_code

    used = asked_after("last_seen_at = last_seen_at - interval '119 minutes'")
    idle = asked_after("last_seen_at = last_seen_at - interval '121 minutes'")
    somebody.sign_in()
    over = asked_after("ends_at = clock_now()")

    assert (used, idle, over) == (200, 303, 303)


def test_a_cookie_that_was_signed_with_a_stolen_key_opens_nothing_without_its_row(person):
    somebody = person(Role.OPERATOR)
    app = somebody.client.application
    forger = app.test_client()

    with forger.session_transaction("/console/") as forged:
        forged["_user_id"] = "1:1"

    assert forger.get("/console/pools").status_code == 303


def test_signing_out_ends_the_session_for_a_copy_of_its_cookie_too(person):
    somebody = person()
    copied = somebody.client.get_cookie("keypool").value
    thief = somebody.client.application.test_client()
    thief.set_cookie("keypool", copied)

    before = thief.get("/console/pools").status_code
    somebody.post("/sign-out", page="/pools")

    assert (before, thief.get("/console/pools").status_code) == (200, 303)


def test_sessions_are_listed_on_the_account_page_and_ended_there(person):
    here = person()
    there = type(here)(here.client.application.test_client(), here.email)
    there.sign_in()
    page = here.get("/account").text
    [other] = re.findall(r"/account/sessions/(\d+)/end", page)[
        :1
    ]  # the last one that was used is first
    ids = set(re.findall(r"/account/sessions/(\d+)/end", page))

    here.post(f"/account/sessions/{max(ids, key=int)}/end", page="/account")
    ended = [who.get("/pools").status_code for who in (here, there)]
    there.sign_in()
    here.post("/account/sessions/end", page="/account")

    assert len(ids) == 2
    assert other in ids
    assert ended == [200, 303]
    assert [who.get("/pools").status_code for who in (here, there)] == [303, 303]


def test_anothers_session_is_not_ended_from_the_account_page(person):
    somebody, other = person(), person()
    [theirs] = re.findall(r"/account/sessions/(\d+)/end", other.get("/account").text)

    refused = somebody.post(f"/account/sessions/{theirs}/end", page="/account")

    assert refused.status_code == 404
    assert other.get("/pools").status_code == 200


def test_a_manager_ends_the_session_of_a_user(person):
    manager, other = person(), person(Role.ANALYST)
    listed = manager.get(f"/sessions?user={other.email}").text
    [theirs] = re.findall(r"/sessions/(\d+)/end", listed)

    told = manager.post(f"/sessions/{theirs}/end", page="/sessions")

    assert told.status_code == 303
    assert other.get("/pools").status_code == 303


def test_the_account_shows_what_happened_at_its_door_and_from_which_network(person):
    somebody = person(signed_in=False)
    somebody.sign_in("wrong password")
    somebody.sign_in()
    somebody.post("/sign-out", page="/account")
    somebody.sign_in()

    page = somebody.get("/account").text

    shown = re.findall(r"<td>(sign[^<]+)</td><td>[^<]*</td><td>([^<]*)</td>", page)
    assert [what for what, _ in shown] == ["signed in", "signed out", "signed in", "sign-in failed"]
    assert {client for _, client in shown} == {"127.0.0.0/24"}


def test_a_right_password_of_a_disabled_user_is_told_like_a_wrong_one_and_stands_as_refused(person):
    somebody = person(signed_in=False)
    with databases.session() as opened:
        users.disable(opened, actor=OPERATOR, user=somebody.email)

    told = [somebody.sign_in(tried) for tried in ("wrong password", PASSWORD)]

    assert [answer.status_code for answer in told] == [422, 422]
    assert all("do not fit" in answer.text for answer in told)
    assert at_the_door_of(somebody.email) == ["sign-in failed", "sign-in refused"]


# Asking for the password again


@pytest.fixture
def signed_in_long_ago(person):
    """An operator who typed their password eleven minutes ago."""
    somebody = person(Role.OPERATOR)
    with databases.session() as opened:
        opened.execute(
            text("""UPDATE console_session SET confirmed_at = clock_now() - interval '11 minutes'
                                WHERE id = (SELECT max(id) FROM console_session)""")
        )
    return somebody


def test_an_act_that_matters_asks_for_the_password_again_and_keeps_what_was_typed(
    signed_in_long_ago,
):
    somebody, typed = signed_in_long_ago, {"name": "Typed <once>", "role": "operator"}

    asked = somebody.post("/tokens", **typed)
    kept = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', asked.text))
    wrong = somebody.client.post("/console/tokens", data={**typed, **kept, "present_password": "x"})
    token = re.search(r'name="csrf_token" value="([^"]+)"', wrong.text)[1]
    right = somebody.client.post(
        "/console/tokens", data={**typed, "csrf_token": token, "present_password": PASSWORD}
    )
    again = somebody.post("/tokens", name="Second", role="operator")

    assert asked.status_code == 403
    assert kept["name"] == "Typed &lt;once&gt;"
    assert (wrong.status_code, "not your password" in wrong.text) == (422, True)
    assert "Typed &lt;once&gt;: keep the token now" in right.text
    assert "Second: keep the token now" in again.text


def test_tokens_credits_and_changes_of_sign_in_are_acts_that_ask_for_the_password(app):
    asking = {
        re.sub(r"<[^>]+>", "*", rule.rule).removeprefix("/console")
        for rule in app.url_map.iter_rules()
        if getattr(app.view_functions[rule.endpoint], "confirmed", False)
    }

    assert asking == {
        "/tokens",
        "/invoices/*/lines/*/charges/*/credit",
        "/users",
        "/users/*/reset",
        "/users/*/reset-second-factor",
        "/account/recovery-codes",
        "/account/second-factor/remove",
        "/account/sessions/*/end",
        "/account/sessions/end",
        "/organizations/*/sign-in",
        "/organizations/*/single-sign-on",
        "/users/*/disable",
        "/users/*/enable",
    }


def test_a_new_password_ends_every_session(person):
    here = person()
    there = type(here)(here.client.application.test_client(), here.email)
    there.sign_in()

    here.post("/account", old="correct horse battery", password="another horse battery")

    assert [p.get("/pools").status_code for p in (here, there)] == [303, 303]
    assert here.sign_in("another horse battery").status_code == 303


def test_no_transaction_is_open_while_a_password_is_hashed(person, monkeypatch):
    turn, open_ones = passwords._turn, []

    def noted():
        open_ones.append(databases.engine(Login.WEB).pool.checkedout())
        return turn()

    monkeypatch.setattr(passwords, "_turn", noted)
    somebody = person(signed_in=False)
    somebody.sign_in()
    somebody.post("/account", old=PASSWORD, password="another horse battery")
    with databases.session() as opened:
        link = users.reset(opened, actor=OPERATOR, user=somebody.email)["link"]
    address = link.removeprefix("/console")

    chosen = somebody.post(address, password="a third horse battery")

    assert chosen.status_code == 303
    assert open_ones == [0] * 5  # made, signed in, the old and the new one, chosen


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


def test_signing_out_ends_the_session_and_has_the_browser_forget_its_pages(person):
    somebody = person()

    over = somebody.post("/sign-out", page="/pools")

    assert over.headers["Clear-Site-Data"] == '"cache", "storage"'  # the browser stays known
    assert somebody.get("/pools").status_code == 303


def test_signing_in_again_ends_the_session_before(person):
    somebody = person()
    thief = somebody.client.application.test_client()
    thief.set_cookie("keypool", somebody.client.get_cookie("keypool").value)

    again = somebody.sign_in()

    assert again.status_code == 303
    assert thief.get("/console/pools").status_code == 303
    assert somebody.get("/pools").status_code == 200


def test_a_sessions_id_has_256_random_bits_and_is_another_at_each_sign_in(person):
    somebody, ids = person(), []
    for _ in range(2):
        somebody.sign_in()
        with somebody.client.session_transaction("/console/") as cookie:
            ids.append(cookie["_user_id"])

    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", one) for one in ids)
    assert len(set(ids)) == 2


def test_a_cookie_is_signed_with_sha_256(person):
    signature = person().client.get_cookie("keypool").value.rpartition(".")[2]

    assert len(signature) == 43  # 256 bits in base64


def test_a_password_has_no_end(person):
    somebody = person(signed_in=False)
    with databases.session() as opened:
        older = "UPDATE console_user SET created_at = created_at - interval '10 years'"
        opened.execute(text(f"{older} WHERE email = :email"), {"email": somebody.email})

    assert somebody.sign_in().location == "/console/"
    assert "console_user" not in "".join(dated_columns())


def dated_columns() -> list[str]:
    """List what of a user could end at a time."""
    with databases.session() as opened:
        return list(
            opened.scalars(
                text("""SELECT table_name || '.' || column_name FROM information_schema.columns
                         WHERE table_name = 'console_user'
                           AND column_name ~ '(expires|ends|valid|changed)'""")
            )
        )


def test_a_form_without_its_token_is_refused(person):
    somebody = person(Role.OPERATOR)

    forged = somebody.client.post("/console/organizations", data={"name": "Forged"})

    assert forged.status_code == 400
    assert "Forged" not in somebody.get("/organizations").text


def test_the_cookie_is_for_this_site_and_for_no_script(person):
    cookie = person(signed_in=False).sign_in().headers["Set-Cookie"]

    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie


def test_over_https_both_cookies_are_bound_to_the_host(person, monkeypatch):
    public = {"public_url": "https://localhost"}
    monkeypatch.setattr(settings(), "__dict__", settings().__dict__ | public)
    somebody, there = person(signed_in=False), {"base_url": "https://localhost"}
    client = create_app().test_client()
    token = re.search(r'csrf_token" value="([^"]+)', client.get("/console/sign-in", **there).text)

    began = client.post(
        "/console/sign-in",
        data={"csrf_token": token[1], "email": somebody.email, "password": PASSWORD},
        headers={"Referer": "https://localhost/console/sign-in"},
        **there,
    )

    cookies = began.headers.getlist("Set-Cookie")
    assert began.status_code == 303
    assert len(cookies) == 2
    for cookie in cookies:
        assert cookie.startswith("__Host-keypool")
        assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"} <= set(cookie.split("; "))
        assert "Domain=" not in cookie


def test_a_field_for_a_password_hides_it_and_lets_a_manager_of_passwords_fill_it(person, place):
    with databases.session() as opened:
        user_id = opened.scalar(text("SELECT max(id) FROM console_user"))
        link = links.mint(opened, user_id=user_id)
    pages = ["/sign-in", "/account", f"/links/{link}"]

    shown = "".join(person(signed_in=page == "/account").get(page).text for page in pages)

    fields = re.findall(r'<input[^>]*name="(?:password|old|present_password)"[^>]*>', shown)
    assert len(fields) == 4
    for field in fields:
        assert 'type="password"' in field
        assert re.search('autocomplete="(current|new)-password"', field)
    assert "onpaste" not in shown


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

    refused = manager.post("/users", email="x@example.com", role="operator")

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


def test_a_message_that_waits_in_the_cookie_names_nobody():
    console = Path(answers.__file__).parent
    said = re.findall(
        r"\bdone\(\s*f?\"[^\"]*\"", "".join(p.read_text() for p in console.glob("*.py"))
    )

    assert len(said) > 20
    assert [one for one in said if re.search(r"\{[^}]*(email|user|recipient|learner)", one)] == []


def test_the_history_says_what_a_wrong_password_was_asked_for(person):
    somebody = person(Role.MANAGER)
    with databases.session() as opened:
        opened.execute(text("UPDATE console_session SET confirmed_at = now() - interval '1 hour'"))

    somebody.post("/tokens", page="/tokens", name="shop", role="sender", present_password="wrong")
    somebody.post("/account", old="wrong too", password="another horse battery")

    acts = [act for _, act in confirmations_of(somebody.email)]
    assert [what for what, _ in confirmations_of(somebody.email)] == ["confirmation failed"] * 2
    assert acts == ["add token", "change password"]
    assert at_the_door_of(somebody.email) == []


# Forgotten passwords


@pytest.fixture
def mailed(monkeypatch) -> None:
    """Links come by mail, and nobody asked for one before."""
    with databases.session() as opened:
        opened.execute(text("DELETE FROM sign_in_throttle"))
    given = {"smtp_url": "smtp://127.0.0.1:1", "public_url": "https://keys.example.com"}
    monkeypatch.setattr(settings(), "__dict__", settings().__dict__ | given)


ONLY_THERE = text("""
    INSERT INTO identity_provider (organization_id, issuer, client_id, secret_encrypted, is_only)
    SELECT organization_id, 'https://id.example.com', 'keypool', ''::bytea, true FROM console_user
     WHERE email = :email
""")


def asks(somebody, email: str | None = None):
    """Ask for a link, as the form does."""
    return somebody.post(
        "/forgotten-password", page="/forgotten-password", email=email or somebody.email
    )


def mails_to(email: str) -> list[dict[str, object]]:
    found = "SELECT kind, organization_id, data FROM message WHERE recipient = :email ORDER BY id"
    with databases.session() as opened:
        return [dict(row) for row in opened.execute(text(found), {"email": email}).mappings()]


def asked_for(email: str) -> list[str]:
    told = "SELECT action FROM history WHERE actor = :who AND action LIKE 'password link %' ORDER BY id"
    with databases.session() as opened:
        return list(opened.scalars(text(told), {"who": f"user {email}"}))


def body(answer) -> str:
    """Give a page without what is another one's each time."""
    return re.sub(r"csrf\w*\"? (value|content)=\"[^\"]+\"", "", answer.text)


@pytest.mark.usefixtures("mailed")
def test_who_forgot_their_password_is_mailed_a_link_and_everybody_is_answered_alike(person):
    somebody, stranger = person(signed_in=False), person(signed_in=False)

    told, unknown = asks(somebody), asks(stranger, "nobody@example.com")

    assert (told.status_code, unknown.status_code) == (200, 200)
    assert body(told) == body(unknown)
    assert somebody.email not in told.text
    [mail] = mails_to(somebody.email)
    assert (mail["kind"], mail["data"]["days"]) == ("reset", 7)
    assert mails_to("nobody@example.com") == mails_to(stranger.email) == []
    assert asked_for(somebody.email) == ["password link asked for"]


def test_where_no_mail_is_sent_nobody_is_led_to_a_form_that_sends_one(person):
    somebody = person(signed_in=False)

    shown = somebody.get("/sign-in").text

    assert "Forgot your password?" not in shown
    assert somebody.get("/forgotten-password").status_code == 404
    sent = somebody.post("/forgotten-password", page="/sign-in", email=somebody.email)
    assert sent.status_code == 404


@pytest.mark.usefixtures("mailed")
def test_the_sign_in_links_to_the_form_and_keeps_its_own_fields_and_button(person):
    shown = person(signed_in=False).get("/sign-in").text

    assert '<a href="/console/forgotten-password">Forgot your password?</a>' in shown
    assert re.findall(r"<button[^>]*>([^<]*)</button>", shown).count("Sign in") == 1
    assert set(re.findall(r'<input[^>]* name="(\w+)"', shown)) == {
        "email",
        "password",
        "csrf_token",
    }


@pytest.mark.usefixtures("mailed")
def test_who_asks_again_gets_no_second_mail_and_five_a_day_at_most(person):
    somebody = person(signed_in=False)
    earlier = text(
        "UPDATE message SET happened_at = happened_at - interval '16 minutes' WHERE recipient = :email"
    )

    for _ in range(8):
        asks(somebody)
        asks(somebody)
        with databases.session() as opened:
            opened.execute(earlier, {"email": somebody.email})
            opened.execute(text("DELETE FROM sign_in_throttle"))

    assert len(mails_to(somebody.email)) == 5
    assert asked_for(somebody.email) == ["password link asked for"]


@pytest.mark.usefixtures("mailed")
def test_asking_for_links_is_throttled_apart_from_signing_in_and_alike_for_everybody(person):
    somebody = person(signed_in=False)
    asks(somebody)
    asks(somebody, "nobody-else@example.com")
    as_if_failed(110)

    waits = [asks(somebody), asks(somebody, "nobody-else@example.com")]

    assert [answer.status_code for answer in waits] == [429, 429]
    assert waits[0].headers["Retry-After"]
    assert somebody.sign_in().status_code == 303


@pytest.mark.usefixtures("mailed")
@pytest.mark.parametrize("why", ["disabled", "single sign-on"])
def test_who_may_not_sign_in_with_a_password_gets_no_link(person, place, why):
    somebody = person(Role.MANAGER, signed_in=False)
    with databases.session() as opened:
        if why == "disabled":
            users.disable(opened, actor=OPERATOR, user=somebody.email)
        else:
            opened.execute(ONLY_THERE, {"email": somebody.email})

    told = asks(somebody)
    with databases.session() as opened:
        opened.execute(text("UPDATE identity_provider SET ended_at = clock_now()"))

    assert "If somebody signs in with that address" in told.text
    assert mails_to(somebody.email) == []
    assert asked_for(somebody.email) == ["password link refused"]
