"""Pools."""

from typing import Any, Literal

from apiflask import APIBlueprint
from pydantic import Field
from sqlalchemy.orm import Session

from webhook.api import shapes
from webhook.http.access import allowed
from webhook.http.preconditions import versioned
from webhook.http.shapes import Given, Paging
from worker.billing import charges
from worker.pools import pools
from worker.tenancy.actors import Actor, Role

blueprint = APIBlueprint("pools", __name__, url_prefix="/api/v1/pools", tag="Pools")

# The domain's words for what people give, where they differ from the object's.
FIELD_NAMES = {
    "starts_at": "starts",
    "expires_at": "expires",
    "content_availability_days": "content_availability",
}


class ChargedInCurrency(Given):
    """What a pool was charged in one currency; credits count as what they give back."""

    currency: str
    quantity: int
    amount: str
    unbilled_quantity: int
    unbilled_amount: str


class Charged(Given):
    """What a pool was charged in its owner's running month."""

    pool: str
    month: str
    currencies: list[ChargedInCurrency]


class Query(Paging):
    """Which pools."""

    organization: str | None = Field(None, max_length=200)
    course: str | None = Field(None, max_length=64)
    state: Literal["archived", "paused", "scheduled", "expired", "active"] | None = None
    search: str | None = Field(None, description="A piece of the name.", max_length=200)
    sort: (
        Literal[
            "made", "-made", "name", "-name", "starts_at", "-starts_at", "expires_at", "-expires_at"
        ]
        | None
    ) = None


@blueprint.get("")
@allowed(Role.MANAGER, Role.ANALYST)
@blueprint.output(shapes.Pools)
@blueprint.input(Query, location="query", arg_name="query")
def listing(session: Session, actor: Actor, query: Query) -> Any:
    """List pools in the order in which they were made, or another."""
    return vars(pools.listing(session, actor=actor, **query.page()))


@blueprint.post("")
@allowed(Role.MANAGER)
@blueprint.output(shapes.Pool, status_code=201)
@blueprint.input(shapes.NewPool, arg_name="body")
def create(session: Session, actor: Actor, body: shapes.NewPool) -> Any:
    """Create a pool."""
    return pools.create(session, actor=actor, **body.given(**FIELD_NAMES))


@blueprint.get("/<pool>")
@allowed(Role.MANAGER, Role.ANALYST)
@versioned(pools.find)
@blueprint.output(shapes.Pool)
def show(session: Session, actor: Actor, pool: str) -> Any:
    """Show a pool with its state and its keys' figures."""
    return pools.show(session, actor=actor, pool=pool)


@blueprint.patch("/<pool>")
@allowed(Role.MANAGER)
@versioned(pools.find)
@blueprint.output(shapes.Pool)
@blueprint.input(shapes.PoolChanges, arg_name="body")
def edit(session: Session, actor: Actor, pool: str, body: shapes.PoolChanges) -> Any:
    """Change what is given of a pool; live assignments keep the access they have."""
    return pools.edit(session, actor=actor, pool=pool, **body.given(**FIELD_NAMES))


@blueprint.post("/<pool>/pause")
@allowed(Role.MANAGER)
@versioned(pools.find)
@blueprint.output(shapes.Pool)
def pause(session: Session, actor: Actor, pool: str) -> Any:
    """Stop a pool's keys until it is resumed; live assignments go on."""
    return pools.pause(session, actor=actor, pool=pool)


@blueprint.post("/<pool>/resume")
@allowed(Role.MANAGER)
@versioned(pools.find)
@blueprint.output(shapes.Pool)
def resume(session: Session, actor: Actor, pool: str) -> Any:
    """Let a paused pool's keys be redeemed again."""
    return pools.resume(session, actor=actor, pool=pool)


@blueprint.get("/<pool>/charges")
@allowed(Role.MANAGER, Role.FINANCE, Role.ANALYST)
@blueprint.output(Charged)
def charged(session: Session, actor: Actor, pool: str) -> Any:
    """Say what a pool was charged so far this month, and what of that is unbilled."""
    return charges.of_pool(session, actor=actor, pool=pool)
