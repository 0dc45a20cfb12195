"""The cuts: what is cut, for how long, and what must hold meanwhile and afterwards."""

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import cycle, islice

import httpx
import psycopg

from tests.composing import HOUSE
from tests.faults import checker
from tests.hosts import releases
from tests.hosts.lab import HOSTS, PORTS, Lab
from tests.hosts.network import SUBNET
from tests.hosts.traffic import Traffic
from tests.hosts.watching import Most, Watch
from tests.waiting import eventually, stretch
from worker.database import revisions

ANSWERS_WITHIN = 10.0  # seconds after the healing; from then on every answer is a 2xx
RECOVERS_WITHIN = 10.0  # seconds after the healing, on a machine that has nothing else to do
SETTLES_WITHIN = 10.0  # seconds during a cut, where a worker still reaches the database
HOLDS_A_TREE = """
    SELECT FROM pg_stat_activity JOIN pg_locks USING (pid)
     WHERE client_addr = %s AND relation = 'tree_lock'::regclass LIMIT 1
"""
GIVEN_UP = 120.0  # seconds after the healing
STEADY = 5.0  # seconds of calm before each cut
Fault = Callable[[Lab], AbstractContextManager[None]]


@dataclass(frozen=True)
class Cut:
    """A fault of the network, for so many seconds."""

    name: str
    fault: Fault
    seconds: float
    settles: bool = True  # whether a worker, or beat, still reaches the database
    refuses: bool = True  # whether a message may need another try


@dataclass(frozen=True)
class Result:
    """What a cut did."""

    name: str
    seconds: float
    waiting: int  # events at most
    oldest: float  # seconds from its first post
    recorded: float  # seconds that an acknowledged event waited at most
    taken: float  # seconds from a message's first post to its 2xx, at most
    healthz: float  # seconds that web-1's took at most, asked past the proxy
    answered: float  # seconds from the healing to the last answer that was none, or no 2xx
    recovery: float  # seconds from the healing until everything posted before it was decided
    load: float  # processes that wanted each processor meanwhile
    lost: int
    doubled: int
    stuck: int
    wrong: str  # what did not hold; empty if all did


def lines(*pairs: str, back: bool = True) -> Fault:
    """Cut lines such as `web-1 > postgres`; both directions, or only that one."""

    @contextmanager
    def fault(lab: Lab) -> Iterator[None]:
        _cut(lab, pairs, back)
        yield
        assert lab.network.swallowed(), f"nothing went between {' and '.join(pairs)}"
        lab.network.heal()

    return fault


def _cut(lab: Lab, pairs: Sequence[str], back: bool) -> None:
    for pair in pairs:
        source, target = pair.split(" > ")
        lab.network.cut(source, target)
        if back:
            lab.network.cut(target, source)


def amid_settling(worker: str) -> Fault:
    """Cut a worker from PostgreSQL while it holds the lock of a tree."""

    @contextmanager
    def fault(lab: Lab) -> Iterator[None]:
        with psycopg.connect(lab.superuser(), autocommit=True) as line:
            address = lab.network.hosts[worker].address
            assert eventually(lambda: _caught(lab, line, worker, address)), "it settled nothing"
        yield
        lab.network.heal()

    return fault


def _caught(lab: Lab, line: psycopg.Connection, worker: str, address: str) -> bool:
    holds = lambda: line.execute(HOLDS_A_TREE, [address]).fetchone() is not None  # noqa: E731
    if not eventually(holds, seconds=2):
        return False
    _cut(lab, [f"{worker} > postgres"], back=True)
    time.sleep(0.3)  # it may have been about to commit
    if holds():
        return True
    lab.network.heal()
    return False


def slow(host: str) -> Fault:
    """Make a host's line slow, and lose some."""

    @contextmanager
    def fault(lab: Lab) -> Iterator[None]:
        with lab.network.slowed(host) as cable:
            yield
            assert cable.lost, f"nothing went to {host}"

    return fault


def vanish(host: str) -> Fault:
    """Have a host vanish with all that runs on it, and come back with what its disk had."""

    @contextmanager
    def fault(lab: Lab) -> Iterator[None]:
        lab.network.unplug(host)
        lab.kill(host)
        lab.network.remove(host)
        yield
        lab.network.add(host, lab.hosts[host][0])
        lab.begin(host)

    return fault


def replaced(*hosts: str) -> Fault:
    """Replace what runs on hosts, one after the other, as a new version is brought."""

    @contextmanager
    def fault(lab: Lab) -> Iterator[None]:
        for host in hosts:
            lab.end(host)
            lab.begin(host)
        yield

    return fault


def upgraded(*hosts: str) -> Fault:
    """Bring the schema of older code to ours while that runs, then replace it on one host after the other."""

    @contextmanager
    def fault(lab: Lab) -> Iterator[None]:
        assert {_code(lab, web) for web in WEBS} == {releases.oldest()}, "no older code runs"
        lab.house = HOUSE
        lab.migrate()
        with replaced(*hosts)(lab):
            assert {_code(lab, web) for web in WEBS} == {revisions.CODE}, "older code still runs"
            yield

    return fault


def _code(lab: Lab, web: str) -> str:
    """Ask a web for the revision of its code."""
    place = f"{lab.network.hosts[web].address}:{PORTS['webhook']}"
    schema = httpx.get(f"http://{place}/readyz", trust_env=False, timeout=GIVEN_UP).json()["schema"]
    return str(schema["code"])


def idle_bodies(host: str, count: int) -> Fault:
    """Open many connections to a web that send a header, one byte of a body, and nothing more."""

    @contextmanager
    def fault(lab: Lab) -> Iterator[None]:
        address = (lab.network.hosts[host].address, PORTS["webhook"])
        with ExitStack() as hanging:
            heads = islice(cycle(_heads(lab)), count)
            opened = [hanging.enter_context(_begun(address, head)) for head in heads]
            yield
            left = sum(not _ended(line) for line in opened)
            assert not left, f"{left} connections were left open"

    return fault


def _heads(lab: Lab) -> list[str]:
    """Give a request's beginning to the receiver, the sign-in and, with a token, the API."""
    token = f"\r\nAuthorization: Bearer {lab.token()}"
    form, document = ("application/x-www-form-urlencoded", "application/json")
    return [
        f"POST {path} HTTP/1.1\r\nHost: lab\r\nContent-Length: 1000\r\nContent-Type: {kind}\r\n\r\n{{"
        for path, kind in (
            (lab.path, document),
            ("/console/sign-in", form),
            ("/api/v1/pools", f"{document}{token}"),
        )
    ]


def _begun(address: tuple[str, int], head: str) -> socket.socket:
    line = socket.create_connection(address, timeout=10)
    line.sendall(head.encode())
    line.setblocking(False)
    return line


def _ended(line: socket.socket) -> bool:
    """Say whether the other side has closed a connection, whatever it said before."""
    with suppress(BlockingIOError, ConnectionResetError):
        while line.recv(65536):
            pass
        return True
    return False


class Health:
    """A thread that asks a web whether it is alive, past the proxy, and keeps how long that took at most."""

    def __init__(self, host: str = "web-1") -> None:
        self._url = f"http://{SUBNET}.{HOSTS[host][0]}:{PORTS['webhook']}/healthz"
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.slowest = 0.0

    def __enter__(self) -> "Health":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()  # one that is asked in vain is not waited for

    def _run(self) -> None:
        with httpx.Client(timeout=GIVEN_UP, trust_env=False) as client:
            while not self._ending.wait(0.25):
                asked = time.monotonic()
                with suppress(httpx.TransportError):
                    client.get(self._url, headers={"connection": "close"})
                    self.slowest = max(self.slowest, time.monotonic() - asked)


def try_out(lab: Lab, cut: Cut, traffic: Traffic, watch: Watch) -> Result:
    """Cut, heal, and wait until everything that was posted before the healing is decided."""
    time.sleep(STEADY)
    watch.most, begun = Most(), time.monotonic()
    with cut.fault(lab):
        with Health() as health:
            time.sleep(cut.seconds)
        most = replace(watch.most)
    healed = time.monotonic()
    eventually(lambda: not watch.waiting(since=healed), seconds=GIVEN_UP)
    recovery = time.monotonic() - healed
    answered = max(0.0, traffic.refused_at - healed)
    figures = checker.tally(traffic.history)
    counted = {name: figures[name] for name in ("lost", "doubled")}
    counted |= {"stuck": len(watch.waiting(since=healed))}
    wrong = _wrong(cut, most, (answered, recovery), stretch(), **counted)
    if not cut.refuses and traffic.refused_at > begun:
        wrong.append("a message needed another try")
    if dead := lab.dead() + traffic.history.given_up:
        wrong.append(f"{', '.join(dead)} ended")
    return Result(
        cut.name,
        cut.seconds,
        watch.most.waiting,
        round(watch.most.oldest, 1),
        round(watch.most.recorded, 1),
        round(watch.most.taken, 1),
        round(health.slowest, 2),
        round(answered, 1),
        round(recovery, 1),
        round(stretch(), 1),
        wrong=", ".join(wrong),
        **counted,
    )


def _wrong(
    cut: Cut, most: Most, seconds: tuple[float, float], load: float, **counted: int
) -> list[str]:
    answered, recovery = seconds
    found = [f"{count} {name}" for name, count in counted.items() if count]
    if answered > ANSWERS_WITHIN:
        found.append("answers are late")
    if recovery > RECOVERS_WITHIN * load:
        found.append("slow to recover")
    if cut.settles and most.recorded > SETTLES_WITHIN:
        found.append("settling stood still")
    return found


WEBS = ("web-1", "web-2")
WORKERS = ("worker-1", "worker-2")
BEATS = ("beat-1", "beat-2")


def _to(target: str, *hosts: str) -> Fault:
    return lines(*(f"{host} > {target}" for host in hosts))


def _one_way(pair: str) -> Fault:
    return lines(pair, back=False)


UPGRADE = Cut("older code upgraded", upgraded(*WEBS, *WORKERS, *BEATS), 5, refuses=False)
CUTS = [
    UPGRADE,  # first, since all others have this code
    Cut("web-1 – PostgreSQL", _to("postgres", "web-1"), 20),
    Cut("web-1 → PostgreSQL", _one_way("web-1 > postgres"), 20),
    Cut("web-1 ← PostgreSQL", _one_way("postgres > web-1"), 20),
    Cut("both webs – PostgreSQL", _to("postgres", *WEBS), 20),
    Cut("both webs – PostgreSQL, for long", _to("postgres", *WEBS), 60),
    Cut("both webs – Redis", _to("redis", *WEBS), 20),
    Cut("worker-1 – PostgreSQL, briefly", _to("postgres", "worker-1"), 5),
    Cut("worker-1 – PostgreSQL", _to("postgres", "worker-1"), 20),
    Cut("worker-1 → PostgreSQL", _one_way("worker-1 > postgres"), 20),
    Cut("worker-1 ← PostgreSQL", _one_way("postgres > worker-1"), 20),
    Cut("worker-1 – PostgreSQL, amid settling", amid_settling("worker-1"), 60),
    Cut("both workers – PostgreSQL", _to("postgres", *WORKERS), 20),
    Cut("worker-1 – Redis", _to("redis", "worker-1"), 20),
    Cut("worker-1 → Redis", _one_way("worker-1 > redis"), 20),
    Cut("worker-1 ← Redis", _one_way("redis > worker-1"), 20),
    Cut("both workers – Redis", _to("redis", *WORKERS), 20),
    Cut("both workers – Redis, for long", _to("redis", *WORKERS), 60),
    Cut("both beats – Redis", _to("redis", *BEATS), 20),
    Cut("proxy – web-1", _to("web-1", "proxy"), 20),
    Cut("proxy → web-1", _one_way("proxy > web-1"), 20),
    Cut("proxy ← web-1", _one_way("web-1 > proxy"), 20),
    Cut("PostgreSQL slow", slow("postgres"), 30),
    Cut("Redis slow", slow("redis"), 30),
    Cut("worker-1 slow", slow("worker-1"), 30),
    Cut("web-1 slow", slow("web-1"), 30),
    Cut("500 idle bodies at web-1", idle_bodies("web-1", 500), 20),
    Cut("each replaced in turn", replaced(*WEBS, *WORKERS, *BEATS), 5, refuses=False),
    Cut("worker-1 vanishes", vanish("worker-1"), 20),
    Cut("web-1 vanishes", vanish("web-1"), 20),
    Cut("Redis vanishes", vanish("redis"), 20),
    Cut("PostgreSQL vanishes", vanish("postgres"), 20, settles=False),
]
SHORT = 15  # seconds of a cut in the short form
SHORTLY = ("web-1 – PostgreSQL", "worker-1 – PostgreSQL, amid settling", "worker-1 – Redis")
