"""Endpoints: URLs that get an organization's webhooks, and their deliveries."""

from apiflask import APIBlueprint
from flask import g
from pydantic import Field
from sqlalchemy.orm import Session

from webhook.api import shapes
from webhook.http import nudging
from webhook.http.access import allowed, known
from webhook.http.instants import Instant
from webhook.http.preconditions import versioned
from webhook.http.queries import Query, query
from webhook.http.shapes import Changes, Taken, gives, left_out
from worker import days
from worker.database import connections
from worker.database.connections import Login
from worker.database.paging import Page
from worker.outgoing import deliveries, endpoints, pinging
from worker.outgoing.deliveries import DeliveryShape, Resent
from worker.outgoing.endpoints import EndpointInClear, EndpointShape
from worker.outgoing.pinging import Pinged
from worker.tables import outgoing as tables
from worker.tables.labels import DeliveryType
from worker.tenancy.actors import Actor, Role

blueprint = APIBlueprint("endpoints", __name__, url_prefix="/api/v1", tag="Endpoints")


class EndpointChanges(Changes):
    """Changes of an endpoint."""

    url: str = left_out(max_length=2000)
    types: list[DeliveryType] = left_out(min_length=1)
    pool_low: int = left_out(ge=1, le=1_000_000_000, description="Keys left: low below.")
    pool_expiring_days: int = left_out(ge=1, le=days.MAX_DAYS)


class NewEndpoint(EndpointChanges):
    """A new endpoint; without `types` it gets all types."""

    url: str = Field(max_length=2000)
    organization: str


class Resending(Taken):
    """Deliveries to send again: by id, or all since a time; with `failed`, only failed ones."""

    deliveries: list[str] | None = Field(None, max_length=1000)
    since: Instant | None = None
    failed: bool = False


class Pinging(Taken):
    """A sample to post: of a type of event, else of `endpoint.ping`."""

    type: DeliveryType | None = None


@blueprint.get("/endpoints")
@allowed(Role.MANAGER)
@gives()
@blueprint.input(query(endpoints.Filters), location="query", arg_name="query")
def listing(session: Session, actor: Actor, query: Query[endpoints.Filters]) -> Page[EndpointShape]:
    """List endpoints; never their secrets."""
    return endpoints.listing(session, actor=actor, filters=query.filters, **query.page)


@blueprint.post("/endpoints")
@allowed(Role.MANAGER)
@gives(201)
@blueprint.input(NewEndpoint, arg_name="body")
def add(session: Session, actor: Actor, body: NewEndpoint) -> EndpointInClear:
    """Register an endpoint; its signing secret is shown only now."""
    return endpoints.add(session, actor=actor, **body.given())


@blueprint.get("/endpoints/<endpoint>")
@allowed(Role.MANAGER)
@versioned(endpoints.find, endpoint="name")
@gives()
def show_endpoint(session: Session, actor: Actor, endpoint: tables.Endpoint) -> EndpointShape:
    """Show an endpoint; never its secrets."""
    return endpoints.show(session, actor=actor, endpoint=endpoint)


@blueprint.patch("/endpoints/<endpoint>")
@allowed(Role.MANAGER)
@versioned(endpoints.find, endpoint="name")
@gives()
@blueprint.input(EndpointChanges, arg_name="body")
def edit(
    session: Session, actor: Actor, endpoint: tables.Endpoint, body: EndpointChanges
) -> EndpointShape:
    """Change an endpoint's URL, types and thresholds."""
    return endpoints.edit(session, actor=actor, endpoint=endpoint, **body.given())


@blueprint.post("/endpoints/<endpoint>/rotate")
@allowed(Role.MANAGER)
@versioned(endpoints.find, endpoint="name")
@gives()
@blueprint.input(shapes.Rotation, arg_name="body")
def rotate(
    session: Session, actor: Actor, endpoint: tables.Endpoint, body: shapes.Rotation
) -> EndpointInClear:
    """Give an endpoint a new secret; for a while deliveries are signed with the old ones too."""
    return endpoints.rotate(session, actor=actor, endpoint=endpoint, old_valid=body.old_valid)


@blueprint.post("/endpoints/<endpoint>/pause")
@allowed(Role.MANAGER)
@versioned(endpoints.find, endpoint="name")
@gives()
def pause(session: Session, actor: Actor, endpoint: tables.Endpoint) -> EndpointShape:
    """Pause an endpoint: what happens waits until it is resumed, for three days at most."""
    return endpoints.pause(session, actor=actor, endpoint=endpoint)


@blueprint.post("/endpoints/<endpoint>/resume")
@allowed(Role.MANAGER)
@versioned(endpoints.find, endpoint="name")
@gives()
def resume(session: Session, actor: Actor, endpoint: tables.Endpoint) -> EndpointShape:
    """Resume an endpoint that was paused, or that answered that it is gone (410)."""
    nudging.after_commit("deliver")
    return endpoints.resume(session, actor=actor, endpoint=endpoint)


@blueprint.post("/endpoints/<endpoint>/ping")
@known(Role.MANAGER)
@gives()
@blueprint.input(Pinging, arg_name="body")
def ping(endpoint: str, body: Pinging) -> Pinged:
    """Post a signed sample to an endpoint now, and give its answer."""
    with connections.session(Login.WEB, sees=g.actor.scope) as session:
        sample = pinging.prepare(session, actor=g.actor, endpoint=endpoint, type=body.type)
    return pinging.post(sample)


@blueprint.post("/endpoints/<endpoint>/remove")
@allowed(Role.MANAGER)
@versioned(endpoints.find, endpoint="name")
@gives()
def remove(session: Session, actor: Actor, endpoint: tables.Endpoint) -> EndpointShape:
    """Remove an endpoint: it gets no more deliveries."""
    return endpoints.remove(session, actor=actor, endpoint=endpoint)


@blueprint.post("/endpoints/<endpoint>/resend")
@allowed(Role.MANAGER)
@gives()
@blueprint.input(Resending, arg_name="body")
def resend(session: Session, actor: Actor, endpoint: str, body: Resending) -> Resent:
    """Send deliveries to an endpoint again: some, or all since a time."""
    nudging.after_commit("deliver")
    return deliveries.resend(session, actor=actor, endpoint=endpoint, **body.given())


@blueprint.get("/deliveries")
@allowed(Role.MANAGER)
@gives()
@blueprint.input(query(deliveries.Filters), location="query", arg_name="query")
def list_deliveries(
    session: Session, actor: Actor, query: Query[deliveries.Filters]
) -> Page[DeliveryShape]:
    """List deliveries to endpoints, newest first."""
    return deliveries.listing(session, actor=actor, filters=query.filters, **query.page)


@blueprint.get("/deliveries/<delivery>")
@allowed(Role.MANAGER)
@gives()
def show(session: Session, actor: Actor, delivery: str) -> DeliveryShape:
    """Show a delivery with its body."""
    return deliveries.show(session, actor=actor, delivery=delivery)
