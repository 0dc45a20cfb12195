"""What compose.yaml and nginx.conf say, with where things are on this machine put in place."""

import os
import re
import secrets
from pathlib import Path
from typing import Any

import yaml

from tests import certificates

HOUSE = Path(__file__).parent.parent
COMPOSE: dict[str, Any] = yaml.safe_load((HOUSE / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
HOME_IN_IMAGE = "/var/lib/keypool"
ENV_FILE = {
    name: secrets.token_hex(24)
    for name in sorted(set(re.findall(r"\$\{(\w+):\?", (HOUSE / "compose.yaml").read_text())))
}
ENV_FILE["KEYPOOL_PUBLIC_URL"] = "https://keys.example.com"


def interpolated(text: str, home: Path) -> str:
    """Fill in variables as compose does, and a home for the image's."""
    filled = re.sub(r"\$\{(\w+):\?[^}]*\}", lambda match: ENV_FILE[match[1]], text)
    filled = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", filled)
    return filled.replace("$$", "$").replace(HOME_IN_IMAGE, str(home))


def environment(service: str, home: Path) -> dict[str, str]:
    """Give the variables that a service's container gets; those without a value are passed on where set."""
    given = SERVICES[service]["environment"].items()
    return {name: interpolated(str(value), home) for name, value in given if value is not None}


def nginx_conf(folder: Path, **instead: str) -> Path:
    """Write nginx.conf with its files in a folder, a certificate of its own, and some words replaced."""
    certified(folder)
    written = (HOUSE / "nginx.conf").read_text()
    here = {"/tmp": str(folder), "/etc/certificates": str(folder)}  # noqa: S108  # as the container has it
    for before, after in (here | instead).items():
        assert before in written
        written = written.replace(before, after)
    path = folder / "nginx.conf"
    path.write_text(f"user root;\n{written}" if os.geteuid() == 0 else written)
    return path


def certified(folder: Path) -> None:
    """Make a certificate for keys.example.com, which nobody vouches for."""
    key, certificate = certificates.self_signed("keys.example.com")
    (folder / "fullchain.pem").write_bytes(certificate)
    (folder / "privkey.pem").write_bytes(key)
