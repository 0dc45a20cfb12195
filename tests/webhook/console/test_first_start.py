"""The first operator begins by a link that “keypool up” prints, and finds what to do first."""

import pytest
from sqlalchemy import text

from tests.webhook.console.people import PASSWORD
from tests.world import OPERATOR
from webhook import create_app
from webhook.console.words import FIRST
from worker import errors
from worker.cli import up
from worker.database import connections
from worker.database.connections import transaction
from worker.simulation import samples
from worker.tenancy import first_start, organizations

ANN = {"email": "Ann@example.com", "password": PASSWORD}


@pytest.fixture
def browser(fresh_database):
    with create_app().test_client() as client:
        yield client


def posted(browser, address: str, **fields: str):
    page = browser.get("/console/sign-in").text
    token = page.partition('name="csrf_token" value="')[2].partition('"')[0]
    return browser.post(address, data={"csrf_token": token, **fields})


def link() -> str:
    clear = transaction(first_start.mint)
    assert clear is not None
    return first_start.path(clear)


def signed_in(browser):
    posted(browser, link(), **ANN)
    posted(browser, "/console/sign-in", **ANN)
    return browser


def test_up_tells_the_consoles_address_and_where_the_first_operator_begins(browser, tmp_path):
    about = up._about("http://127.0.0.1:8080", tmp_path)

    shown = browser.get(about["begin"].removeprefix("http://127.0.0.1:8080"))

    assert about["console"] == "http://127.0.0.1:8080/console/"
    assert any(about["begin"] in line for line in up._lines(about))
    assert shown.status_code == 200
    assert "first operator" in shown.text


def test_the_first_operator_chooses_a_password_signs_in_and_sees_the_first_steps(browser):
    with connections.session() as session:
        session.execute(text("UPDATE seller SET name = ''"))

    made = posted(browser, link(), **ANN)
    signed = posted(browser, made.location, **ANN)
    steps = browser.get("/console/", follow_redirects=True)

    assert made.location == "/console/sign-in?next=/console/first-steps"
    assert signed.location == "/console/first-steps"
    assert steps.request.path == "/console/first-steps"
    assert "Make sample data" in steps.text
    assert "Fill in the seller" in steps.text


def test_the_link_works_once_and_none_is_made_once_somebody_can_sign_in(browser):
    first, second = link(), link()
    replaced = browser.get(first).status_code
    posted(browser, second, **ANN)

    again = posted(browser, second, email="eve@example.com", password=PASSWORD)

    assert (replaced, again.status_code) == (404, 404)
    assert transaction(first_start.mint) is None
    with connections.session() as session:
        assert session.scalars(text("SELECT email FROM console_user")).all() == ["Ann@example.com"]


def test_a_link_that_is_over_makes_nobody(browser):
    address = link()
    with connections.session() as session:
        session.execute(text("UPDATE first_start SET ends_at = clock_now()"))

    assert posted(browser, address, **ANN).status_code == 404


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"email": "nobody"}, "A user signs in with an e-mail address."),
        ({"password": "short"}, "12 characters"),
        ({"email": "mia@example.com"}, "Somebody signs in with that address already"),
    ],
)
def test_what_is_wrong_is_told_and_the_link_still_holds(browser, fields, told):
    with connections.session() as session:
        organizations.add(session, actor=OPERATOR, name="Acme")
        session.execute(
            text(
                "INSERT INTO console_user (organization_id, email, role)"
                " SELECT id, 'mia@example.com', 'manager' FROM organization"
            )
        )
    address = link()

    refused = posted(browser, address, **(ANN | fields))

    assert refused.status_code == 422
    assert told in refused.text
    assert posted(browser, address, **ANN).status_code == 303


def test_an_operator_who_was_invited_and_chose_no_password_yet_begins_by_the_link(browser):
    with connections.session() as session:
        session.execute(
            text("INSERT INTO console_user (email, role) VALUES ('ann@example.com', 'operator')")
        )

    posted(browser, link(), **ANN)

    with connections.session() as session:
        assert session.scalar(text("SELECT count(*) FROM console_user")) == 1


def test_the_sign_in_says_where_the_first_operators_link_is_until_there_is_one(browser):
    before = browser.get("/console/sign-in").text
    posted(browser, link(), **ANN)

    assert "Nobody can sign in here yet" in before
    assert "Nobody can sign in here yet" not in browser.get("/console/sign-in").text


def test_sample_data_is_made_once_by_the_worker_and_then_shown(browser):
    signed_in(browser)
    posted(browser, "/console/first-steps/samples")
    waiting = browser.get("/console/first-steps/progress").text

    made, again = samples.make(), samples.make()

    assert "hx-get" in waiting
    assert made is not None
    assert made["organization"] == samples.ORGANIZATIONS
    assert made["invoices"] > 0
    assert again is None
    assert "The sample data is there" in browser.get("/console/first-steps").text
    assert browser.get("/console/").location != "/console/first-steps"


def test_sample_data_does_not_mix_with_what_is_real(browser):
    signed_in(browser)
    with connections.session() as session:
        organizations.add(session, actor=OPERATOR, name="Acme")

    with connections.session() as session, pytest.raises(errors.InvalidInputError, match="mix"):
        first_start.ask_for_samples(session, actor=OPERATOR)

    assert "Make sample data" not in browser.get("/console/first-steps").text
    assert samples.make() is None


def test_an_empty_list_says_what_to_do_first_and_a_search_that_nothing_fits(browser):
    signed_in(browser)

    for page, (sentence, label, begins) in FIRST.items():
        address = f"/console/{page}"
        empty = browser.get(address).text
        assert sentence in empty, page
        assert f'role="button" class="secondary">{label}</a>' in empty, page
        assert begins
        assert sentence not in browser.get(f"{address}?from=2026-01-01&search=x").text, page
