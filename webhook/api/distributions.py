"""Distributions: keys handed to recipients, once each."""

from typing import BinaryIO

from apiflask import APIBlueprint
from flask import request
from pydantic import Field
from sqlalchemy.orm import Session

from webhook.http import problems
from webhook.http.access import allowed, known
from webhook.http.openapi import describe
from webhook.http.shapes import Paging, Taken, gives
from webhook.http.uploads import uploaded
from worker.database import patience
from worker.database.paging import Page
from worker.pools import distributions
from worker.pools.distributions import (
    DistributionMade,
    DistributionRecalled,
    DistributionShape,
    DistributionsMade,
)
from worker.tenancy.actors import Actor, Role

blueprint = APIBlueprint(
    "distributions", __name__, url_prefix="/api/v1/pools/<pool>/distributions", tag="Distributions"
)


class Query(Paging):
    """Which distributions."""

    recipient: str | None = Field(None, max_length=320)
    reference: str | None = Field(None, max_length=320)


class NewDistribution(Taken):
    """Who is handed how many keys, and for what."""

    recipient: str
    count: int = 1
    reference: str = ""
    name: str = ""


class Recall(Taken):
    """Whose keys are recalled."""

    recipient: str
    reference: str = ""


@blueprint.get("")
@allowed(Role.MANAGER, Role.ANALYST)
@gives()
@blueprint.input(Query, location="query", arg_name="query")
def listing(session: Session, actor: Actor, pool: str, query: Query) -> Page[DistributionShape]:
    """List a pool's distributions with their figures, newest first."""
    return distributions.listing(session, actor=actor, pool=pool, **query.page())


@blueprint.post("")
@describe(takes=("text/csv",))
@known(Role.MANAGER)
@uploaded
@allowed(Role.MANAGER)
@gives(201)
def distribute(
    session: Session, actor: Actor, pool: str, upload: BinaryIO | None
) -> DistributionMade | DistributionsMade:
    """Hand keys to a recipient, or to everybody in a table `email,name,count,reference`.

    The same recipient and reference again gives the same keys.
    """
    patience.unhurried(session)
    if upload is not None:
        return distributions.distribute_file(session, actor=actor, pool=pool, stream=upload)
    body = problems.checked(NewDistribution, request.get_json(force=True))
    return distributions.distribute(session, actor=actor, pool=pool, **body.given())


@blueprint.post("/recall")
@allowed(Role.MANAGER)
@gives()
@blueprint.input(Recall, arg_name="body")
def recall(session: Session, actor: Actor, pool: str, body: Recall) -> DistributionRecalled:
    """Retire what is unredeemed of what a recipient was handed under a reference."""
    return distributions.recall(session, actor=actor, pool=pool, **body.given())
