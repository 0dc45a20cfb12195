"""`keypool simulate`: years of realistic history."""

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
def command(organizations: int, months: int, redemptions: int, seed: int) -> dict[str, int]:
    """Add organizations with years of realistic history, for trying reports and sizes."""
    with system():
        made = connections.transaction(
            simulation.simulate,
            organizations=organizations,
            months=months,
            redemptions=redemptions,
            seed=seed,
        )
        return made | simulation.bill()
