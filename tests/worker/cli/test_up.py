"""Everything on one machine: up, sent to, asked, stopped; and reports, which need its servers."""

import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from worker.cli.up import first_token
from worker.database.connections import transaction
from worker.machine import embedded

KEYPOOL = [sys.executable, "-c", "from worker.cli import main; main()"]
OWN = {k: v for k, v in os.environ.items() if not k.startswith("KEYPOOL_")}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("up") / "home"


@pytest.fixture(scope="module")
def port():
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return trial.getsockname()[1]


@pytest.fixture(scope="module")
def up(home, port):
    """The process of a system; a test may end it."""
    home.mkdir()
    with (
        (home / "told").open("w") as told,
        subprocess.Popen(
            [*KEYPOOL, "up", "--port", str(port), "--json"],
            env={**OWN, "KEYPOOL_HOME": str(home)},
            stdout=subprocess.PIPE,
            stderr=told,
            text=True,
        ) as process,
    ):
        yield process
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=300)


@pytest.fixture(scope="module")
def system(up):
    """What a system that is up printed."""
    printed = ""
    while not printed.endswith("}\n"):
        printed += (line := up.stdout.readline())
        assert line, "it ended before it was up"
    return json.loads(printed)


@pytest.fixture(scope="module")
def keypool(home):
    """Run another command on that system, as a process of its own, and give what it printed."""

    def run(*words: str, code: int = 0) -> dict:
        done = subprocess.run(
            [*KEYPOOL, *words, "--json"],
            env={**OWN, "KEYPOOL_HOME": str(home)},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.fixture(scope="module")
def shop(system, keypool):
    """An organization's source, and a pool with two keys."""
    keypool("organizations", "add", "Acme")
    keypool("courses", "add", "A-1", "A", "--price", "1", "--currency", "EUR")
    keypool(
        "pools", "create", "--name", "P", "--organization", "Acme", "--course", "A-1",
        "--starts", "2020-01-01", "--expires", "2090-01-01", "--content-availability", "30",
    )  # fmt: skip
    keypool("keys", "add", "P", "ACME-KEY-0001", "ACME-KEY-0002")
    return keypool("sources", "add", "shop", "--organization", "Acme")


def test_a_system_that_is_up_says_where_to_go_and_is_ready(system):
    answer = httpx.get(system["ready"], trust_env=False)

    assert set(system) == {"url", "console", "begin", "ready", "openapi", "home", "token"}
    assert answer.status_code == 200


def test_each_service_is_told_of_once_it_is_up(system, home):
    told = re.findall(r"^ *\d+\.\d s  (.+) up\.$", (home / "told").read_text(), re.M)

    assert told[0] == "PostgreSQL and Redis are"
    assert sorted(told[1:]) == ["The scheduler is", "The web is", "The worker is"]


def test_the_first_token_opens_the_api(system):
    bearer = {"authorization": f"Bearer {system['token']}"}

    answer = httpx.get(f"{system['url']}/api/v1/pools", headers=bearer, trust_env=False)

    assert answer.status_code == 200


def test_an_event_is_sent_signed_and_its_outcome_printed(system, shop, keypool):
    sent = keypool(
        "send", system["url"] + shop["url"], "--secret", shop["secret"], "--wait", "10",
        "redemption.requested", "key=acme key 0001", "learner.email=ann@example.org",
    )  # fmt: skip

    [answer] = sent["items"]
    assert (answer["status"], answer["answer"]["outcome"]) == (200, "redeemed")
    assert keypool("pools", "show", "P")["keys"]["redeemed"] == 1


def test_a_file_of_events_is_sent_in_its_order_and_a_refused_one_exits_with_1(
    system, shop, keypool, tmp_path
):
    learners = [f"{secrets.token_hex(4)}@example.org" for _ in range(2)]
    data = [{"key": "ACME-KEY-0002", "learner": {"email": email}} for email in learners]
    events = [{"type": "redemption.requested", "data": one} for one in data]
    file = tmp_path / "events.ndjson"
    file.write_text("\n".join(map(json.dumps, [*events, {"type": "no.such", "data": {}}])))

    sent = keypool(
        "send", system["url"] + shop["url"], "--secret", shop["secret"], "--file", str(file), code=1
    )

    assert [one["status"] for one in sent["items"]] == [200, 200, 422]
    assert [one["answer"].get("outcome") for one in sent["items"][:2]] == [
        "redeemed", "already_redeemed",
    ]  # fmt: skip
    assert (sent["taken"], sent["refused"]) == (2, 1)


def test_what_nobody_waits_for_the_worker_does(shop, keypool):
    batch = keypool("keys", "generate", "P", "1000", "--no-wait")

    deadline = time.monotonic() + 120
    while (shown := keypool("batches", "show", batch["id"]))["state"] != "done":
        assert time.monotonic() < deadline
    assert shown["made"] == 1000


def test_reports_are_listed_and_run(shop, keypool, tmp_path):
    listed = keypool("reports", "list")
    made = keypool("reports", "run", "redemptions", "-o", str(tmp_path / "report.html"))

    assert "redemptions" in [report["name"] for report in listed["items"]]
    assert Path(made["file"]).read_text().lstrip().startswith("<!DOCTYPE html>")


def test_a_notebook_that_there_is_not_is_refused(shop, keypool):
    told = keypool("reports", "run", "no such notebook", code=2)

    assert told["error"] == "not_found"


def test_a_port_that_is_taken_is_refused(system, home, port):
    done = subprocess.run(
        [*KEYPOOL, "up", "--port", str(port)],
        env={**OWN, "KEYPOOL_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"Port {port} is taken; choose another.\n"


def test_the_first_token_is_made_once(database):
    first, second = transaction(first_token), transaction(first_token)

    assert first.startswith("kp_")
    assert second is None


def test_an_interrupt_ends_everything_in_order(system, up, home):  # the last of these: it ends it
    up.send_signal(signal.SIGINT)
    up.wait(timeout=300)

    assert up.returncode == 0
    assert embedded.running(home) is None
