"""Messages that arrive together: one statement for a group, and each answered for itself."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from psycopg.errors import DataError
from sqlalchemy import text

from tests.waiting import eventually
from tests.webhook.conftest import redemption, settle
from tests.webhook.receiver.test_receiver import events
from tests.world import OPERATOR
from webhook.receiver import together
from worker import errors, signatures
from worker.database import connections as databases
from worker.redemption import groups, inbox, sources
from worker.settings import settings
from worker.tables.labels import EventType

Record = Callable[..., dict[str, int]]


class Groups:
    """The groups that were recorded; the first one waits until `full` messages wait behind it."""

    def __init__(self, source: int, record: Record) -> None:
        self.source, self.record = str(source), record
        self.sizes: list[int] = []
        self.full = 0

    def __call__(self, connection: Any, door: Any, arrived: Any, **given: Any) -> dict[str, int]:
        self.sizes.append(len(arrived))
        if len(self.sizes) == 1:
            assert eventually(lambda: len(together._sources[self.source]._waiting) >= self.full)
        return self.record(connection, door, arrived, **given)


@pytest.fixture
def recorded(sender, monkeypatch) -> Groups:
    kept = Groups(sender.source, groups.record)
    monkeypatch.setattr(groups, "record", kept)
    return kept


@pytest.fixture
def alone(monkeypatch) -> list[str]:
    """The webhook ids that were recorded alone."""
    ids, record = [], inbox.record

    def watched(connection: Any, **given: Any) -> inbox.Recorded:
        ids.append(given["webhook_id"])
        return record(connection, **given)

    monkeypatch.setattr(inbox, "record", watched)
    return ids


@pytest.fixture
def at_once(sender, recorded) -> Iterator[Callable[..., list[Any]]]:
    """Post one message, and while it is being recorded all others; give the answers in their order."""
    app = sender.client.application

    def post(given: dict[str, Any]) -> Any:
        return replace(sender, client=app.test_client()).post(**given)

    with ThreadPoolExecutor(40) as threads:

        def posted(*messages: dict[str, Any]) -> list[Any]:
            recorded.full = len(messages) - 1
            first = threads.submit(post, messages[0])
            assert eventually(lambda: recorded.sizes)
            others = [threads.submit(post, given) for given in messages[1:]]
            return [one.result() for one in (first, *others)]

        yield posted


def message(number: int, **given: Any) -> dict[str, Any]:
    return {"document": redemption(f"SOME-KEY-{number}"), "webhook_id": f"m{number}"} | given


def test_messages_that_come_during_a_commit_share_the_next_one(sender, recorded, alone, at_once):
    answers = at_once(*map(message, range(31)))

    assert [answer.status_code for answer in answers] == [202] * 31
    assert recorded.sizes == [1, 30]
    assert len({answer.json["event"] for answer in answers}) == events(sender.source) == 31
    assert alone == []


def test_each_is_told_of_its_own_event(sender, at_once):
    answers = at_once(*map(message, range(5)))

    with databases.session() as session:
        rows = session.execute(
            text("SELECT webhook_id, id::text FROM event WHERE source_id = :id"),
            {"id": sender.source},
        )
        ids = dict(rows.all())
    assert ids == {f"m{number}": answer.json["event"] for number, answer in enumerate(answers)}


def test_one_that_comes_alone_waits_for_nobody(sender, recorded, alone):
    sender.post(redemption())

    assert (recorded.sizes, alone) == ([1], [])


def test_a_source_is_remembered_after_its_first_message(place, alone):
    unknown = place.sender()

    answers = [unknown.post(redemption(), webhook_id=name) for name in ("first", "second")]

    assert [answer.status_code for answer in answers] == [202, 202]
    assert alone == ["first"]


def test_the_same_message_twice_in_a_group_is_recorded_once(sender, at_once, alone):
    answers = at_once(message(0), message(1), message(1), message(2))

    assert [answer.status_code for answer in answers] == [202] * 4
    assert answers[1].json == answers[2].json
    assert events(sender.source) == 3
    assert alone == ["m1"]


@pytest.mark.parametrize(
    ("other", "status"),
    [
        ({"webhook_id": "before", "document": redemption("OTHER-KEY")}, 409),
        ({"webhook_id": "before", "document": redemption("FIRST-KEY")}, 202),
        ({"at": 1_700_000_000}, 401),
    ],
)
def test_one_that_cannot_be_recorded_spoils_no_group(sender, at_once, other, status):
    together._sources.clear()  # so that this one is recorded alone, and the next one together
    sender.post(redemption("FIRST-KEY"), webhook_id="before")

    answers = at_once(message(0), message(1), message(2) | other, message(3))

    assert [answer.status_code for answer in answers] == [202, 202, status, 202]
    assert events(sender.source) == 4


def test_a_learner_who_must_wait_spoils_no_group(place, sender, at_once, monkeypatch):
    monkeypatch.setenv("KEYPOOL_GUESSES_PER_LEARNER", "1")
    settings.cache_clear()
    sender.post(redemption("WRONG-KEY", "eve@example.com"))
    settle()
    together_again = at_once(
        message(0), message(1), message(2, document=redemption("SOME-KEY", "eve@example.com"))
    )
    settings.cache_clear()

    assert [answer.status_code for answer in together_again] == [202, 202, 429]


@pytest.mark.parametrize(
    "given",
    [
        {"webhook_id": "forged", "webhook_signature": "v1,AAAA"},
        {"webhook_id": "broken", "raw": b"{"},
        {"webhook_id": "empty", "document": {}},
        {"webhook_id": "of-another", "document": redemption(organization="Branch")},
    ],
)
def test_what_is_not_sure_joins_no_group(sender, recorded, given):
    sender.post(**message(0) | given)

    assert recorded.sizes == []


def test_if_a_group_fails_each_of_it_is_recorded_alone(sender, recorded, at_once, alone):
    record = recorded.record

    def failing(connection: Any, door: Any, arrived: Any, **given: Any) -> dict[str, int]:
        if len(arrived) > 1:
            raise DataError
        return record(connection, door, arrived, **given)

    recorded.record = failing

    answers = at_once(*map(message, range(4)))

    assert [answer.status_code for answer in answers] == [202] * 4
    assert sorted(alone) == ["m1", "m2", "m3"]
    assert events(sender.source) == 4


def test_if_the_database_goes_away_a_group_is_told_so_and_the_next_goes_on(
    sender, recorded, at_once, alone
):
    record = recorded.record

    def away(*_: Any, **__: Any) -> dict[str, int]:
        raise errors.DatabaseAwayError

    recorded.record = away
    answers = at_once(*map(message, range(4)))
    recorded.record = record

    again = [sender.post(**message(number)) for number in range(4)]

    assert [answer.status_code for answer in answers] == [503] * 4
    assert [answer.status_code for answer in again] == [202] * 4
    assert alone == []


def test_after_an_error_of_ours_the_next_goes_on(sender, recorded):
    source, record = together._sources[str(sender.source)], recorded.record

    def broken(*_: Any, **__: Any) -> dict[str, int]:
        raise ZeroDivisionError

    recorded.record = broken
    ours = inbox.Message(EventType.REDEMPTION_REQUESTED, redemption()["data"])
    with pytest.raises(ZeroDivisionError):
        source.record(groups.Arrived("broken", 1_700_000_000, b"", ours))
    recorded.record = record

    assert sender.post(redemption()).status_code == 202
    assert recorded.sizes == [1, 1]


def test_more_than_a_group_takes_are_recorded_by_several(sender, recorded, at_once, monkeypatch):
    monkeypatch.setattr(together, "MOST_TOGETHER", 4)

    answers = at_once(*map(message, range(11)))

    assert [answer.status_code for answer in answers] == [202] * 11
    assert recorded.sizes == [1, 4, 4, 2]


def test_a_secret_that_ended_is_refused_at_once(sender, recorded):
    sender.post(redemption())

    with databases.session() as session:
        sources.rotate(session, actor=OPERATOR, source=str(sender.source), old_valid=timedelta(0))

    assert sender.post(redemption()).status_code == 401
    assert events(sender.source) == 1


def test_a_new_secret_is_good_at_once_and_the_old_one_as_long_as_it_lives(sender, alone):
    with databases.session() as session:
        made = sources.rotate(session, actor=OPERATOR, source=str(sender.source))
    renewed = replace(sender, secret=signatures.read_secret(made["secret"]))

    answers = [one.post(redemption()) for one in (renewed, sender, renewed, sender)]

    assert [answer.status_code for answer in answers] == [202] * 4
    assert len(alone) == 1


def test_the_sources_that_are_remembered_are_bounded(place, monkeypatch):
    monkeypatch.setattr(together, "MOST_SOURCES", 2)
    together._sources.clear()

    senders = [place.sender() for _ in range(3)]
    for one in senders:
        one.post(redemption())

    assert list(together._sources) == [str(one.source) for one in senders[1:]]
