"""Distributions: keys handed to recipients, once each."""

from typing import Any, BinaryIO

from apiflask import APIBlueprint
from flask import request
from pydantic import Field
from sqlalchemy.orm import Session

from webhook.api import shapes
from webhook.http import problems
from webhook.http.access import allowed, known
from webhook.http.openapi import describe
from webhook.http.shapes import Given, Paging
from webhook.http.uploads import uploaded
from worker.database import patience
from worker.pools import distributions
from worker.tenancy.actors import Actor, Role

blueprint = APIBlueprint(
    "distributions", __name__, url_prefix="/api/v1/pools/<pool>/distributions", tag="Distributions"
)


class Query(Paging):
    """Which distributions."""

    recipient: str | None = Field(None, max_length=320)
    reference: str | None = Field(None, max_length=320)


@blueprint.get("")
@allowed(Role.MANAGER, Role.ANALYST)
@blueprint.output(shapes.Distributions)
@blueprint.input(Query, location="query", arg_name="query")
def listing(session: Session, actor: Actor, pool: str, query: Query) -> Any:
    """List a pool's distributions with their figures, newest first."""
    return vars(distributions.listing(session, actor=actor, pool=pool, **query.page()))


@blueprint.post("")
@describe(takes=("text/csv",))
@known(Role.MANAGER)
@uploaded
@allowed(Role.MANAGER)
@blueprint.output(Given, status_code=201)
def distribute(session: Session, actor: Actor, pool: str, upload: BinaryIO | None) -> Any:
    """Hand keys to a recipient, or to everybody in a table `email,name,count,reference`.

    The same recipient and reference again gives the same keys.
    """
    patience.unhurried(session)
    if upload is not None:
        return distributions.distribute_file(session, actor=actor, pool=pool, stream=upload)
    body = problems.checked(shapes.NewDistribution, request.get_json(force=True))
    return distributions.distribute(session, actor=actor, pool=pool, **body.given())


@blueprint.post("/recall")
@allowed(Role.MANAGER)
@blueprint.output(shapes.Distribution)
@blueprint.input(shapes.Recall, arg_name="body")
def recall(session: Session, actor: Actor, pool: str, body: shapes.Recall) -> Any:
    """Retire what is unredeemed of what a recipient was handed under a reference."""
    return distributions.recall(session, actor=actor, pool=pool, **body.given())
