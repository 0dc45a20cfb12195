"""The addresses of a home's servers, for their clients: importing this imports no server code."""

import json
from contextlib import suppress
from pathlib import Path


def addresses(home: Path) -> dict[str, str] | None:
    """Give the URLs of the home's servers, whether they run or not; None before their first start."""
    with suppress(FileNotFoundError):
        urls: dict[str, str] = json.loads((home / "run" / "servers.json").read_text())
        return urls
    return None
