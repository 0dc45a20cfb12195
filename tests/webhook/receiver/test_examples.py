"""docs/webhooks.md does what it says."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Addresses
from tests.webhook.conftest import settle
from tests.webhook.serving import Server, serving
from worker import signatures
from worker.outgoing import delivering
from worker.tables.labels import RedemptionOutcome

GUIDE = (Path(__file__).parents[3] / "docs" / "webhooks.md").read_text()


@pytest.fixture(scope="module")
def server(database: Addresses, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(database, tmp_path_factory.mktemp("web")) as running:
        yield running


def example(language: str) -> str:
    return str(examples(language)[0])


def examples(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", GUIDE, re.M | re.S)


@pytest.mark.parametrize(
    ("language", "command"),
    [("python", [sys.executable, "-"]), ("bash", ["bash", "-eu", "-o", "pipefail"])],
)
def test_the_examples_redeem_a_key(server, place, sender, settler, language, command):
    if language == "bash" and not (shutil.which("curl") and shutil.which("openssl")):
        pytest.skip("this machine has no curl or no openssl")
    [key] = place.keys()
    environment = os.environ | {
        "KEYPOOL_SOURCE_URL": server.url + sender.path,
        "KEYPOOL_SECRET": signatures.write_secret(sender.secret),
        "KEY": key,
    }
    address = f"{language}@example.com"

    done = subprocess.run(
        command,
        input=example(language).replace("ann@example.com", address),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    event = json.loads(done.stdout.removeprefix("200 "))
    assert (event["status"], event["outcome"]) == ("settled", "redeemed")


def test_the_answer_in_the_guide_has_the_fields_of_a_real_one(place, sender):
    [key] = place.keys()
    message = {
        "type": "redemption.requested",
        "timestamp": "2026-03-01T09:30:00Z",
        "data": {"key": key, "learner": {"email": "fields@example.com"}},
    }
    sender.post(message, webhook_id="fields")
    settle()

    real = sender.post(message, webhook_id="fields").json

    shown = json.loads(re.search(r"^```json\n(\{\"id\".*?)^```$", GUIDE, re.M | re.S)[1])
    assert set(shown) == set(real)


@pytest.mark.parametrize("outcome", [*RedemptionOutcome, "launched", "ended", "unknown_assignment"])
def test_the_guide_explains_every_outcome(outcome):
    assert f"`{outcome}`" in GUIDE


def test_the_example_tells_a_genuine_message_from_a_forged_one():
    names: dict[str, Any] = {}
    exec(examples("python")[1], names)  # noqa: S102  # it is ours
    is_genuine, secret, other = names["is_genuine"], b"s" * 32, b"o" * 32
    body, now = b'{"type": "pool.low"}', int(time.time())

    def judged(body_received: bytes = body, at: int = now) -> bool:
        headers = delivering.signed([other, secret], webhook_id="msg_1", timestamp=at, body=body)
        return bool(is_genuine(signatures.write_secret(secret), headers, body_received))

    assert judged()
    assert not judged(b'{"type": "pool.full"}')
    assert not judged(at=now - 600)
