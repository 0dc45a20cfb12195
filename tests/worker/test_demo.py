"""The demo: the whole of keypool in one run, and nothing left of it, however it ends."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from sqlalchemy import text

from tests.waiting import eventually
from worker import simulation
from worker.audit import auditing
from worker.billing import invoices
from worker.database.connections import clock_now, session, transaction
from worker.demo import past, traffic, world
from worker.errors import InvalidInputError
from worker.simulation import clock

# With a past a tenth as long: no test looks at how much there was before the demo's day.
BRIEFLY = "from worker.demo import past; past.FEWEST = 600; from worker.cli import main; main()"
DEMO = [sys.executable, "-c", BRIEFLY, "demo"]
SMALL = ["--keys", "200", "--redemptions", "60"]


# Stays at the line that tells of a moment, so that an interrupt comes then, however quick the demo is.
STAYS = """
import sys, time
from worker.cli import printing
tell, moment = printing.line, sys.argv.pop()
def stay(*lines):
    tell(*lines)
    if any(moment in line for line in lines):
        time.sleep(300)
printing.line = stay
"""


def environment(folder: Path, **more: str) -> dict[str, str]:
    """The environment of a demo whose scratch system lies in a folder."""
    known = {k: v for k, v in os.environ.items() if not k.startswith("KEYPOOL_")}
    (folder / "tmp").mkdir()
    return {**known, "TMPDIR": str(folder / "tmp"), "PYTHONUNBUFFERED": "1", **more}


def processes_of(folder: Path) -> list[str]:
    """Every process that works in a folder, or was started with its name."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            words = [process.cwd(), *process.cmdline(), *process.environ().values()]
            if process.pid != os.getpid() and any(str(folder / "tmp") in word for word in words):
                found.append(" ".join(process.cmdline()))
    return found


def test_the_main_job_runs_from_end_to_end_and_leaves_files_and_no_process(tmp_path):
    done = subprocess.run(
        [*DEMO, *SMALL, "--json"],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["ok"], told["unexpected"], told["broken"]) == (True, {}, [])
    assert set(told["outcomes"]) >= set(world.REFUSING) | {"redeemed", "launched", "401", "409"}
    assert told["figures"]["assignments expired"] > 0
    assert told["figures"]["charges billed"] == told["outcomes"]["redeemed"]
    files = [tmp_path / file for file in told["files"].values()]
    assert [file.suffix for file in files][:4] == [".html", ".csv", ".pdf", ".pdf"]
    assert all(file.stat().st_size for file in files)
    assert world.ORDERS[0][1] in files[1].read_text()  # keys are handed out
    assert past.POOLS[1][1] in files[0].read_text()  # there was something before
    assert eventually(lambda: processes_of(tmp_path) == [])
    assert list((tmp_path / "tmp").glob("keypool-*")) == []


@pytest.mark.parametrize(
    ("moment", "ending"),
    [
        (None, signal.SIGINT),  # while the servers start
        ("are up", signal.SIGTERM),
        ("are made", signal.SIGINT),
        ("are received", signal.SIGINT),
    ],
)
def test_an_interrupt_at_any_time_leaves_no_process_behind(tmp_path, moment, ending):
    with subprocess.Popen(
        [sys.executable, "-c", STAYS + BRIEFLY, "demo", *SMALL, moment or "the end"],
        cwd=tmp_path,
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as demo:
        if moment is None:
            while not list((tmp_path / "tmp").glob("keypool-scratch-*/run/lease")):
                time.sleep(0.01)
        else:
            next(line for line in demo.stdout if moment in line)
        demo.send_signal(ending)
        _, told = demo.communicate(timeout=300)

    assert demo.returncode == 128 + ending, told
    assert "Traceback" not in told
    assert eventually(lambda: processes_of(tmp_path) == [])
    assert list((tmp_path / "tmp").glob("keypool-*")) == []


def test_a_demo_on_servers_that_are_set_uses_a_database_of_its_own(servers, tmp_path):
    given = environment(tmp_path, **servers.environment())

    done = subprocess.run(
        [*DEMO, *SMALL, "--json"],
        cwd=tmp_path,
        env=given,
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ok"] is True


def test_a_clock_that_is_moved_moves_for_the_block_alone(database):
    with session() as opened:
        before = clock_now(opened)

    with clock.later(timedelta(days=40)), session() as opened:
        moved = clock_now(opened)

    with session() as opened:
        after = clock_now(opened)
        assert opened.execute(text("SELECT 1")).scalar_one() == 1
    assert timedelta(days=40) <= moved - before < timedelta(days=40, minutes=5)
    assert after - before < timedelta(minutes=5)


def test_the_year_before_holds_by_every_rule_and_its_invoices_lack_nothing(fresh_database):
    lived = transaction(simulation.relive, past.draw, months=12, redemptions=500)
    transaction(world.complete)
    simulation.bill(reports=False)

    with session() as opened:
        told = invoices.listing(opened, actor=world.ACTOR, limit=200).items
        shown = {one["organization"]: one for one in told if one["status"] != "draft"}
        last = [
            invoices.show(opened, actor=world.ACTOR, invoice=one["id"]) for one in shown.values()
        ]
    checks = transaction(auditing.audit)["checks"]
    assert lived["redemption"] == 500
    assert [check for check in checks if not check["ok"]] == []
    assert set(shown) == {past.ACADEMY, past.AMERICAS, past.RIDGEWAY}
    assert {one["status"] for one in told} >= {"paid", "finalized"}
    assert all(one["seller"]["bank"] and one["buyer"]["street"] for one in last)


@pytest.mark.parametrize("total", [50, 60, 200, 2_000, 100_000])
def test_the_parts_of_the_traffic_make_up_the_whole_and_each_kind_comes(total):
    shares = traffic.parts(total)

    assert shares.total() + shares["raced"] + len(traffic.AT_THE_DOOR) == total
    assert min(shares[kind] for kind in [*traffic.AWKWARD, "redeemed"]) >= 1


def test_too_few_redemptions_are_refused():
    with pytest.raises(InvalidInputError, match="50 redemptions or more"):
        traffic.parts(49)


def test_the_pools_get_all_keys_and_too_few_of_them_are_refused():
    shares = traffic.parts(2_000)

    wanted = world.needs(10_000, shares)

    assert sum(wanted.values()) == 10_000
    assert min(wanted.values()) > 0
    with pytest.raises(InvalidInputError, match="keys or more"):
        world.needs(1_000, shares)


def test_the_least_number_of_keys_that_is_asked_for_is_enough():
    shares = traffic.parts(60)

    with pytest.raises(InvalidInputError) as refused:
        world.needs(1, shares)

    least = int(str(refused.value).split(" need ")[1].split()[0].replace(",", ""))
    assert sum(world.needs(least, shares).values()) == least
    with pytest.raises(InvalidInputError):
        world.needs(least - 1, shares)


def test_mistyped_codes_look_like_keys_and_are_none():
    code = "K7QM-2222-3333-4444"

    mistyped = traffic.mistyped(code)

    assert mistyped[:-1] == code[:-1]
    assert traffic.codes.is_mistyped(mistyped)


def test_good_and_awkward_messages_are_counted_by_what_they_must_come_to():
    shares = traffic.parts(200)
    stock = {name: (f"{name}-{n:06}" for n in range(1000)) for name in (
        "redeemed", "workshop", "mistyped_key", "unknown_key", *world.REFUSING,
    )}  # fmt: skip

    planned = traffic.first(shares, stock, world.TREE)

    counted = Counter(one.expects for one in planned)
    assert counted["redeemed"] == shares["redeemed"] + shares["raced"]
    assert counted["already_redeemed"] == shares["raced"]
    assert all(counted[outcome] == shares[outcome] for outcome in world.REFUSING)
