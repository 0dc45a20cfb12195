"""Batches: chunk by chunk, in turn, and whatever dies meanwhile."""

import csv
import io
import os
import random
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress

import numpy as np
import psutil
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from tests import world as worlds
from tests.conftest import SCHEMA, Addresses, pass_time
from tests.waiting import eventually, somebody_waits_for_a_lock
from tests.world import OPERATOR, World
from worker import errors
from worker.database import connections
from worker.pools import batches, codes, importing, keys, making, pools, reading
from worker.tenancy.actors import Actor, Role

HOUSE = SCHEMA.parent
# Forks a worker for each line that it is sent: to import what one needs takes longer than its work.
WORKERS = """
import os, signal, sys
from worker.database import connections
from worker.pools import batches, importing, making
making.KEYS_PER_CHUNK = importing.LINES_PER_CHUNK = 2_000
signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
for _ in sys.stdin:
    if worker := os.fork():
        print(worker, flush=True)
    else:
        while True:
            connections.transaction(batches.work_chunk)
"""


@pytest.fixture
def world(session: Session) -> World:
    return worlds.build(session)


@pytest.fixture
def committed(fresh_database: Addresses) -> World:
    """A world that other transactions and processes see."""
    with connections.session() as opened:
        return worlds.build(opened)


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "KEYS_PER_CHUNK", 100)
    monkeypatch.setattr(importing, "LINES_PER_CHUNK", 100)


def generate(world: World, count: int) -> str:
    return batches.generate(world.session, actor=OPERATOR, pool=world.pool, count=count)["id"]


def import_lines(world: World, lines: list[str]) -> str:
    """Import lines as a batch, however few they are."""
    stream = io.BytesIO("\n".join(lines).encode())
    return stage(world, reading.opened(stream))


def stage(world: World, given: reading.Input) -> str:
    """Import an input as a batch, however small it is."""
    blocks = given.keys()
    staged = batches.stage(
        world.session, actor=OPERATOR, pool=world.pool, blocks=blocks, read=given.read
    )
    return staged["id"]


def show(world: World, batch: str) -> dict:
    return batches.show(world.session, actor=OPERATOR, batch=batch)


def finish(world: World) -> list[int]:
    """Work until nothing is left; gives what each chunk made."""
    made = []
    while (chunk := batches.work_chunk(world.session)) is not None:
        made.append(chunk)
    return made


def report(world: World, batch: str) -> dict:
    return batches.report(world.session, actor=OPERATOR, batch=batch)


def counted(world: World) -> int:
    return world.figures("SELECT count(*) AS n FROM key").n


# Generating


@pytest.mark.usefixtures("small_chunks")
def test_a_generation_makes_exactly_what_was_requested(world):
    batch = generate(world, 250)

    made = finish(world)

    assert made == [100, 100, 50]
    shown = show(world, batch)
    assert [shown[f] for f in ("requested", "worked", "made", "state")] == [250, 250, 250, "done"]
    assert pools.show(world.session, actor=OPERATOR, pool=world.pool)["keys"]["issued"] == 250


def test_generated_keys_are_of_the_generated_form(world):
    generate(world, 50)

    finish(world)

    page = keys.listing(world.session, actor=OPERATOR, pool=world.pool)
    assert [k["code"] for k in page.items if codes.is_mistyped(k["code"])] == []
    assert world.figures("SELECT bool_and(generated) AS all_of_them FROM key").all_of_them


@pytest.mark.usefixtures("small_chunks")
def test_a_batch_goes_through_the_alphabet_as_it_planned(world):
    generate(world, 450)
    finish(world)

    letters = world.session.scalars(text("SELECT left(code, 1) FROM key ORDER BY id")).all()
    planned = world.figures("SELECT letters FROM batch").letters

    assert [letters.count(letter) for letter in codes.ALPHABET[10:]] == planned
    chunk_ends = [max(letters[at : at + 100]) for at in range(0, 450, 100)]
    assert chunk_ends == sorted(chunk_ends)


def test_a_pool_is_topped_up_by_the_same_call(world):
    for _ in range(2):
        generate(world, 10)
        finish(world)

    assert counted(world) == 20


@pytest.mark.parametrize("count", [0, -5, 10**12, True, "12", 1.5, None])
def test_an_absurd_count_is_refused(world, count):
    with pytest.raises(errors.InvalidInputError, match="give a whole number from 1") as refused:
        generate(world, count)

    assert refused.value.field == "count"


def test_a_foreign_pool_is_not_found(world):
    stranger = Actor("stranger", Role.MANAGER, world.sibling)

    with pytest.raises(errors.NotFoundError):
        batches.generate(world.session, actor=stranger, pool=world.pool, count=1)


def test_a_foreign_batch_is_not_found(world):
    batch = generate(world, 5)
    stranger = Actor("stranger", Role.MANAGER, world.sibling)

    for act in (batches.show, batches.cancel, batches.report, batches.report_csv):
        with pytest.raises(errors.NotFoundError, match="There is no batch"):
            act(world.session, actor=stranger, batch=batch)


@pytest.mark.parametrize("batch", ["", "x", "0", "9" * 30])
def test_an_unknown_batch_is_not_found(world, batch):
    with pytest.raises(errors.NotFoundError, match="There is no batch"):
        show(world, batch)


# Codes that clash


def deaf(monkeypatch: pytest.MonkeyPatch, *, times: int) -> None:
    """Let the source of randomness say the same, so many times."""
    genuine, calls = codes.random_bytes, []

    def stuttering(count: int) -> codes.Symbols:
        calls.append(count)
        return np.zeros(count, np.uint8) if len(calls) <= times else genuine(count)

    monkeypatch.setattr(codes, "random_bytes", stuttering)


def test_codes_that_clash_in_a_chunk_cost_no_key(world, monkeypatch):
    deaf(monkeypatch, times=1)
    batch = generate(world, 300)

    finish(world)

    assert (show(world, batch)["made"], counted(world)) == (300, 300)


def test_codes_that_clash_with_keys_that_exist_cost_no_key(world, monkeypatch):
    deaf(monkeypatch, times=4)
    for _ in range(3):
        generate(world, 40)

    finish(world)

    assert counted(world) == 120


# Turns


@pytest.mark.usefixtures("small_chunks")
def test_a_small_batch_need_not_wait_for_a_large_one(world):
    large = [generate(world, 10_000) for _ in range(9)]
    small = generate(world, 100)

    for _ in range(10):
        batches.work_chunk(world.session)
        pass_time(world.session, seconds=1)

    assert show(world, small)["state"] == "done"
    assert [show(world, batch)["made"] for batch in large] == [100] * 9


@pytest.mark.usefixtures("small_chunks")
def test_batches_take_turns(world):
    first, second = generate(world, 300), generate(world, 300)
    turns = []

    for _ in range(4):
        batches.work_chunk(world.session)
        pass_time(world.session, seconds=1)
        turns.append((show(world, first)["made"], show(world, second)["made"]))

    assert turns == [(100, 0), (100, 100), (200, 100), (200, 200)]


def test_nothing_to_work_is_none(world):
    assert batches.work_chunk(world.session) is None


@pytest.mark.usefixtures("small_chunks")
def test_two_workers_work_different_batches(committed):
    for _ in range(2):
        connections.transaction(batches.generate, actor=OPERATOR, pool=committed.pool, count=150)

    with connections.session() as mine, connections.session() as yours:
        first, second = batches.work_chunk(mine), batches.work_chunk(yours)
        third = connections.transaction(batches.work_chunk)

    assert (first, second, third) == (100, 100, None)


# Progress, cancelling, failing


@pytest.mark.usefixtures("small_chunks")
def test_a_running_batch_tells_how_far_it_is(world):
    batch = generate(world, 400)
    queued = show(world, batch)

    batches.work_chunk(world.session)
    running = show(world, batch)

    assert [queued[f] for f in ("state", "per_second", "seconds_left")] == ["queued", None, None]
    assert [running[f] for f in ("state", "worked")] == ["running", 100]
    assert running["per_second"] > 0
    assert running["seconds_left"] is not None


def test_batches_are_listed_newest_first(world):
    made = [generate(world, count) for count in (1, 2, 3)]

    page = batches.listing(world.session, actor=OPERATOR, filters=batches.Filters(pool=world.pool))

    assert [item["id"] for item in page.items] == made[::-1]


@pytest.mark.usefixtures("small_chunks")
def test_a_cancelled_batch_keeps_what_it_made(world):
    batch = generate(world, 400)
    batches.work_chunk(world.session)

    cancelled = batches.cancel(world.session, actor=OPERATOR, batch=batch)

    assert (cancelled["state"], cancelled["made"]) == ("cancelled", 100)
    assert finish(world) == []
    assert counted(world) == 100


def test_what_is_finished_cannot_be_cancelled(world):
    batch = generate(world, 5)
    finish(world)

    with pytest.raises(errors.BatchFinishedError, match="done already"):
        batches.cancel(world.session, actor=OPERATOR, batch=batch)


@pytest.mark.usefixtures("small_chunks")
def test_cancelling_waits_for_the_chunk_that_is_being_worked(committed):
    asked = connections.transaction(
        batches.generate, actor=OPERATOR, pool=committed.pool, count=300
    )
    cancelled = []

    def cancelling() -> None:
        cancelled.append(connections.transaction(batches.cancel, actor=OPERATOR, batch=asked["id"]))

    with connections.session() as opened:
        batches.work_chunk(opened)
        canceller = threading.Thread(target=cancelling)
        canceller.start()
        assert eventually(somebody_waits_for_a_lock)
    canceller.join()

    assert (cancelled[0]["state"], cancelled[0]["made"]) == ("cancelled", 100)


@pytest.mark.usefixtures("small_chunks")
def test_a_chunk_that_fails_is_undone_and_tried_again(world, monkeypatch):
    batch = generate(world, 200)
    genuine = making.generate

    def failing(session: Session, batch_: object) -> int:
        genuine(session, batch_)
        session.execute(text("SELECT 1 / 0"))
        return 100

    monkeypatch.setattr(making, "generate", failing)
    assert batches.work_chunk(world.session) == 0
    assert counted(world) == 0
    assert batches.work_chunk(world.session) is None  # it rests

    monkeypatch.setattr(making, "generate", genuine)
    pass_time(world.session, seconds=60)
    finish(world)

    assert show(world, batch)["state"] == "done"
    assert counted(world) == 200


def test_an_interrupt_amid_a_statement_is_no_failure_of_its_chunk(committed, monkeypatch, caplog):
    def work(session: Session, batch: object) -> int:
        driver = session.connection().connection.driver_connection
        driver.pgconn.send_query(b"SELECT pg_sleep(0.1)")  # an interrupt may leave it so
        raise KeyboardInterrupt

    batch = connections.transaction(
        batches.generate, actor=OPERATOR, pool=committed.pool, count=1_000
    )["id"]
    with monkeypatch.context() as patched:
        patched.setattr(making, "generate", work)
        with pytest.raises(KeyboardInterrupt):
            connections.transaction(batches.work_chunk)
    while connections.transaction(batches.work_chunk) is None:
        time.sleep(0.05)  # until the statement ends and PostgreSQL sees that nobody waits for it

    assert connections.transaction(batches.show, actor=OPERATOR, batch=batch)["state"] == "done"
    assert caplog.text == ""


def test_a_batch_that_fails_for_good_says_why_and_lets_others_go_on(world, monkeypatch):
    batch, other = generate(world, 200), import_lines(world, ["AAAA-0001"])
    monkeypatch.setattr(making, "generate", lambda s, _: s.execute(text("SELECT 1 / 0")))

    for _ in range(10):
        batches.work_chunk(world.session)
        pass_time(world.session, seconds=60)

    failed = show(world, batch)
    assert (failed["state"], failed["error"]) == ("failed", "division by zero")
    assert show(world, other)["state"] == "done"


# Death


@pytest.fixture
def workers(fresh_database: Addresses) -> Iterator[Callable[[], psutil.Process]]:
    """Start real processes that work batches; those that are left die with the test."""
    environment = {**os.environ, **fresh_database.environment(), "PYTHONPATH": str(HOUSE)}
    command, pipe = [sys.executable, "-c", WORKERS], subprocess.PIPE
    started: list[psutil.Process] = []

    def start() -> psutil.Process:
        print(file=forking.stdin, flush=True)
        started.append(psutil.Process(int(forking.stdout.readline())))
        return started[-1]

    with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True) as forking:
        yield start
        for process in started:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        forking.kill()


def worked(batch: str) -> dict:
    return connections.transaction(batches.show, actor=OPERATOR, batch=batch)


@pytest.mark.parametrize("kind", ["generate", "import"])
def test_a_batch_that_is_killed_at_random_moments_makes_every_key_once(
    committed, workers, kind, monkeypatch
):
    monkeypatch.setattr(importing, "LINES_PER_CHUNK", 2_000)
    chance = random.Random(7)  # noqa: S311  # repeatable, not secret
    count = 60_000
    with connections.session() as opened:
        world = World(opened, *list(vars(committed).values())[1:])
        lines = [f"KEY-{n:08}" for n in range(count)]
        batch = generate(world, count) if kind == "generate" else import_lines(world, lines)
    killed = 0

    while worked(batch)["state"] != "done":
        process = workers()
        before, due = worked(batch)["worked"], time.monotonic() + 20
        while worked(batch)["worked"] == before and time.monotonic() < due:
            time.sleep(0.02)
        time.sleep(chance.uniform(0, 0.3))
        killed += process.is_running()
        process.kill()
        process.wait()

    assert killed > 2
    assert worked(batch)["made"] == count
    with connections.session() as opened:
        made = opened.execute(text("SELECT count(*), count(DISTINCT canonical) FROM key")).one()
        tallied = pools.show(opened, actor=OPERATOR, pool=committed.pool)["keys"]["issued"]
    assert (*made, tallied) == (count, count, count)


# Importing


@pytest.mark.usefixtures("small_chunks")
def test_an_imports_lines_come_to_the_same_results_in_any_number_of_chunks(world):
    world.session.execute(
        text("INSERT INTO key (pool_id, code) VALUES (:pool, 'THERE-001'), (:pool, 'THERE-002')"),
        {"pool": int(world.pool)},
    )
    lines = [f"AAAA-{n:04}" for n in range(250)]
    lines[5] = "there 001"
    lines[40], lines[160] = "=1+1", "short"
    lines[50] = lines[240] = "aaaa-0000"
    lines[120] = "THERE.002"
    lines[249] = "THERE-001"

    batch = import_lines(world, lines)
    finish(world)

    told = report(world, batch)
    assert [(line["line"], line["result"]) for line in told["refused"]] == [
        (6, "already_exists"),
        (41, "invalid"),
        (51, "duplicate_in_input"),
        (121, "already_exists"),
        (161, "invalid"),
        (241, "duplicate_in_input"),
        (250, "duplicate_in_input"),
    ]
    assert (told["added"], show(world, batch)["worked"]) == (243, 250)


@pytest.mark.usefixtures("small_chunks")
def test_an_imports_report_has_every_line_as_csv(world):
    lines = [f"AAAA-{n:04}" for n in range(250)]
    lines[3], lines[99], lines[249] = "=1+1", "", '@"x'
    batch = import_lines(world, lines)
    batches.work_chunk(world.session)

    written = b"".join(batches.report_csv(world.session, actor=OPERATOR, batch=batch)).decode()
    rows = list(csv.DictReader(io.StringIO(written, newline="")))

    assert [int(row["line"]) for row in rows] == [*range(1, 100), *range(101, 251)]
    assert [row["code"] for row in rows if row["result"] == "invalid"] == ["'=1+1", "'@\"x"]
    results = [row["result"] for row in rows]
    assert (results.count("added"), results.count("invalid"), results.count("")) == (100, 2, 147)


def test_a_report_tells_the_first_1000_refused_lines_and_counts_all(world):
    batch = import_lines(world, ["AAAA-0001", *["no"] * 1500, *["AAAA-0001"] * 20])
    finish(world)

    told = report(world, batch)

    assert len(told["refused"]) == 1000
    assert [told[f] for f in ("added", "invalid", "duplicate_in_input")] == [1, 1500, 20]


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("between", [3, 150])
def test_a_known_key_in_two_spellings_of_which_one_is_unlike_the_others_is_told_twice(
    world, between
):
    keys.add_keys(world.session, actor=OPERATOR, pool=world.pool, codes=["AAAA-0001"])
    batch = import_lines(
        world, ["AAAA0001", *(f"BBBB-{n:04}" for n in range(between)), "AAAA-0001"]
    )

    finish(world)

    shown = report(world, batch)
    assert show(world, batch)["state"] == "done"
    assert [shown[f] for f in ("added", "duplicate_in_input", "already_exists", "invalid")] == [
        between, 1, 1, 0,
    ]  # fmt: skip


@pytest.mark.usefixtures("small_chunks")
def test_an_import_of_nothing_but_bad_lines_is_done_too(world):
    batch = import_lines(world, ["no"] * 250)

    finish(world)

    shown = show(world, batch)
    assert [shown[f] for f in ("worked", "made", "state")] == [250, 0, "done"]


@pytest.mark.usefixtures("small_chunks")
def test_a_batch_knows_for_whom_its_keys_are_until_they_are_made_and_no_longer(world):
    rows = "\n".join(f"AAAA-{n:04},r{n % 3}@example.com,O-{n % 2}" for n in range(150))
    stream = io.BytesIO(f"key,email,order\n{rows}".encode())
    batch = stage(world, reading.opened(stream))

    batches.work_chunk(world.session)
    waiting = world.figures("SELECT count(recipients) AS n FROM batch_chunk").n
    batches.cancel(world.session, actor=OPERATOR, batch=batch)

    assert waiting == 1
    assert world.figures("SELECT count(recipients) AS n FROM batch_chunk").n == 0
    held = world.figures(
        "SELECT count(DISTINCT distribution_id) AS recipients, count(distribution_id) AS keys FROM key"
    )
    assert (held.recipients, held.keys) == (6, 100)


def test_a_key_that_was_recalled_and_is_imported_again_for_its_recipient_is_theirs(world):
    world.session.execute(
        text(
            "INSERT INTO distribution (pool_id, recipient, recalled_at)"
            " VALUES (:pool, 'ann@example.com', now())"
        ),
        {"pool": int(world.pool)},
    )
    content = b"key,email\nAAAA-0001,Ann@example.com\n"

    keys.import_keys(world.session, actor=OPERATOR, pool=world.pool, stream=io.BytesIO(content))

    held = world.figures("SELECT recalled_at, (SELECT count(*) FROM key) AS n FROM distribution")
    assert (held.recalled_at, held.n) == (None, 1)


@pytest.mark.usefixtures("small_chunks")
def test_two_imports_of_overlapping_files_at_once_add_each_key_once(committed):
    lines = [f"KEY-{n:06}" for n in range(3000)]
    with connections.session() as opened:
        world = World(opened, *list(vars(committed).values())[1:])
        first = import_lines(world, lines[:2000])
        second = import_lines(world, lines[:999:-1])

    def working() -> None:
        while connections.transaction(batches.work_chunk) is not None:
            pass

    racers = [threading.Thread(target=working) for _ in range(2)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()

    with connections.session() as opened:
        reports = [batches.report(opened, actor=OPERATOR, batch=batch) for batch in (first, second)]
        made = opened.execute(text("SELECT count(*) FROM key")).scalar_one()
    assert made == 3000
    assert sum(told["added"] for told in reports) == 3000
    assert sum(told["already_exists"] for told in reports) == 1000


def test_a_long_file_is_staged_in_constant_memory(committed):
    class Rows(io.RawIOBase):
        """A file of so many keys, made as it is read."""

        def __init__(self, count: int) -> None:
            self.rows = (f"KEY-{n:010}\n".encode() for n in range(count))

        def read(self, size: int = -1) -> bytes:
            return b"".join(row for row, _ in zip(self.rows, range(size // 15), strict=False))

    def peak(count: int) -> int:
        with connections.session() as opened:
            tracemalloc.start()
            keys.import_keys(opened, actor=OPERATOR, pool=committed.pool, stream=Rows(count))
            highest = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            return highest

    assert peak(360_000) < 1.5 * peak(120_000)
