"""The harness itself: what it must notice is planted, and noticed."""

import os
import socket
import subprocess
import sys

import pytest
from sqlalchemy import text

from tests import world as worlds
from tests.faults import clocks, mails, proxy
from tests.faults.checker import check
from tests.faults.senders import History
from tests.faults.system import ABOARD
from tests.smtpd import NO_DIGITS, Mail, MailServer
from tests.waiting import LONGEST, eventually
from worker.database.connections import session as transaction_of
from worker.redemption import settling


@pytest.fixture
def world(fresh_database):
    """Three keys, two racers each, all settled; the history has every message."""
    with transaction_of() as opened:
        world = worlds.build(opened)
        for key in world.keys(3):
            for racer in ("ann", "bob"):
                world.request(key, f"{racer}-{key}@example.org")
    settling.settle_all()
    return world


@pytest.fixture
def history(world) -> History:
    with transaction_of() as opened:
        ids = opened.scalars(text("SELECT webhook_id FROM event")).all()
    return History(acknowledged=dict(zip(ids, ids, strict=True)))


def plant(*statements: str) -> None:
    with transaction_of() as opened:
        for statement in statements:
            opened.execute(text(statement))


def test_it_finds_nothing_wrong_where_nothing_is(history):
    assert check(history) == {"redeemed": 3, "already_redeemed": 3}


def test_it_notices_an_acknowledged_event_that_is_not_there(history):
    history.acknowledged["answered-but-never-committed"] = "1"

    with pytest.raises(AssertionError, match="1 acknowledged events are lost"):
        check(history)


def test_it_notices_an_event_that_nobody_settles(world, history):
    with transaction_of() as opened:
        worlds.World(**{**world.__dict__, "session": opened}).request("X-NEVER-1", "x@example.org")

    with pytest.raises(AssertionError, match="1 events are stuck"):
        check(history, within=0.5)


def test_it_notices_a_key_that_was_spent_twice(history):
    plant(
        "DROP INDEX assignment_comes_from_one_redemption",
        "DROP TRIGGER attempt_stays_as_decided ON redemption",
        "UPDATE redemption SET outcome = 'redeemed', assignment_id = 1 WHERE event_id = 2",
    )

    with pytest.raises(AssertionError, match="1 keys were spent twice"):
        check(history)


def test_it_notices_a_winner_who_was_not_first(history):
    plant("UPDATE event SET received_at = received_at - interval '1 minute' WHERE id = 2")

    with pytest.raises(AssertionError, match="1 keys went to somebody who was not first"):
        check(history)


def test_it_notices_a_doubled_charge(history):
    plant(
        "DROP INDEX assignment_is_charged_once",
        "INSERT INTO charge (kind, organization_id, learner_organization_id, course_id, pool_id,"
        " assignment_id, amount, currency, occurred_at)"
        " SELECT kind, organization_id, learner_organization_id, course_id, pool_id,"
        " assignment_id, amount, currency, occurred_at FROM charge WHERE id = 1",
    )

    with pytest.raises(AssertionError, match="redeemed keys = assignments"):
        check(history)


# ------------------------------------------------------------------------------------------ clocks


@clocks.needed
def test_what_a_killed_service_leaves_in_memory_is_removed_at_the_end(tmp_path):
    aboard = {"PYTHONPATH": ABOARD, "FAULTS_FOLDER": str(tmp_path)}
    command = [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]

    with clocks.tidied(tmp_path):
        environment = os.environ | aboard | clocks.of_its_own(tmp_path, "web")
        killed = subprocess.Popen(command, env=environment)
        killed.wait()
        left = [
            clocks.MEMORY / f"{name}_{killed.pid}" for name in ("faketime_shm", "sem.faketime_sem")
        ]
        before = [file.exists() for file in left]

    assert before == [True, True]
    assert [file.exists() for file in left] == [False, False]


# ------------------------------------------------------------------------------------------- mails


@pytest.fixture
def letters(fresh_database) -> list[str]:
    """The Message-IDs of two messages, to Ann and to Bob, that count as sent."""
    with transaction_of() as opened:
        worlds.build(opened)
        ids = opened.scalars(
            text("INSERT INTO message (organization_id, kind, recipient, data, state, ended_at)"
                 " SELECT min(id), 'keys', who, '{}', 'sent', clock_now()"
                 "   FROM organization, unnest('{ann@a.example,bob@b.example}'::text[]) AS who"
                 "  GROUP BY who ORDER BY who RETURNING identity::text")
        ).all()  # fmt: skip
    return [f"<{one.translate(NO_DIGITS)}@keypool.example>" for one in ids]


def server(*got: tuple[str, str, str]) -> MailServer:
    """A mail server that got these: the Message-ID, the recipient, and what it answered."""
    return MailServer(received=[
        Mail("x", who, f"Message-ID: {name}\r\n\r\n".encode(), answer) for name, who, answer in got
    ])  # fmt: skip


def test_it_notices_a_mail_that_was_lost_and_one_under_another_id(letters):
    ann, bob = letters
    to_ann, to_bob = (ann, "ann@a.example", "250 OK"), (bob, "bob@b.example", "250 OK")

    mails.check(server(to_ann, to_bob, to_bob))  # a repeat under the same id is none
    with pytest.raises(AssertionError, match="1 mails are lost"):
        mails.check(server(to_ann, (bob, "bob@b.example", "451 Later")))
    with pytest.raises(AssertionError, match="1 mails have another Message-ID"):
        mails.check(server(to_ann, to_bob, ("<other@keypool.example>", "bob@b.example", "250 OK")))
    with pytest.raises(AssertionError, match="1 mails went to somebody else"):
        mails.check(server(to_ann, to_bob, (bob, "eve@e.example", "250 OK")))


def test_it_notices_a_mail_that_was_given_up_without_a_refusal(letters):
    plant("UPDATE message SET state = 'failed', error = 'gone' WHERE recipient = 'bob@b.example'")
    got = server((letters[0], "ann@a.example", "250 OK"))

    with pytest.raises(AssertionError, match="1 mails were given up without a refusal"):
        mails.check(got)
    got.at_door["bob@b.example"] = mails.REFUSED
    mails.check(got)


def test_it_notices_a_message_that_nobody_sends(letters):
    plant("UPDATE message SET state = 'waiting', ended_at = NULL WHERE recipient = 'bob@b.example'")

    with pytest.raises(AssertionError, match="1 messages are stuck"):
        mails.wait_until_sent(within=0.1)


def test_a_line_that_stalls_loses_nothing_and_is_not_reset():
    with socket.create_server(("127.0.0.1", 0)) as server:
        line = proxy.Proxy(proxy.to_port(server.getsockname()[1]))
        with socket.create_connection(("127.0.0.1", line.port), timeout=LONGEST) as client:
            there, _ = server.accept()
            there.settimeout(0.05)

            with line.struck_by("stall"):
                client.sendall(b"late")
                eventually(lambda: line.struck)
                with pytest.raises(TimeoutError):
                    there.recv(4)
            there.settimeout(LONGEST)

            assert there.recv(4) == b"late"
            there.sendall(b"back")
            assert client.recv(4) == b"back"
        there.close()
        line.close()
