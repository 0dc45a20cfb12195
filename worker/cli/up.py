"""`keypool up`: runs everything on this machine."""

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import rich_click as click

from worker.cli import printing
from worker.cli.frame import Command, deferred, wants_json
from worker.cli.system import operator, quieten, system

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

with deferred():
    from worker import settings as environment
    from worker.database import connections
    from worker.machine import embedded, supervisor
    from worker.redemption import waiting
    from worker.tenancy import actors, first_start, tokens

SERVICES = {"worker": "The worker", "beat": "The scheduler", "web": "The web"}
STALLED = 60  # seconds that the same event may wait at the head of the inbox


@click.command("up", cls=Command)
@click.option("--port", type=click.IntRange(1, 65535), default=8080, show_default=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="Where the web listens.")
def command(port: int, host: str) -> None:
    """Run everything on this machine: database, broker, worker, scheduler and web.

    Ctrl-C stops it cleanly. The data stays under KEYPOOL_HOME; other commands with the same
    KEYPOOL_HOME work on this system while it is up.
    """
    supervisor.require_free(host, port)
    printing.warn("Starting PostgreSQL, Redis, a worker, the scheduler and the web.")
    tell = _clocked()
    quieten(ours=logging.INFO)
    with system():
        tell("PostgreSQL and Redis are")
        home = environment.settings().home.resolve()
        (home / "run").mkdir(parents=True, exist_ok=True)
        services = supervisor.services(home, host=host, port=port, stalled=watch())
        with supervisor.supervised(services, logs=home / "log", upkeep=_upkeep(home)) as running:
            try:
                running.wait_until_ready(tell=lambda name: tell(f"{SERVICES[name]} is"))
                _tell(_about(f"http://{host}:{port}", home))
                running.wait()
            except KeyboardInterrupt:  # Ctrl-C is the normal end
                printing.warn("Stopping.")


def _clocked() -> Callable[[str], None]:
    begun = time.monotonic()
    return lambda who: printing.warn(f"{time.monotonic() - begun:5.1f} s  {who} up.")


def watch() -> Callable[[], bool]:
    """Make the worker's liveness check: it is stuck if the head of the inbox does not change.

    A long queue that moves is no reason to restart it.
    """
    head, since = None, 0.0

    def stalled() -> bool:
        nonlocal head, since
        first = connections.transaction(waiting.first_waiting)
        if first is None or first != head:
            head, since = first, time.monotonic()
        return head is not None and time.monotonic() > since + STALLED

    return stalled


def _upkeep(home: Path) -> Callable[[], object]:
    if environment.settings().database_url:
        return lambda: None
    return lambda: embedded.revive(home)


class About(TypedDict):
    """Where a system that is up can be reached."""

    url: str
    console: str
    begin: str | None
    ready: str
    openapi: str
    home: str
    token: str | None


def _about(url: str, home: Path) -> About:
    return {
        "url": url,
        "console": f"{url}/console/",
        "begin": _beginning(url),
        "ready": f"{url}/readyz",
        "openapi": f"{url}/openapi.json",
        "home": str(home),
        "token": connections.transaction(first_token),
    }


def _beginning(url: str) -> str | None:
    clear = connections.transaction(first_start.mint)
    return f"{url}{first_start.path(clear)}" if clear else None


def first_token(session: "Session") -> str | None:
    """Make the operator's first token; None if there is one already."""
    if tokens.listing(session, actor=operator(), limit=1).items:
        return None
    made = tokens.add(session, actor=operator(), name="first", role=actors.Role.OPERATOR)
    return str(made["token"])


def _tell(about: About) -> None:
    if wants_json():
        printing.document(about)
    else:
        printing.line(*_lines(about))


def _lines(about: About) -> Iterator[str]:
    yield f"keypool is up at {about['url']}; Ctrl-C stops it."
    yield f"  console    {about['console']}"
    if about["begin"]:
        yield f"  begin here {about['begin']} (it makes the first operator, once)"
    yield f"  webhooks   {about['url']}/webhooks/… (“keypool sources add” makes one)"
    yield f"  API        {about['openapi']}"
    yield f"  readiness  {about['ready']}"
    yield f"  data, logs {about['home']}"
    if about["token"]:
        yield f"  token      {about['token']} (the operator's; keep it: it is not shown again)"
