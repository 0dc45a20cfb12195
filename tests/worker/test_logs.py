import errno
import io
import json
import logging
import socket
import sys
from importlib.metadata import version

import pytest
import structlog

from worker import logs
from worker.settings import settings

SECRETS = [
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "kp_3q2-7wabcdefghijklmnopqrstuvwxyz0123456789",
    "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=",
    "ann.o'neil+x@example.co.uk",
    "K7QM-9ABC-DEFG-HJKM",
    "keypool:hunter2",
    ":hunter2",
    "a" * 100 + "@example.com",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_what_is_secret_is_masked_wherever_it_stands_in_a_line(secret):
    address = f"://{secret}@host" if ":" in secret else secret

    line = logs.mask(None, "info", {"event": f"it was {address}.", "count": 3})

    assert secret not in line["event"]
    assert line["count"] == 3


@pytest.mark.parametrize(
    "harmless", ["request", "/api/v1/pools/<pool>", "2026-03-01T09:30:00Z", "K8S-101 at 10:30"]
)
def test_what_is_harmless_is_left_alone(harmless):
    assert logs.mask(None, "info", {"event": harmless})["event"] == harmless


@pytest.fixture
def as_json(monkeypatch):
    """Log as JSON to what the test reads, and put everything back."""
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    before = structlog.get_config(), logs._target, logging.getLogger().handlers[:]
    monkeypatch.setenv("KEYPOOL_LOG_FORMAT", "json")
    settings.cache_clear()
    logs.configure()
    yield written
    monkeypatch.undo()
    settings.cache_clear()
    structlog.configure(**before[0])
    logs._target, logging.getLogger().handlers[:] = before[1:]
    logs._logger.cache_clear()


def test_our_lines_and_those_of_libraries_are_json_alike_and_masked(as_json):
    logging.getLogger("library").warning("mail for %s", "ann@example.com")
    try:
        raise ValueError("ann@example.com")
    except ValueError:
        logs.log.exception("it failed", source=7)

    library, ours = map(json.loads, as_json.getvalue().splitlines())
    assert (library["event"], library["level"]) == ("mail for …", "warning")
    assert (ours["event"], ours["source"]) == ("it failed", 7)
    assert "ann@example.com" not in ours["exception"]


def test_every_line_names_its_service_host_and_version(as_json, monkeypatch):
    monkeypatch.setattr(sys, "stderr", as_json)
    logs.configure("beat")

    logs.log.info("ours")
    logging.getLogger("library").warning("theirs")

    lines = [json.loads(line) for line in as_json.getvalue().splitlines()]
    named = {(line["service"], line["host"], line["version"]) for line in lines}
    assert named == {("beat", socket.gethostname(), version("keypool"))}


def test_a_command_writes_what_matters_of_ours_and_of_libraries(as_json, monkeypatch):
    monkeypatch.setattr(sys, "stderr", as_json)
    logs.configure(ours=logging.WARNING, others=logging.WARNING)

    for log in (logs.log, logging.getLogger("library")):
        log.info("it went on")
        log.warning("it matters")

    told = [json.loads(line)["event"] for line in as_json.getvalue().splitlines()]
    assert told == ["it matters"] * 2


class FullDisk(io.StringIO):
    """A file on a disk that is full."""

    def write(self, _text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_line_that_cannot_be_written_stops_nobody():
    file = logs.Unfailing(FullDisk())

    file.write("a line")
    file.flush()

    kept = io.StringIO()
    logs.Unfailing(kept).write("a line")
    assert kept.getvalue() == "a line"


@pytest.mark.parametrize(
    "forged", ['x\n{"event": "forged"}', "x\r\nforged", "x\u2028forged", "\x1b[2K"]
)
def test_a_value_with_line_breaks_is_one_line(as_json, forged):
    logs.log.info("it happened", actor=forged)
    logging.getLogger("library").warning("it said %s", forged)

    written = as_json.getvalue()
    assert len(written.splitlines()) == 2
    assert "\x1b" not in written
    assert json.loads(written.splitlines()[0])["actor"] == forged
