"""Billing runs, on a database that really commits."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.orm import Session

from tests.ledger import OPERATOR, add_buyer, redeem
from worker import errors
from worker.billing import gathering, runs
from worker.database import connections


@pytest.fixture
def july(fresh_database) -> Iterator[None]:
    """It is 10 July 2026 for every transaction of this process."""

    def set_to_july(connection: Any) -> None:
        connection.exec_driver_sql(
            "SELECT set_config('keypool.clock_offset', "
            "extract(epoch FROM timestamptz '2026-07-10T12:00Z' - now())::text, true)"
        )

    engine = connections.engine()
    event.listen(engine, "begin", set_to_july)
    yield
    event.remove(engine, "begin", set_to_july)


def populate(buyers: int, redemptions: int = 3) -> list[int]:
    """Make buyers with redemptions in April and in May; gives their ids."""

    def populated(session: Session) -> list[int]:
        ids = []
        for number in range(buyers):
            buyer = add_buyer(session, f"Academy {number}", time_zone="Pacific/Auckland")
            for month in ("04", "05"):
                times = [f"2026-{month}-{day + 2:02d}" for day in range(redemptions)]
                redeem(session, buyer.pool, *times)
            ids.append(buyer.id)
        return ids

    return connections.transaction(populated)


def figures(query: str) -> Any:
    return connections.transaction(lambda session: session.execute(text(query)).one())


LEDGER = """
    SELECT (SELECT count(*) FROM invoice), (SELECT count(*) FROM invoice WHERE status <> 'draft'),
           (SELECT count(*) FROM invoice_charge), (SELECT count(*) FROM charge WHERE unbilled),
           (SELECT sum(quantity) FROM invoice_line), (SELECT max(serial) FROM invoice)
"""


@pytest.mark.usefixtures("july")
def test_a_run_bills_every_organization_and_says_what_it_did():
    ids = populate(3)

    done = runs.run(actor=OPERATOR)

    assert (done.organizations, done.charges, len(done.drafted)) == (3, 18, 6)
    assert (done.finalized, done.failed) == ([], [])
    assert len(ids) == 3
    assert tuple(figures(LEDGER)) == (6, 0, 18, 0, 18, None)


@pytest.mark.usefixtures("july")
def test_the_scheduled_run_finalizes_what_is_past_its_grace():
    populate(2)

    first = runs.run_scheduled(actor=OPERATOR)
    again = runs.run_scheduled(actor=OPERATOR)

    assert first == {"charges": 12, "drafted": 4, "finalized": 4, "failed": 0, "left": 0}
    assert not any(again.values())
    assert tuple(figures(LEDGER)) == (4, 4, 12, 0, 12, 4)


@pytest.mark.usefixtures("july")
def test_a_run_leaves_the_rest_to_the_next_when_its_time_is_over():
    populate(2)

    first = runs.run_scheduled(actor=OPERATOR, until=0)
    second = runs.run_scheduled(actor=OPERATOR)

    assert (first["charges"], second["charges"]) == (0, 12)


@pytest.mark.usefixtures("july")
def test_runs_at_once_double_nothing_and_leave_no_gap_in_the_numbers():
    populate(12)

    with ThreadPoolExecutor(4) as racers:
        done = list(racers.map(lambda _: runs.run(actor=OPERATOR, finalize=True), range(4)))

    assert sum(run.charges for run in done) == 72
    assert sum(len(run.finalized) for run in done) == 24
    assert tuple(figures(LEDGER)) == (24, 24, 72, 0, 72, 24)


@pytest.mark.usefixtures("july")
def test_one_organizations_trouble_keeps_no_others_invoice_back(monkeypatch):
    ids = populate(3)
    gather = gathering.gather

    def troubled(session: Session, buyer: Any, **options: Any) -> dict[int, int]:
        if buyer.id == ids[1]:
            raise ValueError("trouble")
        return gather(session, buyer, **options)

    monkeypatch.setattr(gathering, "gather", troubled)
    done = runs.run(actor=OPERATOR, finalize=True)
    monkeypatch.undo()
    healed = runs.run(actor=OPERATOR, finalize=True)

    assert (done.failed, done.organizations) == ([ids[1]], 2)
    assert (healed.failed, healed.charges) == ([], 6)
    assert tuple(figures(LEDGER)) == (6, 6, 18, 0, 18, 6)


@pytest.mark.usefixtures("july")
def test_a_month_that_has_not_begun_anywhere_is_refused():
    with pytest.raises(errors.InvalidInputError, match="2026-08 has not begun yet"):
        runs.run(actor=OPERATOR, month="2026-08")


@pytest.mark.usefixtures("july")
def test_a_draft_of_the_running_month_is_never_finalized_by_a_run():
    populate(1)
    connections.transaction(lambda session: redeem(session, 1, "2026-07-05"))

    done = runs.run(actor=OPERATOR, month="2026-07", finalize=True)

    assert (done.charges, done.finalized) == (1, [])


# Dies with SIGKILL before its Nth commit: between organizations, or with one half done.
DYING = """
import os, signal, sys
from sqlalchemy import event
from worker.billing import runs
from worker.database import connections
from worker.tenancy.actors import Actor

engine, commits = connections.engine(), [0]

@event.listens_for(engine, "begin")
def july(connection):
    connection.exec_driver_sql(
        "SELECT set_config('keypool.clock_offset', "
        "extract(epoch FROM timestamptz '2026-07-10T12:00Z' - now())::text, true)")

@event.listens_for(engine, "commit")
def die(connection):
    commits[0] += 1
    if commits[0] == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)

runs.run(actor=Actor.operator("dying"), finalize=True)
"""


@pytest.mark.usefixtures("july")
@pytest.mark.parametrize("commit", [2, 4])
def test_a_run_that_was_killed_is_made_good_by_the_next(fresh_database, commit):
    populate(4)
    environment = os.environ | fresh_database.environment()

    died = subprocess.run([sys.executable, "-c", DYING, str(commit)], env=environment, check=False)
    left = figures(LEDGER)
    made_good = runs.run(actor=OPERATOR, finalize=True)

    assert died.returncode == -9
    assert left[2] == 6 * (commit - 2)  # the organizations before it, whole
    assert made_good.charges == 24 - left[2]
    assert tuple(figures(LEDGER)) == (8, 8, 24, 0, 24, 8)


@pytest.mark.usefixtures("july")
def test_what_is_settled_while_a_run_bills_is_on_an_invoice_or_waits():
    (buyer,) = populate(1, redemptions=20)
    connections.transaction(lambda session: redeem(session, 1, "2026-05-09"))

    with ThreadPoolExecutor(2) as both:
        settling = both.submit(
            lambda: [
                connections.transaction(lambda session: redeem(session, 1, "2026-05-10"))
                for _ in range(20)
            ]
        )
        billing_run = both.submit(lambda: [runs.run(actor=OPERATOR) for _ in range(10)])
        settling.result()
        billing_run.result()
    runs.run(actor=OPERATOR)

    row = figures("""
        SELECT (SELECT sum(quantity) FROM invoice_line), (SELECT count(*) FROM invoice_charge),
               (SELECT sum(subtotal) FROM invoice), (SELECT sum(amount) FROM charge)""")
    assert (row[0], row[1]) == (61, 61)
    assert row[2] == row[3]
    assert buyer
