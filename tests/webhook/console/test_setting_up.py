"""Organizations, courses, prices, the seller, tokens and users, set up with forms alone."""

import io
import re
import secrets

import pytest
import segno
from markupsafe import escape
from PIL import Image
from sqlalchemy import text

from worker.database import connections as databases
from worker.tenancy.actors import Role


@pytest.fixture
def operator(somebody):
    return somebody(Role.OPERATOR)


@pytest.fixture
def tag():
    return secrets.token_hex(4)


def path(answer):
    return answer.location.removeprefix("/console")


def test_an_organization_is_added_and_set_up_for_its_invoices(operator, tag):
    given = {"name": f"Acme {tag}", "time_zone": "Europe/Berlin", "currency": "chf"}
    added = operator.post("/organizations", **given, tax_rate="19")
    changes = {
        **given,
        "currency": "EUR",
        "locale": "de",
        "legal_name": "Acme GmbH & Co. KG",
        "address": "Hauptstr. 1\nBerlin",
        "tax_id": "DE136695976",
        "payment_terms_days": "14",
        "tax_rate": "7",
        "tax_label": "MwSt",
        "tax_from": "2030-01-01",
    }

    changed = operator.post(path(added), **changes)
    page = operator.get(path(changed)).text

    assert (added.status_code, changed.status_code) == (303, 303)
    assert "Europe/Berlin · EUR" in page
    assert 'value="Acme GmbH &amp; Co. KG"' in page
    assert "Hauptstr. 1\nBerlin</textarea>" in page
    assert '<td>MwSt</td><td class="number">7 %</td>' in page
    assert '<td>Tax</td><td class="number">19 %</td>' in page


def test_what_invoices_print_of_an_organization_can_be_emptied(operator, tag):
    given = {"name": f"Emptied {tag}", "time_zone": "UTC", "currency": "EUR"}
    where = path(operator.post("/organizations", **given))
    operator.post(where, **given, payment_terms_days="30", address="Nowhere 1")

    operator.post(where, **given, payment_terms_days="30", address="")

    assert "Nowhere 1" not in operator.get(where).text


def test_a_redeem_page_is_set_and_says_what_open_means(operator, tag):
    given = {"name": f"Paged {tag}", "time_zone": "UTC", "currency": "EUR"}
    where = path(operator.post("/organizations", **given))

    operator.post(
        f"{where}/redeem-page",
        page=where,
        slug=f"paged-{tag}",
        redeem_page="open",
        redeem_domains="acme.test, bolt.test",
        redeem_language_de="on",
        redeem_text="Your key is on the card.",
        support_email="help@acme.test",
    )
    page = operator.get(where).text

    assert f"<code>/redeem/paged-{tag}</code>" in page
    assert 'value="open" checked> Open: nobody proves an address' in page
    assert 'value="acme.test, bolt.test"' in page
    assert 'name="redeem_language_de" value="on" checked> Deutsch' in page
    assert 'name="redeem_language_en" value="on"> English' in page
    assert "Your key is on the card.</textarea>" in page


def test_a_redeem_page_has_a_link_a_snippet_and_a_qr_code(operator, tag):
    given = {"name": f"Linked {tag}", "time_zone": "UTC", "currency": "EUR"}
    where = path(operator.post("/organizations", **given))
    off = operator.get(where).text
    operator.post(f"{where}/redeem-page", page=where, slug=f"linked-{tag}", redeem_page="proof")

    page = operator.get(where).text
    codes = [operator.get(f"{where}/redeem-page.{kind}") for kind in ("svg", "png")]

    url = f"http://127.0.0.1:8080/redeem/linked-{tag}"
    assert "redeem-page.svg" not in off
    assert f'<a href="{url}">{url}</a>' in page
    assert escape(f'<a href="{url}">Redeem your key</a>') in page
    assert "It leads to this machine alone" in page
    assert [code.mimetype for code in codes] == ["image/svg+xml", "image/png"]
    assert codes[0].headers["Content-Disposition"] == f'inline; filename="linked-{tag}.svg"'
    drawn = io.BytesIO()
    segno.make_qr(url, error="m").save(drawn, kind="png", scale=8)
    assert codes[1].data == drawn.getvalue()


def test_a_page_that_is_off_has_no_qr_code(operator, tag):
    given = {"name": f"Off {tag}", "time_zone": "UTC", "currency": "EUR"}
    where = path(operator.post("/organizations", **given))

    assert operator.get(f"{where}/redeem-page.png").status_code == 404


def test_a_wrong_setting_of_a_redeem_page_is_told_beside_its_field(operator, tag):
    given = {"name": f"Wrong {tag}", "time_zone": "UTC", "currency": "EUR"}
    where = path(operator.post("/organizations", **given))
    typed = {"slug": "no good", "redeem_page": "proof", "redeem_domains": "a.test"}

    told = operator.post(f"{where}/redeem-page", page=where, **typed)

    assert told.status_code == 422
    assert re.search(r'<small id="[\w-]+slug-note" class="wrong">A slug has up to 60', told.text)
    assert 'value="a.test"' in told.text
    assert 'value="proof" checked>' in told.text


def test_a_logo_is_chosen_shown_and_removed(operator, tag):
    given = {"name": f"Drawn {tag}", "time_zone": "UTC", "currency": "EUR"}
    where = path(operator.post("/organizations", **given))
    picture = io.BytesIO()
    Image.new("RGB", (8, 4), "red").save(picture, "PNG")
    picture.seek(0)

    nothing = operator.post(f"{where}/logo", page=where)
    wrong = operator.post(f"{where}/logo", page=where, logo=(io.BytesIO(b"x" * 2_000_000), "a.png"))
    operator.post(f"{where}/logo", page=where, logo=(picture, "logo.png"))
    page = operator.get(where).text
    shown = operator.get(f"{where}/logo.png")
    operator.post(f"{where}/logo", page=where, remove="")

    assert [nothing.status_code, wrong.status_code] == [422, 422]
    assert "Choose a file." in nothing.text
    assert "A logo is an image of up to 700 kB" in wrong.text
    assert f'<img class="logo" src="/console{where}/logo.png" alt="The logo of Drawn' in page
    assert (shown.mimetype, Image.open(io.BytesIO(shown.data)).size) == ("image/png", (8, 4))
    assert '<img class="logo"' not in operator.get(where).text


def test_an_organizations_own_people_read_what_it_is_set_to_and_change_nothing(somebody, things):
    page = somebody(Role.FINANCE).get(f"/organizations/{things.ids['organization']}").text

    assert "Invoices are due after" in page
    assert 'name="time_zone"' not in page


def test_a_courses_launch_url_is_set_and_its_secret_shown_once(operator, tag):
    course = {"code": f"L-{tag}", "title": "Knots", "price": "12.50", "currency": "EUR"}
    operator.post("/courses", **course)
    where = re.search(rf'/console(/courses/\d+)">L-{tag}', operator.get("/courses").text)[1]

    set_ = operator.post(where, title="Knots", launch_url="https://labs.example/knots")
    saved = operator.post(where, title="Knots", launch_url="https://labs.example/knots")
    renewed = operator.post(
        where, title="Knots", launch_url="https://labs.example/knots", new_launch_secret="on"
    )

    first, second = (re.findall(r"whsec_[^<]+", answer.text) for answer in (set_, renewed))
    assert (len(first), len(second), saved.status_code) == (1, 1, 303)
    assert first != second
    shown = operator.get(where).text
    assert "whsec_" not in shown
    assert 'value="https://labs.example/knots"' in shown


def test_a_course_is_added_renamed_and_archived(operator, somebody, tag):
    course = {"code": f"K-{tag}", "title": "Knots", "price": "12.50", "currency": "EUR"}
    operator.post("/courses", **course)
    where = re.search(rf'/console(/courses/\d+)">K-{tag}', operator.get("/courses").text)[1]

    operator.post(where, title="Knots and splices")
    operator.post(f"{where}/archive", page=where)
    page = somebody().get(where).text

    assert "Knots and splices · 12.50 EUR" in page
    assert '<span class="state archived">' in page
    assert 'name="title"' not in page


def test_an_organizations_own_price_stands_beside_the_list_price(operator, somebody, things):
    course, owner = things.ids["course"], things.ids["organization"]
    price = {"course": course, "organization": owner, "price": "33", "from": "2090-01-01"}

    told = operator.post("/prices", **price)
    page = somebody(Role.FINANCE).get(f"/prices?course={course}").text
    own = somebody(Role.FINANCE).get(f"/prices?organization={owner}").text

    assert path(told) == f"/prices?course={course}"
    assert f'<td>{owner}</td><td class="number">33.00 EUR</td>' in page
    assert '<td>everybody</td><td class="number">49.90 EUR</td><td>ever</td>' in page
    assert ">everybody<" not in own
    assert f"<option selected>{owner}</option>" in own


def test_an_organizations_own_price_is_withdrawn_and_the_list_price_is_not_offered_for_it(
    operator, somebody, things
):
    course, owner = things.ids["course"], things.ids["organization"]
    operator.post(
        "/prices", course=course, organization=owner, price="34", **{"from": "2091-01-01"}
    )
    where = f"/prices?course={course}"
    offered = re.findall(r"/console/prices/(\d+)/withdraw", operator.get(where).text)

    told = operator.post(f"/prices/{offered[-1]}/withdraw", **{"from": "2091-03-01"})
    page = operator.get(where).text
    finance = somebody(Role.FINANCE).get(where).text

    assert path(told) == where
    assert "1 Mar 2091, 00:00 <small>UTC</small>" in page
    assert re.findall(r"/console/prices/(\d+)/withdraw", page) == offered[:-1]
    assert "/withdraw" not in finance


def test_the_seller_is_what_drafts_print(operator):
    seller = {"name": "Keys & Co.", "address": "Dock 1", "tax_id": "", "payment_details": "IBAN"}

    told = operator.post("/seller", **seller)

    assert told.status_code == 303
    assert 'value="Keys &amp; Co."' in operator.get("/seller").text


def test_the_sellers_accounts_are_typed_a_row_each(operator):
    seller = {"name": "Keys & Co.", "city": "Hamburg", "country": "DE", "time_zone": "UTC"}
    accounts = {
        "bank_currency": ["EUR", "GBP", ""],
        "iban": ["DE89370400440532013000", "GB33BUKB20201555555555", ""],
        "bic": ["COBADEFFXXX", "", ""],
    }

    operator.post("/seller", **seller, **accounts)
    both = operator.get("/seller").text
    operator.post("/seller", **seller, **accounts | {"iban": ["", "GB33BUKB20201555555555", ""]})
    one = operator.get("/seller").text

    assert 'value="DE89370400440532013000"' in both
    assert 'value="COBADEFFXXX"' in both
    assert 'value="GB33BUKB20201555555555"' in one
    assert "DE89" not in one
    assert '<input name="bank_currency" value=""' in one


def test_the_journals_accounts_are_typed_a_line_each(operator):
    seller = {"name": "Keys & Co.", "time_zone": "UTC"}
    operator.post("/seller", **seller, accounts="revenue = 8400\ntax:19 = 1776\n")
    both = operator.get("/seller").text

    operator.post("/seller", **seller, accounts="revenue = 8400")
    one = operator.get("/seller").text

    assert "revenue = 8400\ntax:19 = 1776</textarea>" in both
    assert "revenue = 8400</textarea>" in one


def test_a_token_is_shown_once_and_works_until_it_is_revoked(somebody, place, things, tag):
    manager, owner = somebody(), things.ids["organization"]

    given = {"organization": owner, "role": "analyst", "expires_at": "2090-12-31"}
    made = manager.post("/tokens", name=f"T {tag}", **given).text
    [token] = re.findall(r'class="secret">(kp_[\w-]+)<', made)
    bearer = {"Authorization": f"Bearer {token}"}
    before = place.client.get("/api/v1/pools", headers=bearer).status_code
    listed = manager.get("/tokens").text
    where = re.search(rf'T {tag}</th>.*?action="/console(/tokens/\d+/revoke)"', listed, re.DOTALL)[
        1
    ]
    manager.post(where, page="/tokens")

    assert token not in listed
    assert "the end of 31 Dec 2090" in listed
    assert before == 200
    assert place.client.get("/api/v1/pools", headers=bearer).status_code == 401


def link_on(page):
    return re.search(
        r'<code class="secret">http://localhost/console(/links/[^<]+)</code>', page.text
    )[1]


def test_a_user_is_invited_chooses_a_password_gets_another_link_and_is_disabled(
    somebody, person, things, tag
):
    manager, invited = somebody(), person(signed_in=False)
    invited.email = f"new-{tag}@example.com"
    given = {"email": invited.email, "organization": things.ids["organization"], "role": "analyst"}

    link = link_on(manager.post("/users", **given))
    shown = invited.get(link).text
    common = invited.post(link, password="password1234")
    chosen = invited.post(link, password="a first password")
    again = invited.get(link)
    first = invited.sign_in("a first password").status_code
    listed = manager.get("/users").text
    row = re.search(rf"{invited.email}</th>.*?/console(/users/\d+)/reset", listed, re.DOTALL)[1]
    other = link_on(manager.post(f"{row}/reset", page="/users"))
    before = invited.get("/pools").status_code
    invited.post(other, password="another password")
    after = invited.get("/pools").status_code
    second = invited.sign_in("another password").status_code
    manager.post(f"{row}/disable", page="/users")
    disabled = invited.sign_in("another password").status_code
    manager.post(f"{row}/enable", page="/users")
    enabled = invited.sign_in("another password").status_code

    assert invited.email in shown
    assert (common.status_code, "first that are guessed" in common.text) == (422, True)
    assert (chosen.status_code, chosen.location) == (303, "/console/sign-in")
    assert (again.status_code, "used already" in again.text) == (404, True)
    assert (first, before, after, second) == (303, 200, 303, 303)
    assert (disabled, enabled) == (422, 303)


def test_a_disabled_users_tokens_are_listed_until_they_are_revoked(somebody, person, things, tag):
    operator, manager = somebody(Role.OPERATOR), person()
    owner = things.ids["organization"]
    manager.post("/tokens", name=f"theirs {tag}", role="sender", organization=owner)
    listed = operator.get("/users").text
    row = re.search(rf"{manager.email}</th>.*?/console(/users/\d+)/disable", listed, re.DOTALL)[1]
    operator.post(f"{row}/disable", page="/users")

    shown = operator.get("/users").text

    assert f'Tokens of theirs that still work: <a href="/console/tokens">theirs {tag}</a>' in shown


def test_a_redeem_page_is_among_the_sources_and_has_no_secret_to_rotate(operator, place):
    with databases.session() as session:
        page = session.scalar(
            text("INSERT INTO source (organization_id, name, kind) VALUES (:id, 'Redeem page', 'page')"
                 " RETURNING id"),
            {"id": place.world.parent},
        )  # fmt: skip

    shown = operator.get("/sources").text
    refused = operator.post(f"/sources/{page}/rotate", page="/sources")

    assert "redeem page: it has no secret." in shown
    assert f"/sources/{page}/rotate" not in shown
    assert refused.status_code == 409
