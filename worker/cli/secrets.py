"""`keypool secrets`: what KEYPOOL_SECRET_KEY encrypts."""

from collections.abc import Iterator

import rich_click as click

from worker.cli import printing
from worker.cli.frame import Group, deferred
from worker.cli.system import run

with deferred():
    from worker.tenancy import resealing


@click.group("secrets", cls=Group)
def command() -> None:
    """Secrets at rest: what KEYPOOL_SECRET_KEY encrypts."""


def _lines(result: "resealing.Resealed") -> Iterator[str]:
    anew, lost = result["encrypted_anew"], result["without_key"]
    yield f"Encrypted anew with the newest key: {printing.counted(anew, 'secret')}."
    if lost:
        yield f"{printing.counted(lost, 'secret')} cannot be opened with any key in KEYPOOL_SECRET_KEY."
    else:
        yield "Every key but the first can be removed from KEYPOOL_SECRET_KEY, on every machine."


@command.command(
    shows=printing.sentences(_lines), failed=lambda result: bool(result["without_key"])
)
def reencrypt() -> "resealing.Resealed":
    """Encrypt everything with the newest key, so that the old ones can go; idempotent.

    Restart every process with the new key first: a process that does not have it could not read what
    was encrypted with it.
    """
    return run(resealing.reencrypt)
