"""Files of a home besides its data: passwords, and a folder for sockets."""

import json
import os
import re
import secrets
import shutil
import tempfile
from pathlib import Path

# A socket's path is limited to about 100 bytes, and PostgreSQL's clients split it at a comma.
SAFE_PATH = re.compile(r"[\w./-]{1,80}", re.ASCII)
LOGINS = ("keypool", "keypool_web", "keypool_analyst")


def passwords(home: Path) -> dict[str, str]:
    """Give the passwords of the logins, of postgres and of redis; made once."""
    path = home / "passwords.json"
    if not path.exists():
        users = ("postgres", *LOGINS, "redis")
        write_private(path, json.dumps({user: secrets.token_urlsafe(24) for user in users}))
    kept: dict[str, str] = json.loads(path.read_text())
    return kept


def socket_folder(home: Path) -> Path:
    """Give home/run, or if its path does not suit sockets a private folder that home/run links to."""
    run = home / "run"
    if SAFE_PATH.fullmatch(str(run)):
        return run
    link = run / "sockets"
    if not (link.is_dir() and link.stat().st_uid == os.geteuid()):
        link.unlink(missing_ok=True)
        folder = tempfile.mkdtemp(prefix="keypool-")
        if not SAFE_PATH.fullmatch(folder):
            Path(folder).rmdir()
            folder = tempfile.mkdtemp(prefix="keypool-", dir="/tmp")
        link.symlink_to(folder)
    return link.readlink()


def remove_socket_folder(home: Path) -> None:
    """Remove the private folder of sockets, if there is one."""
    link = home / "run" / "sockets"
    if link.is_symlink():
        shutil.rmtree(link.readlink(), ignore_errors=True)
        link.unlink()


def write_private(path: Path, text: str) -> None:
    """Write a file with mode 0600, atomically."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.touch(mode=0o600)
    fresh.write_text(text)
    fresh.replace(path)
