"""The command line's start: a command that lists, beside the bare imports that it cannot do without."""

import os
import subprocess
import sys
from pathlib import Path
from statistics import median

from benchmarks.frame import Rig, Round, benchmark, seconds

KEYPOOL = str(Path(sys.executable).with_name("keypool"))
LISTING = [KEYPOOL, "pools", "list"]
HELP = [KEYPOOL, "pools", "--help"]
IMPORTS = "import sqlalchemy.orm, psycopg, pydantic_settings, rich_click, structlog"
HISTORY = ["simulate", "--organizations=3", "--months=3", "--redemptions=500"]


@benchmark("cli.start", unit="starts/min", n=20)
def starting(rig: Rig, count: int) -> Round:
    """`keypool pools list` on a system that is up, and a Python that imports its libraries."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("KEYPOOL_")}
    environment["KEYPOOL_HOME"] = str(rig.servers.home)

    def started(*command: str) -> float:
        run = {"env": environment, "check": True, "stdout": subprocess.DEVNULL}
        return seconds(lambda: subprocess.run(command, **run))

    if "There are none" in subprocess.check_output(LISTING, env=environment, text=True):
        started(KEYPOOL, *HISTORY)
    turns = [
        (started(*LISTING), started(sys.executable, "-c", IMPORTS), started(*HELP))
        for _ in range(count)
    ]
    ours, limit, helped = map(median, zip(*turns, strict=True))
    return Round(
        ours=60 / ours,
        limit=60 / limit,
        notes={
            "seconds": ours,
            "seconds of the imports": limit,
            "seconds of a group's help": helped,
        },
    )
