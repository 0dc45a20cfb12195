"""`keypool simulate`: years of realistic history."""

from typing import Any

import rich_click as click

from worker.cli.frame import WHOLE, Command, deferred
from worker.cli.system import system

with deferred():
    from worker import simulation
    from worker.database import connections


@click.command("simulate", cls=Command)
@click.option("--organizations", required=True, type=WHOLE, metavar="N")
@click.option("--months", required=True, type=WHOLE, metavar="N", help="How far back it goes.")
@click.option("--redemptions", required=True, type=WHOLE, metavar="N", help="Refused ones too.")
@click.option(
    "--seed", type=WHOLE, default=0, show_default=True, help="The same, the same history."
)
def command(**arguments: Any) -> dict[str, int]:
    """Add organizations with years of realistic history, for trying reports and sizes."""
    with system():
        return connections.transaction(simulation.simulate, **arguments) | simulation.bill()
