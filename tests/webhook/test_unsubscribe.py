"""Unsubscribing from reminders: by a signed link, without signing in, and in one click."""

import re

import pytest
from sqlalchemy import text

from tests import world as worlds
from tests.world import OPERATOR
from webhook import create_app
from worker import settings as settings_module
from worker.database import connections
from worker.learning import learners
from worker.outgoing import composing, reminders, reminding
from worker.pools import distributions
from worker.reporting import claims, schedules
from worker.settings import settings
from worker.tables.labels import ReminderKind as Kind

ANN, BOB = "ann@example.org", "bob@example.org"


@pytest.fixture
def world(database):
    """A committed world whose recipients are reminded of keys that they do not use."""
    with connections.session() as session:
        made = worlds.build(session)
        made.keys(10)
        reminders.save(
            session, actor=OPERATOR, organization=str(made.parent), kind=Kind.KEY_UNUSED, days=1
        )
        session.execute(text("DELETE FROM unsubscribed"))
        session.commit()
        yield made


@pytest.fixture
def client(world):
    return create_app().test_client()


def reminded(world, *recipients: str) -> list:
    """Hand keys out, remind of them, and give the facts of what is to be sent."""
    with connections.session() as session:
        for one in recipients:
            distributions.distribute(
                session, actor=OPERATOR, pool=world.pool, recipient=one, reference=str(id(session))
            )
        session.execute(
            text("UPDATE distribution SET distributed_at = clock_now() - interval '2 days'"
                 " WHERE pool_id = :pool"), {"pool": int(world.pool)}
        )  # fmt: skip
        session.execute(text("UPDATE reminder SET looked_to = clock_now() - interval '10 days'"))
        session.execute(text("UPDATE message SET happened_at = clock_now() - interval '2 days'"))
        reminding.write(session, Kind.KEY_UNUSED)
        ids = session.scalars(text("SELECT id FROM message WHERE organization_id = :id ORDER BY id"),
            {"id": world.parent}).all()  # fmt: skip
        return composing.facts(session, ids)


def unsubscribed() -> list[str]:
    with connections.session() as session:
        return list(session.scalars(text("SELECT address FROM unsubscribed")))


def path(row) -> str:
    """Give the path of the link in a reminder's header; it is the one in its text."""
    content = composing.letter(row).content.decode()
    [link] = re.findall(r"^List-Unsubscribe: <(http\S+)>\r\n", content, flags=re.M)
    assert "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" in content
    assert link in composing.compose(row).text
    return link.removeprefix("http://127.0.0.1:8080")


def test_a_link_shows_a_button_and_only_a_post_unsubscribes(world, client):
    [row] = reminded(world, ANN)
    link = path(row)

    shown = client.get(link)
    before = unsubscribed()
    done = client.post(link, data={"List-Unsubscribe": "One-Click"})
    again = client.post(link)

    assert (shown.status_code, done.status_code, again.status_code) == (200, 200, 200)
    assert '<form method="post"><button>No more reminders</button>' in shown.text
    assert ANN not in shown.text + done.text
    assert "No more reminders from Parent" in done.text
    assert (before, unsubscribed()) == ([], [ANN])
    assert "Set-Cookie" not in shown.headers


def test_who_unsubscribed_gets_no_reminders_but_keys(world, client):
    [row] = reminded(world, ANN)
    client.post(path(row))

    with connections.session() as session:
        [unwanted] = composing.facts(session, [row.id])
    with pytest.raises(composing.NothingToSendError, match="wants no reminders"):
        composing.letter(unwanted)
    assert [one.recipient for one in reminded(world, ANN, BOB) if one.id != row.id] == [BOB]
    with connections.session() as session:
        given = distributions.distribute(
            session, actor=OPERATOR, pool=world.pool, recipient=ANN, reference="new", mail=True
        )
        [mail] = composing.facts(session, [int(given["message"])])
    assert given["keys"][0] in composing.compose(mail).text
    assert b"List-Unsubscribe" not in composing.letter(mail).content


@pytest.mark.parametrize(
    "wrong", ["1.AAAAAAAAAAAAAAAAAAAAAA", "x", "1", "999999999999999999999.A", "1.ä"]
)
def test_a_link_that_is_not_ours_tells_nothing_and_changes_nothing(world, client, wrong):
    [row] = reminded(world, ANN)
    forged = wrong.replace("1.", f"{row.id}.", 1) if wrong.startswith("1.") else wrong

    answers = [client.get(f"/unsubscribe/{forged}"), client.post(f"/unsubscribe/{forged}")]

    assert [answer.status_code for answer in answers] == [404, 404]
    assert all("This link does not work" in answer.text for answer in answers)
    assert unsubscribed() == []


def test_a_link_works_after_the_secret_key_is_replaced(world, client, monkeypatch):
    [row] = reminded(world, ANN)
    link = path(row)
    old = settings().secret_keys()[0]
    monkeypatch.setenv("KEYPOOL_SECRET_KEY", f"a-newer-key-of-more-than-32-bytes-in-all,{old}")
    settings_module.settings.cache_clear()

    assert client.post(link).status_code == 200
    assert unsubscribed() == [ANN]
    settings_module.settings.cache_clear()


def test_a_page_speaks_the_language_of_its_reader(world, client):
    [row] = reminded(world, ANN)

    shown = client.get(path(row), headers={"Accept-Language": "de"})

    assert '<html lang="de">' in shown.text
    assert "Keine Erinnerungen mehr" in shown.text


def test_a_persons_wish_is_exported_and_erased(world, client):
    [row] = reminded(world, ANN)
    client.post(path(row))

    with connections.session() as session:
        held = learners.export(session, actor=OPERATOR, email=ANN)
        learners.erase(session, actor=OPERATOR, email=ANN)

    assert [one["organization"].startswith("Parent") for one in held["unsubscribed"]] == [True]
    assert ANN not in unsubscribed()


def test_a_scheduled_reports_link_takes_its_receiver_off_that_schedule_alone(world, client):
    with connections.session() as session:
        stopped, kept = (
            schedules.schedule(
                session, actor=OPERATOR, notebook="usage", organization=str(world.parent),
                every="month", mail=[ANN, BOB],
            )["id"]
            for _ in range(2)
        )  # fmt: skip
        report = session.execute(
            text("INSERT INTO report_run (schedule_id, organization_id, notebook, first_day, last_day,"
                 " asked_by) VALUES (:id, :organization, 'usage', '2026-01-01', '2026-01-31', 'x')"
                 " RETURNING id"),
            {"id": int(stopped), "organization": world.parent},
        ).scalar_one()  # fmt: skip
        claim = claims.take(session, only=report)
        assert claim is not None
        claims.finish(session, claim=claim, page="<p>")
        ids = session.scalars(
            text("SELECT id FROM message WHERE kind = 'scheduled_report' ORDER BY id")
        ).all()
        to_ann, to_bob = composing.facts(session, ids)
        session.commit()
    link = path(to_ann)

    shown = client.get(link)
    with connections.session() as session:
        before = schedules.show(session, actor=OPERATOR, schedule=stopped)["mail"]
        session.execute(text("UPDATE message SET data = NULL, state = 'sent', ended_at = now()"))
        session.commit()
    done, again = client.post(link), client.post(link)

    assert "<button>No more of this report</button>" in shown.text
    assert "The report “usage” no longer comes by mail" in done.text
    assert (done.status_code, again.status_code) == (200, 200)
    assert ANN not in shown.text + done.text
    assert before == [ANN, BOB]
    with connections.session() as session:
        mailed = [
            schedules.show(session, actor=OPERATOR, schedule=one)["mail"] for one in (stopped, kept)
        ]
    assert mailed == [[BOB], [ANN, BOB]]
    assert unsubscribed() == []
    assert path(to_bob) != link
