"""A PgBouncer in transaction mode in front of the tests' servers: `POOLER=transaction make test`."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from psycopg.pq import PGconn, Ping
from sqlalchemy import URL, make_url

from tests.waiting import eventually
from worker.machine.embedded import postgresql

if TYPE_CHECKING:
    from tests.conftest import Addresses

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH')}:/usr/sbin")
MODE = os.environ.get("POOLER")  # of this run of tests
NEEDED = pytest.mark.skipif(
    PROGRAM is None and "CI" not in os.environ, reason="there is no PgBouncer here"
)
PORT = 6432  # in the name of its socket alone: it listens at no address

CONFIGURATION = """
[databases]
* = host={host} port={port}

[pgbouncer]
pool_mode = transaction
auth_type = scram-sha-256
default_pool_size = {size}
max_client_conn = 1000
query_wait_timeout = {wait}
server_idle_timeout = 2
"""
HERE = """
unix_socket_dir = {folder}
listen_addr =
listen_port = {port}
auth_file = {folder}/logins
logfile = {folder}/log
log_connections = 0
log_disconnections = 0
"""


@contextmanager
def pooled(servers: "Addresses", *, size: int = 8, wait: int = 20) -> Iterator["Addresses"]:
    """Give the addresses of some servers through PgBouncers that end with the block; the receiver has its own.

    Args:
        servers: where PostgreSQL is.
        size: how many connections each opens for one login to one database.
        wait: for how many seconds a client waits for one.
    """
    owner, web = (make_url(url) for url in (servers.database_url, servers.web_database_url))
    host, port = place(owner)
    written = CONFIGURATION.format(host=host, port=port, size=size, wait=wait)
    with configured(written, servers) as through, configured(written, servers) as receivers:
        yield replace(
            servers,
            database_url=at(owner, through),
            web_database_url=at(web, through),
            receiver_database_url=at(web, receivers),
            direct_database_url=servers.database_url,
        )


@contextmanager
def configured(written: str, servers: "Addresses") -> Iterator[Path]:
    """Run a PgBouncer as configured, but for where it listens and its logins; give its socket's folder."""
    assert PROGRAM, "POOLER needs PgBouncer: apt-get install pgbouncer"
    logins = [make_url(url) for url in (servers.database_url, servers.web_database_url)]
    with tempfile.TemporaryDirectory(prefix="keypool-pooler-") as made:
        folder = Path(made)
        (folder / "ini").write_text(written + HERE.format(folder=folder, port=PORT))
        (folder / "logins").write_text(
            "".join(f'"{url.username}" "{url.password}"\n' for url in logins)
        )
        prefix = postgresql.disguise(folder, Path(PROGRAM))
        with subprocess.Popen([*prefix, PROGRAM, "--quiet", str(folder / "ini")]) as process:
            try:
                asked = f"host={folder} port={PORT} connect_timeout=2".encode()
                assert eventually(lambda: process.poll() is not None or _answers(asked))
                yield folder
            finally:
                process.terminate()


def _answers(asked: bytes) -> bool:
    return PGconn.ping(asked) == Ping.OK


def place(url: URL) -> tuple[str, int]:
    """Give where a server listens: its host, or its socket's folder, and its port."""
    return str(url.query.get("host") or url.host), int(
        str(url.query.get("port") or url.port or 5432)
    )


def at(url: URL, folder: Path) -> str:
    """Give a login's URL through the PgBouncer whose socket is in a folder."""
    there = url.set(host="", port=None, query={"host": str(folder), "port": str(PORT)})
    return there.render_as_string(hide_password=False)
