"""`keypool endpoints`: URLs that get an organization's webhooks."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Unpack

import rich_click as click

from worker.cli import printing
from worker.cli.frame import WHOLE, Group, deferred
from worker.cli.lists import ListCommand
from worker.cli.options import SINCE, old_valid, together
from worker.cli.system import operator, run, system

with deferred():
    from worker import tasks
    from worker.database import connections
    from worker.outgoing import deliveries, endpoints, pinging

if TYPE_CHECKING:
    from worker.database.paging import Page, Paging

ENDPOINTS = printing.table(
    lambda: endpoints.EndpointShape,
    "id",
    "organization",
    "url",
    "types",
    "failures",
    "rests_until",
    "paused_at",
)
DELIVERIES = printing.table(
    lambda: deliveries.DeliveryShape,
    "id",
    "happened_at",
    "type",
    "url",
    "state",
    "attempts",
    "due_at",
    "error",
)

wishes = together(
    click.option("--types", metavar="TYPE,…", help="The types that it gets; all by default."),
    click.option("--pool-low", type=WHOLE, metavar="N", help="A pool is low below so many keys."),
    click.option(
        "--pool-expiring", "pool_expiring_days", type=WHOLE, metavar="DAYS",
        help="A pool is expiring so many days ahead.",
    ),
)  # fmt: skip


@click.group("endpoints", cls=Group)
def command() -> None:
    """Endpoints: URLs that get an organization's events as signed webhooks."""


@command.command(shows=printing.secret)
@click.argument("url")
@click.option(
    "--organization", required=True, metavar="ORG", help="The organization whose events it gets."
)
@wishes
def add(
    url: str,
    organization: str,
    types: str | None,
    pool_low: int | None,
    pool_expiring_days: int | None,
) -> "endpoints.EndpointInClear":
    """Register an endpoint and print its signing secret, once."""
    return run(
        endpoints.add,
        actor=operator(),
        url=url,
        organization=organization,
        types=_split(types),
        pool_low=pool_low,
        pool_expiring_days=pool_expiring_days,
    )


@command.command()
@click.argument("endpoint")
@click.option("--url", help="Where it is from now on.")
@wishes
def edit(
    endpoint: str,
    url: str | None,
    types: str | None,
    pool_low: int | None,
    pool_expiring_days: int | None,
) -> "endpoints.EndpointShape":
    """Change an endpoint's URL, types and thresholds."""
    return run(
        endpoints.edit,
        actor=operator(),
        endpoint=endpoint,
        url=url,
        types=_split(types),
        pool_low=pool_low,
        pool_expiring_days=pool_expiring_days,
    )


@command.command(shows=printing.secret)
@click.argument("endpoint")
@old_valid
def rotate(endpoint: str, old_valid: timedelta) -> "endpoints.EndpointInClear":
    """Give an endpoint a new signing secret and print it, once."""
    return run(endpoints.rotate, actor=operator(), endpoint=endpoint, old_valid=old_valid)


@command.command()
@click.argument("endpoint")
def pause(endpoint: str) -> "endpoints.EndpointShape":
    """Pause an endpoint: what happens waits until it is resumed."""
    return run(endpoints.pause, actor=operator(), endpoint=endpoint)


@command.command()
@click.argument("endpoint")
def resume(endpoint: str) -> "endpoints.EndpointShape":
    """Resume an endpoint that was paused, or that answered that it is gone (410)."""
    with system():
        done = connections.transaction(endpoints.resume, actor=operator(), endpoint=endpoint)
        tasks.nudge("deliver")
    return done


@command.command()
@click.argument("endpoint")
@click.argument("type", required=False)
def ping(endpoint: str, type: str | None) -> "pinging.Pinged":
    """Post a signed sample to an endpoint now, and show its answer; of TYPE, such as pool.low."""
    with system():
        sample = connections.transaction(
            pinging.prepare, actor=operator(), endpoint=endpoint, type=type
        )
        return pinging.post(sample)


@command.command()
@click.argument("endpoint")
def remove(endpoint: str) -> "endpoints.EndpointShape":
    """Remove an endpoint: it gets no more deliveries."""
    return run(endpoints.remove, actor=operator(), endpoint=endpoint)


@command.command("list", cls=ListCommand, filters=lambda: endpoints.Filters, shows=ENDPOINTS)
def listing(
    filters: "endpoints.Filters", **page: "Unpack[Paging]"
) -> "Page[endpoints.EndpointShape]":
    """List endpoints, their types, and their failures."""
    return run(endpoints.listing, actor=operator(), filters=filters, **page)


@command.command(
    "deliveries",
    cls=ListCommand,
    filters=lambda: deliveries.Filters,
    shows=DELIVERIES,
)
@click.argument("endpoint", required=False)
def list_deliveries(
    filters: "deliveries.Filters", **page: "Unpack[Paging]"
) -> "Page[deliveries.DeliveryShape]":
    """List deliveries to endpoints, newest first."""
    return run(deliveries.listing, actor=operator(), filters=filters, **page)


@command.command()
@click.argument("delivery", metavar="ID")
def show(delivery: str) -> "deliveries.DeliveryShape":
    """Show a delivery with its body."""
    return run(deliveries.show, actor=operator(), delivery=delivery)


@command.command()
@click.argument("endpoint")
@click.argument("ids", metavar="[ID]…", nargs=-1)
@click.option("--since", type=SINCE, metavar="TIME", help="All of what happened since.")
@click.option("--failed", is_flag=True, help="Only dead letters.")
def resend(
    endpoint: str, ids: tuple[str, ...], since: datetime | None, failed: bool
) -> "deliveries.Resent":
    """Send deliveries to an endpoint again: by id, or all since a time."""
    with system():
        done = connections.transaction(
            deliveries.resend,
            actor=operator(),
            endpoint=endpoint,
            deliveries=ids,
            since=since,
            failed=failed,
        )
        tasks.nudge("deliver")
    return done


def _split(types: str | None) -> list[str] | None:
    return None if types is None else [name for name in types.split(",") if name.strip()]
