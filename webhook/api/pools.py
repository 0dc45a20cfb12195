"""Pools."""

from apiflask import APIBlueprint
from sqlalchemy.orm import Session

from webhook.http.access import allowed
from webhook.http.preconditions import versioned
from webhook.http.queries import Query, query
from webhook.http.shapes import Changes, Taken, gives, left_out
from worker.billing import charges
from worker.billing.charges import PoolCharged
from worker.database.paging import Page
from worker.pools import pools
from worker.pools.pools import LabelFigures, PoolShape
from worker.tables.pools import Pool
from worker.tenancy.actors import Actor, Role

blueprint = APIBlueprint("pools", __name__, url_prefix="/api/v1/pools", tag="Pools")

# Arguments of the domain whose names differ from the public fields'.
FIELD_NAMES = {
    "starts_at": "starts",
    "expires_at": "expires",
    "content_availability_days": "content_availability",
}


class NewPool(Taken):
    """A new pool; bare dates are days in its owner's time zone, the last day included."""

    name: str
    organization: str
    course: str
    starts_at: str
    expires_at: str
    content_availability_days: int
    share_with_children: bool = False


class PoolChanges(Changes):
    """Changes of a pool; omitted fields stay."""

    name: str = left_out()
    starts_at: str = left_out()
    expires_at: str = left_out()
    content_availability_days: int = left_out()
    share_with_children: bool = left_out()


@blueprint.get("")
@allowed(Role.MANAGER, Role.ANALYST)
@gives()
@blueprint.input(query(pools.Filters), location="query", arg_name="query")
def listing(session: Session, actor: Actor, query: Query[pools.Filters]) -> Page[PoolShape]:
    """List pools, by default in the order of creation."""
    return pools.listing(session, actor=actor, filters=query.filters, **query.page)


@blueprint.post("")
@allowed(Role.MANAGER)
@gives(201)
@blueprint.input(NewPool, arg_name="body")
def create(session: Session, actor: Actor, body: NewPool) -> PoolShape:
    """Create a pool."""
    return pools.create(session, actor=actor, **body.given(**FIELD_NAMES))


@blueprint.get("/<pool>")
@allowed(Role.MANAGER, Role.ANALYST)
@versioned(pools.find)
@gives()
def show(session: Session, actor: Actor, pool: Pool) -> PoolShape:
    """Show a pool with its state and figures."""
    return pools.show(session, actor=actor, pool=pool)


@blueprint.patch("/<pool>")
@allowed(Role.MANAGER)
@versioned(pools.find)
@gives()
@blueprint.input(PoolChanges, arg_name="body")
def edit(session: Session, actor: Actor, pool: Pool, body: PoolChanges) -> PoolShape:
    """Change a pool; live assignments keep their access."""
    return pools.edit(session, actor=actor, pool=pool, **body.given(**FIELD_NAMES))


@blueprint.post("/<pool>/pause")
@allowed(Role.MANAGER)
@versioned(pools.find)
@gives()
def pause(session: Session, actor: Actor, pool: Pool) -> PoolShape:
    """Pause a pool: its keys cannot be redeemed until it is resumed; live assignments continue."""
    return pools.pause(session, actor=actor, pool=pool)


@blueprint.post("/<pool>/resume")
@allowed(Role.MANAGER)
@versioned(pools.find)
@gives()
def resume(session: Session, actor: Actor, pool: Pool) -> PoolShape:
    """Resume a paused pool: its keys can be redeemed again."""
    return pools.resume(session, actor=actor, pool=pool)


@blueprint.get("/<pool>/labels")
@allowed(Role.MANAGER, Role.ANALYST)
@gives()
def by_label(session: Session, actor: Actor, pool: str) -> Page[LabelFigures]:
    """Count a pool's keys by the labels that they carry, those of the most keys first: up to 1,000."""
    return pools.by_label(session, actor=actor, pool=pool)


@blueprint.get("/<pool>/charges")
@allowed(Role.MANAGER, Role.FINANCE, Role.ANALYST)
@gives()
def charged(session: Session, actor: Actor, pool: str) -> PoolCharged:
    """Give what a pool was charged so far this month, and how much of it is unbilled."""
    return charges.of_pool(session, actor=actor, pool=pool)
