"""No page tells a stranger whether a key, a person or an organization exists; and whose session it is."""

import re

import pytest

from tests.webhook.conftest import redemption
from tests.webhook.redeem.conftest import edit, sql
from webhook import create_app
from worker import errors
from worker.database import connections as databases
from worker.redemption import sources
from worker.settings import settings
from worker.tenancy.actors import Actor


def told(page, *names: str) -> tuple[int, str]:
    """What a page answers, but for the names that were given and what is new on every page."""
    said = re.sub(r'name="once" value="\w+"', "", page.text)
    for name in names:
        said = said.replace(name, "…")
    return page.status_code, said


def mails(learner) -> int:
    learner.code() if any(one.recipient == learner.email for one in learner.server.received) else 0
    return len([one for one in learner.server.received if one.recipient == learner.email])


def asks(learner, path: str, key: str, *names: str) -> list[tuple[int, str]]:
    """Ask for a code and type a wrong one; gives what was answered at each step."""
    start = learner.get(path)
    asked = learner.send(start, key=key, email=learner.email)
    wrong = learner.send(asked, code="no code")
    gone = (learner.email, *names)
    return [told(page, *gone) for page in (start, asked, wrong)]


def test_a_page_that_is_off_answers_as_that_of_an_unknown_organization(place, learner, slug, off):
    [key] = place.keys()

    steps = [
        asks(learner(f"{name}@example.org"), f"/redeem/{name}", key, name)
        for name in (off, "nobody-at-all")
    ]

    assert steps[0] == steps[1]
    assert [status for status, _ in steps[0]] == [200, 200, 422]
    assert sql("SELECT count(*) FROM message WHERE recipient LIKE :off || '@%'", off=off) == [(0,)]


def test_an_unknown_organizations_page_is_one_whose_code_never_comes(place, learner, slug):
    known, nobodys = learner("uma@example.org"), learner("vic@example.org")

    steps = [
        asks(known, f"/redeem/{slug}", "SOME-KEY-1234", slug),
        asks(nobodys, "/redeem/nobody-at-all", "SOME-KEY-1234", "nobody-at-all"),
    ]

    mains = [[re.search(r"<main.*</main>", said, re.S)[0] for _, said in asked] for asked in steps]
    own = "For staff of the parent."
    assert mains[0][1:] == mains[1][1:]
    assert mains[0][0].replace(own, "A key gives you access to a course.") == mains[1][0]
    assert [status for status, _ in steps[0]] == [status for status, _ in steps[1]]


@pytest.mark.parametrize("path", ["/redeem", "/redeem/{slug}"])
def test_known_and_unknown_keys_and_people_are_asked_for_a_code_alike(place, learner, slug, path):
    known, unknown = place.keys()[0], "UNKNOWN-KEY-1"
    somebody, nobody = (
        learner(f"wim{len(path)}@example.org"),
        learner(f"xia{len(path)}@example.org"),
    )
    somebody.proves(f"/redeem/{slug}", place.keys()[0])
    somebody.client.post("/my/sign-out")

    answers = [
        asks(one, path.format(slug=slug), key)
        for one in (somebody, nobody)
        for key in (known, unknown)
    ]
    somebody.code(), nobody.code()

    assert all(answer == answers[0] for answer in answers)
    texts = [
        re.sub(r"\d{6}", "…", mail.text)
        for mail in somebody.server.received
        if mail.recipient in (somebody.email, nobody.email)
    ]
    assert len(texts) == 1 + 4
    assert len(set(texts[1:])) == 1


def test_turning_a_page_off_ends_its_sessions(place, learner, slug):
    yan = learner("yan@example.org")
    yan.proves(f"/redeem/{slug}", place.keys()[0])
    before = yan.get("/my").text

    edit(place, redeem_page="off")

    assert "A course" in before
    assert "A course" not in yan.get("/my").text


def test_a_session_sees_its_own_organizations_courses_alone(place, learner, slug):
    elsewhere = edit(place, place.world.child, redeem_page="proof")
    zoe = learner("zoe@example.org")
    zoe.proves(f"/redeem/{slug}", place.keys()[0])
    there = learner("zoe@example.org")

    asked = there.send(there.get(f"/my?at={elsewhere}"), email=there.email)
    mine = there.send(asked, code=there.code())

    assert "A course" in zoe.get("/my").text
    assert "A course" not in mine.text
    assert "You have no course here yet." in mine.text


def test_the_cookie_is_read_by_no_script_and_says_nothing(app, learner, slug):
    amy = learner("amy@example.org")

    answer = amy.client.post(f"/redeem/{slug}", data={"key": "SOME-KEY-1", "email": amy.email})

    [cookie] = answer.headers.getlist("Set-Cookie")
    value = re.match(r"keypool-page=([\w-]+);", cookie)[1]
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(cookie.split("; "))
    assert len(value) == 43
    assert "SOME-KEY-1" not in answer.location


def test_over_https_the_cookie_is_bound_to_the_host(slug, server, monkeypatch):
    monkeypatch.setenv("KEYPOOL_PUBLIC_URL", "https://keys.example")
    settings.cache_clear()
    client = create_app().test_client()

    answer = client.post(f"/redeem/{slug}", data={"key": "SOME-KEY-1", "email": "ben@example.org"})

    [cookie] = answer.headers.getlist("Set-Cookie")
    assert cookie.startswith("__Host-keypool-page=")
    assert "Secure" in cookie.split("; ")
    monkeypatch.undo()
    settings.cache_clear()


@pytest.mark.parametrize(
    "headers",
    [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"},
     {"Origin": "https://evil.example"}, {"Origin": "null"}],
)  # fmt: skip
def test_a_form_of_another_site_is_refused(learner, slug, headers):
    eve = learner("evil@example.org")

    refused = eve.client.post(
        f"/redeem/{slug}", data={"key": "SOME-KEY-1", "email": eve.email}, headers=headers
    )

    assert refused.status_code == 400
    assert sql("SELECT count(*) FROM page_session WHERE email = 'evil@example.org'") == [(0,)]


@pytest.mark.parametrize(
    "headers", [{"Sec-Fetch-Site": "same-origin"}, {"Origin": "http://localhost"}, {}]
)
def test_a_form_of_ours_is_taken(learner, slug, headers):
    fred = learner(f"fred{len(headers)}{len(str(headers))}@example.org")

    taken = fred.client.post(
        f"/redeem/{slug}", data={"key": "SOME-KEY-1", "email": fred.email}, headers=headers
    )

    assert taken.status_code == 303


def test_no_key_and_no_code_is_in_a_log_or_in_history(place, learner, slug, logged):
    [key] = place.keys()
    gus = learner("gus@example.org")

    gus.proves(f"/redeem/{slug}", key)
    gus.get("/my")

    code = re.findall(r"\d{6}", gus.server.received[-1].text)[0]

    remembered = str(sql("SELECT history::text FROM history"))

    assert {"/redeem/<slug>", "/my/code", "/my/answer"} <= {one.get("route") for one in logged}
    for secret in (key, code):
        assert re.search(rf"(?<!\w){secret}(?!\w)", str(logged)) is None
        assert re.search(rf"(?<!\w){secret}(?!\w)", remembered) is None


def test_nobody_posts_webhooks_as_a_redeem_page_and_it_gets_no_secret(place, learner, slug):
    learner("hana@example.org").proves(f"/redeem/{slug}", place.keys()[0])
    operator = Actor.operator("test")
    with databases.session() as session:
        [page] = [
            one for one in sources.listing(session, actor=operator).items
            if one["kind"] == "page" and one["url"] == f"/redeem/{slug}"
        ]  # fmt: skip

        with pytest.raises(errors.UnsignedSourceError):
            sources.rotate(session, actor=operator, source=page["id"])
    sender = place.sender()

    answer = sender.post(redemption("SOME-KEY-1"), path=f"/webhooks/{page['id']}")

    assert answer.status_code == 401
