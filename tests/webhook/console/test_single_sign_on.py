"""Single sign-on by OpenID Connect, at a provider that answers over HTTP, rightly and wrongly."""

import base64
import hmac
import re
import secrets
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from urllib.parse import urlsplit

import httpx
import pytest
from flask.testing import FlaskClient
from joserfc.jwk import RSAKey
from sqlalchemy import text

from tests.waiting import eventually
from tests.webhook.console import provider as providers
from tests.webhook.console.people import PASSWORD, at_the_door_of, confirmations_of, make_user
from webhook import serving
from worker import errors
from worker.database import connections as databases
from worker.tenancy import openid
from worker.tenancy.actors import Role

ANSWER = "/console/single-sign-on/answer"


@pytest.fixture(scope="module")
def server():
    with providers.running() as made:
        yield made


@pytest.fixture
def provider(server):
    """The provider, without a fault, where a new person signs in."""
    name = secrets.token_hex(4)
    server.user = {"sub": f"id-{name}", "email": f"{name}@sso.example", "groups": ["staff", "keys"]}
    server.wrong, server.signed_by, server.keeps_codes = {}, None, False
    server.names_itself = False
    server.codes.clear()
    server.secrets_given.clear()
    return server


@pytest.fixture
def set_up(person, place, server):
    """Have the parent's people sign in there; give how to change that."""
    operator = person(Role.OPERATOR)
    where = f"/organizations/{place.world.parent}"

    def change(**form: str):
        told = operator.post(f"{where}/single-sign-on", page=where, **form)
        assert told.status_code == 303, told.text

    given = {
        "issuer": server.issuer,
        "client_id": "keypool",
        "client_secret": providers.SECRET,
        "domains": "sso.example, @other.example",
        "role_claim": "groups",
        "roles": "staff=analyst\nkeys=manager",
    }
    change(**given)
    yield lambda **more: change(**given | more)
    change(do="remove")


def asked(client: FlaskClient, email: str, **query: str) -> str:
    """Give the address that a browser is led to."""
    led = client.get("/console/single-sign-on", query_string={"email": email, **query})
    assert led.status_code == 200, led.text
    return unescape(re.search(r'content="0; url=([^"]+)"', led.text)[1])


def answered(url: str) -> str:
    """Sign in at the provider, and give where it sends the browser back to."""
    back = httpx.get(url).headers["Location"]
    assert urlsplit(back).path == ANSWER, back
    return back.removeprefix("http://localhost")


def signs_in(client: FlaskClient, email: str, **query: str):
    return client.get(answered(asked(client, email, **query)))


def row(email: str):
    with databases.session() as session:
        return session.execute(
            text("""SELECT role, organization_id, password_hash, vouched_by FROM console_user
                     WHERE email = :email"""), {"email": email}
        ).one_or_none()  # fmt: skip


@pytest.mark.usefixtures("set_up")
def test_whoever_is_new_is_made_with_the_most_powerful_role_that_the_provider_says(
    app, provider, place
):
    client, email = app.test_client(), provider.user["email"]

    began = signs_in(client, email, next="/console/batches")

    assert (began.status_code, began.location) == (303, "/console/batches")
    assert client.get("/console/pools").status_code == 200
    made = row(email)
    assert (made.role, made.organization_id) == ("manager", place.world.parent)
    assert (made.password_hash, made.vouched_by) == (
        None,
        f"{provider.issuer} {provider.user['sub']}",
    )


@pytest.mark.usefixtures("set_up")
def test_a_role_that_the_provider_takes_away_is_gone_at_the_next_sign_in(app, provider):
    email = provider.user["email"]
    signs_in(app.test_client(), email)

    provider.user["groups"] = "staff"
    signs_in(app.test_client(), email)

    assert row(email).role == "analyst"


@pytest.mark.usefixtures("set_up")
def test_who_has_no_role_there_and_is_no_user_here_is_not_let_in(app, provider):
    provider.user["groups"] = ["visitors"]

    refused = signs_in(app.test_client(), provider.user["email"])

    assert (refused.status_code, "says no role" in refused.text) == (422, True)
    assert row(provider.user["email"]) is None


@pytest.mark.usefixtures("set_up")
@pytest.mark.parametrize(
    "wrong",
    [
        {"nonce": "another request's"},
        {"aud": "another client"},
        {"aud": ["keypool", "another"], "azp": "another"},
        {"iss": "https://elsewhere.example"},
        {"exp": 1},
        {"exp": int(time.time()) - 61},
        {"iat": int(time.time()) + 3600},
    ],
    ids=[
        "nonce",
        "audience",
        "authorized party",
        "issuer",
        "expired",
        "over by now",
        "from the future",
    ],
)
def test_an_answer_that_does_not_hold_lets_nobody_in(app, provider, wrong):
    client = app.test_client()
    provider.wrong = wrong

    refused = signs_in(client, provider.user["email"])

    assert (refused.status_code, "does not hold" in refused.text) == (422, True), refused.text
    assert client.get("/console/pools").status_code == 303
    assert row(provider.user["email"]) is None


@pytest.mark.usefixtures("set_up")
def test_an_answer_that_another_key_signed_lets_nobody_in(app, provider):
    provider.signed_by = RSAKey.generate_key(2048, {"kid": "1"})

    refused = signs_in(app.test_client(), provider.user["email"])

    assert (refused.status_code, "does not hold" in refused.text) == (422, True)


@pytest.mark.usefixtures("set_up")
@pytest.mark.parametrize("algorithm", ["none", "HS256"])
def test_an_unsigned_answer_and_one_signed_with_the_clients_secret_let_nobody_in(
    app, provider, monkeypatch, algorithm
):
    client, email = app.test_client(), provider.user["email"]
    fetched = openid._fetched

    def forged(method: str, url: str, **told: object) -> dict[str, str]:
        answer = fetched(method, url, **told)
        if "id_token" in answer:
            head, said, _ = answer["id_token"].split(".")
            head = encoded(b'{"alg": "%s"}' % algorithm.encode())
            signed = hmac.digest(providers.SECRET.encode(), f"{head}.{said}".encode(), "sha256")
            answer["id_token"] = f"{head}.{said}.{encoded(signed) if algorithm != 'none' else ''}"
        return answer

    monkeypatch.setattr(openid, "_fetched", forged)
    refused = signs_in(client, email)

    assert (refused.status_code, "does not hold" in refused.text) == (422, True)
    assert row(email) is None


def encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


@pytest.mark.usefixtures("set_up")
def test_a_provider_that_calls_itself_otherwise_is_not_asked(app, provider, monkeypatch):
    described = {"issuer": "https://elsewhere.example"}
    monkeypatch.setattr(providers, "described", lambda _provider: described)

    refused = app.test_client().get(
        "/console/single-sign-on", query_string={"email": provider.user["email"]}
    )

    assert (refused.status_code, "calls itself" in refused.text) == (422, True)


@pytest.mark.usefixtures("set_up")
def test_an_answer_counts_once_even_where_the_provider_lets_its_code_be_used_again(app, provider):
    provider.keeps_codes = True
    client = app.test_client()
    back = answered(asked(client, provider.user["email"]))
    before = client.get_cookie("keypool").value

    first = client.get(back)
    again = client.get(back)
    client.set_cookie("keypool", before)  # as if the browser had not come yet
    replayed = client.get(back)

    assert first.status_code == 303
    assert (again.status_code, "used already" in again.text) == (422, True)
    assert (replayed.status_code, "used already" in replayed.text) == (422, True)


@pytest.mark.usefixtures("set_up")
def test_an_answer_is_for_the_browser_that_asked(app, provider):
    back = answered(asked(app.test_client(), provider.user["email"]))
    other = app.test_client()
    asked(other, provider.user["email"])

    assert other.get(back).status_code == 422
    assert app.test_client().get(back).status_code == 422


@pytest.mark.usefixtures("set_up")
def test_an_answer_of_another_provider_than_was_asked_is_refused_before_its_code_is_sent(
    app, provider
):
    client, email = app.test_client(), provider.user["email"]
    mixed_up = client.get(f"{answered(asked(client, email))}&iss=https://elsewhere.example")
    unused = len(provider.codes)
    provider.names_itself = True
    silent = client.get(answered(asked(client, email)))
    named = client.get(f"{answered(asked(client, email))}&iss={provider.issuer}")

    assert (mixed_up.status_code, "Another identity provider" in mixed_up.text) == (422, True)
    assert unused == 1
    assert (silent.status_code, "Another identity provider" in silent.text) == (422, True)
    assert named.status_code == 303


@pytest.mark.usefixtures("set_up")
def test_no_token_of_a_provider_reaches_the_browser(app, provider):
    client, email = app.test_client(), provider.user["email"]
    led = asked(client, email)
    began = client.get(answered(led))

    seen = f"{led} {began.headers} {began.text} {client.get_cookie('keypool').value}"
    assert "response_type=code" in led
    assert provider.secrets_given
    assert [token for token in provider.secrets_given if token in seen] == []


@pytest.mark.usefixtures("set_up")
def test_an_answer_that_comes_after_ten_minutes_is_too_late(app, provider):
    client = app.test_client()
    back = answered(asked(client, provider.user["email"]))
    with databases.session() as session:
        session.execute(text("UPDATE identity_request SET ends_at = clock_now()"))

    assert "too late" in client.get(back).text


@pytest.mark.usefixtures("set_up")
@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"email": "ceo@elsewhere.example"}, "does not speak for"),
        ({"email": "x@sso.example", "email_verified": False}, "no address that it verified"),
        ({"email": "x@sso.example", "email_verified": "false"}, "no address that it verified"),
        ({"email": ""}, "no address that it verified"),
    ],
)
def test_a_provider_vouches_for_its_own_domains_alone(app, provider, claims, why):
    email = provider.user["email"]
    provider.user |= claims

    refused = signs_in(app.test_client(), email)

    assert (refused.status_code, why in unescape(refused.text)) == (422, True)


@pytest.mark.usefixtures("set_up")
def test_a_provider_vouches_for_no_operator_and_for_no_user_of_another_tree(app, provider, place):
    strangers = [make_user(Role.OPERATOR, None), make_user(Role.MANAGER, place.world.sibling)]
    with databases.session() as session:
        for email in strangers:
            session.execute(
                text("UPDATE console_user SET email = :new WHERE email = :old"),
                {"old": email, "new": email.replace("example.com", "sso.example")},
            )

    for email in strangers:
        provider.user["email"] = email.replace("example.com", "sso.example")
        assert signs_in(app.test_client(), provider.user["email"]).status_code == 422


@pytest.mark.usefixtures("set_up")
def test_an_address_that_is_given_to_another_person_there_opens_nothing_of_the_first_ones(
    app, provider
):
    email = provider.user["email"]
    signs_in(app.test_client(), email)

    provider.user["sub"] = "somebody else"
    refused = signs_in(app.test_client(), email)

    assert (refused.status_code, "may not sign in" in refused.text) == (422, True)


@pytest.mark.usefixtures("set_up")
def test_a_disabled_user_is_let_in_nowhere(app, provider, person):
    email = provider.user["email"]
    client = app.test_client()
    signs_in(client, email)
    operator = person(Role.OPERATOR)
    listed = operator.get("/users").text
    where = re.search(rf"{email}</th>.*?/console(/users/\d+)/disable", listed, re.DOTALL)[1]

    operator.post(f"{where}/disable", page="/users")

    assert client.get("/console/pools").status_code == 303
    assert signs_in(app.test_client(), email).status_code == 422


def test_with_single_sign_on_only_a_password_opens_nothing_and_sessions_end(set_up, person):
    manager, operator = person(), person(Role.OPERATOR)

    set_up(only="on")
    here = manager.get("/pools").status_code
    there = manager.sign_in().status_code
    operators = operator.get("/pools").status_code
    set_up()

    assert (here, there, operators) == (303, 422, 200)
    assert at_the_door_of(manager.email)[-1] == "sign-in refused"
    assert manager.sign_in().status_code == 303


def test_with_single_sign_on_only_a_password_confirms_nothing_in_a_session_of_the_provider(
    set_up, person
):
    manager = person()
    set_up(only="on")
    with databases.session() as session:
        session.execute(
            text("""UPDATE console_session SET ended_at = NULL WHERE user_id =
                    (SELECT id FROM console_user WHERE email = :email)"""),
            {"email": manager.email},
        )

    for old in ("wrong password", PASSWORD):
        refused = manager.post("/account", old=old, password="another horse battery")
        assert "not your present password" in refused.text

    assert confirmations_of(manager.email) == [
        ("confirmation failed", "change password"),
        ("confirmation refused", "change password"),
    ]
    set_up()
    assert manager.sign_in().status_code == 303


def test_a_domain_is_one_organizations(set_up, person, place, server):
    operator, where = person(Role.OPERATOR), f"/organizations/{place.world.sibling}"

    refused = operator.post(
        f"{where}/single-sign-on", page=where, issuer=server.issuer, client_id="x",
        client_secret="x", domains="other.example",
    )  # fmt: skip

    assert refused.status_code == 409
    assert "signs in with addresses of other.example already" in refused.text


@pytest.mark.usefixtures("set_up")
def test_signing_in_again_asks_the_provider_for_the_password(app, provider):
    url = asked(app.test_client(), provider.user["email"], again="1")

    assert "prompt=login" in url
    assert "code_challenge_method=S256" in url


def test_a_provider_that_is_slow_holds_up_a_quarter_of_the_webs_threads_at_most(monkeypatch):
    let_go, waiting = threading.Event(), []

    def slow(*_args: object, **_options: object) -> None:
        waiting.append(threading.get_ident())
        let_go.wait()
        raise httpx.ReadTimeout("slow")

    def ask() -> str:
        client = openid.Client("https://slow.example", "keypool", "secret", "https://here.example")
        return openid.authorization_url(client, openid.Question("s", "n", "v"), email="")

    monkeypatch.setattr(httpx, "request", slow)
    with ThreadPoolExecutor(openid.MOST_ASKED) as threads:
        tried = [threads.submit(ask) for _ in range(openid.MOST_ASKED)]
        full = eventually(lambda: len(waiting) == openid.MOST_ASKED)
        try:
            with pytest.raises(errors.BusyError):
                ask()
        finally:
            let_go.set()

    assert full
    assert {type(one.exception()) for one in tried} == {openid.IdentityProviderError}
    assert openid.MOST_ASKED * 4 <= serving.THREADS


def test_an_address_without_a_provider_is_told_so_and_the_sign_in_page_has_one_button(app):
    client = app.test_client()

    told = client.get("/console/single-sign-on?email=ann@nowhere.example")
    page = client.get("/console/sign-in").text

    assert (told.status_code, "sign in with your password" in told.text) == (422, True)
    assert re.findall(r"<button[^>]*>([^<]*)", page) == ["Sign in"]
    assert re.findall(r'<input[^>]* name="([^"]+)"', page) == ["csrf_token", "email", "password"]
    assert ">Single sign-on</a>" in page


def test_what_cannot_be_an_identity_provider_is_refused_in_a_sentence(place):
    where = f"/api/v1/organizations/{place.world.child}/single-sign-on"
    headers = place.token(Role.OPERATOR)
    given = {
        "issuer": "https://login.example.com", "client_id": "k", "client_secret": "s", "domains": ["a.example"],
    }  # fmt: skip

    def refused(**wrong: object) -> str:
        return place.client.post(where, json=given | wrong, headers=headers).json["field"]

    assert refused(issuer="http://login.example.com") == "issuer"
    assert refused(domains=[]) == "domains"
    assert refused(domains=["no domain"]) == "domains"
    assert refused(roles={"all": "operator"}) == "roles"
    assert refused(client_secret=None) == "client_secret"


def test_the_clients_secret_is_kept_sealed_and_never_shown(set_up, person, place):
    page = person(Role.OPERATOR).get(f"/organizations/{place.world.parent}").text

    with databases.session() as session:
        stored = session.scalars(text("SELECT p::text FROM identity_provider AS p")).all()
    assert providers.SECRET not in unescape(page)
    assert not any(providers.SECRET.encode().hex() in each for each in stored)
