"""Hosts in network namespaces, joined by a bridge in one that has no way out to the machine's network.

All of it lives in namespaces that `enter` makes, of processes, networks and mounts: they end with the
lab's process, however that ends, and take everything in them along.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.hosts.cable import Cable
from tests.waiting import eventually

SUBNET = "172.30.7"  # compose.yaml's: the web trusts the proxy's address there
SENDER = f"{SUBNET}.1"  # the bridge's own address: the lab posts and measures from there
TABLE = "table bridge lab { chain forward { type filter hook forward priority 0; }; }"
INSIDE = "KEYPOOL_LAB"
PROGRAMS = ("setpriv", "unshare", "nsenter", "mount", "ip", "nft", "nginx")


def refusal() -> str | None:
    """Say why there can be no hosts here; None where there can."""
    if missing := [name for name in PROGRAMS if not shutil.which(name)]:
        return f"{', '.join(missing)} is not installed"
    trial = (
        f"ip link add bridge type bridge && nft '{TABLE}' && ip link add v type veth peer name w"
    )
    tried = subprocess.run([*_unshare(), "sh", "-c", trial], capture_output=True, text=True)
    return tried.stderr.strip().rpartition("\n")[2] if tried.returncode else None


def enter(folder: Path) -> int:
    """Run this program again in namespaces of its own, with a folder in memory; give its exit code."""
    mounting = 'mount -t tmpfs -o mode=0755 lab "$0" && exec "$@"'
    again = [sys.executable, *sys.orig_argv[1:]]
    return subprocess.run(
        [*_unshare(), "sh", "-c", mounting, str(folder), *again],
        env={**os.environ, INSIDE: str(folder), "TMPDIR": str(folder)},
    ).returncode


def inside() -> Path | None:
    """Give the lab's folder, where this process is in its namespaces."""
    folder = os.environ.get(INSIDE)
    return Path(folder) if folder else None


def _unshare() -> list[str]:
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    ended_with_us = ["setpriv", "--pdeathsig", "KILL"]
    return [
        *ended_with_us,
        "unshare",
        *user,
        "--net",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
    ]


@dataclass(frozen=True)
class Host:
    """A host: its name is its end of the line, and a process keeps its namespace."""

    name: str
    address: str
    keeper: subprocess.Popen[bytes]

    @property
    def entering(self) -> list[str]:
        """Begin a command that runs on the host."""
        kept = f"/proc/{self.keeper.pid}/ns"
        return ["nsenter", f"--net={kept}/net", f"--uts={kept}/uts", "--"]

    def start(
        self, command: list[str], *, log: Path, folder: Path, environment: dict[str, str]
    ) -> subprocess.Popen[bytes]:
        """Start a process on the host, in a session of its own."""
        with log.open("ab") as output:
            return subprocess.Popen(
                [*self.entering, *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=folder,
                env=environment,
                start_new_session=True,
            )


class Network:
    """The bridge, and the hosts on it."""

    def __init__(self) -> None:
        self.hosts: dict[str, Host] = {}
        _do("ip link set lo up")
        _do("ip link add bridge type bridge")
        _do(f"ip address add {SENDER}/24 dev bridge")
        _do("ip link set bridge up")
        _do(f"nft '{TABLE}'")

    def add(self, name: str, number: int) -> Host:
        """Add a host with the address of this number."""
        staying = f"hostname {name} && exec sleep infinity"
        keeper = subprocess.Popen(["unshare", "--net", "--uts", "sh", "-c", staying])
        program = Path(f"/proc/{keeper.pid}/comm")  # it sleeps once it has its namespaces
        assert eventually(lambda: program.read_text() == "sleep\n"), "a host has no namespace"
        host = self.hosts[name] = Host(name, f"{SUBNET}.{number}", keeper)
        _do(f"ip link add {name} type veth peer name line netns {keeper.pid}")
        _do(f"ip link set {name} master bridge up")
        self._connect(host, "line")
        _on(host, "ip link set lo up")
        return host

    def remove(self, name: str) -> None:
        """Take a host away, and with it whatever its sockets still had to send."""
        _do(f"ip link delete {name}")
        host = self.hosts.pop(name)
        host.keeper.kill()
        host.keeper.wait()

    @contextmanager
    def slowed(self, name: str) -> Iterator[Cable]:
        """Lead a host's line through a cable that is slow and loses some, while the block lasts."""
        host, far = self.hosts[name], f"far-{name}"
        cable = Cable(far, "slow")
        try:
            _do(f"ip link set slow netns {host.keeper.pid}")
            _do(f"ip link set {far} master bridge up")
            _on(host, "ip link set line down")
            self._connect(host, "slow")
            yield cable
        finally:
            cable.close()
            _on(host, "ip link set line up")

    def _connect(self, host: Host, device: str) -> None:
        """Give a device the host's address; on each of its devices the same, so that nobody looks anew."""
        last = host.address.rpartition(".")[2]
        _on(host, f"ip link set {device} address 02:00:00:00:00:{int(last):02x}")
        _on(host, f"ip address add {host.address}/24 dev {device}")
        _on(host, f"ip link set {device} up")

    def cut(self, source: str, target: str) -> None:
        """Let everything vanish that one host sends to another; the other direction stays."""
        path = f"ip saddr {self.hosts[source].address} ip daddr {self.hosts[target].address}"
        _do(f"nft add rule bridge lab forward {path} counter drop")

    def swallowed(self) -> int:
        """Count the packets that vanished since the last healing."""
        listed = _do("nft list chain bridge lab forward")
        return sum(map(int, re.findall(r"packets (\d+)", listed)))

    def unplug(self, name: str) -> None:
        """Let everything vanish that a host sends, or is sent."""
        _do(f"ip link set {name} down")

    def heal(self) -> None:
        """Carry everything again that was cut."""
        _do("nft flush chain bridge lab forward")


def _on(host: Host, command: str) -> None:
    _do(f"{shlex.join(host.entering)} {command}")


def _do(command: str) -> str:
    done = subprocess.run(shlex.split(command), check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout
