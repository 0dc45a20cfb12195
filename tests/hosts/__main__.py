"""`make hosts`: cuts every line of several hosts, prints a table, and keeps it in results/latest.json."""

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.composing import HOUSE
from tests.faults import checker
from tests.hosts import network, releases, replicated
from tests.hosts.cuts import CUTS, SHORT, SHORTLY, UPGRADE, Cut, Result, try_out
from tests.hosts.lab import Lab, running_lab
from tests.hosts.replicated import Replicated
from tests.hosts.traffic import Traffic
from tests.hosts.watching import watching

RESULTS = Path(__file__).parent / "results"
COLUMNS = (
    "cut",
    "seconds",
    "waiting",
    "oldest",
    "in inbox",
    "2xx after",
    "/healthz",
    "answered",
    "recovered",
    "load",
    "lost",
    "doubled",
    "stuck",
    "",
)
PER_SECOND = 5  # messages; the lab shares its machine
SBIN = ":/usr/sbin:/sbin"  # where the programs of networks are; an ordinary user's PATH lacks them


def main() -> int:
    """Run what is named on the command line, or everything; exit 1 where something did not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.hosts", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="a part of a cut's name")
    parser.add_argument("--short", action="store_true", help="some cuts of a few seconds")
    parser.add_argument("--replicated", action="store_true", help="PostgreSQL on three hosts")
    given = parser.parse_args()
    if (folder := network.inside()) and given.replicated:
        return run_replicated(folder, keep=not given.short)
    if folder:
        return run(
            folder, chosen(given.names, short=given.short), keep=not (given.names or given.short)
        )
    os.environ["PATH"] += SBIN
    if reason := network.refusal() or (replicated.refusal() if given.replicated else None):
        _tell(f"No hosts can be made here: {reason}.")
        return 0
    with tempfile.TemporaryDirectory(prefix="keypool-hosts-") as made:
        Path(made).chmod(0o755)
        return network.enter(Path(made))


def chosen(names: list[str], *, short: bool) -> list[Cut]:
    """Give the cuts of such names (all where none is given), or the short form's."""
    if short:
        return [replace(one, seconds=SHORT) for one in CUTS if one.name in SHORTLY]
    return [one for one in CUTS if not names or any(name in one.name for name in names)]


def run(folder: Path, cuts: list[Cut], *, keep: bool) -> int:
    """Start the hosts, and make the cuts one after the other while webhooks flow."""
    results, house = [], releases.older(folder / "older") if UPGRADE in cuts else None
    if UPGRADE in cuts:
        _tell(
            f"It begins with the code of {releases.oldest()}." if house else "No older code here."
        )
    with running_lab(folder, partial(Lab, house=house or HOUSE)) as lab:
        traffic = Traffic(lab.url, lab.secret, lab.codes(), PER_SECOND)
        with watching(lab.superuser(), traffic) as watch:
            traffic.start()
            for cut in (one for one in cuts if house or one is not UPGRADE):
                results.append(try_out(lab, cut, traffic, watch))
                _tell(f"{time.strftime('%H:%M:%S')} {results[-1]}")
            history = traffic.stop()
            checker.check(history)
    Console(width=None if sys.stdout.isatty() else 140).print(table(results))
    if keep:
        _keep("latest.json", cuts=[asdict(one) for one in results])
    return 1 if any(one.wrong for one in results) else 0


def run_replicated(folder: Path, *, keep: bool) -> int:
    """Start the hosts with three databases, and have the primary fall while webhooks flow."""
    with running_lab(folder, Replicated) as lab:
        traffic = Traffic(lab.url, lab.secret, lab.codes(), PER_SECOND)
        with watching(lab.superuser(), traffic) as watch:
            traffic.start()
            results = replicated.tried(lab, traffic, watch)
            checker.check(traffic.stop())
        costs = replicated.commit_milliseconds(lab)
        assert "<html" in replicated.report_of_a_standby(lab)
        lost = replicated.lost_without_a_synchronous_standby(lab)
    Console(width=None if sys.stdout.isatty() else 140).print(table(results))
    _tell("A report on one organization was read from a standby.")
    _tell(f"Milliseconds of a commit: {costs}. Acknowledged, and lost without one: {lost}.")
    if keep:
        cuts = [asdict(one) for one in results]
        _keep("replicated.json", cuts=cuts, commit_milliseconds=costs, lost_without_a_standby=lost)
    return 1 if any(one.wrong for one in results) else 0


def _keep(name: str, **figures: object) -> None:
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / name).write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n")


def table(results: list[Result]) -> Table:
    """Show results as a table for people."""
    shown = Table(*COLUMNS)
    for one in results:
        name, *figures = asdict(one).values()
        shown.add_row(name, *map(str, figures))
    return shown


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
