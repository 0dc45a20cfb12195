import base64
import html
import io
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from tests import ledger
from tests import world as worlds
from tests.conftest import pass_time
from tests.world import OPERATOR, World
from worker import errors
from worker.audit import auditing
from worker.billing import charges, invoices, runs
from worker.bulk import bulk_acts
from worker.bulk.selecting import Assignments
from worker.learning import cancelling, extending, learners
from worker.outgoing import endpoints
from worker.pools import batches, distributions, reading
from worker.redemption import deciding, inbox
from worker.reporting import personal
from worker.tables.labels import EventType
from worker.tenancy import history
from worker.tenancy.actors import Actor, Role

ADDRESS = "Ann.O'Neil+x@Example.org"
NAME = "Ann O'Neil"


@pytest.fixture
def world(session: Session) -> World:
    return worlds.build(session)


def redeemed(world: World, email: str = ADDRESS) -> int:
    event = world.request(world.keys(1)[0], email)
    deciding.settle(world.session, event_ids=[event])
    return event


def everything(session: Session) -> str:
    """Give every row of every table as text; what is bytes or a report's CSV, also as what it says."""
    tables = session.scalars(
        text(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        )
    ).all()
    told = []
    for table in tables:
        for row in session.execute(text(f'SELECT t::text AS whole, t.* FROM "{table}" AS t')):
            told += [row[0], *(bytes(one).decode("latin-1") for one in row if _is_bytes(one))]
            told += [base64.b64decode(csv).decode() for _, csv in personal.TABLE.findall(row[0])]
    return "\n".join(told).lower()


def _is_bytes(value: object) -> bool:
    return isinstance(value, bytes | memoryview)


def test_a_learner_is_known_in_any_letter_case(world):
    redeemed(world)

    shown = learners.show(world.session, actor=OPERATOR, email=ADDRESS.upper())

    assert [item["status"] for item in shown["assignments"]] == ["active"]


def test_a_correction_keeps_what_was_before_in_the_history(world):
    redeemed(world)

    learners.correct(world.session, actor=OPERATOR, email=ADDRESS, new_email="ann@new.example")

    told = learners.export(world.session, actor=OPERATOR, email="ann@new.example")["history"]
    assert told[0]["detail"]["before"]["email"] == ADDRESS


@pytest.mark.parametrize("change", [{}, {"new_email": "nowhere"}])
def test_a_correction_that_corrects_nothing_is_refused(world, change):
    redeemed(world)

    with pytest.raises(errors.InvalidInputError):
        learners.correct(world.session, actor=OPERATOR, email=ADDRESS, **change)


def known_everywhere(world: World) -> dict[str, Any]:
    """Have a person stand wherever one can: in rows, bodies, reasons, history, reports, answers."""
    session = world.session
    told = {"key": world.keys(1)[0], "learner": {"email": ADDRESS, "name": NAME}}
    asked = {
        "source_id": world.source,
        "organization_id": world.parent,
        "webhook_id": "sent-once",
        "body_hash": b"hash",
        "message": inbox.Message(EventType.REDEMPTION_REQUESTED, told),
    }
    url, parent = "https://hooks.example/", str(world.parent)
    endpoints.add(session, actor=OPERATOR, url=url, organization=parent)
    session.flush()
    first = inbox.record(session.connection().connection.driver_connection, **asked).event_id
    deciding.settle(session, event_ids=[first])
    redeemed(world)  # refused: already assigned
    world.request("WAITS-STILL", ADDRESS)
    failed = world.request("FAILED-ONCE", ADDRESS)
    world.figures(
        "UPDATE event SET status = 'failed', error = 'broken' WHERE id = :id RETURNING id",
        id=failed,
    )
    learners.correct(session, actor=OPERATOR, email=ADDRESS, name=f"{NAME} Smith")
    learners.correct(session, actor=OPERATOR, email=ADDRESS, name=NAME)
    world.keys(4)
    hand = {"actor": OPERATOR, "pool": world.pool, "reference": "R"}
    for recipient in (ADDRESS, NAME):
        distributions.distribute(session, recipient=recipient, name=NAME, **hand)
    [held] = learners.show(session, actor=OPERATOR, email=ADDRESS)["assignments"]
    extending.extend(session, actor=OPERATOR, assignment=held["id"], by_days=1, price="5")
    cancelled = cancelling.cancel(
        session, actor=OPERATOR, assignment=held["id"], reason=f"{NAME} <{ADDRESS}> left"
    )
    bulk_acts.ask(
        session,
        actor=Actor("user boss@example.com", Role.MANAGER, world.parent),
        act="cancel",
        selection=Assignments((int(held["id"]),)),
        fields={"reason": f"{NAME} <{ADDRESS}> left, with others"},
    )
    charged = world.figures("SELECT id FROM charge WHERE kind = 'extension'").id
    charges.credit(
        session, actor=OPERATOR, charge=str(charged), amount="1", reason=f"as {NAME} asked"
    )
    table = (
        f"code,email,name,state\nWAITING-1,{ADDRESS},{NAME},\n{ADDRESS},,,\n"
        f"REFUSED-1,mailto:{ADDRESS},,\nREFUSED-2,,,used by {NAME}\n"
    )
    given = reading.opened(io.BytesIO(table.encode()))
    batches.stage(session, actor=OPERATOR, pool=world.pool, blocks=given.keys())
    history.record(
        session, actor=OPERATOR, action="noted", thing="pool", thing_ids=int(world.pool),
        organization_id=world.parent, note={"people": [f"for {NAME.upper()}, {ADDRESS}"]},
    )  # fmt: skip
    session.execute(
        text("""
            INSERT INTO report_run (organization_id, notebook, first_day, last_day, format, asked_by,
                                    state, data_at, finished_at, page, pdf, traceback)
            VALUES (:parent, 'usage', '2026-01-01', '2026-01-31', 'pdf', 'test', 'done',
                    clock_now(), clock_now(), :page, :pdf, NULL),
                   (:parent, 'usage', '2026-01-01', '2026-01-31', 'html', 'test', 'failed',
                    clock_now(), clock_now(), NULL, NULL, :traceback)"""),
        {
            "parent": world.parent,
            "page": page(),
            "pdf": f"%PDF-1.4 {ADDRESS} {NAME}".encode(),
            "traceback": f"KeyError: '{ADDRESS}' of {NAME}",
        },
    )
    return asked | {"cancelled": cancelled}


def page() -> str:
    csv = base64.b64encode(f"email,name\n{ADDRESS},{NAME}\n".encode()).decode()
    cells = "".join(f'<td class="person">{html.escape(cell)}</td>' for cell in (ADDRESS, NAME))
    return f"<table><tr>{cells}</tr></table><a href='{personal.CSV_PREFIX}{csv}'>CSV</a>"


def test_after_an_erase_neither_address_nor_name_is_in_any_table_report_or_log(
    world, capfd, caplog
):
    sent = known_everywhere(world)
    figures = (
        "SELECT count(*) AS charges, sum(amount) AS amount, (SELECT count(*) FROM assignment) AS held,"
        " (SELECT array_agg(outcome ORDER BY event_id) FROM redemption) AS outcomes FROM charge"
    )
    before = world.figures(figures)
    assert everything(world.session).count("o'neil") > 20

    learners.erase(world.session, actor=OPERATOR, email=ADDRESS.upper())

    left = everything(world.session)
    assert ADDRESS.lower() not in left
    assert "o'neil" not in left
    assert "o'neil" not in (caplog.text + "".join(capfd.readouterr())).lower()
    assert world.figures(figures) == before
    assert auditing.audit(world.session)["ok"]
    del sent["cancelled"]
    again = inbox.record(world.session.connection().connection.driver_connection, **sent)
    assert not again.is_new


def test_an_erase_leaves_a_finalized_invoice_as_it_is(session):
    buyer = ledger.add_buyer(session, "Invoiced")
    ledger.redeem(session, buyer.pool, "2026-01-10")
    pass_time(session, days=366)
    [draft], _ = runs.bill(session, actor=OPERATOR, organization_id=buyer.id)
    invoices.finalize(session, actor=OPERATOR, invoice=str(draft))
    printed = (
        "SELECT invoice::text FROM invoice UNION ALL SELECT invoice_line::text FROM invoice_line"
    )
    email = session.scalar(text("SELECT email FROM learner"))
    before = session.execute(text(printed)).all()

    learners.erase(session, actor=OPERATOR, email=email)

    assert len(before) == 2
    assert session.execute(text(printed)).all() == before


def test_a_name_of_one_word_goes_from_what_is_about_its_person_alone(world):
    event = world.request(world.keys(1)[0], "ann@example.org")  # by the name of Ann
    deciding.settle(world.session, event_ids=[event])
    [held] = learners.show(world.session, actor=OPERATOR, email="ann@example.org")["assignments"]
    asked = {"actor": OPERATOR, "assignment": held["id"]}
    cancelling.cancel(world.session, reason="Ann has an Annual pass", **asked)
    about = {"thing": "pool", "thing_ids": int(world.pool), "organization_id": world.parent}
    history.record(world.session, actor=OPERATOR, action="noted", note="Ann of accounting", **about)

    learners.erase(world.session, actor=OPERATOR, email="ann@example.org")

    left = world.figures("SELECT cancel_reason AS reason FROM assignment").reason
    assert left.startswith("erased-")
    assert left.endswith(" has an Annual pass")
    assert "ann of accounting" in everything(world.session)


def test_whoever_is_known_from_refused_attempts_alone_is_exported_and_erased(world):
    event = world.request("NOBODYS-KEY-1", ADDRESS)
    deciding.settle(world.session, event_ids=[event])

    held = learners.export(world.session, actor=OPERATOR, email=ADDRESS)
    told = learners.erase(world.session, actor=OPERATOR, email=ADDRESS)

    assert [attempt["event"] for attempt in held["redemptions"]] == [str(event)]
    assert (held["learner"]["email"], held["assignments"], told["erased"]) == (ADDRESS, [], 0)
    assert "o'neil" not in everything(world.session)


def test_whoever_was_only_given_keys_is_exported_and_erased(world):
    world.keys(1)
    distributions.distribute(
        world.session, actor=OPERATOR, pool=world.pool, recipient=ADDRESS, name=NAME
    )

    held = learners.export(world.session, actor=OPERATOR, email=ADDRESS)
    learners.erase(world.session, actor=OPERATOR, email=ADDRESS)

    [handed] = held["distributions"]
    whom = (handed["recipient"], handed["name"], handed["pool"])
    assert whom == (ADDRESS.lower(), NAME, world.pool)
    assert "o'neil" not in everything(world.session)


def test_whoever_has_an_undecided_event_alone_is_exported_and_erased(world):
    event = world.request("NOBODYS-KEY-1", ADDRESS)

    held = learners.export(world.session, actor=OPERATOR, email=ADDRESS)
    learners.erase(world.session, actor=OPERATOR, email=ADDRESS)

    assert [one["event"] for one in held["undecided"]] == [str(event)]
    assert "o'neil" not in everything(world.session)


def test_a_learner_of_very_many_assignments_is_shown_a_page_at_a_time(world):
    redeemed(world)
    for _ in range(4):
        pass_time(world.session, days=31)
        redeemed(world)
    asked = {"actor": OPERATOR, "email": ADDRESS}

    first = learners.show(world.session, limit=3, **asked)
    second = learners.show(world.session, limit=3, after=first["next"], **asked)

    shown = [item["id"] for page in (first, second) for item in page["assignments"]]
    assert (len(shown), len(set(shown)), second["next"]) == (5, 5, None)


def test_an_erase_finds_the_address_a_person_had_before_a_correction(world):
    redeemed(world)
    learners.correct(world.session, actor=OPERATOR, email=ADDRESS, new_email="ann@new.example")
    redeemed(world, "ann@new.example")

    learners.erase(world.session, actor=OPERATOR, email="Ann@New.example")

    assert "o'neil" not in everything(world.session)
    assert "ann@new.example" not in everything(world.session)


def test_an_erase_leaves_an_earlier_address_to_whom_it_belongs_now(world):
    redeemed(world)
    learners.correct(world.session, actor=OPERATOR, email=ADDRESS, new_email="ann@new.example")
    redeemed(world)

    learners.erase(world.session, actor=OPERATOR, email="ann@new.example")

    assert learners.show(world.session, actor=OPERATOR, email=ADDRESS)["assignments"]


def test_an_erase_reaches_what_another_organization_was_told_of_the_person(world):
    redeemed(world)
    event = world.request("NOBODYS-KEY-1", ADDRESS, organization=world.child)
    deciding.settle(world.session, event_ids=[event])
    world.keys(1)
    distributions.distribute(
        world.session, actor=OPERATOR, pool=world.pool, recipient=ADDRESS, name="Ann O'Neil"
    )

    learners.erase(world.session, actor=OPERATOR, email=ADDRESS)

    assert "o'neil" not in everything(world.session)


def test_an_erase_reaches_what_an_import_still_waits_to_hand_out(world):
    redeemed(world)
    table = f"code,email,name\nWAITING-1,{ADDRESS},Ann O'Neil\nWAITING-2,bo@example.org,Bo Li\n"
    given = reading.opened(io.BytesIO(table.encode()))
    batches.stage(world.session, actor=OPERATOR, pool=world.pool, blocks=given.keys())

    learners.erase(world.session, actor=OPERATOR, email=ADDRESS)

    assert "o'neil" not in everything(world.session)
    assert world.figures("SELECT recipient_names FROM batch_chunk").recipient_names == ["", "Bo Li"]


def test_an_erase_ends_live_access(world):
    redeemed(world)

    learners.erase(world.session, actor=OPERATOR, email=ADDRESS)

    assert world.figures("SELECT status FROM assignment").status == "expired"


def test_an_erase_leaves_others_alone(world):
    redeemed(world)
    redeemed(world, "ann.o'neil+xy@example.org")

    learners.erase(world.session, actor=OPERATOR, email=ADDRESS)

    assert learners.show(world.session, actor=OPERATOR, email="ann.o'neil+xy@example.org")


def test_a_stranger_neither_sees_nor_erases_a_learner(world):
    redeemed(world)
    stranger = Actor("token", Role.MANAGER, world.sibling)

    for call in (learners.show, learners.export, learners.erase):
        with pytest.raises(errors.NotFoundError):
            call(world.session, actor=stranger, email=ADDRESS)
