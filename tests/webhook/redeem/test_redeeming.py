"""From a key to a course, by pages without a script and mails of a real server."""

import re
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from typing import Never
from urllib.parse import parse_qsl, urlsplit

import pytest
from sqlalchemy import func, select

from tests.webhook.redeem.conftest import LABS, edit, sql
from webhook.redeem import mine
from worker import errors
from worker.database import connections
from worker.database.connections import Login
from worker.redemption import proofs
from worker.settings import settings


def shown(page) -> str:
    """What a page says."""
    main = re.search(r"<main.*?</main>", page.text, re.S)[0]
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", main)).split())


def link(page) -> dict[str, str]:
    [href] = re.findall(rf'href="({LABS}[^"]+)"', page.text)
    return dict(parse_qsl(urlsplit(unescape(href)).query))


def test_a_key_is_redeemed_with_the_code_of_the_mail_and_the_course_opened(
    place, learner, slug, labs
):
    [key] = place.keys()
    ann = learner("ann@example.org")

    asked = ann.send(ann.get(f"/redeem/{slug}"), key=key, email="  Ann@Example.org", name="Ann A.")
    answer = ann.send(asked, code=ann.code())

    [(assignment, name, outcome, kind)] = sql(
        "SELECT assignment.id, learner.name, event.outcome, source.kind::text FROM event"
        " JOIN assignment ON assignment.id = assignment_id JOIN learner ON learner.id = learner_id"
        " JOIN source ON source.id = source_id WHERE learner.email = 'ann@example.org'"
    )
    assert "A mail with a code of six digits is on its way to ann@example.org" in shown(asked)
    assert (name, outcome, kind) == ("Ann A.", "redeemed", "page")
    assert "The key is redeemed. Access ends on" in shown(answer)
    assert "(Europe/Berlin)" in shown(answer)
    assert link(answer)["assignment"] == str(assignment)
    assert shown(ann.get("/my/answer")) == shown(answer)  # loaded again, nothing happens twice
    assert key not in answer.text


def test_every_outcome_is_told_in_the_persons_words(place, learner, slug):
    [key] = place.keys()
    learner("first@example.org").proves(f"/redeem/{slug}", key)
    bob = learner("bob@example.org")

    refused = bob.proves(f"/redeem/{slug}", key)
    bob.send(bob.get("/my"), key="K7QM-4T9X-2HDP-8RWZ")
    mistyped = bob.get("/my/answer")
    again = learner("first@example.org").proves(f"/redeem/{slug}", key)

    assert "Somebody else redeemed this key already." in shown(refused)
    assert "The key is mistyped" in shown(mistyped)
    assert "You redeemed this key before. Access ends on" in shown(again)


def test_ones_own_courses_are_shown_and_another_key_redeemed_without_another_code(
    place, learner, slug, labs
):
    first, second = place.keys(2)
    cid = learner("cid@example.org")
    cid.proves(f"/redeem/{slug}", first)
    mails = len(cid.server.received)

    mine = cid.get("/my")
    another = cid.send(cid.get(f"/redeem/{slug}"), key=second)
    out = cid.client.post("/my/sign-out")

    assert "A course Access ends on" in shown(mine)
    assert "Not opened yet." in shown(mine)
    assert link(mine)["signature"]
    assert "You already have access to this course. The key is not spent" in shown(another)
    assert len(cid.server.received) == mails
    assert "You are signed out" in shown(out)
    assert "A course" not in shown(cid.get("/my"))


def test_ones_courses_are_shown_after_the_same_proof_and_nobody_elses(place, learner, slug):
    [key] = place.keys()
    learner("dan@example.org").proves(f"/redeem/{slug}", key)
    dan, eve = learner("dan@example.org"), learner("eve@example.org")

    for one in (dan, eve):
        asked = one.send(one.get(f"/my?at={slug}"), email=one.email)
        one.send(asked, code=one.code())

    assert "A course Access ends" in shown(dan.get("/my"))
    assert "You have no course here yet." in shown(eve.get("/my"))


def test_launches_and_an_access_that_ended_are_told(place, learner, slug, labs):
    [key] = place.keys()
    fay = learner("fay@example.org")
    fay.proves(f"/redeem/{slug}", key)
    sql("INSERT INTO launch (assignment_id, organization_id, launch, launched_at)"
        " SELECT assignment.id, assignment.organization_id, 'L' || n, clock_now()"
        " FROM assignment JOIN learner ON learner.id = learner_id, generate_series(1, 3) AS n"
        " WHERE email = 'fay@example.org'")  # fmt: skip

    opened = fay.get("/my")
    sql("UPDATE assignment SET redeemed_at = '2020-01-01', expires_at = '2020-02-01' FROM learner"
        " WHERE learner.id = learner_id AND email = 'fay@example.org'")  # fmt: skip
    ended = fay.get("/my")

    assert "Opened 3 times." in shown(opened)
    assert "Access ended at the end of 31 Jan 2020" in shown(ended) or "Access ended" in shown(
        ended
    )
    assert LABS not in ended.text


def test_without_an_organization_in_the_address_the_key_decides_whose(place, learner, slug, off):
    [key] = place.keys()
    gil = learner("gil@example.org")

    answer = gil.proves("/redeem", key)

    mail = [one for one in gil.server.received if one.recipient == "gil@example.org"][-1]
    assert "The key is redeemed." in shown(answer)
    assert "Parent" not in mail.text  # the mail does not tell whose the key is
    assert "A course" in shown(gil.get("/my"))


def test_without_an_organization_an_unknown_key_is_answered_and_guesses_are_limited(
    place, learner, slug, monkeypatch
):
    monkeypatch.setenv("KEYPOOL_GUESSES_PER_LEARNER", "3")
    settings.cache_clear()
    hal = learner("hal@example.org")

    first = hal.proves("/redeem", "UNKNOWN-KEY-1")
    more = [hal.send(hal.get("/my"), key=f"UNKNOWN-KEY-{n}") for n in range(2, 6)]

    assert "There is no such key." in shown(first)
    assert "There is no such key." in shown(more[0])
    assert more[-1].status_code == 429
    assert int(more[-1].headers["Retry-After"]) > 0
    assert "Too many keys were tried lately." in shown(more[-1])
    settings.cache_clear()


def test_guesses_at_an_organizations_page_are_limited_as_a_webhooks_are(
    place, learner, slug, monkeypatch
):
    monkeypatch.setenv("KEYPOOL_GUESSES_PER_LEARNER", "2")
    settings.cache_clear()
    ida = learner("ida@example.org")
    ida.proves(f"/redeem/{slug}", "UNKNOWN-KEY-1")
    ida.send(ida.get("/my"), key="UNKNOWN-KEY-2")

    limited = ida.send(ida.get("/my"), key="UNKNOWN-KEY-3")

    assert limited.status_code == 429
    settings.cache_clear()


def test_on_an_open_page_nobody_proves_an_address(place, learner, slug, labs):
    edit(place, redeem_page="open")
    [key] = place.keys()
    jan = learner("jan@example.org")
    mails = len(jan.server.received)

    answer = jan.send(jan.get(f"/redeem/{slug}"), key=key, email=jan.email)

    assert "The key is redeemed." in shown(answer)
    assert link(answer)["assignment"]
    assert len(jan.server.received) == mails
    assert "A code by mail shows that the address is yours." in shown(jan.get("/my"))


def test_a_page_takes_the_addresses_of_its_domains_alone(place, learner, slug):
    edit(place, redeem_domains=["staff.example"])
    [key] = place.keys()
    kim = learner("kim@staff.example")

    refused = kim.send(kim.get(f"/redeem/{slug}"), key=key, email="kim@home.example")
    taken = kim.proves(f"/redeem/{slug}", key)
    elsewhere = learner("lea@home.example").proves("/redeem", key)

    assert refused.status_code == 422
    assert "This page takes addresses at staff.example alone." in shown(refused)
    assert f'value="{key}"' in refused.text  # what was typed is kept
    assert "The key is redeemed." in shown(taken)
    assert "The key is not for learners of your organization." in shown(elsewhere)


def test_wrong_codes_are_told_and_the_fifth_is_the_last(place, learner, slug):
    [key] = place.keys()
    max_ = learner("max@example.org")
    asked = max_.send(max_.get(f"/redeem/{slug}"), key=key, email=max_.email)
    wrong = f"{(int(max_.code()) + 1) % 10**6:06}"

    answers = []
    for _ in range(5):
        asked = max_.send(asked, code=wrong) if "<form" in asked.text else asked
        answers.append(shown(asked))

    assert "You can try 4 more times." in answers[0]
    assert "You can try once more." in answers[3]
    assert "That code is not good any more." in answers[4]
    assert 'name="code"' not in asked.text


def test_while_the_mail_server_is_away_the_page_says_that_the_code_comes_later(
    place, learner, slug, monkeypatch
):
    [key] = place.keys()
    ned = learner("ned@example.org")
    with monkeypatch.context() as patched:
        patched.setenv("KEYPOOL_SMTP_URL", "smtp://localhost:1")
        settings.cache_clear()
        ned.send(ned.get(f"/redeem/{slug}"), key=key, email=ned.email)
        with pytest.raises(IndexError):
            ned.code()
        away = ned.get("/my/code")
    sql("UPDATE message SET due_at = clock_now() WHERE state = 'waiting'")
    sql("UPDATE mail_server SET rests_until = NULL")
    settings.cache_clear()

    answer = ned.send(away, code=ned.code())

    assert "Mail is held up at the moment. Your code comes as soon as" in shown(away)
    assert "The key is redeemed." in shown(answer)


@pytest.mark.usefixtures("nobody_settles")
def test_a_key_that_is_not_decided_in_time_is_recorded_and_looked_for_again(
    place, learner, slug, monkeypatch
):
    wait, waited = mine.waiting_room.wait, []

    def a_moment(event_id: int, seconds: float) -> bool:
        waited.append(seconds)
        return wait(event_id, 0.05)

    monkeypatch.setattr(mine.waiting_room, "wait", a_moment)
    [key] = place.keys()

    answer = learner("olga@example.org").proves(f"/redeem/{slug}", key)

    assert waited == [10]
    assert "It is recorded, and nothing is lost." in shown(answer)
    assert 'href="/my/answer' in answer.text


def test_a_code_that_is_sent_twice_redeems_once(place, learner, slug):
    [key] = place.keys()
    pat = learner("pat@example.org")
    asked = pat.send(pat.get(f"/redeem/{slug}"), key=key, email=pat.email)
    code = pat.code()

    first, second = pat.send(asked, code=code), pat.send(asked, code=code)

    assert shown(first) == shown(second)
    assert sql("SELECT count(*) FROM event WHERE data->>'key' = :key", key=key) == [(1,)]


def test_a_code_that_is_sent_twice_at_once_is_not_called_over(place, learner, slug, monkeypatch):
    prove, lou = proofs.prove, learner("lou@example.org")
    asked = lou.send(lou.get(f"/redeem/{slug}"), key=place.keys()[0], email=lou.email)
    code = lou.code()

    def second(*given):
        prove(*given)
        return prove(*given)

    monkeypatch.setattr(proofs, "prove", second)
    answer = lou.send(asked, code=code)

    assert (answer.status_code, answer.request.path) == (200, "/my")
    assert "not good any more" not in answer.text


def test_a_form_that_is_sent_again_takes_another_key_and_the_same_key_once(place, learner, slug):
    gil = learner("gil@example.org")
    gil.proves(f"/redeem/{slug}", place.keys()[0])
    form = gil.get("/my")  # to which the back button leads

    answers = [gil.send(form, key=key) for key in ("SOME-KEY-111", "SOME-KEY-222", "SOME-KEY-222")]

    assert ["There is no such key." in shown(answer) for answer in answers] == [True] * 3
    count = "SELECT count(*) FROM event WHERE data->>'key' = :key"
    assert [sql(count, key=key) for key in ("SOME-KEY-111", "SOME-KEY-222")] == [[(1,)], [(1,)]]


def test_too_many_codes_in_a_day_are_refused_in_a_sentence(place, learner, slug):
    quin = learner("quin@example.org")
    start = quin.get(f"/redeem/{slug}")

    pages = [quin.send(start, key="SOME-KEY-1234", email=quin.email) for _ in range(6)]

    assert [page.status_code for page in pages] == [200] * 5 + [429]
    assert "Use the code of the last mail, or try again tomorrow." in shown(pages[-1])
    assert quin.code()
    assert len([one for one in quin.server.received if one.recipient == quin.email]) == 5


def test_clients_of_one_household_are_counted_together(place, learner, slug, monkeypatch):
    monkeypatch.setenv("KEYPOOL_CODES_PER_CLIENT", "2")
    settings.cache_clear()
    rob = learner("rob@example.org")

    asked = [
        rob.client.post(
            f"/redeem/{slug}",
            data={"key": "SOME-KEY-1", "email": f"rob{n}@example.org"},
            environ_base={"REMOTE_ADDR": address},
        ).status_code
        for n, address in enumerate(
            ["2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:0:1::1", "192.0.2.77"]
        )
    ]

    assert asked == [303, 303, 429, 303, 303]
    settings.cache_clear()


def test_while_the_database_is_away_a_page_says_that_nothing_is_lost(learner, slug, monkeypatch):
    sue = learner("sue@example.org")
    form = {"key": "SOME-KEY-1", "email": sue.email}
    with monkeypatch.context() as patched:
        patched.setattr(connections, "session", away)
        gone = sue.client.post(f"/redeem/{slug}", data=form)

    again = sue.client.post(f"/redeem/{slug}", data=form)

    assert (gone.status_code, gone.headers["Retry-After"]) == (503, "2")
    assert "Nothing is lost: try again in a minute." in shown_heading(gone)
    assert again.status_code == 303


def test_the_first_visitors_at_once_get_one_source(place):
    slug = edit(place, place.world.sibling, redeem_page="proof")

    def source(_: int) -> int:
        with connections.session(Login.WEB) as session:
            return session.scalar(select(func.page_source(place.world.sibling)))

    with ThreadPoolExecutor(8) as threads:
        found = set(threads.map(source, range(24)))

    assert slug
    assert len(found) == 1
    edit(place, place.world.sibling, redeem_page="off")


@pytest.mark.parametrize(
    "odd", ["\0", "\u202e\0x", "x" * 100_000, "😀" * 300, "' OR 1=1 --", "%s{}\r\n"]
)
def test_whatever_is_typed_is_answered_by_a_page(learner, slug, odd):
    tim = learner("tim@example.org")
    good = {"key": "SOME-KEY-1", "email": "tim@example.org", "name": "Tim", "at": slug}

    answers = [
        tim.client.post(path, data=good | {name: odd})
        for path in ("/redeem", f"/redeem/{slug}", "/my")
        for name in good
    ]
    answers += [
        tim.client.post("/my/code", data={"code": odd}),
        tim.client.post("/my/key", data={"key": odd, "once": odd}),
        tim.client.get("/my", query_string={"at": odd.replace("\0", ""), "language": "xx"}),
    ]

    assert {answer.status_code for answer in answers} <= {200, 303, 422, 429}


def away(*_: object, **__: object) -> Never:
    raise errors.DatabaseAwayError


def shown_heading(page) -> str:
    return re.search(r"<h1>(.*?)</h1>", page.text, re.S)[1]
