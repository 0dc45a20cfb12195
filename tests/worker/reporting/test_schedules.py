"""Scheduled reports: made once a period, about the last whole one, mailed, retried, and stopped."""

import io
from datetime import date
from email import message_from_bytes
from email.policy import default
from typing import Any

import nbformat
import pytest
from python_calamine import CalamineWorkbook
from sqlalchemy import text

from tests import world as worlds
from tests.conftest import pass_time
from tests.world import OPERATOR, World
from worker import errors
from worker.database import connections
from worker.learning import learners
from worker.outgoing import composing, deliveries, endpoints
from worker.reporting import claims, keeping, rendering, schedules
from worker.tenancy import history, organizations
from worker.tenancy.actors import Actor, Role

BOSS, CLERK = "boss@example.org", "clerk@example.org"
PAGE = (
    '<!doctype html><title>Kept</title><h2>Courses</h2><a download="t.csv"'
    ' href="data:text/csv;charset=utf-8;base64,Y291cnNlLGtleXMKQSw3Cg==">Save</a>'
)


@pytest.fixture
def world(session) -> World:
    return worlds.build(session)


@pytest.fixture
def in_sight(world, monkeypatch) -> None:
    """Have files of mails read in the test's own transaction."""
    monkeypatch.setattr(connections, "transaction", lambda act, *given: act(world.session, *given))


def at(world: World, moment: str) -> None:
    """Move the clock to a moment, in UTC."""
    now = world.figures("SELECT clock_now() AS now").now
    target = world.figures("SELECT CAST(:to AS timestamptz) AS to", to=moment + "+00").to
    pass_time(world.session, seconds=(target - now).total_seconds())


def scheduled(world: World, every: str = "month", **given: Any) -> dict[str, Any]:
    asked = {"actor": OPERATOR, "organization": str(world.parent), "notebook": "usage"} | given
    return schedules.schedule(world.session, every=every, **asked)


def queued(world: World, schedule: dict[str, Any]) -> list[tuple[date, date]]:
    """Run the sweep, and give the days of all reports that a schedule had made."""
    schedules.ask_due(world.session)
    rows = world.session.execute(
        text(
            "SELECT first_day, last_day FROM report_run WHERE schedule_id = :id ORDER BY first_day"
        ),
        {"id": int(schedule["id"])},
    )
    return [tuple(row) for row in rows]


def made(world: World, page: str = PAGE) -> claims.Claim:
    claim = claims.take(world.session)
    assert claim is not None
    claims.finish(
        world.session, claim=claim, page=page, pdf=b"%PDF" if claim.format == "pdf" else None
    )
    return claim


def mails(world: World) -> list[Any]:
    ids = world.session.scalars(
        text("SELECT id FROM message WHERE kind LIKE 'scheduled%' ORDER BY id")
    )
    return composing.facts(world.session, ids.all())


@pytest.mark.parametrize(
    ("every", "over", "first", "last"),
    [
        # Berlin's 1 May begins at 22:00 in UTC; a week begins on Monday, 4 May.
        ("day", "2026-04-30T22:10", date(2026, 4, 30), date(2026, 4, 30)),
        ("week", "2026-05-03T22:10", date(2026, 4, 27), date(2026, 5, 3)),
        ("month", "2026-04-30T22:10", date(2026, 4, 1), date(2026, 4, 30)),
    ],
)
def test_the_last_whole_period_is_reported_when_it_is_over_in_the_organizations_time_zone(
    world, every, over, first, last
):
    organizations.edit(
        world.session, actor=OPERATOR, organization=str(world.parent), time_zone="Europe/Berlin"
    )
    at(world, "2026-04-30T12:00")
    schedule = scheduled(world, every)

    at(world, over.replace(":10", ":09"))
    early = queued(world, schedule)
    at(world, over)
    then = queued(world, schedule)

    assert schedule["next_on"] == date.fromordinal(last.toordinal() + 1)
    assert early in ([], [(date(2026, 4, 30),) * 2, *[(date(2026, 5, day),) * 2 for day in (1, 2)]])
    assert then[-1] == (first, last)


def test_each_period_is_made_once_however_often_the_sweep_runs(world):
    at(world, "2026-04-30T12:00")
    schedule = scheduled(world, "day")

    at(world, "2026-05-01T06:00")
    first = queued(world, schedule)
    again = queued(world, schedule)
    made(world)
    later = queued(world, schedule)

    assert first == again == later == [(date(2026, 4, 30),) * 2]


def test_what_an_outage_missed_is_made_up_for_once_the_newest_seven_at_most(world):
    at(world, "2026-04-30T12:00")
    short, long = scheduled(world, "month"), scheduled(world, "day")

    at(world, "2026-07-02T06:00")
    months, days = queued(world, short), queued(world, long)

    assert [first for first, _ in months] == [date(2026, 4, 1), date(2026, 5, 1), date(2026, 6, 1)]
    assert [first for first, _ in days] == [
        *(date(2026, 6, day) for day in range(25, 31)),
        date(2026, 7, 1),
    ]
    assert (queued(world, short), queued(world, long)) == (months, days)


def test_what_is_paused_or_removed_is_not_made_and_not_made_up_for(world):
    at(world, "2026-04-30T12:00")
    schedule, gone = scheduled(world, "day", mail=[BOSS]), scheduled(world, "day", mail=[BOSS])
    asked = {"actor": OPERATOR, "schedule": schedule["id"]}

    paused = schedules.pause(world.session, **asked)
    removed = schedules.remove(world.session, actor=OPERATOR, schedule=gone["id"])
    at(world, "2026-05-03T06:00")
    while_paused = queued(world, schedule)
    resumed = schedules.resume(world.session, **asked)
    at(world, "2026-05-04T06:00")

    assert (paused["next_on"], while_paused) == (None, [])
    assert (resumed["paused_at"], resumed["next_on"]) == (None, date(2026, 5, 4))
    assert queued(world, schedule) == [(date(2026, 5, 3),) * 2]
    assert (removed["mail"], queued(world, gone)) == ([BOSS], [])
    listed = schedules.listing(world.session, actor=OPERATOR, organization=str(world.parent))
    assert [one["id"] for one in listed] == [schedule["id"]]
    with pytest.raises(errors.NotFoundError):
        schedules.show(world.session, actor=OPERATOR, schedule=gone["id"])


def test_a_schedule_keeps_the_notebooks_own_parameters_and_hands_them_on(
    world, tmp_path, monkeypatch
):
    cell = nbformat.v4.new_code_cell("at_least = 5", metadata={"tags": ["parameters"]})
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "mine.ipynb")
    monkeypatch.setattr(rendering, "NOTEBOOKS", tmp_path)
    at(world, "2026-04-30T12:00")

    schedule = scheduled(world, notebook="mine", parameters={"at_least": "10"})
    at(world, "2026-05-01T06:00")
    queued(world, schedule)

    report = keeping.show(world.session, actor=OPERATOR, report=last(world, schedule))
    assert report["parameters"] == schedule["parameters"] == {"at_least": 10}
    assert (report["schedule"], report["asked_by"]) == (
        schedule["id"],
        f"schedule {schedule['id']}",
    )
    with pytest.raises(errors.InvalidInputError, match="no parameter “above”"):
        scheduled(world, notebook="mine", parameters={"above": "10"})


def last(world: World, schedule: dict[str, Any]) -> str:
    shown = schedules.show(world.session, actor=OPERATOR, schedule=schedule["id"])
    assert shown["last_report"] is not None
    return shown["last_report"]


@pytest.mark.parametrize("format", ["html", "pdf", "xlsx"])
@pytest.mark.usefixtures("in_sight")
def test_each_report_is_mailed_to_its_recipients_with_a_file(world, format):
    at(world, "2026-04-30T12:00")
    schedule = scheduled(world, format=format, mail=[BOSS, CLERK.upper(), BOSS])
    at(world, "2026-05-01T06:00")
    queued(world, schedule)

    made(world)

    sent = mails(world)
    letter = message_from_bytes(composing.letter(sent[0]).content, policy=default)
    [file] = letter.iter_attachments()
    body = letter.get_body(("plain",)).get_content()
    assert [one.recipient for one in sent] == schedule["mail"] == [BOSS, CLERK]
    assert letter["Subject"] == "Report “usage”, 1 Apr 2026 to 30 Apr 2026"
    assert file.get_filename() == f"usage-2026-04-01-2026-04-30.{format}" in body
    content = file.get_content()
    if format == "xlsx":
        sheet = CalamineWorkbook.from_filelike(io.BytesIO(content)).get_sheet_by_index(0)
        assert sheet.to_python() == [["course", "keys"], ["A", 7]]
    else:
        assert content in (b"%PDF", PAGE + "\n", PAGE)


def test_a_report_that_is_too_large_comes_as_a_link(world, monkeypatch):
    at(world, "2026-04-30T12:00")
    schedule = scheduled(world, mail=[BOSS])
    at(world, "2026-05-01T06:00")
    queued(world, schedule)
    monkeypatch.setattr(composing, "MOST_ATTACHED", len(PAGE) - 1)

    made(world)

    [mail] = mails(world)
    letter = message_from_bytes(composing.letter(mail).content, policy=default)
    body = letter.get_body(("plain",)).get_content()
    assert list(letter.iter_attachments()) == []
    assert "It is too large to come with a mail." in body
    assert f"/console/reports/{last(world, schedule)}.html" in body


def test_a_schedule_that_fails_is_retried_and_then_told_by_mail_and_webhook(world):
    endpoints.add(
        world.session,
        actor=OPERATOR,
        url="https://hooks.example/failed",
        organization=str(world.parent),
        types=["report.failed"],
    )
    at(world, "2026-04-30T12:00")
    schedule = scheduled(world, mail=[BOSS])
    at(world, "2026-05-01T06:00")
    queued(world, schedule)

    attempts = []
    for minutes in (0, 10, 60):
        pass_time(world.session, seconds=60 * max(minutes - 1, 0))
        early = claims.take(world.session) if minutes else None
        pass_time(world.session, seconds=60)
        claim = claims.take(world.session)
        assert early is None
        assert claim is not None
        claims.fail(world.session, claim=claim, traceback="It died.")
        attempts.append(keeping.show(world.session, actor=OPERATOR, report=str(claim.id))["state"])

    assert attempts == ["queued", "queued", "failed"]
    assert claims.take(world.session) is None
    [told] = deliveries.listing(world.session, actor=OPERATOR).items
    assert told["type"] == "report.failed"
    [mail] = mails(world)
    said = composing.compose(mail)
    assert "could not be made" in said.subject
    assert f"by the reference {last(world, schedule)}." in said.text
    assert queued(world, schedule) == [(date(2026, 4, 1), date(2026, 4, 30))]


@pytest.mark.usefixtures("in_sight")
def test_who_stopped_gets_not_even_the_mail_that_waits_and_others_do(world):
    at(world, "2026-04-30T12:00")
    schedule = scheduled(world, mail=[BOSS, CLERK])
    at(world, "2026-05-01T06:00")
    queued(world, schedule)
    made(world)

    claims.erase(world.session, email=BOSS.upper(), pseudonym="erased-1@invalid")

    to_boss, to_clerk = mails(world)
    assert composing.letter(to_clerk).recipient == CLERK
    with pytest.raises(composing.NothingToSendError):
        composing.letter(to_boss)
    kept = schedules.show(world.session, actor=OPERATOR, schedule=schedule["id"])
    assert kept["mail"] == [CLERK]


def test_a_persons_data_names_the_schedules_that_mail_to_them_until_they_are_erased(world):
    world.redeemed(BOSS)
    schedule = scheduled(world, mail=[BOSS, CLERK])

    exported = learners.export(world.session, actor=OPERATOR, email=BOSS)
    learners.erase(world.session, actor=OPERATOR, email=BOSS)

    assert exported["schedules"] == [
        {"schedule": schedule["id"], "notebook": "usage", "since": schedule["created_at"]}
    ]
    shown = schedules.show(world.session, actor=OPERATOR, schedule=schedule["id"])
    assert shown["mail"] == [CLERK]


def test_a_schedule_is_edited_from_the_next_report_on_and_the_history_says_what_it_was(world):
    at(world, "2026-04-30T12:00")
    schedule = scheduled(world, "month", mail=[BOSS])
    at(world, "2026-05-01T06:00")
    before = queued(world, schedule)

    edited = schedules.edit(
        world.session, actor=OPERATOR, schedule=schedule["id"], every="day", mail=[CLERK]
    )
    again = schedules.edit(world.session, actor=OPERATOR, schedule=schedule["id"], every="day")
    at(world, "2026-05-02T06:00")
    then = queued(world, schedule)

    assert edited == again == schedule | {
        "every": "day", "mail": [CLERK], "next_on": date(2026, 5, 2), "last_report": edited["last_report"]
    }  # fmt: skip
    assert before == [(date(2026, 4, 1), date(2026, 4, 30))]
    assert then == [*before, (date(2026, 5, 1),) * 2]
    [act] = acts(world, schedule, "report schedule edited")
    assert act == {
        "notebook": "usage", "every": "day", "mail": [CLERK], "was": {"every": "month", "mail": [BOSS]}
    }  # fmt: skip


def test_a_month_is_made_after_its_first_week_was_made_too(world):
    at(world, "2026-06-03T12:00")
    schedule = scheduled(world, "week")
    at(world, "2026-06-08T06:00")
    queued(world, schedule)

    schedules.edit(world.session, actor=OPERATOR, schedule=schedule["id"], every="month")
    at(world, "2026-07-01T06:00")

    assert queued(world, schedule) == [
        (date(2026, 6, 1), date(2026, 6, 7)),
        (date(2026, 6, 1), date(2026, 6, 30)),
    ]


@pytest.mark.usefixtures("in_sight")
@pytest.mark.parametrize("leaves", ["before", "after", None])
def test_recipients_named_from_above_get_none_after_the_organization_left(world, leaves):
    parent = Actor("boss", Role.ANALYST, world.parent)
    at(world, "2026-04-30T12:00")
    schedule = scheduled(world, organization=str(world.child), actor=parent, mail=[BOSS])
    at(world, "2026-05-01T06:00")
    queued(world, schedule)

    leave = {"actor": OPERATOR, "organization": str(world.child), "no_parent": True}
    if leaves == "before":
        organizations.edit(world.session, **leave)
    made(world)
    if leaves == "after":
        organizations.edit(world.session, **leave)

    waiting = mails(world)
    if leaves is None:
        assert composing.letter(waiting[0]).recipient == BOSS
    if leaves == "after":  # the mail that waits asks again
        with pytest.raises(composing.NothingToSendError):
            composing.letter(waiting[0])
    if leaves == "before":
        assert waiting == []
        [act] = acts(world, schedule, "report recipients stopped")
        assert act["mail"] == [BOSS]
        shown = schedules.show(world.session, actor=OPERATOR, schedule=schedule["id"])
        assert shown["mail"] == []


def test_who_gives_the_list_names_all_of_it(world):
    parent = Actor("boss", Role.ANALYST, world.parent)
    child = Actor("clerk", Role.ANALYST, world.child)
    at(world, "2026-04-30T12:00")
    schedule = scheduled(world, organization=str(world.child), actor=parent, mail=[BOSS])
    schedules.edit(world.session, actor=child, schedule=schedule["id"], mail=[BOSS, CLERK])
    organizations.edit(world.session, actor=OPERATOR, organization=str(world.child), no_parent=True)
    at(world, "2026-05-01T06:00")
    queued(world, schedule)

    made(world)

    assert [one.recipient for one in mails(world)] == [BOSS, CLERK]
    assert acts(world, schedule, "report recipients stopped") == []


def acts(world: World, schedule: dict[str, Any], action: str) -> list[dict[str, Any]]:
    """Give what the history has of one kind of act on a schedule."""
    rows = history.of(world.session, thing="schedule", thing_id=int(schedule["id"]))
    return [row["detail"] for row in rows if row["action"] == action]


@pytest.mark.parametrize(
    ("role", "notebook", "may"),
    [
        (Role.MANAGER, "usage", True),
        (Role.MANAGER, "billing", False),
        (Role.FINANCE, "billing", True),
        (Role.FINANCE, "usage", False),
        (Role.ANALYST, "billing", True),
        (Role.SENDER, "usage", False),
    ],
)
def test_who_may_read_a_notebook_may_schedule_it_for_its_own_organizations_alone(
    world, role, notebook, may
):
    actor = Actor("somebody", role, world.parent)
    asked = {"actor": actor, "notebook": notebook, "every": "week"}
    theirs = scheduled(world, notebook=notebook, organization=str(world.sibling))
    everybodys = scheduled(world, notebook=notebook, organization=None)

    if not may:
        with pytest.raises(errors.ForbiddenError):
            schedules.schedule(world.session, **asked)
        return
    own = schedules.schedule(world.session, **asked)

    assert [one["id"] for one in schedules.listing(world.session, actor=actor)] == [own["id"]]
    assert own["organization"] is not None
    for act in (
        schedules.show,
        schedules.edit,
        schedules.pause,
        schedules.resume,
        schedules.remove,
    ):
        for foreign in (theirs, everybodys):
            with pytest.raises(errors.NotFoundError):
                act(world.session, actor=actor, schedule=foreign["id"])
    with pytest.raises(errors.NotFoundError):
        schedules.schedule(world.session, organization=str(world.sibling), **asked)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"every": "hour"}, "every"),
        ({"format": "doc"}, "format"),
        ({"mail": ["nobody"]}, "mail"),
        ({"mail": [f"{n}@example.org" for n in range(51)]}, "mail"),
        ({"parameters": {"x": "1"}}, "parameters"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused_by_its_field(world, given, field):
    with pytest.raises(errors.InvalidInputError) as refused:
        scheduled(world, **given)

    assert refused.value.field == field


def test_what_people_wait_for_is_made_before_what_is_scheduled(world):
    at(world, "2026-04-30T12:00")
    schedule = scheduled(world)
    at(world, "2026-05-01T06:00")
    queued(world, schedule)
    asked = keeping.ask(world.session, actor=OPERATOR, notebook="usage")

    claim = claims.take(world.session)

    assert claim is not None
    assert str(claim.id) == asked["id"]
