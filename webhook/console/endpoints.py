"""Endpoints: URLs that get an organization's webhooks, and their deliveries."""

from typing import Any, TypedDict

from flask import render_template, request
from sqlalchemy.orm import Session

from webhook.console import forms
from webhook.console.access import known, page
from webhook.console.answers import done, failed
from webhook.console.choosing import chosen, place
from webhook.console.frame import blueprint
from webhook.http import nudging
from worker.database import connections
from worker.database.connections import Login
from worker.outgoing import deliveries, endpoints, pinging
from worker.outgoing.endpoints import EndpointShape
from worker.tables.labels import DeliveryType
from worker.tenancy import organizations
from worker.tenancy.actors import Actor, Role


class Wishes(TypedDict):
    """What an endpoint is asked for with."""

    url: str
    types: list[DeliveryType]
    pool_low: int
    pool_expiring_days: int


@blueprint.get("/endpoints", endpoint="endpoints")
@page(Role.MANAGER)
def endpoints_page(session: Session, actor: Actor) -> Any:
    """List endpoints, with a form to register one."""
    filters = chosen(endpoints.Filters)
    listed = endpoints.listing(session, actor=actor, filters=filters, **place())
    return render_template(
        "endpoints.html",
        listed=listed,
        filtered=endpoints.Filters,
        owners=organizations.in_sight(session, actor=actor),
        types=list(DeliveryType),
    )


@blueprint.post("/endpoints")
@page(Role.MANAGER, on="endpoints")
def add_endpoint(session: Session, actor: Actor) -> Any:
    """Register an endpoint, and show its secret once."""
    owner = request.form.get("organization", "")
    return _endpoint(
        session, actor, endpoints.add(session, actor=actor, organization=owner, **_wishes())
    )


@blueprint.get("/endpoints/<name>")
@page(Role.MANAGER)
def endpoint(session: Session, actor: Actor, name: str) -> Any:
    """Show an endpoint and its deliveries, all or the failed ones."""
    return _endpoint(session, actor, endpoints.show(session, actor=actor, endpoint=name))


@blueprint.post("/endpoints/<name>")
@page(Role.MANAGER, on="endpoint")
def edit_endpoint(session: Session, actor: Actor, name: str) -> Any:
    """Change an endpoint's URL, types and thresholds."""
    endpoints.edit(session, actor=actor, endpoint=name, **_wishes())
    return done("The endpoint is changed.", "endpoint", name=name)


@blueprint.post("/endpoints/<name>/rotate")
@page(Role.MANAGER, on="endpoint")
def rotate_endpoint(session: Session, actor: Actor, name: str) -> Any:
    """Give an endpoint a new secret, shown once; for a day deliveries are signed with both."""
    return _endpoint(session, actor, endpoints.rotate(session, actor=actor, endpoint=name))


@blueprint.post("/endpoints/<name>/pause")
@page(Role.MANAGER, on="endpoint")
def pause_endpoint(session: Session, actor: Actor, name: str) -> Any:
    """Pause an endpoint."""
    endpoints.pause(session, actor=actor, endpoint=name)
    return done("The endpoint is paused: what happens waits.", "endpoint", name=name)


@blueprint.post("/endpoints/<name>/resume")
@page(Role.MANAGER, on="endpoint")
def resume_endpoint(session: Session, actor: Actor, name: str) -> Any:
    """Resume an endpoint."""
    endpoints.resume(session, actor=actor, endpoint=name)
    nudging.after_commit("deliver")
    return done("The endpoint gets what waits for it.", "endpoint", name=name)


@blueprint.post("/endpoints/<name>/ping")
@known(Role.MANAGER, on="endpoint")
def ping_endpoint(actor: Actor, name: str) -> Any:
    """Post a signed sample now, and tell the answer."""
    with connections.session(Login.WEB, sees=actor.scope) as session:
        chosen = request.form.get("type") or None
        sample = pinging.prepare(session, actor=actor, endpoint=name, type=chosen)
    answer = pinging.post(sample)
    took = f"{answer['seconds']:.2f} s"
    if answer["accepted"]:
        return done(f"It answered {answer['status']} after {took}.", "endpoint", name=name)
    return failed(f"The ping failed after {took}: {answer['error']}.", "endpoint", name=name)


@blueprint.post("/endpoints/<name>/remove")
@page(Role.MANAGER, on="endpoint")
def remove_endpoint(session: Session, actor: Actor, name: str) -> Any:
    """Remove an endpoint."""
    made = endpoints.remove(session, actor=actor, endpoint=name)
    return done(f"{made['url']} is removed and gets no more deliveries.", "endpoints")


@blueprint.post("/endpoints/<name>/resend")
@page(Role.MANAGER, on="endpoint")
def resend(session: Session, actor: Actor, name: str) -> Any:
    """Send again: one delivery, all since a day, or the failed ones."""
    resent = deliveries.resend(
        session,
        actor=actor,
        endpoint=name,
        deliveries=request.form.getlist("delivery"),
        since=forms.day("since", request.form),
        failed="failed" in request.form,
    )
    nudging.after_commit("deliver")
    return done(f"Sent once more: {resent['resent']:,}.", "endpoint", name=name)


@blueprint.get("/deliveries/<delivery>")
@page(Role.MANAGER)
def delivery(session: Session, actor: Actor, delivery: str) -> Any:
    """Show a delivery with its body and result."""
    shown = deliveries.show(session, actor=actor, delivery=delivery)
    return render_template("delivery.html", it=shown)


def _endpoint(session: Session, actor: Actor, shown: EndpointShape) -> Any:
    """Show an endpoint, with its secret if that is new."""
    filters = chosen(deliveries.Filters, endpoint=shown["id"])
    sent = deliveries.listing(session, actor=actor, filters=filters, **place())
    types = list(DeliveryType)
    return render_template(
        "endpoint.html", it=shown, listed=sent, types=types, filtered=deliveries.Filters
    )


def _wishes() -> Wishes:
    form = request.form
    return {
        "url": form.get("url", ""),
        "types": [one for one in DeliveryType if one in form],
        "pool_low": forms.whole(form.get("pool_low", ""), field="pool_low"),
        "pool_expiring_days": forms.whole(
            form.get("pool_expiring_days", ""), field="pool_expiring_days"
        ),
    }
