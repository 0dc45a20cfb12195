"""Rows of PostgreSQL as Arrow, by a connection that is kept."""

import threading

import adbc_driver_postgresql.dbapi as adbc
import pytest
from sqlalchemy import text

from worker.database import connections
from worker.reporting import postgres

PID = "SELECT pg_backend_pid() AS pid"


def run(statement: str) -> None:
    with connections.session() as session:
        session.execute(text(statement))


def pid() -> int:
    return postgres.table(PID).to_pylist()[0]["pid"]


def test_a_threads_questions_share_a_connection_and_another_thread_has_its_own(database):
    others: list[int] = []
    thread = threading.Thread(target=lambda: others.append(pid()))

    first, second = pid(), pid()
    thread.start()
    thread.join()

    assert first == second
    assert others[0] != first


def test_each_question_reads_a_snapshot_of_its_own(database):
    query = "SELECT count(*) AS n FROM report.course WHERE course = 'SEEN-LATER'"
    before = postgres.table(query).to_pylist()

    run("INSERT INTO course (code, title) VALUES ('SEEN-LATER', 'Seen later')")
    after = postgres.table(query).to_pylist()

    assert (before, after) == ([{"n": 0}], [{"n": 1}])


def test_a_connection_that_ended_is_opened_anew(database):
    first = pid()

    run(f"SELECT pg_terminate_backend({first}, 5000)")

    assert pid() != first


def test_a_question_that_is_wrong_is_told_and_the_connection_goes_on(database):
    first = pid()

    with pytest.raises(adbc.Error, match="nowhere"):
        postgres.table("SELECT 1 FROM nowhere")

    assert pid() == first
