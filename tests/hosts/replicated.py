"""PostgreSQL on three hosts, by Patroni and etcd: a primary, a synchronous standby, and another.

Two programs of others are needed: `etcd` on PATH, and Patroni, which PATRONI or PATH names.
"""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import psycopg
import yaml
from psycopg.conninfo import make_conninfo

from tests.composing import ENV_FILE, HOUSE
from tests.faults import checker, system
from tests.hosts import lab as hosts
from tests.hosts.cuts import Cut, Result, lines, try_out
from tests.hosts.lab import PROGRAMS, START_TIMEOUT, Lab
from tests.hosts.network import SUBNET, Network
from tests.hosts.traffic import Traffic
from tests.hosts.watching import Watch
from tests.waiting import eventually
from worker.machine.embedded import postgresql

DATABASES = {"pg-1": 41, "pg-2": 42, "pg-3": 43}
HOSTS = {
    **{name: host for name, host in hosts.HOSTS.items() if name != "postgres"},
    **{name: (number, "patroni") for name, number in DATABASES.items()},
    "etcd": (44, "etcd"),
}
ETCD, REST, PORT = 2379, 8008, 5432
LEASE = 20  # seconds after which a primary that etcd does not hear of is none; Patroni's least
PER_SECOND = 20  # messages that are taken before a primary without a standby vanishes
KEYS = 5_000  # that one flow of messages may ask for
COMMITS = 300  # that are measured
FAILOVER = 60  # seconds: the lease, and time to spare
# Whoever looks on is not to wait for a host that vanished: what it counts would be its own wait.
SOON_LET_GO = {
    "connect_timeout": "2",
    "keepalives_idle": "1",
    "keepalives_interval": "1",
    "keepalives_count": "2",
    "tcp_user_timeout": "2000",
}


def patroni() -> str:
    """Give the program."""
    return os.environ.get("PATRONI") or shutil.which("patroni") or ""


def refusal() -> str | None:
    """Say what is missing for replicated hosts; None where nothing is."""
    missing = [
        name for name, at in (("etcd", shutil.which("etcd")), ("patroni", patroni())) if not at
    ]
    return f"{' and '.join(missing)} not installed" if missing else None


class Replicated(Lab):
    """The hosts with three databases, and one URL that names them all."""

    def __init__(self, folder: Path, network: Network) -> None:
        super().__init__(folder, network, hosts=HOSTS, first=("etcd", *DATABASES, "redis"))

    def superuser(self, database: str = "keypool") -> str:
        """Give the way to whichever is primary."""
        words = {"user": "postgres", "password": ENV_FILE["KEYPOOL_SUPERUSER_PASSWORD"]}
        return make_conninfo(dbname=database, **SOON_LET_GO, **_several(), **words)

    def environment(self, service: str, home: Path) -> dict[str, str]:
        """Give what a container has, with the databases by name where compose has one."""
        given = super().environment(service, home)
        several = urlencode(_several(), safe=",")
        return {k: v.replace("@postgres/keypool", f"@/keypool?{several}") for k, v in given.items()}

    def codes(self) -> Iterator[str]:
        """Give new keys, made at once: while a primary falls, none can be."""
        return iter(system.add_keys(self.pool, KEYS))

    def as_owner(self) -> dict[str, str]:
        """Give what somebody has who works on whichever is primary."""
        return self.environment("worker", self.folder)

    def primary(self) -> str:
        """Name the host whose database takes writes, once there is one.

        Raises:
            TimeoutError: there is none within the time of a failover.
        """
        deadline = time.monotonic() + FAILOVER
        while time.monotonic() < deadline:
            for name in DATABASES:
                if self.answers(name, "/primary"):
                    return name
            time.sleep(0.2)
        raise TimeoutError("no database takes writes")

    def answers(self, name: str, path: str) -> bool:
        """Ask Patroni on a host: `/primary`, `/replica`, `/sync`, `/health`."""
        with suppress(OSError), urlopen(self._rest(name, path), timeout=2):  # noqa: S310  # of the lab
            return True
        return False

    def configure(self, **changes: object) -> None:
        """Change what Patroni does on every host."""
        request = Request(  # noqa: S310  # of the lab
            self._rest(self.primary(), "/config"), json.dumps(changes).encode(), method="PATCH"
        )
        with urlopen(request, timeout=5):  # noqa: S310
            pass

    def is_whole(self) -> bool:
        """Say whether there are a primary, a synchronous standby and another."""
        counts = [sum(self.answers(name, path) for name in DATABASES) for path in WHOLE]
        return counts == [1, 1, 2]

    def _rest(self, name: str, path: str) -> str:
        return f"http://{SUBNET}.{DATABASES[name]}:{REST}{path}"

    def _command(self, service: str, home: Path) -> list[str]:
        if service == "etcd":
            here = f"http://{SUBNET}.{HOSTS['etcd'][0]}:{ETCD}"
            listen = [
                "--listen-client-urls",
                f"http://0.0.0.0:{ETCD}",
                "--advertise-client-urls",
                here,
            ]
            return ["etcd", "--data-dir", str(home / "data"), *listen]
        if service == "patroni":
            written = home / "patroni.yaml"
            written.write_text(yaml.safe_dump(_patroni(home)))
            # Its namespace's first process, as in a container: it reaps the database that it lets go of,
            # and takes it along when it is killed.
            alone = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
            disguise = postgresql.disguise(home, PROGRAMS / "postgres")
            return [*alone, *disguise, patroni(), str(written)]
        return super()._command(service, home)

    def _works(self, name: str) -> Callable[[], bool]:
        if name in DATABASES:
            return lambda: self.answers(name, "/health")
        if name == "etcd":
            return lambda: hosts._listens(f"{SUBNET}.{HOSTS['etcd'][0]}", ETCD)
        return super()._works(name)


WHOLE = ("/primary", "/sync", "/replica")


def _several() -> dict[str, str]:
    return {
        "host": ",".join(DATABASES),
        "port": ",".join([str(PORT)] * len(DATABASES)),
        "target_session_attrs": "read-write",
    }


def _patroni(home: Path) -> dict[str, object]:
    """Give Patroni's settings on a host, as docs/operations.md advises them."""
    address = f"{SUBNET}.{DATABASES[home.name]}"
    password = ENV_FILE["KEYPOOL_SUPERUSER_PASSWORD"]
    access = [
        "local all all scram-sha-256",
        "host all all all scram-sha-256",
        "host replication all all scram-sha-256",
    ]
    return {
        "scope": "keypool",
        "name": home.name,
        "restapi": {"listen": f"{address}:{REST}", "connect_address": f"{address}:{REST}"},
        "etcd3": {"host": f"{SUBNET}.{HOSTS['etcd'][0]}:{ETCD}"},
        "bootstrap": {
            "dcs": {
                "ttl": LEASE,
                "loop_wait": 2,
                "retry_timeout": 5,
                "synchronous_mode": True,
                "postgresql": {
                    "use_pg_rewind": True,
                    "parameters": {"max_connections": 100, "hot_standby_feedback": True},
                },
            },
            "initdb": [{"encoding": "UTF8"}, {"locale": "C"}, {"locale-provider": "builtin"},
                       {"builtin-locale": "C.UTF-8"}, "data-checksums"],
        },
        "postgresql": {
            "listen": f"{address}:{PORT}",
            "connect_address": f"{address}:{PORT}",
            "data_dir": str(home / "data"),
            "bin_dir": str(PROGRAMS),
            "pg_hba": access,
            "authentication": {
                "superuser": {"username": "postgres", "password": password},
                "replication": {"username": "replicator", "password": password},
            },
            "parameters": {"unix_socket_directories": str(home), "fsync": False, "max_wal_size": "256MB"},
        },
    }  # fmt: skip


# ------------------------------------------------------------------------------------------- faults


def fall(lab: Lab, host: str) -> None:
    """Have a host vanish with all that runs on it."""
    lab.network.unplug(host)
    lab.kill(host)
    lab.network.remove(host)


@contextmanager
def _primary_vanishes(lab: Lab) -> Iterator[None]:
    assert isinstance(lab, Replicated)
    fallen = lab.primary()
    fall(lab, fallen)
    assert lab.primary() != fallen
    yield
    lab.network.add(fallen, HOSTS[fallen][0])
    lab.begin(fallen)
    assert eventually(lab.is_whole, seconds=START_TIMEOUT), "the fallen host did not come back"


@contextmanager
def _primary_is_cut_from_etcd(lab: Lab) -> Iterator[None]:
    assert isinstance(lab, Replicated)
    cut = lab.primary()
    with lines(f"{cut} > etcd")(lab):
        assert eventually(lambda: lab.primary() != cut, seconds=FAILOVER)
        yield
    assert eventually(lab.is_whole, seconds=START_TIMEOUT), (
        "the host that was cut did not come back"
    )


CUTS = [
    Cut("the primary vanishes", _primary_vanishes, 20, settles=False),
    Cut("primary – etcd", _primary_is_cut_from_etcd, 20, settles=False),
]


def tried(lab: Replicated, traffic: Traffic, watch: Watch) -> list[Result]:
    """Try each fault while webhooks flow."""
    assert eventually(lab.is_whole, seconds=START_TIMEOUT), "there is no synchronous standby"
    return [try_out(lab, cut, traffic, watch) for cut in CUTS]


# ---------------------------------------------------------------------------- what a standby costs


def commit_milliseconds(lab: Replicated) -> dict[str, float]:
    """Give how long a small commit takes with the synchronous standby, and without: medians."""
    taken: dict[str, list[float]] = {"on": [], "local": []}
    with psycopg.connect(lab.superuser(), autocommit=True) as line:
        line.execute("CREATE TABLE IF NOT EXISTS lab (n int)")
        for _ in range(COMMITS):
            for (
                level,
                times,
            ) in taken.items():  # one after the other: whatever else goes on meets both
                line.execute(f"SET synchronous_commit = {level}")
                times.append(_timed(line))
        line.execute("DROP TABLE lab")
    with_one, without = (round(1000 * median(times), 2) for times in taken.values())
    return {"with a synchronous standby": with_one, "without": without}


def _timed(line: psycopg.Connection) -> float:
    begun = time.perf_counter()
    line.execute("INSERT INTO lab VALUES (1)")
    return time.perf_counter() - begun


def report_of_a_standby(lab: Replicated) -> str:
    """Make a report on one organization that can read a standby alone; gives its file's beginning."""
    given = lab.environment("worker", lab.home("worker-1"))
    name = "KEYPOOL_ANALYST_DATABASE_URL"
    reading = {name: given[name].replace("=read-write", "=standby")}
    made = lab.folder / "report.html"
    command = [
        "keypool",
        "reports",
        "run",
        "redemptions",
        "--organization",
        "Acme",
        "-o",
        str(made),
    ]
    entering = lab.network.hosts["worker-1"].entering
    subprocess.run([*entering, *command], env=given | reading, cwd=HOUSE, check=True)
    return made.read_text()[:100]


def lost_without_a_synchronous_standby(lab: Replicated) -> int:
    """Have the primary answer alone, and vanish: give how many acknowledged messages are lost then."""
    lab.configure(synchronous_mode=False)
    with psycopg.connect(lab.superuser(), autocommit=True) as line:
        assert eventually(lambda: line.execute(IS_ALONE).fetchone() == (True,)), "it still waits"
    fallen = lab.primary()
    others = DATABASES.keys() - {fallen}
    traffic = Traffic(lab.url, lab.secret, lab.codes(), PER_SECOND)
    traffic.start()
    time.sleep(2)
    for other in others:
        lab.network.cut(fallen, other)
        lab.network.cut(other, fallen)
    time.sleep(3)  # messages are taken meanwhile, and no standby has them
    fall(lab, fallen)
    assert lab.primary() != fallen
    return checker.tally(traffic.stop())["lost"]


IS_ALONE = "SELECT current_setting('synchronous_standby_names') = ''"
