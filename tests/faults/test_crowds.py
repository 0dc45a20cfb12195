"""Storms over many processes whose every line leads through a proxy, on a disk that can be full."""

import time
from collections.abc import Iterator

import pytest
from sqlalchemy import text

from tests.faults import bulk, clocks, disk, nemesis
from tests.faults.checker import check, told, wait_until_settled, waiting
from tests.faults.mixed import Storm, enough
from tests.faults.senders import History, post_all
from tests.faults.storms import each, name_of, requests, size, weathered
from tests.faults.system import System, hint, running_system
from worker.database.connections import session as transaction_of


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    home = tmp_path_factory.mktemp("crowd") / "home"
    sweep = {} if size(0, 1) else {"KEYPOOL_SETTLE_SWEEP": "1s"}
    settlers = {"KEYPOOL_SETTLERS": "8"}
    with (
        disk.small(home),
        running_system(
            home,
            workers=size(2, 4),
            beats=size(2, 5),
            proxied=True,
            pace=size(0.1, 1),
            visibility=size(4, 300),
            trees=size(2, 7),
            **sweep,
            **settlers,
        ) as running,
    ):
        yield running


def test_beats_settlers_and_wrong_clocks_in_plenty_lose_and_double_nothing(system, chance):
    messages = requests(system, size(200, 20_000), "crowd-")
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


@pytest.mark.parametrize("faults", each(nemesis.LINES), ids=name_of)
def test_a_line_that_breaks_loses_and_doubles_nothing(system, chance, faults):
    port = system.lines["web"].port

    weathered(
        system,
        chance,
        *faults,
        keys=size(100, 2_000),
        times=size(1, 10),
        rate=size(20, 40),
        port=port,
    )


@clocks.needed
@pytest.mark.parametrize("faults", each(nemesis.CLOCKS), ids=name_of)
def test_a_service_whose_clock_is_wrong_loses_and_doubles_nothing(system, chance, faults):
    some = chance.sample(faults, size(4, len(faults)))

    weathered(system, chance, *some, keys=size(100, 1_000), times=1, rate=size(20, 40))


def test_a_full_disk_loses_and_doubles_nothing(system, chance):
    if not system.home.is_mount():
        pytest.skip("tmpfs cannot be mounted here: that takes root")

    weathered(system, chance, nemesis.fill_disk, keys=size(100, 2_000), times=size(2, 10), rate=40)


def test_a_settler_that_slept_past_the_visibility_timeout_finds_its_work_done(system, chance):
    messages = requests(system, size(40, 2_000), "sleeper-")

    sending = post_all(system, messages, per_second=size(40, 20))
    with nemesis.asleep_amid_settling(system):
        history = sending.join()
        wait_until_settled()

    check(history, folder=system.folder)
    told("sleep_past_visibility", faults=1, history=history)


def test_what_was_left_by_hints_and_schedulers_is_settled_after_five_missed_periods(system, chance):
    messages = requests(system, size(20, 2_000), "missed-")

    with nemesis.no_beats(system):
        with nemesis.frozen_redis(system):
            history = post_all(system, messages).join()
            nemesis.empty_redis(system, chance)  # with the hints that wait at its door
        nemesis.miss_five_periods(system, chance)
        left = waiting()

    assert left, "no hint was lost"
    check(history, folder=system.folder)
    told("miss_five_periods", faults=1, history=history)


@pytest.mark.parametrize("fault", nemesis.BULK, ids=lambda fault: fault.__name__)
def test_a_worker_gone_amid_bulk_makes_every_key_and_bills_every_missed_month_once(
    system, chance, fault
):
    for _ in range(size(1, 10)):
        fault(system, chance)
    bulk.wait_until_done()

    check(History(), folder=system.folder)
    months = text("""
        SELECT count(DISTINCT month) FROM invoice JOIN invoice_charge ON invoice_id = invoice.id
         GROUP BY organization_id""")
    with transaction_of() as session:
        assert set(session.scalars(months)) <= {bulk.MONTHS}


@pytest.mark.timeout(3_600)  # what is mixed with poison may take minutes to be set apart
def test_all_of_it_at_once_loses_and_doubles_nothing(system, chance):
    storm = Storm(system, chance, keys=size(300, 1_000), rate=size(20, 60))

    faults = size(10, 200)
    storm.rage(going_on=enough(storm, faults=faults))

    assert storm.counts["faults"] >= faults
