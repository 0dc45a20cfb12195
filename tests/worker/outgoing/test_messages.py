"""Messages: who sees which mails, what they say, sending one again, and a person's data in them."""

import io
from datetime import timedelta

import pytest
from sqlalchemy import text

from tests import world as worlds
from tests.conftest import pass_time
from tests.world import OPERATOR
from worker import errors
from worker.database import outbox
from worker.learning import learners
from worker.outgoing import composing, messages, retries
from worker.outgoing.messages import Filters
from worker.pools import distributions
from worker.tenancy.actors import Actor, Role

ANN, BOB = "ann@example.org", "bob@example.org"


@pytest.fixture
def world(session):
    made = worlds.build(session)
    made.keys(10)
    return made


def hand(world, recipient: str = ANN, **asked) -> dict:
    """Hand keys to somebody by mail."""
    asked = {"pool": world.pool, "recipient": recipient, "mail": True, **asked}
    return distributions.distribute(world.session, actor=OPERATOR, **asked)


def listed(world, actor: Actor = OPERATOR, **asked) -> list:
    """Give the mails of a world's organizations, newest first."""
    names = {str(one) for one in world.session.scalars(
        text("SELECT name FROM organization WHERE id = ANY (:ids)"),
        {"ids": [world.parent, world.child, world.sibling]})}  # fmt: skip
    page = messages.listing(world.session, actor=actor, filters=Filters(**asked), limit=1000)
    return [item for item in page.items if item["organization"] in names]


def end(world, state: str, error: str | None = None) -> None:
    world.session.execute(
        text("UPDATE message SET state = CAST(:state AS message_state), ended_at = clock_now(),"
             " error = :error WHERE organization_id = :id"),
        {"state": state, "error": error, "id": world.parent},
    )  # fmt: skip


def test_keys_are_mailed_once_however_often_they_are_asked_for(world):
    first = hand(world)
    again = hand(world)

    [message] = listed(world)
    assert again["keys"] == first["keys"]
    assert (message["kind"], message["recipient"], message["state"]) == ("keys", ANN, "waiting")
    assert message["distribution"] == first["id"]


def test_keys_that_were_handed_out_before_are_mailed_when_that_is_asked_for(world):
    hand(world, mail=False)
    before = listed(world)

    hand(world)

    assert (before, len(listed(world))) == ([], 1)


def test_whether_it_was_sent_stands_beside_each_recipient(world):
    hand(world, BOB, mail=False)
    made = hand(world, ANN)
    end(world, "sent")

    page = distributions.listing(world.session, actor=OPERATOR, pool=world.pool)

    [message] = listed(world)
    assert (made["message"], made["mailed"]) == (message["id"], "waiting")
    assert [(one["recipient"], one["message"], one["mailed"]) for one in page.items] == [
        (ANN, message["id"], "sent"),
        (BOB, None, None),
    ]


def test_a_dry_run_writes_no_mail(world):
    hand(world, dry_run=True)

    assert listed(world) == []


def test_a_name_cannot_be_mailed_to_and_is_told_with_its_line(world):
    rows = b"recipient,name\nann@example.org,Ann\nDesk three,\n"
    asked = {"actor": OPERATOR, "pool": world.pool, "mail": True}

    with pytest.raises(errors.InvalidInputError, match="“Desk three” is no e-mail address"):
        distributions.distribute(world.session, recipient="Desk three", **asked)
    with pytest.raises(errors.InvalidInputError) as told:
        distributions.distribute_file(world.session, stream=io.BytesIO(rows), **asked)

    assert told.value.rows == [(3, "“Desk three” is no e-mail address to send keys to.")]
    assert listed(world) == []


def test_more_keys_than_a_mail_carries_are_refused_before_any_is_given(world):
    with pytest.raises(errors.InvalidInputError, match=r"up to 10,000 keys"):
        hand(world, count=10_001)


def test_everybody_in_a_table_is_mailed_in_one_transaction(world):
    rows = b"email,count\nann@example.org,2\nbob@example.org,1\n"

    distributions.distribute_file(
        world.session, actor=OPERATOR, pool=world.pool, stream=io.BytesIO(rows), mail=True
    )

    assert [one["recipient"] for one in listed(world)] == [BOB, ANN]


def test_a_mail_is_shown_as_it_would_be_sent_now(world):
    [key] = hand(world, name="Ann", reference="A-17")["keys"]
    [message] = listed(world)

    shown = messages.show(world.session, actor=OPERATOR, message=message["id"])

    assert shown["subject"] == "Your key for A course"
    assert key not in shown["subject"]
    assert key in shown["text"]
    assert "Reference: A-17" in shown["text"]
    assert {name: shown[name] for name in message} == message


def test_mails_are_filtered_by_recipient_time_and_failure(world):
    hand(world, ANN)
    hand(world, BOB)
    end(world, "failed", "550 No such user")
    pass_time(world.session, days=1)
    now = world.figures("SELECT clock_now() AS now").now
    hand(world, ANN, reference="later")

    assert [one["recipient"] for one in listed(world, recipient="ANN@example.org")] == [ANN, ANN]
    assert [one["recipient"] for one in listed(world, failed=True)] == [BOB, ANN]
    assert [one["recipient"] for one in listed(world, since=now - timedelta(hours=1))] == [ANN]


def test_a_manager_sees_and_resends_the_mails_of_its_own_organizations_alone(world):
    hand(world)
    [message] = listed(world)
    stranger = Actor("test", Role.MANAGER, world.sibling)
    below = Actor("test", Role.MANAGER, world.child)

    for actor in (stranger, below):
        assert messages.listing(world.session, actor=actor).items == []
        for act in (messages.show, messages.resend):
            with pytest.raises(errors.NotFoundError):
                act(world.session, actor=actor, message=message["id"])
    with pytest.raises(errors.ForbiddenError):
        messages.listing(world.session, actor=Actor("test", Role.ANALYST, world.parent))


def test_a_mail_that_ended_is_sent_again_to_the_same_address_under_another_message_id(world):
    hand(world)
    end(world, "sent")
    [message] = listed(world)
    before = messages.show(world.session, actor=OPERATOR, message=message["id"])

    resent = messages.resend(world.session, actor=OPERATOR, message=message["id"])

    after = messages.show(world.session, actor=OPERATOR, message=message["id"])
    assert (resent["state"], resent["attempts"], resent["ended_at"]) == ("waiting", 0, None)
    assert resent["recipient"] == ANN
    assert after["message_id"] != before["message_id"]
    assert after["text"] == before["text"]


def test_a_waiting_mail_keeps_its_message_id_when_it_is_sent_at_once(world):
    hand(world)
    [message] = listed(world)
    before = messages.show(world.session, actor=OPERATOR, message=message["id"])["message_id"]

    messages.resend(world.session, actor=OPERATOR, message=message["id"])

    after = messages.show(world.session, actor=OPERATOR, message=message["id"])["message_id"]
    assert before == after


def test_bodies_are_blanked_once_they_are_old_and_done_with(world):
    hand(world, ANN)
    end(world, "sent")
    hand(world, BOB)
    kept = timedelta(days=90)

    early = retries.MESSAGES.blank_old(world.session, kept=kept, limit=100)
    pass_time(world.session, days=91)
    retries.MESSAGES.blank_old(world.session, kept=kept, limit=100)

    waiting, blanked = listed(world)
    shown = messages.show(world.session, actor=OPERATOR, message=blanked["id"])
    assert early == 0
    assert (shown["subject"], shown["text"], shown["recipient"]) == (None, None, ANN)
    assert messages.show(world.session, actor=OPERATOR, message=waiting["id"])["text"] is not None
    with pytest.raises(errors.NotFoundError, match="kept no longer"):
        messages.resend(world.session, actor=OPERATOR, message=blanked["id"])


def test_a_person_who_was_mailed_is_exported_and_erased(world):
    hand(world, ANN, reference="sent")
    end(world, "failed", f"550 <{ANN}>: no such user")
    hand(world, ANN, reference="waiting")
    hand(world, BOB)

    held = learners.export(world.session, actor=OPERATOR, email=ANN)
    pseudonym = learners.erase(world.session, actor=OPERATOR, email=ANN)["pseudonym"]

    assert [(one["kind"], one["recipient"]) for one in held["messages"]] == [("keys", ANN)] * 2
    bobs, *erased = listed(world)
    assert (bobs["recipient"], bobs["state"]) == (BOB, "waiting")
    assert [(one["recipient"], one["state"]) for one in erased] == [(pseudonym, "failed")] * 2
    assert ANN not in str(world.session.execute(text("SELECT * FROM message")).all())


def test_a_template_is_previewed_in_the_organizations_letterhead(world):
    sql = "UPDATE organization SET colour = '#ffe14d', sender_name = 'Röhm', locale = 'de' WHERE id = :id"
    world.session.execute(text(sql), {"id": world.parent})
    words = {
        "subject": "Yours",
        "text": "Hello <b>\n\n{% for key in keys %}\n    {{ key }}\n{% endfor %}",
    }

    shown = messages.preview(world.session, actor=OPERATOR, organization=str(world.parent), **words)
    plain = messages.preview(world.session, actor=OPERATOR, **words)

    assert '<html lang="de">' in shown["html"]
    assert ">Röhm</div>" in shown["html"]
    assert "rgb(255, 225, 77)" in shown["html"]
    assert "Hello &lt;b&gt;" in shown["html"]
    assert ">Your organization</div>" in plain["html"]
    stranger = Actor("test", Role.MANAGER, world.sibling)
    with pytest.raises(errors.NotFoundError):
        messages.preview(world.session, actor=stranger, organization=str(world.parent), **words)


def test_one_more_kind_of_mail_is_a_template_and_a_line_where_it_is_caused(
    world, monkeypatch, tmp_path
):
    (tmp_path / "welcome.txt").write_text(
        "{{ say('Hello {name},', name=name) }}\n\nYou may come until {{ day(until_day) }}.\n"
    )
    monkeypatch.setattr(composing, "MAILS", tmp_path)
    composing._templates.cache_clear()
    data = {"name": "Ann", "until_day": "2026-12-31"}

    outbox.write(
        world.session,
        kind="welcome",
        organization_id=world.parent,
        mails=[outbox.Mail(ANN, data=data)],
    )

    [message] = listed(world)
    shown = messages.show(world.session, actor=OPERATOR, message=message["id"])
    assert (message["kind"], shown["subject"]) == ("welcome", "Hello Ann,")
    assert shown["text"] == "You may come until 31 Dec 2026.\n"
    assert "You may come until 31 Dec 2026." in shown["html"]
    composing._templates.cache_clear()
