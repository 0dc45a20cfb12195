"""`keypool pools`: one owner, one course, a window in which keys can be redeemed."""

from typing import TYPE_CHECKING, Unpack

import rich_click as click

from worker.cli import printing, watching
from worker.cli.frame import WHOLE, Group, deferred
from worker.cli.lists import ListCommand
from worker.cli.system import operator, run

with deferred():
    from worker.billing import charges
    from worker.pools import pools

if TYPE_CHECKING:
    from worker.database.paging import Page, Paging

LABELS = printing.table(
    lambda: pools.LabelFigures, "label", "issued", "distributed", "redeemed", "retired"
)
POOLS = printing.table(
    lambda: pools.PoolShape,
    "id",
    "name",
    "organization",
    "course",
    "state",
    "expires_at",
    "keys.issued",
    "keys.distributed",
    "keys.redeemed",
    "keys.retired",
    spare=("keys.retired", "keys.distributed", "course"),
)

starts = "The first day on which keys can be redeemed, in the organization's time zone."
expires = "The last day on which they can; that day is included."
availability = "How long access lasts after redemption, in days."


@click.group("pools", cls=Group)
def command() -> None:
    """Pools of training keys: one owner, one course, a window, a content availability."""


@command.command()
@click.option("--name", required=True, help="Unique within the organization.")
@click.option("--organization", required=True, metavar="ORG", help="Who owns the pool and pays.")
@click.option("--course", required=True, metavar="CODE", help="What its keys give access to.")
@click.option("--starts", required=True, metavar="DATE", help=starts)
@click.option("--expires", required=True, metavar="DATE", help=expires)
@click.option(
    "--content-availability", required=True, type=WHOLE, metavar="DAYS", help=availability
)
@click.option(
    "--share-with-children", is_flag=True, help="Let learners of organizations below redeem too."
)
def create(
    name: str,
    organization: str,
    course: str,
    starts: str,
    expires: str,
    content_availability: int,
    share_with_children: bool,
) -> "pools.PoolShape":
    """Create a pool."""
    return run(
        pools.create,
        actor=operator(),
        name=name,
        organization=organization,
        course=course,
        starts=starts,
        expires=expires,
        content_availability=content_availability,
        share_with_children=share_with_children,
    )


@command.command(
    "list",
    cls=ListCommand,
    filters=lambda: pools.Filters,
    shows=POOLS,
)
@click.option("--watch", is_flag=True, help="Draw it again every two seconds, until Ctrl-C.")
def listing(
    filters: "pools.Filters", watch: bool, **page: "Unpack[Paging]"
) -> "Page[pools.PoolShape] | None":
    """List pools with their state and figures."""

    def look() -> "Page[pools.PoolShape]":
        return run(pools.listing, actor=operator(), filters=filters, **page)

    return watching.watched(look, POOLS) if watch else look()


@command.command()
@click.argument("pool")
def show(pool: str) -> "pools.PoolShape":
    """Show a pool."""
    return run(pools.show, actor=operator(), pool=pool)


@command.command()
@click.argument("pool")
@click.option("--name", help="Its new name.")
@click.option("--starts", metavar="DATE", help=starts)
@click.option("--expires", metavar="DATE", help=expires)
@click.option("--content-availability", type=WHOLE, metavar="DAYS", help=availability)
@click.option(
    "--share-with-children/--no-share-with-children",
    default=None,
    help="Whether learners of organizations below redeem too.",
)
def edit(
    pool: str,
    name: str | None,
    starts: str | None,
    expires: str | None,
    content_availability: int | None,
    share_with_children: bool | None,
) -> "pools.PoolShape":
    """Change a pool; live assignments keep their access."""
    return run(
        pools.edit,
        actor=operator(),
        pool=pool,
        name=name,
        starts=starts,
        expires=expires,
        content_availability=content_availability,
        share_with_children=share_with_children,
    )


@command.command()
@click.argument("pool")
def pause(pool: str) -> "pools.PoolShape":
    """Pause a pool: its keys cannot be redeemed until it is resumed; live assignments continue."""
    return run(pools.pause, actor=operator(), pool=pool)


@command.command()
@click.argument("pool")
def resume(pool: str) -> "pools.PoolShape":
    """Resume a paused pool: its keys can be redeemed again."""
    return run(pools.resume, actor=operator(), pool=pool)


@command.command("labels", shows=LABELS)
@click.argument("pool")
def by_label(pool: str) -> "Page[pools.LabelFigures]":
    """Count a pool's keys by the labels that they carry."""
    return run(pools.by_label, actor=operator(), pool=pool)


@command.command("charges")
@click.argument("pool")
def charged(pool: str) -> "charges.PoolCharged":
    """Show what a pool was charged so far this month, and how much of it is unbilled."""
    return run(charges.of_pool, actor=operator(), pool=pool)
