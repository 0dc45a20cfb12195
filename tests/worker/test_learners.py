import io

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from tests import world as worlds
from tests.world import OPERATOR, World
from worker import audit, batches, distributions, errors, imports, learners, redemption
from worker.actors import Actor, Role

ADDRESS = "Ann.O'Neil+x@Example.org"


@pytest.fixture
def world(session: Session) -> World:
    return worlds.build(session)


def redeemed(world: World, email: str = ADDRESS) -> int:
    event = world.request(world.keys(1)[0], email)
    redemption.settle(world.session, event_ids=[event])
    return event


def everything(session: Session) -> str:
    """Give every row of every table as text."""
    tables = session.scalars(
        text(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        )
    ).all()
    rows = [session.scalars(text(f'SELECT t::text FROM "{table}" AS t')).all() for table in tables]
    return "\n".join(row for table in rows for row in table).lower()


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


def test_after_an_erase_the_address_is_nowhere_and_the_figures_are_unchanged(world):
    redeemed(world)
    redeemed(world)  # refused: already assigned
    learners.correct(world.session, actor=OPERATOR, email=ADDRESS, name="Ann O'Neil")
    before = world.figures("SELECT count(*) AS charges, sum(amount) AS amount FROM charge")

    learners.erase(world.session, actor=OPERATOR, email=ADDRESS.lower())

    assert "o'neil" not in everything(world.session)
    assert world.figures("SELECT count(*) AS charges, sum(amount) AS amount FROM charge") == before
    assert all(audit._result(world.session, check)["ok"] for check in audit.CHECKS)


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
    redemption.settle(world.session, event_ids=[event])
    world.keys(1)
    distributions.distribute(
        world.session, actor=OPERATOR, pool=world.pool, recipient=ADDRESS, name="Ann O'Neil"
    )

    learners.erase(world.session, actor=OPERATOR, email=ADDRESS)

    assert "o'neil" not in everything(world.session)


def test_an_erase_reaches_what_an_import_still_waits_to_hand_out(world):
    redeemed(world)
    table = f"code,email,name\nWAITING-1,{ADDRESS},Ann O'Neil\nWAITING-2,bo@example.org,Bo Li\n"
    lines = imports.read(io.BytesIO(table.encode()))
    batches.stage(world.session, actor=OPERATOR, pool=world.pool, lines=lines)

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
