from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from worker.database.sweeping import Sweep

DAY = timedelta(days=1)
OLD = Sweep("history", "at", alike="action = 'seen'")


@pytest.fixture
def history(session: Session) -> Session:
    """Ten entries, a day apart, the last of today; the third is of another sort."""
    session.execute(text("SELECT set_config('keypool.forgetting', 'on', true)"))
    session.execute(
        text("""
        INSERT INTO history (at, actor, action, thing, thing_id)
        SELECT clock_now() - (10 - n) * interval '1 day', 'ann', CASE n WHEN 3 THEN 'made' ELSE 'seen' END,
               'pool', n
          FROM generate_series(1, 10) AS n""")
    )
    return session


def left(session: Session) -> list[int]:
    return list(session.scalars(text("SELECT thing_id FROM history ORDER BY id")))


def test_old_rows_are_removed_slice_by_slice_and_no_others(history):
    swept, removed = OLD.remove(history, kept=5 * DAY - DAY / 2, after=0, limit=3), []
    while swept.upto is not None:
        removed.append(swept.removed)
        swept = OLD.remove(history, kept=5 * DAY - DAY / 2, after=swept.upto, limit=3)
    removed.append(swept.removed)

    assert removed == [3, 1]
    assert left(history) == [3, 6, 7, 8, 9, 10]


def test_a_row_that_is_not_over_stays_and_does_not_stop_the_sweep(history):
    sweep = Sweep("history", "at", over="thing_id <> 1")

    swept = sweep.remove(history, kept=DAY, after=0, limit=4)

    assert swept.removed == 3
    assert left(history)[0] == 1
    assert sweep.remove(history, kept=DAY, after=swept.upto, limit=2).removed == 2


def test_an_empty_table_ends_a_sweep(session):
    swept = Sweep("delivery", "happened_at").remove(session, kept=DAY, after=0, limit=3)

    assert swept == (None, 0)


def test_history_is_removed_by_nothing_but_the_sweep(history):
    history.execute(text("SELECT set_config('keypool.forgetting', '', true)"))

    with pytest.raises(IntegrityError, match="history is never rewritten"):
        OLD.remove(history, kept=DAY, after=0, limit=3)
