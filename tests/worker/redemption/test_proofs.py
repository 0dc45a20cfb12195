"""A one-time code by a real mail server proves an address: once, for ten minutes, within five tries."""

import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy import text

from tests import world as worlds
from tests.smtpd import dies, mail_server
from tests.world import OPERATOR, entered
from worker import errors
from worker.database import connections
from worker.database.connections import Login
from worker.learning import erasing, learners
from worker.outgoing import mailing, messages
from worker.redemption import proofs
from worker.redemption.proofs import Answer, Asked, Visit, Way
from worker.settings import settings
from worker.tenancy.actors import Actor

ANN = "ann@example.org"
KEY = "K7QM-4T9X-2HDP-8RWZ"


@pytest.fixture
def world(fresh_database, monkeypatch, tmp_path):
    """A committed world, which mails from an address of its own."""
    monkeypatch.setenv("KEYPOOL_MAIL_FROM", "keys@keypool.example")
    monkeypatch.setenv("KEYPOOL_HOME", str(tmp_path))
    settings.cache_clear()
    with connections.session() as session:
        yield worlds.build(session)
    settings.cache_clear()


@pytest.fixture
def place(world):
    world.session.commit()
    return world


@pytest.fixture
def by(monkeypatch):
    """Have mails sent by a server."""

    def choose(url: str) -> None:
        monkeypatch.setenv("KEYPOOL_SMTP_URL", url)
        settings.cache_clear()

    return choose


def begin(
    organization: int | None, email: str = ANN, *, way: Way = Way.MAILED, client: str = "192.0.2.1"
) -> str | None:
    """Ask for a code, as the web does."""
    asked = {"asked": Asked(KEY, "Ann"), "language": "de", "client": client}
    with connections.session(Login.WEB) as session:
        return proofs.begin(session, way=way, organization_id=organization, email=email, **asked)


def find(token: str | None) -> Visit | None:
    with connections.session(Login.WEB) as session:
        return proofs.find(session, token)


def prove(token: str, typed: str) -> Answer:
    with connections.session(Login.WEB) as session:
        visit = proofs.find(session, token)
        assert visit is not None
        return proofs.prove(session, visit, typed)


def send() -> None:
    mailing.send_all(until=time.monotonic() + 60)


def sql(statement: str, **given) -> list:
    with connections.session() as session:
        done = session.execute(text(statement), given)
        return list(done) if done.returns_rows else []


def later(minutes: float) -> None:
    """Let time go by: for what was done so far, it was earlier."""
    for table, column in [
        ("message", "ended_at"),
        ("message", "happened_at"),
        ("page_session", "began_at"),
        ("page_session", "proved_at"),
    ]:
        sql(f"UPDATE {table} SET {column} = {column} - make_interval(mins => :minutes)",
            minutes=int(minutes))  # fmt: skip


def another(code: str) -> str:
    return f"{(int(code) + 1) % 1_000_000:06}"


def test_the_code_is_the_only_number_of_six_digits_in_its_mail(place, by):
    sql("UPDATE organization SET colour = '#123456', name = 'School 12345678' WHERE id = :id",
        id=place.parent)  # fmt: skip
    with mail_server() as server:
        by(server.url)
        token = begin(place.parent)
        sql("UPDATE message SET identity = 'ab123456-0000-4000-8000-abcdef654321'")
        send()

    [mail] = server.received
    whole = mail.content.decode()
    [code] = set(re.findall(r"(?<!\d)\d{6}(?!\d)", whole))
    page = mail.message.get_body(("html",)).get_content()
    assert set(re.findall(r"\d{6}", mail.text + page)) == {code}
    assert code not in str(mail.message["Subject"])
    assert KEY not in whole
    assert str(mail.message["Subject"]) == "Ihr Einmalcode"
    assert prove(token, f" {code[:3]} {code[3:]} ") is Answer.RIGHT


def test_a_proved_session_knows_what_was_asked_and_the_codes_mail_says_it_no_more(place, by):
    with mail_server() as server:
        by(server.url)
        token = begin(place.parent)
        send()
    [code] = re.findall(r"\d{6}", server.received[0].text)

    before, answer, after = find(token), prove(token, code), find(token)

    assert (before.proved, answer, after.proved) == (False, Answer.RIGHT, True)
    assert after.asked == Asked(KEY, "Ann")
    assert sql("SELECT data FROM message") == [(None,)]
    assert prove(token, code) is Answer.OVER


def test_neither_code_nor_key_nor_cookie_is_kept_in_clear(place, by):
    with mail_server() as server:
        by(server.url)
        token = begin(place.parent)
        send()
    [code] = re.findall(r"\d{6}", server.received[0].text)

    [(session,)] = sql("SELECT page_session::text FROM page_session")
    [(message,)] = sql("SELECT message::text FROM message")

    assert token not in session
    assert KEY not in session
    assert re.search(rf"(?<!\d){code}(?!\d)", message) is None


def test_a_code_is_good_within_five_tries(place, by):
    with mail_server() as server:
        by(server.url)
        token, other = begin(place.parent), begin(place.parent, "bob@example.org")
        send()
    codes = {mail.recipient: re.findall(r"\d{6}", mail.text)[0] for mail in server.received}

    wrong = [prove(token, another(codes[ANN])) for _ in range(5)]
    fifth = [prove(other, another(codes["bob@example.org"])) for _ in range(4)]

    assert wrong == [*[Answer.WRONG] * 4, Answer.OVER]
    assert prove(token, codes[ANN]) is Answer.OVER
    assert fifth == [Answer.WRONG] * 4
    assert prove(other, codes["bob@example.org"]) is Answer.RIGHT


def test_tries_at_once_are_five_in_all(place, by):
    token = begin(place.parent)

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda n: prove(token, f"{n:06}"), range(24)))

    assert len([one for one in answers if one is not Answer.OVER]) <= 5
    assert sql("SELECT tries FROM page_session") == [(5,)]


def test_a_code_is_good_for_ten_minutes_after_its_mail_was_sent(place, by):
    with mail_server() as server:
        by(server.url)
        early, late = begin(place.parent), begin(place.parent)
        send()
    codes = [re.findall(r"\d{6}", mail.text)[0] for mail in server.received]

    later(9)
    first = {prove(early, code) for code in codes}
    later(2)

    assert Answer.RIGHT in first
    assert find(late).over is True
    assert {prove(late, code) for code in codes} == {Answer.OVER}


def test_a_code_that_the_mail_server_held_up_for_a_day_is_good_when_it_comes(place, by):
    by("smtp://localhost:1")
    token = begin(place.parent)
    send()
    later(24 * 60)
    away = find(token)
    with mail_server() as server:
        by(server.url)
        sql("UPDATE message SET due_at = clock_now()")
        sql("UPDATE mail_server SET rests_until = NULL")
        send()
    [code] = re.findall(r"\d{6}", server.received[0].text)

    assert (away.late, away.over) == (True, False)
    assert find(token).late is False
    assert prove(token, code) is Answer.RIGHT


def test_a_mail_that_came_twice_brings_the_same_code(place, by):
    with mail_server(dies, "250 OK") as server:
        by(server.url)
        token = begin(place.parent)
        send()
        sql("UPDATE message SET due_at = clock_now()")
        sql("UPDATE mail_server SET rests_until = NULL")
        send()
    codes = [re.findall(r"\d{6}", mail.text)[0] for mail in server.received]

    assert len(codes) == 2
    assert len(set(codes)) == 1
    assert prove(token, codes[0]) is Answer.RIGHT


def test_a_flood_of_requests_for_codes_sends_few(place):
    with ThreadPoolExecutor(8) as threads:
        to_one = list(threads.map(lambda n: begin(place.parent, client=f"c{n}"), range(40)))
        by_one = list(threads.map(lambda n: begin(place.parent, f"p{n}@example.org"), range(60)))

    assert len([token for token in to_one if token]) == settings().codes_per_address
    assert len([token for token in by_one if token]) == settings().codes_per_client
    [(mails,)] = sql("SELECT count(*) FROM message")
    assert mails == settings().codes_per_address + settings().codes_per_client


def test_codes_that_were_typed_in_do_not_count_and_a_day_later_none_does(place, by, monkeypatch):
    monkeypatch.setenv("KEYPOOL_CODES_PER_CLIENT", "1")
    with mail_server() as server:
        by(server.url)
        token = begin(place.parent)
        send()
    [code] = re.findall(r"\d{6}", server.received[0].text)

    before = begin(place.parent, "bob@example.org")
    prove(token, code)
    typed_in = begin(place.parent, "bob@example.org")
    again = begin(place.parent, "eve@example.org")
    later(24 * 60 + 1)

    assert (before, bool(typed_in), again) == (None, True, None)
    assert begin(place.parent, "eve@example.org") is not None


def test_a_page_that_does_not_exist_answers_as_one_whose_code_is_another(place, monkeypatch):
    monkeypatch.setenv("KEYPOOL_CODES_PER_ADDRESS", "2")
    settings.cache_clear()
    known = begin(place.parent, ANN)
    nobodys = begin(None, "bob@example.org", way=Way.NEVER)

    for token in (known, nobodys):
        for _ in range(2):
            prove(token, "no code")
    shown = [
        replace(find(token), token="", id=0, email="", organization_id=None, identity=None)
        for token in (known, nobodys)
    ]

    assert shown[0] == shown[1]
    assert sql("SELECT count(*) FROM message") == [(1,)]
    later(24 * 60 - 1)
    counted = [begin(None, "bob@example.org", way=Way.NEVER) for _ in range(2)]
    assert (bool(counted[0]), counted[1]) == (True, None)


def test_a_session_ends_two_hours_after_the_proof_and_when_it_is_told_to(place, by):
    with mail_server() as server:
        by(server.url)
        lasting, ended = begin(place.parent), begin(place.parent, "bob@example.org")
        send()
    codes = {mail.recipient: re.findall(r"\d{6}", mail.text)[0] for mail in server.received}
    prove(lasting, codes[ANN])
    prove(ended, codes["bob@example.org"])

    with connections.session(Login.WEB) as session:
        proofs.end(session, ended)
    later(119)

    assert find(ended) is None
    assert find(lasting).proved is True
    later(2)
    assert find(lasting) is None
    assert find("another") is None


def test_old_sessions_are_removed_and_the_mails_of_codes_that_are_over_blanked(place, by):
    with mail_server() as server:
        by(server.url)
        begin(place.parent)
        send()
        later(11)
        connections.transaction(proofs.forget_old, limit=10)
        blanked = sql("SELECT data FROM message")
        later(4 * 24 * 60)

    assert connections.transaction(proofs.forget_old, limit=10) == 1
    assert blanked == [(None,)]
    assert sql("SELECT count(*) FROM page_session") == [(0,)]


def test_a_code_is_its_recipients_alone_where_mails_are_sent(place, by):
    begin(place.parent)
    [(message, identity)] = sql("SELECT id::text, identity::text FROM message")

    with connections.session() as session:
        copied = messages.show(session, actor=OPERATOR, message=message)
        by("smtp://localhost:1")
        shown = messages.show(session, actor=OPERATOR, message=message)

    assert proofs.code(identity) in copied["text"]
    assert "••••••" in shown["text"]
    assert proofs.code(identity) not in shown["text"]


def test_a_code_of_no_organization_comes_in_the_sellers_name(place, by):
    sql("UPDATE seller SET name = 'Seller Ltd'")
    with mail_server() as server:
        by(server.url)
        begin(None)
        send()

    [mail] = server.received
    with connections.session() as session:
        [listed] = messages.listing(session, actor=OPERATOR).items
    assert str(mail.message["From"]) == "Seller Ltd <keys@keypool.example>"
    assert (listed["kind"], listed["organization"]) == ("code", None)


def test_erasing_a_person_removes_their_sessions(place):
    begin(None)
    begin(place.parent)
    begin(place.parent, "bob@example.org")
    person = erasing.Person([ANN], [], [place.parent])

    connections.transaction(erasing.erase, person=person)

    assert sql("SELECT email FROM page_session") == [("bob@example.org",)]
    assert sql("SELECT count(*) FROM message WHERE recipient = :ann", ann=ANN) == [(0,)]


def test_a_persons_sessions_are_in_the_export_of_all_that_is_kept_on_them(place):
    begin(place.parent)
    begin(None, way=Way.NEVER)
    operator, manager, stranger = map(entered, (None, place.parent, place.sibling))

    def exported(actor: Actor) -> list[str | None]:
        with connections.session(Login.WEB, sees=actor.scope) as session:
            kept = learners.export(session, actor=actor, email=ANN)
        return [one["organization"] for one in kept["page_sessions"]]

    [(name,)] = sql("SELECT name FROM organization WHERE id = :id", id=place.parent)
    assert exported(operator) == [name, None]
    assert exported(manager) == [name]
    with pytest.raises(errors.NotFoundError):
        exported(stranger)
