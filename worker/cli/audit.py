"""`keypool audit`: proves that nothing was lost or doubled."""

from collections.abc import Iterator
from datetime import datetime

import rich_click as click

from worker.cli import printing, progress
from worker.cli.frame import Command, deferred
from worker.cli.options import Instant
from worker.cli.system import system

with deferred():
    from worker.audit import auditing
    from worker.database import connections


def lines(result: "auditing.AuditShape") -> Iterator[str]:
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
@click.option("--since", type=Instant(), metavar="TIME", help="What was made or changed since.")
@click.option("--resume", is_flag=True, help="Go on with the audit that was interrupted last.")
def command(since: datetime | None, resume: bool) -> "auditing.AuditShape":
    """Prove on the live database that every rule of the ledger holds.

    It works in slices, each a short query, shows its progress, and may take as long as it needs. If a
    rule does not hold, the exit code is 1, and the first rows that break it are listed.
    """
    if resume and since:
        raise click.UsageError(
            "--resume goes on with what the audit began with; leave --since out."
        )
    with system(), progress.bar(100, "Audited, in percent") as advance:
        run = (
            connections.transaction(auditing.interrupted)
            if resume
            else connections.transaction(auditing.begin, since=since)
        )
        while not connections.transaction(auditing.work, run=run):
            advance(connections.transaction(auditing.percent, run=run))
        return connections.transaction(auditing.show, run=run)
