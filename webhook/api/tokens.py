"""Tokens: the API's own credentials."""

from typing import Any

from apiflask import APIBlueprint
from sqlalchemy.orm import Session

from webhook.api import shapes
from webhook.http.access import allowed
from webhook.http.shapes import whole
from worker.tenancy import tokens
from worker.tenancy.actors import Actor, Role

blueprint = APIBlueprint("tokens", __name__, url_prefix="/api/v1/tokens", tag="Tokens")


@blueprint.get("")
@allowed(Role.MANAGER)
@blueprint.output(shapes.Tokens)
def listing(session: Session, actor: Actor) -> Any:
    """List tokens, newest first; never the tokens themselves."""
    return vars(whole(tokens.listing(session, actor=actor)))


@blueprint.post("")
@allowed(Role.MANAGER)
@blueprint.output(shapes.TokenInClear, status_code=201)
@blueprint.input(shapes.NewToken, arg_name="body")
def add(session: Session, actor: Actor, body: shapes.NewToken) -> Any:
    """Make a token, shown this once."""
    return tokens.add(session, actor=actor, **body.given(expires_at="expires"))


@blueprint.post("/<token>/revoke")
@allowed(Role.MANAGER)
@blueprint.output(shapes.Token)
def revoke(session: Session, actor: Actor, token: str) -> Any:
    """Revoke a token at once."""
    return tokens.revoke(session, actor=actor, token=token)
