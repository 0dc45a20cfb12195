"""Distributions: keys given to recipients, each key once."""

from typing import BinaryIO

from apiflask import APIBlueprint
from flask import request
from pydantic import Field
from sqlalchemy.orm import Session

from webhook.api.tables import Reading
from webhook.http import nudging, problems
from webhook.http.access import allowed, known
from webhook.http.openapi import describe
from webhook.http.queries import Query, query
from webhook.http.shapes import Taken, gives
from webhook.http.uploads import TABLES, uploaded
from worker.database import patience
from worker.database.paging import Page
from worker.pools import distributions, pools
from worker.pools.distributions import (
    DistributionRecalled,
    DistributionShape,
    DistributionsMade,
    OneDistributionMade,
)
from worker.tenancy import templates
from worker.tenancy.actors import Actor, Role

blueprint = APIBlueprint(
    "distributions", __name__, url_prefix="/api/v1/pools/<pool>/distributions", tag="Distributions"
)


class NewDistribution(Taken):
    """The recipient, the number of keys and the reference."""

    recipient: str
    count: int | None = None
    reference: str = ""
    name: str = ""
    labels: list[str] = Field([], description="Labels of the keys: a few words each.")
    mail: bool = Field(False, description="Send the recipient the keys, once.")
    template: str | None = Field(None, description="In the words of this template of the owner's.")
    subject: str | None = Field(None, description="In words for this once: the mail's subject.")
    text: str | None = Field(None, description="The mail's text, as a template's.")


class Recall(Taken):
    """The distribution to recall."""

    recipient: str
    reference: str = ""


class Handing(Reading):
    """How to read a table of recipients, and defaults for its rows."""

    count: int | None = Field(None, description="How many keys each row asks for.", ge=1)
    reference: str = Field("", description="Under which reference.", max_length=320)
    mail: bool = Field(False, description="Send each recipient their keys, once.")
    template: str | None = Field(
        None, description="In the words of this template of the owner's.", max_length=100
    )


@blueprint.get("")
@allowed(Role.MANAGER, Role.ANALYST)
@gives()
@blueprint.input(query(distributions.Filters), location="query", arg_name="query")
def listing(
    session: Session, actor: Actor, pool: str, query: Query[distributions.Filters]
) -> Page[DistributionShape]:
    """List a pool's distributions with their figures, newest first."""
    filters = query.filters
    return distributions.listing(session, actor=actor, pool=pool, filters=filters, **query.page)


@blueprint.post("")
@describe(takes=TABLES)
@known(Role.MANAGER, finds=pools.find)
@uploaded
@allowed(Role.MANAGER)
@gives(201)
@blueprint.input(Handing, location="query", arg_name="query")
def distribute(
    session: Session, actor: Actor, pool: str, upload: BinaryIO | None, query: Handing
) -> OneDistributionMade | DistributionsMade:
    """Give keys to a recipient, or to every recipient in a table with a column of addresses.

    The same recipient and reference again gives the same keys.
    """
    read_as = query.read_as()
    if upload is not None:
        patience.unhurried(session)
        if query.mail and not query.dry_run:
            nudging.after_commit("mail")
        return distributions.distribute_file(
            session,
            actor=actor,
            pool=pool,
            stream=upload,
            read_as=read_as,
            count=query.count,
            reference=query.reference,
            mail=query.mail,
            template=query.template,
            dry_run=query.dry_run,
        )
    body = problems.checked(NewDistribution, request.get_json(force=True))
    if body.mail and not query.dry_run:
        nudging.after_commit("mail")
    if (body.count or 1) > distributions.MAX_CODES:
        patience.unhurried(session)
    return distributions.distribute(
        session,
        actor=actor,
        pool=pool,
        recipient=body.recipient,
        count=body.count,
        reference=body.reference,
        name=body.name,
        labels=[*read_as.labels, *body.labels],
        mail=body.mail,
        template=templates.worded(body.template, subject=body.subject, text=body.text),
        dry_run=query.dry_run,
    )


@blueprint.post("/recall")
@allowed(Role.MANAGER)
@gives()
@blueprint.input(Recall, arg_name="body")
def recall(session: Session, actor: Actor, pool: str, body: Recall) -> DistributionRecalled:
    """Retire a recipient's unredeemed keys of one reference."""
    return distributions.recall(session, actor=actor, pool=pool, **body.given())
