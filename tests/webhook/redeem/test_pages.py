"""Each page: who may see it, in which language, how large it is, and under which policy."""

import re
from html import unescape

import pytest

from tests.webhook.redeem.conftest import edit, sql
from webhook.console import answers

PAGES = ("/redeem", "/redeem/{slug}", "/my", "/my?at={slug}", "/my/code", "/my/answer")
ROUTES = {
    "GET /redeem", "POST /redeem", "GET /redeem/<slug>", "POST /redeem/<slug>",
    "GET /redeem/<slug>/logo.png", "GET /redeem/colours/<colour>.css",
    "GET /redeem/static/<path:filename>", "GET /my", "POST /my", "GET /my/code", "POST /my/code",
    "GET /my/answer", "GET /my/key", "POST /my/key", "GET /my/sign-out", "POST /my/sign-out",
}  # fmt: skip


@pytest.fixture
def visitors(place, learner, slug):
    """A stranger; one who asked for a code; one who proved an address here; one elsewhere; one who left."""
    elsewhere = edit(place, place.world.child, redeem_page="proof")
    tag = len(sql("SELECT id FROM page_session"))
    made = {
        name: learner(f"{name}{tag}@example.org")
        for name in ("stranger", "asked", "proved", "elsewhere", "left")
    }
    made["asked"].send(
        made["asked"].get(f"/redeem/{slug}"), key="SOME-KEY-1234", email=made["asked"].email
    )
    for name in ("proved", "left"):
        made[name].proves(f"/redeem/{slug}", place.keys()[0])
    made["elsewhere"].proves(f"/redeem/{elsewhere}", "UNKNOWN-KEY-1")
    made["left"].client.post("/my/sign-out")
    return made


def heading(page) -> str:
    return unescape(re.search(r"<h1>(.*?)</h1>", page.text, re.S)[1])


def test_the_doors_routes_are_these(app):
    found = {
        f"{method} {rule.rule}"
        for rule in app.url_map.iter_rules()
        if rule.endpoint.startswith("redeem.")
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }

    assert found == ROUTES


def test_each_visitor_sees_what_is_theirs(visitors, slug):
    seen = {
        name: [heading(one.get(path.format(slug=slug))) for path in PAGES]
        for name, one in visitors.items()
    }

    form, courses, code = "Redeem a key", "Your courses", "Type the code"
    another = "Redeem another key"
    assert seen == {
        "stranger": [form, form, courses, courses, form, form],
        "asked": [form, form, courses, courses, code, form],
        "proved": [another, another, courses, courses, "A course", "A course"],
        "elsewhere": [another, form, courses, courses, "The key was not redeemed",
                      "The key was not redeemed"],
        "left": [form, form, courses, courses, form, form],
    }  # fmt: skip
    shows = {name: "<h2>A course</h2>" in one.get("/my").text for name, one in visitors.items()}
    assert [name for name, shown in shows.items() if shown] == ["proved"]


def test_forms_for_oneself_do_nothing_for_others(visitors, place, slug):
    [key] = place.keys()

    for name in ("stranger", "asked", "left"):
        answer = visitors[name].client.post("/my/key", data={"key": key})
        assert (answer.status_code, answer.location) == (303, "/redeem")

    assert sql("SELECT count(*) FROM event WHERE data->>'key' = :key", key=key) == [(0,)]


@pytest.mark.parametrize(
    ("asked", "language", "heading_", "access"),
    [
        ("de-AT,de;q=0.9", "de", "Schlüssel einlösen", "Zugang zu einem Kurs"),
        ("fr", "fr", "Utiliser une clé", "accès à un cours"),
        ("es-MX", "es", "Canjear una clave", "acceso a un curso"),
        ("it, en;q=0.5", "en", "Redeem a key", "access to a course"),
        ("", "en", "Redeem a key", "access to a course"),
    ],
)
def test_a_page_is_in_the_browsers_language(learner, asked, language, heading_, access):
    page = learner("ine@example.org").get("/redeem", **{"Accept-Language": asked})

    assert f'<html lang="{language}">' in page.text
    assert page.headers["Content-Language"] == language
    assert heading(page) == heading_
    assert access in page.text
    assert "Accept-Language" in page.headers["Vary"]


def test_a_language_that_was_chosen_stays_from_the_form_to_the_mail_and_the_answer(
    place, learner, slug
):
    joe = learner("joe@example.org")
    [key] = place.keys()
    [chosen] = re.findall(r'href="([^"]+language=de[^"]*)"', joe.get(f"/redeem/{slug}").text)

    asked = joe.send(joe.get(unescape(chosen)), key=key, email=joe.email)
    answer = joe.send(asked, code=joe.code())

    mail = [one for one in joe.server.received if one.recipient == joe.email][-1]
    assert heading(asked) == "Code eingeben"
    assert str(mail.message["Subject"]) == "Ihr Einmalcode"
    assert "Der Schlüssel ist eingelöst. Der Zugang endet am" in answer.text
    assert heading(joe.get("/my")) == "Ihre Kurse"  # the session remembers it


def test_a_page_comes_in_its_organizations_languages_alone(place, learner, slug):
    edit(place, redeem_languages=["fr", "de"], locale="de")
    kai = learner("kai@example.org")

    spanish, french = (
        kai.get(f"/redeem/{slug}", **{"Accept-Language": tag}) for tag in ("es", "fr")
    )

    assert (heading(spanish), heading(french)) == ("Schlüssel einlösen", "Utiliser une clé")
    assert re.findall(r'hreflang="(\w+)"', french.text) == ["fr", "de"]
    assert re.findall(r'hreflang="\w+"[^>]*>(\w+)<', french.text) == ["Français", "Deutsch"]


def test_what_an_organization_says_of_itself_is_on_its_page(learner, slug):
    liv = learner("liv@example.org")

    page = liv.get(f"/redeem/{slug}")
    style = liv.get("/redeem/colours/0b5fa5.css")

    assert "For staff of the parent." in page.text
    assert 'href="mailto:help@parent.example"' in page.text
    assert 'href="/redeem/colours/0b5fa5.css"' in page.text
    assert style.text == ":root{--accent:#0b5fa5;--on-accent:white}"
    assert liv.get("/redeem/colours/zzzzzz.css").status_code == 404
    assert liv.get(f"/redeem/{slug}/logo.png").status_code == 404


def test_a_page_with_all_that_it_loads_is_under_30_kilobytes_as_sent(learner, slug, place, labs):
    mia = learner("mia@example.org")
    visited = [mia.get(f"/redeem/{slug}"), mia.get("/my")]
    visited += [mia.proves(f"/redeem/{slug}", place.keys()[0]), mia.get("/my")]

    sizes = []
    for page in visited:
        loaded = re.findall(r'(?:href|src)="(/redeem/(?:static|colours)/[^"]+)"', page.text)
        files = [mia.get(unescape(path)) for path in loaded]
        assert {file.status_code for file in files} == {200}
        assert len(files) >= 2
        sizes.append(len(page.data) + sum(len(file.data) for file in files))

    assert max(sizes) < 30_000


def test_the_policy_is_as_strict_as_the_consoles(learner, slug):
    ned = learner("policy@example.org")

    for path in (*PAGES, "/redeem/static/page.css"):
        headers = ned.get(path.format(slug=slug)).headers
        for name, value in answers.HEADERS.items():
            if name != "Content-Security-Policy":
                assert headers[name] == value
        ours, theirs = (
            {part.split()[0]: set(part.split()[1:]) for part in policy.split(";")}
            for policy in (headers["Content-Security-Policy"],
                           answers.HEADERS["Content-Security-Policy"])
        )  # fmt: skip
        assert all(allowed <= theirs[name] for name, allowed in ours.items() if name in theirs)
        assert ours["default-src"] == {"'none'"}


def test_no_page_has_a_style_or_a_script_of_its_own(learner, slug):
    page = learner("nora@example.org").get(f"/redeem/{slug}").text

    assert re.findall(r"<style|style=|onclick|<script(?! src)", page) == []


@pytest.mark.parametrize(
    ("typed", "field", "sentence"),
    [
        ({"key": " ", "email": "ann@example.org"}, "key", "Type the key that you were given."),
        ({"key": "SOME-KEY-1", "email": "mailto:ann@x"}, "email", "Type your e-mail address"),
        ({"key": "SOME-KEY-1", "email": ""}, "email", "Type your e-mail address"),
        ({"key": "SOME-KEY-1", "email": "ann@x.example", "name": "n" * 201}, "name", "one line"),
    ],
)
def test_what_is_missing_is_told_beside_its_field_and_the_rest_kept(
    learner, slug, typed, field, sentence
):
    page = learner("otto@example.org").client.post(f"/redeem/{slug}", data=typed)

    assert page.status_code == 422
    assert re.search(rf'id="{field}-wrong">[^<]*{sentence}', page.text)
    assert re.search(rf'id="{field}"[^>]+aria-describedby="[^"]*{field}-wrong"', page.text)
    assert 'role="alert"' in page.text
    assert kept(page, typed, field)


def kept(page, typed, field) -> bool:
    """Say whether the other fields still have what was typed."""
    return all(
        f'value="{value}"' in page.text for name, value in typed.items() if name != field
    )  # fmt: skip


def test_who_has_no_session_or_no_cookies_is_told_so_on_the_page_they_came_from(learner, slug):
    pia = learner("pia@example.org")

    begun = pia.client.post(f"/redeem/{slug}", data={"key": "SOME-KEY-1", "email": pia.email})
    pia.client.delete_cookie("keypool-page")
    pages = [
        pia.get(begun.location), pia.get("/my/answer"),
        pia.client.post(f"/my/code?at={slug}", data={"code": "123456"}, follow_redirects=True),
    ]  # fmt: skip

    assert [page.request.path for page in pages] == [
        f"/redeem/{slug}",
        "/redeem",
        f"/redeem/{slug}",
    ]
    assert all("it ended, or cookies are turned off" in page.text for page in pages)
    assert "cookies" not in pia.get(f"/redeem/{slug}").text


@pytest.mark.parametrize("at", ["//evil.example", "../../console", "a/b", "https://evil.example"])
def test_a_page_that_is_named_in_an_address_leads_nowhere_else(learner, at):
    answer = learner("quin@example.org").client.get("/my/code", query_string={"at": at})

    assert (answer.status_code, answer.location) == (303, "/redeem?over=1")


@pytest.mark.parametrize(
    ("path", "shown"),
    [("/my/key", "/my"), ("/my/sign-out", "/my"), ("/my/", "/my/"), ("/redeem/", "/redeem/")],
)
def test_an_old_tab_and_an_address_with_a_slash_too_many_show_a_page(learner, path, shown):
    page = learner("ron@example.org").get(path)

    assert (page.status_code, page.request.path) == (200, shown)
    assert heading(page) in ("Your courses", "Redeem a key")


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/my?at=%00", {}),
        ("GET", "/redeem?x=%00", {}),
        ("POST", "/my", {"Origin": "http://["}),
    ],
)
def test_a_request_that_is_refused_at_once_is_answered_by_a_page(learner, method, path, headers):
    page = learner("sam@example.org").client.open(path, method=method, headers=headers)

    assert page.status_code == 400
    assert "<h1>That did not work." in page.text
