"""Migration 0008: addresses get one form, and two learners who are one person are known as such."""

import pytest
from sqlalchemy import Engine, text

from tests import upgrading
from tests.worker.database.conftest import run
from worker.database import migrating

LEARNERS = [
    (9001, 1, "Upper@Example.org"),
    (9002, 1, "twin@example.org"),
    (9003, 1, "twin@example.org\u200b"),
    (9004, 1, "ｔwin@example.org"),
    (9005, 1, "late@exam\u00adple.org"),
    (9006, 1, "late@example.org"),
    (9007, 2, "late@exam\u00adple.org"),
    (9008, 1, "JOSÉ@example.net"),
    (9009, 1, "jose\u0301@example.net"),
    (9010, 1, "\u2060dot@example.org."),
    (9011, 1, "mailto:x@example.org"),
]


@pytest.fixture
def engine(databases) -> Engine:
    engine = databases.empty()
    upgrading.make_first_release(engine, up_to="0007")
    with engine.begin() as connection:
        connection.execute(
            text("""INSERT INTO learner (id, organization_id, email) OVERRIDING SYSTEM VALUE
                    VALUES (:id, :organization_id, :email)"""),
            [dict(zip(("id", "organization_id", "email"), one, strict=True)) for one in LEARNERS],
        )
    return engine


def learners(engine: Engine) -> dict[int, tuple[str, int | None]]:
    with engine.connect() as connection:
        rows = connection.execute(
            text("SELECT id, email, duplicate_of FROM learner WHERE id > 9000 ORDER BY id")
        )
        return {row.id: (row.email, row.duplicate_of) for row in rows}


def test_the_older_takes_the_one_form_and_the_others_are_its_duplicates(engine):
    migrating.upgrade(engine, to="0008")

    assert learners(engine) == {
        9001: ("upper@example.org", None),
        9002: ("twin@example.org", None),
        9003: ("twin@example.org\u200b", 9002),
        9004: ("ｔwin@example.org", 9002),
        # The younger had the one form; they exchange their spellings.
        9005: ("late@example.org", None),
        9006: ("late@exam\u00adple.org", 9005),
        9007: ("late@example.org", None),
        9008: ("josé@example.net", None),
        9009: ("jose\u0301@example.net", 9008),
        # What is no address stays as it is.
        9010: ("\u2060dot@example.org.", None),
        9011: ("mailto:x@example.org", None),
    }


def test_the_first_releases_own_twins_are_found(engine):
    migrating.upgrade(engine, to="0008")

    with engine.connect() as connection:
        rows = connection.execute(
            text("""SELECT kept.email, count(*) FROM learner
                      JOIN learner AS kept ON kept.id = learner.duplicate_of
                     WHERE learner.id < 9000 GROUP BY 1 ORDER BY 1""")
        ).all()
    assert [tuple(row) for row in rows] == [
        ("josé@example.org", 1),
        ("max@xn--mnchen-3ya.example", 1),
    ]


def test_a_second_run_changes_nothing(engine):
    migrating.upgrade(engine, to="0008")
    before = learners(engine)

    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0007'"))
    migrating.upgrade(engine, to="0008")

    assert learners(engine) == before


UNDECIDED = """
    INSERT INTO event (source_id, organization_id, learner_organization_id, webhook_id, body_hash,
                       type, data)
    SELECT id, organization_id, organization_id, 'undecided', '', 'redemption.requested',
           '{"key": "X", "learner": {"email": "tw\u00adin@example.org"}}'
      FROM source ORDER BY id LIMIT 1
"""
HELD = """
    SELECT (SELECT learner_email FROM redemption ORDER BY event_id LIMIT 1),
           (SELECT recipient FROM distribution ORDER BY id LIMIT 1),
           (SELECT recipient FROM distribution ORDER BY id DESC LIMIT 1),
           (SELECT data #>> '{learner,email}' FROM event WHERE webhook_id = 'undecided')
"""


def test_attempts_recipients_and_undecided_messages_get_the_one_form_too(engine):
    run(
        engine,
        UNDECIDED,
        """UPDATE redemption SET learner_email = 'At\u200btempt@x.org'
            WHERE event_id = (SELECT min(event_id) FROM redemption)""",
        """UPDATE distribution SET recipient = 'Ｔo@x.org'
            WHERE id = (SELECT min(id) FROM distribution)""",
        "UPDATE distribution SET recipient = '受付＠' WHERE id = (SELECT max(id) FROM distribution)",
    )

    migrating.upgrade(engine, to="0008")

    with engine.connect() as connection:
        held = connection.execute(text(HELD)).one()
    assert tuple(held) == ("attempt@x.org", "to@x.org", "受付＠", "twin@example.org")
