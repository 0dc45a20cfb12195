"""`keypool audit`: proves that nothing was lost or doubled."""

from collections.abc import Iterator

import rich_click as click

from worker.cli import printing
from worker.cli.frame import Command, deferred
from worker.cli.system import run

with deferred():
    from worker import audit


def lines(result: "audit.AuditShape") -> Iterator[str]:
    """Print each check: whether it holds, its figures, and the rows that break it."""
    for check in result["checks"]:
        yield f"{'✓' if check['ok'] else '✗'} {check['name']}"
        yield f"    {printing.text(check['figures'])}"
        for row in check["rows"]:
            yield f"    broken: {row}"
    broken = sum(not check["ok"] for check in result["checks"])
    yield "The ledger holds." if result["ok"] else f"{broken} of the checks do not hold."


@click.command(
    "audit", cls=Command, shows=printing.sentences(lines), failed=lambda result: not result["ok"]
)
def command() -> "audit.AuditShape":
    """Prove on the live database that every rule of the ledger holds.

    If one does not hold, the exit code is 1, and the rows that break it are listed.
    """
    return run(audit.audit)
