"""The second factor: demanded, set up, asked for at the sign-in, and reset."""

import re
from html import unescape

import pyotp
import pytest
from sqlalchemy import text

from tests.webhook.console.people import make_user
from tests.world import OPERATOR
from worker.database import connections as databases
from worker.settings import settings
from worker.tenancy import links, second_factors, secrets, users
from worker.tenancy.actors import Role


def hidden(page: str) -> str:
    return unescape(re.search(r'name="sealed" value="([^"]+)"', page)[1])


def app_of(page: str) -> pyotp.TOTP:
    return pyotp.TOTP(re.search(r"<code>([A-Z2-7]{32})</code>", page)[1])


def set_up(person) -> tuple[pyotp.TOTP, list[str]]:
    """Set a second factor up as the page says; give the app and the recovery codes."""
    page = person.get("/second-factor").text
    app = app_of(page)
    done = person.post("/second-factor", sealed=hidden(page), code=app.now())
    assert done.status_code == 200, done.text
    return app, [one[0] for one in re.finditer(r"([A-Z2-7]{4}-){5}[A-Z2-7]{4}", done.text)]


def forget_step(person) -> None:
    """Have no code used up yet, as if half a minute had passed."""
    with databases.session() as session:
        session.execute(
            text("UPDATE console_user SET totp_step = 0 WHERE email = :email"),
            {"email": person.email},
        )


@pytest.fixture
def public(monkeypatch):
    """A keypool that others reach."""
    monkeypatch.setattr(
        settings(), "__dict__", settings().__dict__ | {"public_url": "http://localhost"}
    )


@pytest.fixture
def with_factor(person):
    """A manager with a second factor, who signed out: the person, their app, their recovery codes."""
    somebody = person()
    app, codes = set_up(somebody)
    forget_step(somebody)
    somebody.post("/sign-out", page="/account")
    return somebody, app, codes


@pytest.mark.usefixtures("public")
def test_an_operator_needs_a_second_factor_where_others_reach_keypool(person):
    operator, manager = person(Role.OPERATOR), person()

    led = operator.get("/pools")
    codes = set_up(operator)[1]

    assert led.location == "/console/second-factor?next=/console/pools"
    assert len(codes) == 10
    assert operator.get("/pools").status_code == 200
    assert manager.get("/pools").status_code == 200


def test_an_operator_on_their_own_machine_needs_none(person):
    assert person(Role.OPERATOR).get("/pools").status_code == 200


def test_an_organization_demands_a_second_factor_of_its_people_and_of_those_below(person, place):
    operator, manager, parent = person(Role.OPERATOR), person(), place.world.parent
    operator.post(
        f"/organizations/{parent}/sign-in", page=f"/organizations/{parent}", second_factor="on"
    )
    try:
        led = manager.get("/pools")
        below = person(signed_in=False)
        below.email = make_user(Role.ANALYST, place.world.child)
        below.sign_in()

        assert led.location.startswith("/console/second-factor")
        assert below.get("/pools").location.startswith("/console/second-factor")
    finally:
        operator.post(f"/organizations/{parent}/sign-in", page=f"/organizations/{parent}")

    assert manager.get("/pools").status_code == 200


def test_with_the_password_alone_nothing_opens(with_factor):
    somebody, _, _ = with_factor

    somebody.sign_in()

    opened = [
        somebody.get(path).location for path in ("/pools", "/account", "/tokens", "/sessions")
    ]
    posted = somebody.post("/tokens", page="/second-factor", name="x", role="operator")
    assert {where.partition("?")[0] for where in opened} == {"/console/second-factor"}
    assert posted.location.startswith("/console/second-factor")


def test_a_code_of_the_app_opens_the_page_that_was_asked_for_and_works_once(with_factor):
    somebody, app, _ = with_factor
    somebody.sign_in()
    code = app.now()

    wrong = somebody.post("/second-factor", code="000000")
    right = somebody.post("/second-factor?next=/console/batches", page="/second-factor", code=code)
    opened = somebody.get("/pools").status_code
    somebody.post("/sign-out", page="/account")
    somebody.sign_in()
    again = somebody.post("/second-factor", code=code)

    assert (wrong.status_code, right.status_code, opened) == (422, 303, 200)
    assert (again.status_code, "used already" in again.text) == (422, True)


def test_a_recovery_code_stands_in_once_however_it_is_typed(with_factor):
    somebody, _, codes = with_factor
    typed = codes[0].lower().replace("-", " ")

    somebody.sign_in()
    first = somebody.post("/second-factor", code=typed).status_code
    left = somebody.get("/account").text
    somebody.post("/sign-out", page="/account")
    somebody.sign_in()
    second = somebody.post("/second-factor", code=typed).status_code

    assert (first, second) == (303, 422)
    assert "You have 9 recovery codes left" in left


def test_wrong_codes_make_the_next_one_wait(with_factor):
    somebody, app, _ = with_factor
    somebody.sign_in()
    somebody.post("/second-factor", code="000000")
    with databases.session() as session:
        session.execute(text("UPDATE sign_in_throttle SET failures = 20, last_at = now()"))
    try:
        waits = somebody.post("/second-factor", code=app.now())
    finally:
        with databases.session() as session:
            session.execute(text("DELETE FROM sign_in_throttle"))

    assert (waits.status_code, "Too many attempts" in waits.text) == (422, True)
    assert somebody.get("/pools").status_code == 303


def test_a_reset_ends_the_second_factor_and_stands_in_the_history(with_factor, person):
    somebody, _, _ = with_factor
    manager = person()
    listed = manager.get("/users").text
    where = re.search(
        rf"{somebody.email}</th>.*?/console(/users/\d+)/reset-second", listed, re.DOTALL
    )[1]

    told = manager.post(f"{where}/reset-second-factor", page="/users")
    somebody.sign_in()
    opened = somebody.get("/pools").status_code
    acts = re.findall(
        r"<td>(second factor[^<]*)</td><td>([^<]*)</td>", somebody.get("/account").text
    )
    with databases.session() as session:
        mail = session.execute(
            text("SELECT kind, data FROM message WHERE recipient = :email"),
            {"email": somebody.email},
        ).one()

    assert (told.status_code, opened) == (303, 200)
    assert acts[0] == ("second factor reset", f"user {manager.email}")
    assert (mail.kind, mail.data) == ("second_factor_reset", {"actor": f"user {manager.email}"})


@pytest.mark.usefixtures("public")
def test_after_a_reset_a_session_that_goes_on_sets_up_another_where_one_is_demanded(person):
    operator = person(Role.OPERATOR)
    set_up(operator)
    before = operator.get("/pools").status_code

    with databases.session() as session:
        users.reset_second_factor(session, actor=OPERATOR, user=operator.email)

    assert before == 200
    assert operator.get("/pools").location.startswith("/console/second-factor")


def test_new_recovery_codes_replace_those_before_and_a_factor_is_removed_by_its_user(with_factor):
    somebody, app, codes = with_factor
    somebody.sign_in()
    somebody.post("/second-factor", code=app.now())

    fresh = somebody.post("/account/recovery-codes", page="/account").text
    somebody.post("/sign-out", page="/account")
    somebody.sign_in()
    old = somebody.post("/second-factor", code=codes[1]).status_code
    new = somebody.post("/second-factor", code=re.search(r"([A-Z2-7]{4}-){5}[A-Z2-7]{4}", fresh)[0])
    somebody.post("/account/second-factor/remove", page="/account")
    somebody.post("/sign-out", page="/account")
    somebody.sign_in()

    assert (old, new.status_code) == (422, 303)
    assert somebody.get("/pools").status_code == 200


def test_the_secret_is_kept_sealed_and_recovery_codes_as_hashes(with_factor):
    _, app, codes = with_factor

    with databases.session() as session:
        stored = session.scalars(
            text(
                "SELECT u::text FROM console_user AS u UNION ALL SELECT c::text FROM recovery_code AS c"
            )
        ).all()

    known = [app.secret, *codes, *(code.replace("-", "") for code in codes)]
    assert not any(
        secret in row or secret.encode().hex() in row for secret in known for row in stored
    )


def test_a_recovery_code_cannot_be_guessed_from_its_plain_hash(with_factor):
    _, _, codes = with_factor

    letters = {len(code.replace("-", "")) for code in codes}

    assert min(letters) * 5 >= 112  # random bits; fewer would need a slow hash
    assert len(set(codes)) == second_factors.CODES


def test_a_link_that_chooses_a_password_leaves_the_second_factor_asked_for(with_factor):
    somebody, _, _ = with_factor
    with databases.session() as session:
        user_id = session.scalar(
            text("SELECT id FROM console_user WHERE email = :email"), {"email": somebody.email}
        )
        link = links.mint(session, user_id=user_id)

    somebody.post(f"/links/{link}", password="a wholly other horse")
    began = somebody.sign_in("a wholly other horse")

    assert began.status_code == 303
    assert somebody.get("/pools").location == "/console/second-factor?next=/console/pools"


def test_what_was_not_sealed_here_sets_nothing_up(person):
    somebody = person()

    known = "JBSWY3DPEHPK3PXP" * 2
    forged = somebody.post("/second-factor", sealed=known, code=pyotp.TOTP(known).now())

    assert forged.status_code == 422
    assert "Set one up" in somebody.get("/account").text


def test_the_page_opens_nothing_that_was_sealed_for_another_use_or_user(person):
    somebody, secret = person(), pyotp.random_base32()
    others = second_factors.enrol("other@example.com")
    sealed_here = {secret: secrets.encrypt(secret.encode()).decode(), others.secret: others.sealed}

    pages = [somebody.post("/second-factor", sealed=s, code="0") for s in sealed_here.values()]

    assert [page.status_code for page in pages] == [422, 422]
    assert not any(secret in page.text for secret in sealed_here for page in pages)
