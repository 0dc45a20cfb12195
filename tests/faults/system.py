"""A whole keypool to shoot at: its own processes and servers, on a home of their own.

Its processes carry what the harness has aboard (see points.py), and die and return as the
supervisor has it in `keypool up`.
"""

import os
import shutil
import socket
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import httpx
import kombu.exceptions
import psutil
import pytest
from sqlalchemy import text

from tests.conftest import forget
from tests.faults import clocks, mails, proxy
from tests.waiting import LONGEST
from worker import errors
from worker.catalogue import courses
from worker.celery import app, broker_url
from worker.database import schema
from worker.database.connections import engine, transaction
from worker.database.connections import session as transaction_of
from worker.machine import embedded, homes
from worker.machine.supervisor import Service, Supervision, answers, services, supervised
from worker.pools import pools
from worker.redemption import sources
from worker.settings import settings
from worker.tenancy import organizations, web_keys
from worker.tenancy.actors import Actor

OPERATOR = Actor.operator("fault harness")
REPOSITORY = Path(__file__).parents[2]
ABOARD = f"{REPOSITORY / 'tests' / 'faults' / 'onboard'}{os.pathsep}{REPOSITORY}"  # see points.py
KEYS_PER_CHUNK = 1_000  # of a generation, so that storms may have many
HURRY = f"chunk:{KEYS_PER_CHUNK}"
T = TypeVar("T")


@dataclass(frozen=True)
class Tree:
    """An organization tree beside the first: its source's path and secret, and its pool."""

    path: str
    secret: str
    pool: str


@dataclass
class System:
    """Keypool's processes on a home, sources that post to it, and what the harness put there."""

    home: Path
    supervision: Supervision
    url: str
    secret: str
    pool: str
    lines: dict[str, proxy.Proxy] = field(default_factory=dict)
    altered: Collection[str] = ()  # the services that a storm started with variables of its own
    pace: float = 1.0  # by which freezes and pauses are multiplied
    visibility: float = 300.0  # seconds after which a hint that nobody acknowledged goes to another
    post: mails.Post | None = None  # by which some of the keys are handed out
    trees: Sequence[Tree] = ()  # beside the first organization's, which has the redeem page
    homes: dict[str, Tree] = field(default_factory=dict)  # where a key is that is in one of those

    @property
    def servers(self) -> embedded.Servers | None:
        """The embedded servers, while both run."""
        return embedded.running(self.home)

    @property
    def folder(self) -> Path:
        """Where crash points are armed and traces are written: not on the disk that can be full."""
        return beside(self.home)

    @property
    def readiness(self) -> str:
        """Where the web says whether it is ready."""
        return f"{self.url.partition('/webhooks')[0]}/readyz"

    def process(self, kind: str) -> psutil.Process:
        """Give the first process of a service, once it runs."""
        return living(lambda: self.supervision.pids.get(kind))

    def kinds(self, kind: str) -> list[str]:
        """Name the services of a kind: `worker` and `worker-2`."""
        return [name for name in self.supervision.pids if name.partition("-")[0] == kind]

    def add_keys(self, count: int, *, pool: str | None = None) -> list[str]:
        """Add keys to a pool, or a share of them to each tree's, and give their codes."""
        trees = () if pool else self.trees
        share = count // (len(trees) + 1)
        codes = add_keys(pool or self.pool, count - share * len(trees))
        if self.post and codes:
            self.post.hand_out(pool or self.pool, codes)
        for tree in trees:
            self.homes |= dict.fromkeys(elsewhere := add_keys(tree.pool, share), tree)
            codes += elsewhere
        return codes

    def restart(
        self, *kinds: str, meanwhile: Callable[[], object] = lambda: None, **variables: str
    ) -> None:
        """Kill services; they return with these variables, and find done what is done meanwhile."""
        os.environ.update(variables)
        self._kill_and_await([name for kind in kinds for name in self.kinds(kind)], meanwhile)

    @contextmanager
    def with_own_clock(self, name: str) -> Iterator[None]:
        """Run a service with a clock that can be wrong while the block lasts.

        Not always: what runs with libfaketime takes several times the processor's time.
        """
        clock = clocks.of_its_own(self.folder, name)
        with self._changed(name, lambda usual: usual | clock):
            yield

    @contextmanager
    def days_later(self, later: str) -> Iterator[None]:
        """Have the receiver's clock so far ahead while the block lasts.

        Its lines go past the proxies meanwhile: only the embedded database's clock can be shifted.
        """

        def shifted(usual: dict[str, str]) -> dict[str, str]:
            direct = {k: v for k, v in usual.items() if not k.endswith("_URL")}
            return direct | {"KEYPOOL_CLOCK_OFFSET": later}

        with self._changed("web", shifted):
            patiently(self._is_ahead)
            yield

    @contextmanager
    def _changed(
        self, name: str, change: Callable[[dict[str, str]], dict[str, str]]
    ) -> Iterator[None]:
        """Restart a service in another environment, and once more in its usual one afterwards."""
        [child] = [one for one in self.supervision._children if one.service.name == name]
        usual = child.service
        child.service = replace(usual, environment=change(dict(usual.environment)))
        try:
            self._kill_and_await([name])
            yield
        finally:
            child.service = usual
            self._kill_and_await([name])

    def _kill_and_await(
        self, names: Sequence[str], meanwhile: Callable[[], object] = lambda: None
    ) -> None:
        before = {}
        for name in names:
            process = self.process(name)
            before[name] = process.pid
            kill(process)
        meanwhile()
        self.forgive()
        for name, pid in before.items():
            patiently(lambda name=name, pid=pid: self.supervision.pids.get(name, pid) != pid)
        patiently(answers(self.readiness))

    def _is_ahead(self) -> bool:
        """Say whether the receiver tells that its clock is shifted."""
        with suppress(httpx.TransportError, ValueError):
            told = httpx.get(self.readiness, trust_env=False).json().get("clock", {})
            return bool(told.get("offset_seconds", 0) > 0)
        return False

    def empty_redis(self) -> None:
        """Kill Redis, and have it come back with nothing in it."""
        redis = living(lambda: self.servers and self.servers.redis_pid)
        redis.suspend()  # once it is gone, somebody may start it again, with its files
        shutil.rmtree(self.home / "redis" / "appendonlydir", ignore_errors=True)
        kill(redis)
        self.revive()

    def revive(self) -> None:
        """Start servers again that were killed, without waiting for the supervisor to notice."""
        patiently(self._revived)

    def _revived(self) -> embedded.Servers | None:
        with suppress(embedded.EmbeddedServersError):  # the supervisor is at it, too
            embedded.revive(self.home)
        return self.servers

    def forgive(self) -> None:
        """Forget that services died: it was our doing, so no pause is to grow from it."""
        for child in self.supervision._children:
            child.deaths = 0


@contextmanager
def running_system(
    home: Path,
    *,
    workers: int = 1,
    beats: int = 1,
    proxied: bool = False,
    pace: float = 1.0,
    visibility: float = 300.0,
    post: mails.Post | None = None,
    trees: int = 0,
    **variables: str,
) -> Iterator[System]:
    """Run web, workers and beats on embedded servers, all of them revived when they die.

    With `post`, its mail server is theirs, and a fifth of the keys are handed out by mail.

    With `trees`, so many organization trees beside the first have keys, too, for several settlers.

    With `proxied`, all lines lead through proxies: from the senders, to the database, to Redis.
    Each worker has two children.
    """
    if visibility < 300:
        variables["FAULTS_HURRY"] = f"{HURRY},visibility:{visibility},idle:{visibility / 2}"
    if post:
        variables |= {"KEYPOOL_SMTP_URL": post.server.url, "KEYPOOL_MAIL_FROM": mails.SENDER}
        variables |= {"KEYPOOL_CODES_PER_CLIENT": "1000", "KEYPOOL_CODES_PER_ADDRESS": "1000"}
    with clocks.tidied(beside(home)), pytest.MonkeyPatch.context() as patch, embedded.lease(home):
        _environment(patch, home, variables)
        schema.init(engine())
        transaction(web_keys.tell)
        port = _free_port()
        path, secret, pool = make_world()
        others = [make_tree(f"Tree {number}") for number in range(trees)]
        url = f"http://127.0.0.1:{port}{path}"
        lines, redirected = _proxies(home, port) if proxied else ({}, {})
        running = _services(home, port, workers, beats, redirected)
        revive = lambda: embedded.revive(home)  # noqa: E731  # upkeep takes a callable
        with supervised(running, logs=home / "log", upkeep=revive) as supervision:
            supervision.wait_until_ready(120)
            yield System(
                home,
                supervision,
                url,
                secret,
                pool,
                lines,
                pace=pace,
                visibility=visibility,
                post=post,
                trees=others,
            )
        for line in lines.values():
            line.close()
    forget()


def add_keys(pool: str, count: int) -> list[str]:
    """Add keys to a pool, and give their codes."""
    tag = os.urandom(4).hex()
    codes = [f"FAULT-{tag}-{number:06}".upper() for number in range(count)]
    adding = text("INSERT INTO key (pool_id, code) SELECT :pool, unnest(CAST(:codes AS text[]))")
    with transaction_of() as session:
        session.execute(adding, {"pool": int(pool), "codes": codes})
    return codes


def beside(home: Path) -> Path:
    """Give the folder of the harness's own files."""
    return home.with_name(f"{home.name}-faults")


def hint(task: str) -> None:
    """Hint to this system's worker; Celery's app would keep to the broker that it first knew."""
    with app.connection_for_write(broker_url()) as connection:
        app.send_task(task, connection=connection)


def surely(act: Callable[[], T]) -> T:
    """Do something that needs the servers, which may still be on their way back from a fault."""
    deadline = time.monotonic() + LONGEST
    while True:
        try:
            return act()
        except (errors.DatabaseAwayError, kombu.exceptions.OperationalError):
            assert time.monotonic() < deadline, "the servers did not come back"
            time.sleep(0.1)


def kill(process: psutil.Process) -> None:
    """Kill a process, and see that it is gone; whoever started it may take its time to notice."""
    with suppress(psutil.NoSuchProcess):
        process.kill()
    patiently(lambda: not lives(process))


def lives(process: psutil.Process) -> bool:
    """Say whether a process runs, or is stopped."""
    with suppress(psutil.NoSuchProcess):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def living(pid: Callable[[], int | None]) -> psutil.Process:
    """Give a process by its id, once there is one: what was told may be gone already."""

    def found() -> psutil.Process | None:
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(told) if (told := pid()) else None
            return process if process and lives(process) else None
        return None

    return patiently(found)


def patiently(find: Callable[[], T | None], seconds: float = LONGEST) -> T:
    """Ask until there is something, and give it."""
    deadline = time.monotonic() + seconds
    while not (found := find()):
        assert time.monotonic() < deadline, "what was waited for did not come"
        time.sleep(0.05)
    return found


def _environment(patch: pytest.MonkeyPatch, home: Path, variables: dict[str, str]) -> None:
    for name in list(os.environ):
        if name.startswith(("KEYPOOL_", "FAULTS_")):
            patch.delenv(name)
    aboard = {
        "KEYPOOL_HOME": str(home),
        "FAULTS_FOLDER": str(beside(home)),
        "FAULTS_PLANT": "",
        "FAULTS_SLOW": "",
        "FAULTS_SKEW": "0",
        "FAULTS_HURRY": HURRY,
        "KEYPOOL_SETTLE_SWEEP": "5s",
        "KEYPOOL_CLOCK_OFFSET": "0",
        "PYTHONPATH": ABOARD,
    }
    for name, value in (aboard | variables).items():
        patch.setenv(name, value)
    beside(home).mkdir(exist_ok=True)
    forget()


def _services(
    home: Path, port: int, workers: int, beats: int, redirected: dict[str, str]
) -> list[Service]:
    worker, beat, web = services(home, host="127.0.0.1", port=port)
    made = [web]
    for number in range(1, workers + 1):
        command = [*worker.command, f"--hostname=worker{number}@%h"]
        made.append(replace(worker, name=_numbered("worker", number), command=command))
    for number in range(1, beats + 1):
        command = [*beat.command[:-1], f"{beat.command[-1]}-{number}"]
        made.append(replace(beat, name=_numbered("beat", number), command=command))
    return [replace(one, environment={**one.environment, **redirected}) for one in made]


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name}-{number}"


def _proxies(home: Path, port: int) -> tuple[dict[str, proxy.Proxy], dict[str, str]]:
    known = homes.addresses(home) or {}
    sockets = Path(known["redis_url"].rpartition("@")[2]).parent
    lines = {
        "web": proxy.Proxy(proxy.to_port(port)),
        "postgres": proxy.Proxy(proxy.to_path(sockets / ".s.PGSQL.5432")),
        "redis": proxy.Proxy(proxy.to_path(sockets / "redis.sock")),
    }
    variables = {"KEYPOOL_SECRET_KEY": settings().secret_key or (home / "secret_key").read_text()}
    for name, address in known.items():
        kind = "redis" if name == "redis_url" else "postgres"
        password = address.split("@")[0]
        at = f"{password}@127.0.0.1:{lines[kind].port}"
        at = at.replace("redis+socket", "redis") + ("/0" if kind == "redis" else "/keypool")
        variables[f"KEYPOOL_{name.upper()}"] = at
    return lines, {name: str(value) for name, value in variables.items()}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def make_world() -> tuple[str, str, str]:
    """Make an organization with a pool and a source; give the source's path and secret, and the pool."""
    with transaction_of() as session:
        courses.add(session, actor=OPERATOR, code="C", title="T", price="49.90", currency="EUR")
    made = make_tree("Acme")
    with transaction_of() as session:
        organizations.edit(session, actor=OPERATOR, organization="Acme", redeem_page="proof")
    return made.path, made.secret, made.pool


def make_tree(name: str) -> Tree:
    """Make an organization with a pool and a source."""
    with transaction_of() as session:
        organizations.add(session, actor=OPERATOR, name=name)
        pool = pools.create(
            session,
            actor=OPERATOR,
            name="Under fire",
            organization=name,
            course="C",
            starts="2020-01-01",
            expires="2090-12-31",
            content_availability=30,
        )
        source = sources.add(session, actor=OPERATOR, name="senders", organization=name)
    return Tree(source["url"], source["secret"], pool["id"])
