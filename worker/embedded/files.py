"""What a home keeps beside its data: passwords, and a place for sockets."""

import json
import os
import secrets
import shutil
import tempfile
from pathlib import Path

LONGEST_SOCKET_FOLDER = 80  # bytes; a socket's whole path fits in about 100
LOGINS = ("keypool", "keypool_web", "keypool_analyst")


def passwords(home: Path) -> dict[str, str]:
    """Give the password of each login, and of postgres and redis; made once."""
    path = home / "passwords.json"
    if not path.exists():
        users = ("postgres", *LOGINS, "redis")
        write_private(path, json.dumps({user: secrets.token_urlsafe(24) for user in users}))
    kept: dict[str, str] = json.loads(path.read_text())
    return kept


def socket_folder(home: Path) -> Path:
    """Give home/run, or where its path is too long a private folder that home/run links to."""
    run = home / "run"
    if len(os.fsencode(run)) <= LONGEST_SOCKET_FOLDER:
        return run
    link = run / "sockets"
    if not (link.is_dir() and link.stat().st_uid == os.geteuid()):
        link.unlink(missing_ok=True)
        short = len(os.fsencode(tempfile.gettempdir())) <= LONGEST_SOCKET_FOLDER - 20
        folder = None if short else "/tmp"  # noqa: S108  # mkdtemp makes it private
        link.symlink_to(tempfile.mkdtemp(prefix="keypool-", dir=folder))
    return link.readlink()


def remove_socket_folder(home: Path) -> None:
    """Remove the private folder of sockets, where there is one."""
    link = home / "run" / "sockets"
    if link.is_symlink():
        shutil.rmtree(link.readlink(), ignore_errors=True)
        link.unlink()


def write_private(path: Path, text: str) -> None:
    """Write a file for our eyes alone, whole or not at all."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.touch(mode=0o600)
    fresh.write_text(text)
    fresh.replace(path)
