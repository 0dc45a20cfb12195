"""A fence around a process that runs what others wrote: a notebook's kernel, a browser that prints.

Inside, it has namespaces of its own (users, mounts, processes, network). It sees the system's programs, this
Python, keypool's code and the folders that it is given; no home, no other process, no network. Its one
way out is a folder's socket, which `gate` connects to the database.
"""

import json
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import URL, make_url

from worker.machine import fenced

ROOT = Path(__file__).parents[2]
# Of /etc, only what says nothing about this machine's people and secrets.
SYSTEM = (
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64",
    "/etc/alternatives", "/etc/fonts", "/etc/ld.so.cache", "/etc/localtime", "/etc/chromium.d",
)  # fmt: skip
CODE = ("worker", "migrations", "schema.sql")
UNSHARE = (
    "unshare", "--user", "--map-root-user", "--mount", "--propagation", "private", "--pid", "--fork",
    "--kill-child", "--net", "--ipc", "--uts",
)  # fmt: skip
TRIAL_TIMEOUT = 20  # seconds
PORT = 5432

# The first message of a connection (PostgreSQL's protocol 3): its length, then a code or the version.
SSL, GSS, CANCEL, VERSION = 80877103, 80877104, 80877102, 3
LARGEST_START = 10_000  # bytes


@dataclass(frozen=True)
class Fence:
    """What a fenced process may see: files it may read, folders it may write, its own folder.

    `root` is an empty folder that the fence is built on. `forwards` are addresses inside, each with a port
    and the path of the socket behind it.
    """

    root: Path
    readable: tuple[Path, ...]
    writable: tuple[Path, ...]
    folder: Path
    forwards: tuple[tuple[str, int, str], ...] = field(default=())

    def command(self, *command: str) -> list[str]:
        """Give a command that runs the given one inside."""
        described = {
            "root": str(self.root),
            "readable": [str(path) for path in _outermost([*system(), *self.readable])],
            "writable": [str(path) for path in self.writable],
            "folder": str(self.folder),
            "forwards": self.forwards,
        }
        # When its starter is killed, so is unshare, and with it all inside.
        return [
            "setpriv", "--pdeathsig", "KILL", *UNSHARE,
            sys.executable, "-I", fenced.__file__, json.dumps(described), *command,
        ]  # fmt: skip


@cache
def obstacle() -> str | None:
    """Say why no process can be fenced on this machine; None if one can. It is tried once."""
    with TemporaryDirectory(prefix="keypool-fence-") as folder:
        trial = Fence(Path(folder), readable=(), writable=(), folder=Path("/"))
        try:
            subprocess.run(
                trial.command(sys.executable, "-c", "import worker.settings"),
                check=True,
                capture_output=True,
                text=True,
                timeout=TRIAL_TIMEOUT,
                cwd=ROOT,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
        except subprocess.CalledProcessError as error:
            return str(error.stderr).strip().rpartition("\n")[2] or f"exit code {error.returncode}"
    return None


def system() -> list[Path]:
    """Give what every fenced process may read: the system's programs, this Python, keypool's code."""
    python = [Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).resolve().parents[1]]
    paths = [*map(Path, SYSTEM), *python, *(ROOT / name for name in CODE)]
    return [path for path in paths if path.exists()]


@contextmanager
def gate(url: str, folder: Path) -> Iterator[tuple[str, tuple[tuple[str, int, str], ...]]]:
    """Open the one way out of a fence, to the database; gives its URL inside, and what is forwarded.

    A socket in `folder` leads to the database. Where that is a socket too, the gate lets in the URL's login
    alone: nobody else's, such as the superuser's, can be tried. Over TCP the connection passes as it is, so
    that its encryption reaches from end to end.
    """
    address = make_url(url)
    hosts = _hosts(address)
    with _listening(folder, hosts, address.username or "") as sockets:
        if hosts[0][0].startswith("/"):
            yield _rendered(address.update_query_dict({"host": str(folder), "port": str(PORT)})), ()
            return
        inside = [f"127.0.0.{1 + n}" for n, _ in enumerate(hosts)]
        named = {"hostaddr": ",".join(inside)}
        forwards = tuple(
            (at, port, path) for at, (_, port), path in zip(inside, hosts, sockets, strict=True)
        )
        yield _rendered(address.update_query_dict(named)), forwards


def _hosts(address: URL) -> list[tuple[str, int]]:
    """Give the hosts of a database's URL: from its query, as SQLAlchemy reads several, or its authority."""
    asked = address.normalized_query.get("host") or (address.host or "localhost",)
    ports = ",".join(address.normalized_query.get("port", ())).split(",")
    named = [part for host in asked for part in host.split(",")]
    return [_host(host, ports[min(n, len(ports) - 1)], address) for n, host in enumerate(named)]


def _host(host: str, port: str, address: URL) -> tuple[str, int]:
    name, _, own = ("", "", "") if host.startswith("/") else host.partition(":")
    return name or host, int(own or port or address.port or PORT)


def _rendered(address: URL) -> str:
    return address.render_as_string(hide_password=False)


@contextmanager
def _listening(folder: Path, hosts: Sequence[tuple[str, int]], login: str) -> Iterator[list[str]]:
    listeners = []
    try:
        for number, host in enumerate(hosts):
            path = folder / f".s.PGSQL.{PORT + number}"
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(str(path))
            listener.listen()
            listeners.append(listener)
            threading.Thread(target=_serve, args=(listener, host, login), daemon=True).start()
        yield [str(listener.getsockname()) for listener in listeners]
    finally:
        for listener in listeners:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()


def _serve(listener: socket.socket, host: tuple[str, int], login: str) -> None:
    with suppress(OSError):  # the listener was closed
        while True:
            inner, _ = listener.accept()
            threading.Thread(target=_admit, args=(inner, host, login), daemon=True).start()


def _admit(inner: socket.socket, host: tuple[str, int], login: str) -> None:
    name, port = host
    try:
        if not name.startswith("/"):
            fenced.join(inner, socket.create_connection(host))
            return
        start = _start(inner)
        if not _is_of(start, login):
            inner.close()
            return
        outer = socket.socket(socket.AF_UNIX)
        outer.connect(f"{name}/.s.PGSQL.{port}")
        outer.sendall(start)
        fenced.join(inner, outer)
    except (OSError, ValueError):
        inner.close()


def _start(inner: socket.socket) -> bytes:
    """Read the first message, after refusing encryption, which a socket does not need."""
    while True:
        head = _exactly(inner, 8)
        size, code = struct.unpack("!II", head)
        if code not in (SSL, GSS):
            return head + _exactly(inner, min(size, LARGEST_START) - 8)
        inner.sendall(b"N")


def _exactly(inner: socket.socket, size: int) -> bytes:
    read = b""
    while len(read) < size:
        if not (more := inner.recv(size - len(read))):
            raise ValueError("the connection ended in its first message")
        read += more
    return read


def _is_of(start: bytes, login: str) -> bool:
    """Say whether a first message is of a login, or cancels a statement (which needs a secret of its own)."""
    (code,) = struct.unpack("!I", start[4:8])
    if code == CANCEL:
        return True
    words = start[8:].split(b"\0")
    named = dict(zip(words[::2], words[1::2], strict=False))
    return code >> 16 == VERSION and named.get(b"user") == login.encode()


def _outermost(paths: Sequence[Path]) -> list[Path]:
    """Leave out what is inside another one, which shows it already."""
    kept: list[Path] = []
    for path in sorted(set(paths), key=lambda path: len(path.parts)):
        if not any(path.is_relative_to(other) and not other.is_symlink() for other in kept):
            kept.append(path)
    return kept
