"""Storms over many processes whose every line leads through a proxy: crowds, broken lines, bulk."""

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from tests import world as worlds
from tests.faults import nemesis
from tests.faults.checker import check, told, wait_until_settled
from tests.faults.nemesis import storm
from tests.faults.senders import post_all, redemption
from tests.faults.system import OPERATOR, System, hint, patiently, running_system
from worker import batches
from worker.database import session as transaction_of
from worker.database import transaction

FULL = os.environ.get("FAULTS") == "full"


def size(short: int, full: int) -> int:
    return full if FULL else short


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    home = tmp_path_factory.mktemp("crowd") / "home"
    with running_system(home, workers=size(2, 4), beats=size(2, 5), proxied=True) as running:
        yield running


def requests(system: System, count: int, who: str) -> list:
    return [
        redemption(key, f"{who}{n}@example.org") for n, key in enumerate(system.add_keys(count))
    ]


def test_beats_settlers_and_wrong_clocks_in_plenty_lose_and_double_nothing(system, chance):
    messages = requests(system, size(200, 20_000), "crowd")
    port = system.lines["web"].port

    sending = post_all(system, messages, per_second=400, skews=(-240, 0, 240), port=port)
    while not sending.done:
        for _ in range(8):
            hint("settle")
        time.sleep(0.5)
    history = sending.join()

    check(history, folder=system.folder)
    told("crowd", faults=0, history=history)
    assert history.refusals == set()
    assert len(history.acknowledged) == len(messages)


@pytest.mark.parametrize("fault", nemesis.LINES, ids=lambda fault: fault.__name__)
def test_a_line_that_breaks_loses_and_doubles_nothing(system, chance, fault):
    messages = requests(system, size(40, 2_000), fault.__name__)
    port = system.lines["web"].port

    sending = post_all(system, messages, per_second=size(20, 40), port=port)
    storm(system, fault, times=size(1, 10), pause=0.5, chance=chance)
    history = sending.join()

    check(history, folder=system.folder)
    told(fault.__name__, faults=size(1, 10), history=history)
    assert history.refusals <= {503}
    assert len(history.acknowledged) == len(messages)


@pytest.mark.parametrize("point", ["before-commit-work_chunk", "after-commit-work_chunk"])
def test_a_worker_gone_amid_a_generation_makes_no_key_too_few_or_too_many(system, point):
    with transaction_of() as session:
        batch = batches.generate(session, actor=OPERATOR, pool=system.pool, count=60_000)

    fired = nemesis.armed(system, point)
    hint("work_batches")
    nemesis.wait_for(fired)

    counted = text("SELECT count(*) FROM key WHERE batch_id = :id")
    patiently(lambda: _state(batch["id"]) == "done", 120)
    with transaction_of() as session:
        assert session.scalar(counted, {"id": int(batch["id"])}) == 60_000


@pytest.mark.parametrize("point", ["before-commit-bill", "after-commit-bill"])
def test_a_worker_gone_amid_billing_bills_all_five_missed_months_once(system, point):
    now = datetime.fromtimestamp(time.time(), UTC)
    with transaction_of() as session:
        world = worlds.build(session)
        session.execute(text("UPDATE price SET valid_from = '2020-01-01'"))
        for months, key in enumerate(world.keys(5), 1):
            at = now - timedelta(days=31 * months)
            world.request(key, f"month{months}@example.org", at=at)
    # Armed first: a hint of the test before may still be under way, and bill at once.
    fired = nemesis.armed(system, point)
    hint("settle")
    wait_until_settled()

    hint("bill")
    nemesis.wait_for(fired)
    hint("bill")

    invoiced = text(
        "SELECT count(DISTINCT month) FROM invoice JOIN invoice_charge"
        " ON invoice_id = invoice.id WHERE organization_id = :id"
    )
    with_parent = {"id": world.parent}
    patiently(lambda: transaction(lambda s: s.scalar(invoiced, with_parent)) == 5, 120)
    check(post_all(system, []).join(), folder=system.folder)


def _state(batch: str) -> str:
    with transaction_of() as session:
        return str(batches.show(session, actor=OPERATOR, batch=batch)["state"])
