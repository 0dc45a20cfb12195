"""Mailing by a real mail server: away, slow, refusing some recipients, accepting and dying."""

import dataclasses
import io
import os
import signal
import ssl
import subprocess
import sys
import time
from email import message_from_bytes, policy

import pytest
from PIL import Image
from sqlalchemy import text

from tests import certificates
from tests import world as worlds
from tests.smtpd import NO_DIGITS, dies, mail_server, slow
from tests.waiting import eventually
from tests.world import OPERATOR
from worker import settings as settings_module
from worker.billing import runs
from worker.database import connections
from worker.outgoing import (
    channels,
    composing,
    mailing,
    messages,
    reminders,
    reminding,
    retries,
)
from worker.pools import distributions
from worker.redemption import settling
from worker.settings import settings
from worker.tenancy import organizations

ANN = "ann@example.org"


@pytest.fixture
def world(fresh_database, monkeypatch, tmp_path):
    """A committed world, which mails from an address of its own; the home is the test's own."""
    monkeypatch.setenv("KEYPOOL_MAIL_FROM", "keys@keypool.example")
    monkeypatch.setenv("KEYPOOL_HOME", str(tmp_path))
    settings.cache_clear()
    with connections.session() as session:
        yield worlds.build(session)
    settings.cache_clear()


@pytest.fixture
def place(world):
    """A pool with keys to hand out."""
    world.keys(500)
    world.session.commit()
    return world


@pytest.fixture
def by(monkeypatch):
    """Have mails sent by a server."""

    def choose(url: str) -> None:
        monkeypatch.setenv("KEYPOOL_SMTP_URL", url)
        settings.cache_clear()

    return choose


def hand(place, *addresses: str, count: int = 1, name: str = "") -> list[list[str]]:
    """Hand keys to people by mail, and give their keys."""
    asked = {"actor": OPERATOR, "pool": place.pool, "count": count, "name": name, "mail": True}
    with connections.session() as session:
        return [
            distributions.distribute(session, recipient=one, **asked)["keys"] for one in addresses
        ]


def sql(statement: str, **given) -> list:
    with connections.session() as session:
        done = session.execute(text(statement), given)
        return list(done) if done.returns_rows else []


def send(seconds: float = 120) -> dict:
    return {name: n for name, n in mailing.send_all(until=time.monotonic() + seconds).items() if n}


def now_due() -> None:
    """Let the time of the next tries come."""
    sql("UPDATE message SET due_at = clock_now() WHERE state = 'waiting'")
    sql("UPDATE mail_server SET rests_until = NULL")


def fates() -> list[tuple[str, int, str | None]]:
    return [
        tuple(row) for row in sql("SELECT state::text, attempts, error FROM message ORDER BY id")
    ]


def test_a_mail_brings_a_person_their_key_from_the_organization(place, by):
    sql("UPDATE organization SET sender_name = 'Röhm Academy', reply_to = 'help@roehm.example'"
        " WHERE id = :id", id=place.parent)  # fmt: skip
    with mail_server() as server:
        by(server.url)
        [[key]] = hand(place, ANN, name="Ann")
        sent = send()

    [mail] = server.received
    message = mail.message
    [(identity,)] = sql("SELECT identity::text FROM message")
    assert sent == {"sent": 1}
    assert (mail.sender, mail.recipient) == ("keys@keypool.example", ANN)
    assert str(message["From"]) == "Röhm Academy <keys@keypool.example>"
    assert (message["To"], message["Reply-To"]) == (ANN, "help@roehm.example")
    assert message["Message-ID"] == f"<{identity.translate(NO_DIGITS)}@keypool.example>"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Subject"] == "Your key for A course"
    assert key not in message["Subject"]
    assert f"Hello Ann,\n\nhere is your key for the course “A course”:\n\n    {key}\n" in mail.text
    assert "It can be redeemed until the end of 31 Dec 2090 (UTC)." in mail.text
    assert "Access to the course lasts 30 days from then on." in mail.text
    assert fates() == [("sent", 1, None)]


def test_a_mail_comes_as_text_and_as_a_page_in_the_organizations_colour(place, by):
    sql(
        "UPDATE organization SET name = 'Ace <& Co>', colour = '#ffe14d' WHERE id = :id",
        id=place.parent,
    )
    with mail_server() as server:
        by(server.url)
        [[key]] = hand(place, ANN, name="<b>Ann</b>")
        send()

    [mail] = server.received
    page = mail.message.get_body(("html",)).get_content()
    assert mail.message.get_content_type() == "multipart/alternative"
    assert f">{key}</pre>" in page
    assert (
        "background: rgb(255, 225, 77);color: black" in page
    )  # black is read on yellow, white is not
    assert "Ace &lt;&amp; Co&gt;" in page
    assert "Hello &lt;b&gt;Ann&lt;/b&gt;," in page
    assert "<style" not in page
    assert "http" not in page  # nothing is fetched when the mail is read


def test_a_mail_has_the_organizations_logo_in_itself(place, by):
    with connections.session() as session:
        organizations.edit(
            session, actor=OPERATOR, organization=str(place.parent), logo=picture(960, 240)
        )
    with mail_server() as server:
        by(server.url)
        hand(place, ANN, count=50)
        send()

    [mail] = server.received
    page = mail.message.get_body(("related",))
    [html, logo] = page.iter_parts()
    drawn = Image.open(io.BytesIO(logo.get_content()))
    assert 'src="cid:logo@keypool" width="240" height="60"' in html.get_content()
    assert (logo["Content-ID"], logo.get_content_type()) == ("<logo@keypool>", "image/png")
    assert (drawn.format, drawn.size) == ("PNG", (480, 120))
    assert mail.message.get_body(("plain",)).get_content().startswith("Hello,")
    assert [file.get_filename() for file in mail.message.iter_attachments()] == ["keys.csv"]


@pytest.fixture
def page(place, monkeypatch):
    """The redeem page of the pool's organization, which is on; people reach it at keys.example."""
    sql("UPDATE organization SET slug = 'acme', redeem_page = 'proof' WHERE id = :id",
        id=place.parent)  # fmt: skip
    monkeypatch.setenv("KEYPOOL_PUBLIC_URL", "https://keys.example")
    settings.cache_clear()
    return "https://keys.example/redeem/acme"


def test_a_key_is_mailed_with_the_link_that_redeems_it(place, page):
    [[key]] = hand(place, ANN)

    mail = said()

    assert f"Redeem it here:\n{page}#{key}\n" in mail.text
    assert f'<a href="{page}#{key}"' in mail.html
    assert mail.subject == "Your key for A course"


def test_several_keys_are_mailed_with_the_link_to_the_page(place, page):
    hand(place, ANN, count=2)

    assert f"Redeem them here:\n{page}\n" in said().text


def test_keys_in_a_file_have_a_link_each(place, page):
    [keys] = hand(place, "shop@example.org", count=50)

    lines = said().attachment.content.decode().splitlines()

    assert lines == ["code,link", *(f"{key},{page}#{key}" for key in keys)]


@pytest.mark.parametrize(
    ("change", "smtp"),
    [("UPDATE organization SET redeem_page = 'off'", ""), ("SELECT 1", "smtp://mail.example")],
)
def test_a_mail_has_no_link_that_its_receiver_could_not_follow(
    place, page, by, monkeypatch, change, smtp
):
    if smtp:
        by(smtp)
        monkeypatch.delenv("KEYPOOL_PUBLIC_URL")
        settings.cache_clear()
    sql(change)
    hand(place, ANN)

    mail = said()

    assert "Redeem it" not in mail.text
    assert "/redeem/" not in mail.html


def said() -> composing.Composed:
    """What the only mail says."""
    with connections.session() as session:
        [facts] = composing.facts(session, [session.scalar(text("SELECT id FROM message"))])
        return composing.compose(facts)


def picture(*size: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, "#0b5fa5").save(file, "JPEG")
    return file.getvalue()


def test_a_mail_is_in_the_language_and_time_zone_of_its_receivers_organization(place, by):
    sql("UPDATE organization SET locale = 'de', time_zone = 'Europe/Berlin' WHERE id = :child",
        child=place.child)  # fmt: skip
    sql("INSERT INTO learner (organization_id, email) VALUES (:child, :ann)",
        child=place.child, ann=ANN)  # fmt: skip
    with mail_server() as server:
        by(server.url)
        hand(place, ANN, "bob@example.org")
        send()

    mails = {mail.recipient: mail for mail in server.received}
    assert mails[ANN].message["Subject"] == "Ihr Schlüssel für A course"
    assert "bis zum 1. Jan. 2091, 01:00 (Europe/Berlin)" in mails[ANN].text
    assert "until the end of 31 Dec 2090 (UTC)" in mails["bob@example.org"].text


def test_many_keys_come_as_a_file(place, by):
    with mail_server() as server:
        by(server.url)
        [keys] = hand(place, "shop@example.org", count=500)
        send()

    [mail] = server.received
    [file] = mail.message.iter_attachments()
    assert len(keys) == 500
    assert mail.message["Subject"] == "Your 500 keys for A course"
    assert (file.get_filename(), file.get_content_type()) == ("keys.csv", "text/csv")
    assert file.get_content().splitlines() == ["code", *keys]
    assert keys[0] not in mail.text


def test_an_invoice_comes_from_the_seller_as_pdf_and_e_invoice(place, by):
    sql("UPDATE organization SET billing_email = 'pay@example.org', country = 'DE', city = 'Ulm',"
        " postcode = '89073', street = 'Weg 1', buyer_reference = '04011000-12345-34',"
        " electronic_address = '0204:04011000-12345-34', sender_name = 'Parent', legal_name = 'Röhm GmbH',"
        " reply_to = 'parent@example.org' WHERE id = :id", id=place.parent)  # fmt: skip
    sql("UPDATE seller SET email = 'bills@keypool.example', contact = 'Eva', phone = '+49 40 1',"
        " payment_details = 'IBAN', electronic_address = '9930:DE136695976'")  # fmt: skip
    with connections.session() as session:
        reminders.save(session, actor=OPERATOR, organization=str(place.parent), kind="invoice_sent")
        place_there = dataclasses.replace(place, session=session)
        place_there.request_of_last_month(ANN)
    settling.settle_all()
    runs.run_scheduled(actor=OPERATOR)

    with mail_server() as server:
        by(server.url)
        written = reminding.remind()
        send()

    [mail] = server.received
    [(number,)] = sql("SELECT number FROM invoice WHERE status = 'finalized'")
    message = mail.message
    files = {file.get_filename(): file for file in message.iter_attachments()}
    assert written == 1
    assert mail.recipient == "pay@example.org"
    assert str(message["From"]) == "keypool operator <keys@keypool.example>"
    assert message["Reply-To"] == "bills@keypool.example"
    assert message["Subject"] == f"Invoice {number} from keypool operator"
    assert message["List-Unsubscribe"] is None
    assert list(files) == [f"invoice-{number}.facturx.pdf", f"invoice-{number}.xrechnung.xml"]
    pdf, xml = files.values()
    assert pdf.get_content().startswith(b"%PDF-")
    assert b"factur-x.xml" in pdf.get_content()
    assert number.encode() in xml.get_payload(decode=True)


def test_a_reminder_links_to_here_only_where_there_is_a_public_address(place, by, monkeypatch):
    with connections.session() as session:
        reminders.save(
            session, actor=OPERATOR, organization=str(place.parent), kind="key_unused", days=1
        )
    hand(place, ANN, "bob@example.org")
    sql("UPDATE message SET state = 'sent', ended_at = clock_now()")
    sql("UPDATE distribution SET distributed_at = clock_now() - interval '25 hours'")
    sql("UPDATE reminder SET looked_to = clock_now() - interval '2 days'")
    reminding.remind()

    with mail_server() as server:
        by(server.url)
        sql(
            "UPDATE message SET due_at = clock_now() + interval '1 hour' WHERE recipient = :ann",
            ann=ANN,
        )
        send()
        monkeypatch.setenv(
            "KEYPOOL_PUBLIC_URL", "https://keys.a-long-name-of-a-company.example.com"
        )
        by(server.url)
        now_due()
        send()

    without, with_link = (mail.message for mail in server.received)
    link = with_link["List-Unsubscribe"].strip("<>")
    assert without["List-Unsubscribe"] is None
    assert "http" not in server.received[0].text
    assert link.startswith("https://keys.a-long-name-of-a-company.example.com/unsubscribe/")
    assert f"List-Unsubscribe: <{link}>\r\n".encode() in server.received[1].content
    assert link in server.received[1].text


def test_a_mail_of_a_transaction_that_fails_is_never_sent(place, by):
    asked = {"actor": OPERATOR, "pool": place.pool, "recipient": ANN, "mail": True}
    with connections.session() as session:
        distributions.distribute(session, **asked)
        session.rollback()

    with mail_server() as server:
        by(server.url)
        sent = send()

    assert (sent, server.received) == ({}, [])


def test_what_a_server_put_off_is_sent_later_under_the_same_message_id(place, by):
    with mail_server("451 Try again later", "250 OK") as server:
        by(server.url)
        hand(place, ANN)
        send()
        first = fates()
        [(waits,)] = sql("SELECT due_at > clock_now() FROM message")
        now_due()
        send()

    before, after = (mail.message["Message-ID"] for mail in server.received)
    assert (first, waits) == ([("waiting", 1, "451 Try again later")], True)
    assert before == after
    assert fates() == [("sent", 2, None)]


def test_a_mail_that_was_accepted_by_a_dying_server_comes_again_under_the_same_message_id(
    place, by
):
    with mail_server(dies, "250 OK") as server:
        by(server.url)
        hand(place, ANN)
        send()
        first = fates()
        now_due()
        send()

    before, after = server.received
    assert first == [("waiting", 1, "the mail server closed the connection")]
    assert before.message["Message-ID"] == after.message["Message-ID"]
    assert before.text == after.text
    assert fates() == [("sent", 2, None)]


def test_one_refused_recipient_does_not_hold_up_the_others(place, by):
    people = [f"p{n}@example.org" for n in range(12)]
    with mail_server() as server:
        server.at_door = {people[0]: "450 Mailbox busy", people[5]: "550 5.1.1 No such user"}
        by(server.url)
        hand(place, *people)
        sent = send()

    assert sent == {"sent": 10, "failed": 2, "set apart": 1}
    assert len(server.received) == 10
    outcomes = fates()
    assert outcomes[0] == ("waiting", 1, "450 Mailbox busy")
    assert outcomes[5] == ("failed", 1, "550 5.1.1 No such user")
    assert sql("SELECT rests_until FROM mail_server") == [(None,)]


def test_an_address_that_was_refused_for_good_is_not_tried_again_until_a_person_sends_it(place, by):
    with mail_server() as server:
        server.at_door = {ANN: "550 5.1.1 No such user"}
        by(server.url)
        hand(place, ANN)
        send()
        with connections.session() as session:
            asked = {"actor": OPERATOR, "pool": place.pool, "recipient": ANN, "mail": True}
            distributions.distribute(session, reference="second", **asked)
        send()
        tried = list(server.tried)
        server.at_door = {}
        [(first,), (second,)] = sql("SELECT id::text FROM message ORDER BY id")
        with connections.session() as session:
            messages.resend(session, actor=OPERATOR, message=second)
        send()
        with connections.session() as session:
            messages.resend(session, actor=OPERATOR, message=first)
        send()

    assert tried == [ANN]
    assert server.tried == [ANN] * 3
    assert [state for state, *_ in fates()] == ["sent", "sent"]


def test_an_address_refused_for_one_organization_is_tried_for_another(place, by):
    with mail_server() as server:
        server.at_door = {ANN: "550 5.7.1 Sender not welcome"}
        by(server.url)
        hand(place, ANN)
        send()
        server.at_door = {}
        sql("UPDATE pool SET organization_id = :other", other=place.sibling)
        with connections.session() as session:
            asked = {"actor": OPERATOR, "pool": place.pool, "recipient": ANN, "mail": True}
            distributions.distribute(session, reference="another's", **asked)
        send()

    assert server.tried == [ANN, ANN]
    assert [state for state, *_ in fates()] == ["failed", "sent"]


def test_what_is_refused_after_its_text_is_final_and_blames_no_address(place, by):
    with mail_server("554 5.7.1 Looks like spam") as server:
        by(server.url)
        hand(place, ANN)
        sent = send()

    assert sent == {"failed": 1, "set apart": 1}
    assert sql("SELECT refused FROM message") == [(False,)]


def test_a_server_that_is_away_for_a_day_loses_nothing(place, by):
    people = [f"p{n}@example.org" for n in range(30)]
    with mail_server() as server:
        port = server.port
    by(f"smtp://localhost:{port}")
    hand(place, *people)

    for _ in range(3):
        send()
        tried = sum(attempts for _, attempts, _ in fates())
        rests = sql("SELECT failures, rests_until > clock_now() FROM mail_server")
        again = send()
        assert again == {}  # it rests: nothing is tried
        now_due()
    sql("UPDATE message SET tried_since = tried_since - interval '1 day'")
    with mail_server(port=port) as server:
        sent = send()

    assert rests == [(3, True)]
    assert tried <= 3 * mailing.LANES
    assert sent == {"sent": 30}
    assert sorted(mail.recipient for mail in server.received) == sorted(people)
    assert sql("SELECT failures FROM mail_server") == [(0,)]


def test_a_slow_server_is_left_and_asked_again(place, by, monkeypatch):
    with mail_server(slow(60), "250 OK") as server:
        by(server.url)
        hand(place, ANN)
        with monkeypatch.context() as hurry:
            hurry.setattr(channels, "SEND_SECONDS", 0.3)
            send()
        first = fates()
        now_due()
        send()

    assert first == [("waiting", 1, "the mail server took too long")]
    assert fates() == [("sent", 2, None)]


def test_tries_come_ever_more_slowly_with_jitter(place):
    hand(place, *(f"p{n}@example.org" for n in range(30)))
    pauses = {}
    for attempts in (1, 2, 10, 30):
        sql("UPDATE message SET attempts = :n, tried_since = clock_now()", n=attempts)
        with connections.session() as session:
            ids = session.scalars(text("SELECT id FROM message")).all()
            retries.MESSAGES.failed(session, dict.fromkeys(ids, "451 Later"))
        rows = sql("SELECT extract(epoch FROM due_at - clock_now()) FROM message")
        pauses[attempts] = [float(row[0]) for row in rows]

    for attempts, middle in ((1, 5), (2, 10), (10, 2560), (30, 21600)):
        assert middle * 0.4 < min(pauses[attempts]) < max(pauses[attempts]) <= middle * 1.5


def test_keys_that_were_retired_meanwhile_are_not_sent(place, by):
    with mail_server() as server:
        by(server.url)
        hand(place, ANN)
        with connections.session() as session:
            distributions.recall(session, actor=OPERATOR, pool=place.pool, recipient=ANN)
        send()

    assert server.received == []
    assert fates() == [("failed", 1, "Its keys were retired meanwhile.")]


def test_a_flood_does_not_hold_up_what_somebody_waits_for(place):
    sql("INSERT INTO message (organization_id, kind, recipient, data, due_at)"
        " SELECT :id, 'keys', n || '@example.org', '{}', clock_now() - interval '1 hour'"
        "   FROM generate_series(1, 3000) AS n", id=place.parent)  # fmt: skip
    [(code,)] = sql("INSERT INTO message (organization_id, kind, recipient, data)"
                    " VALUES (:id, 'code', 'ann@example.org', '{}') RETURNING id",
                    id=place.parent)  # fmt: skip

    sql("ANALYZE message")
    claim = {"limit": 80, "lease": mailing.LEASE}
    plan = "\n".join(str(row[0]) for row in sql(f"EXPLAIN {mailing.CLAIM}", **claim))
    claimed = [row.id for row in sql(str(mailing.CLAIM), **claim)]

    assert "message_next" in plan
    assert code in claimed
    assert len(claimed) == 80


def test_many_mails_share_few_connections(place, by):
    people = [f"p{n}@example.org" for n in range(40)]
    with mail_server() as server:
        by(server.url)
        hand(place, *people)
        send()

    assert len(server.received) == 40
    assert server.connections <= 2 * mailing.LANES


KILLED = """
import time
from worker.outgoing import mailing
mailing.send_all(until=time.monotonic() + 60)
"""
# PostgreSQL lets a dead client's lock go a moment later.
NOBODY_AT_WORK = "SELECT EXISTS (SELECT FROM lock WHERE name = 'mailing' FOR UPDATE SKIP LOCKED)"


def test_what_a_killed_sender_was_at_is_sent_by_the_next(place, by, fresh_database):
    with mail_server(slow(600), "250 OK") as server:
        by(server.url)
        hand(place, ANN)
        environment = {**os.environ, **fresh_database.environment()}
        with subprocess.Popen([sys.executable, "-c", KILLED], env=environment) as process:
            assert eventually(lambda: server.received)
            process.send_signal(signal.SIGKILL)
        assert eventually(lambda: sql(NOBODY_AT_WORK) == [(True,)])
        meanwhile = send()
        now_due()
        send()

    before, after = (mail.message["Message-ID"] for mail in server.received)
    assert meanwhile == {}
    assert before == after
    assert fates() == [("sent", 2, None)]


# ------------------------------------------------------------------------------------ without a server


def test_without_a_server_mails_are_files_that_only_their_owner_reads(place, tmp_path):
    [[key]] = hand(place, ANN)

    sent = send()

    [(identity,)] = sql("SELECT identity::text FROM message")
    [file] = (tmp_path / "mail").iterdir()
    assert sent == {"sent": 1}
    assert file.name == f"{identity}.eml"
    assert key in file.read_text()
    assert [oct(path.stat().st_mode & 0o777) for path in (file, file.parent)] == ["0o600", "0o700"]


def test_no_name_adds_a_header_to_a_mail(place, tmp_path):
    names = {
        "sender": "Alder\x01\r\nBcc: eve@evil.example",
        "title": "Git\nBcc: eve@evil.example\x7f",
    }
    sql("UPDATE organization SET sender_name = :sender", sender=names["sender"])
    sql("UPDATE course SET title = :title", title=names["title"])
    hand(place, ANN)

    send()

    [file] = (tmp_path / "mail").iterdir()
    mail = message_from_bytes(file.read_bytes(), policy=policy.default)
    assert mail["Bcc"] is None
    assert str(mail["From"]) == '"Alder Bcc: eve@evil.example" <keys@keypool.example>'
    assert str(mail["Subject"]) == "Your key for Git Bcc: eve@evil.example"


def test_a_folder_that_cannot_be_written_holds_its_mails_back(place, tmp_path):
    (tmp_path / "mail").write_text("in the way")
    hand(place, ANN)

    held = send()
    (tmp_path / "mail").unlink()
    now_due()

    assert held == {"failed": 1}
    assert "the folder of mails cannot be written: File exists" in fates()[0][2]
    assert send() == {"sent": 1}


def test_a_mail_that_cannot_be_made_neither_stops_nor_repeats_the_others(place, monkeypatch):
    addresses = [f"person{n}@example.org" for n in range(8)]
    hand(place, *addresses)
    made = composing.letter

    def letter(row):
        if row.recipient == addresses[0]:
            raise ZeroDivisionError
        return made(row)

    monkeypatch.setattr(composing, "letter", letter)

    assert send() == {"sent": 7, "failed": 1}
    assert fates()[0] == ("waiting", 1, "The mail could not be made: ZeroDivisionError")


def test_a_mails_file_goes_with_its_body(place, tmp_path):
    hand(place, ANN, "bob@example.org")
    send()
    (tmp_path / "mail" / "a person's own.eml").touch()
    sql(
        "UPDATE message SET ended_at = ended_at - interval '91 days' WHERE recipient = :ann",
        ann=ANN,
    )
    with connections.session() as session:
        retries.MESSAGES.blank_old(session, kept=settings().bodies_kept, limit=10)

    with connections.session() as session:
        removed = mailing.remove_files(session)

    [(left,)] = sql("SELECT identity::text FROM message WHERE data IS NOT NULL")
    assert removed == 1
    assert {file.stem for file in (tmp_path / "mail").iterdir()} == {left, "a person's own"}


# -------------------------------------------------------------------------------------- encryption


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate of “localhost” that nobody knows, as a file with its key."""
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    path.write_bytes(b"".join(certificates.self_signed("localhost")))
    return path


@pytest.fixture
def tls(certificate):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture
def trusted(certificate, monkeypatch):
    """Trust the certificate, as a machine does that its administrator told to."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    channels._trusted.cache_clear()
    yield
    channels._trusted.cache_clear()


@pytest.fixture
def elsewhere(monkeypatch):
    """Take this machine's mail server for one elsewhere, the way to which must be encrypted."""
    monkeypatch.setattr(settings_module, "_is_loopback", lambda host: False)


@pytest.mark.usefixtures("trusted", "elsewhere")
@pytest.mark.parametrize(("scheme", "at_once"), [("smtp", False), ("smtps", True)])
def test_the_way_to_a_server_is_encrypted_and_the_sign_in_is_sent_on_it(
    place, by, tls, scheme, at_once
):
    with mail_server(tls=tls, at_once=at_once, signs_in=True) as server:
        by(f"{scheme}://keypool:p%40ss@localhost:{server.port}")
        hand(place, ANN)
        sent = send()

    assert sent == {"sent": 1}
    assert server.signed_in == [("keypool", "p@ss")]


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize(("scheme", "at_once"), [("smtp", False), ("smtps", True)])
def test_a_certificate_that_nobody_vouches_for_gets_no_mail(place, by, tls, scheme, at_once):
    with mail_server(tls=tls, at_once=at_once, signs_in=True) as server:
        by(f"{scheme}://keypool:secret@localhost:{server.port}")
        hand(place, ANN)
        send()

    [(state, attempts, error)] = fates()
    assert (state, attempts, server.received, server.signed_in) == ("waiting", 1, [], [])
    assert "certificate" in error


@pytest.mark.usefixtures("elsewhere")
def test_a_server_elsewhere_that_offers_no_encryption_gets_no_mail(place, by):
    with mail_server() as server:
        by(server.url)
        hand(place, ANN)
        send()

    [(state, _, error)] = fates()
    assert (state, server.received) == ("waiting", [])
    assert error == "the mail server offers no encryption by STARTTLS, or no sign-in"


def test_a_wrong_password_is_told_without_it(place, by):
    with mail_server(signs_in=True) as server:
        by(f"smtp://keypool:wrong@localhost:{server.port}")
        hand(place, ANN)
        send()

    [(state, _, error)] = fates()
    assert (state, error) == ("waiting", "the mail server refused the sign-in (535)")


def test_an_address_beyond_ascii_is_sent_to_where_the_server_takes_it(place, by):
    with mail_server() as server:
        by(server.url)
        hand(place, "jürgen@example.org")
        send()

    [mail] = server.received
    assert (mail.recipient, mail.message["To"]) == ("jürgen@example.org", "jürgen@example.org")
