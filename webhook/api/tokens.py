"""Tokens: the API's credentials."""

from apiflask import APIBlueprint
from pydantic import Field
from sqlalchemy.orm import Session

from webhook.http.access import allowed
from webhook.http.queries import Query, query
from webhook.http.shapes import Taken, gives
from worker.database.paging import Page
from worker.tenancy import tokens
from worker.tenancy.actors import Actor, Role
from worker.tenancy.tokens import TokenInClear, TokenShape

blueprint = APIBlueprint("tokens", __name__, url_prefix="/api/v1/tokens", tag="Tokens")


class NewToken(Taken):
    """A new token."""

    name: str
    role: Role
    organization: str | None = None
    expires_at: str | None = Field(None, description="A day, which it includes, or a time.")


@blueprint.get("")
@allowed(Role.MANAGER)
@gives()
@blueprint.input(query(tokens.Filters), location="query", arg_name="query")
def listing(session: Session, actor: Actor, query: Query[tokens.Filters]) -> Page[TokenShape]:
    """List tokens, newest first; never the tokens themselves."""
    return tokens.listing(session, actor=actor, filters=query.filters, **query.page)


@blueprint.post("")
@allowed(Role.MANAGER)
@gives(201)
@blueprint.input(NewToken, arg_name="body")
def add(session: Session, actor: Actor, body: NewToken) -> TokenInClear:
    """Make a token; it is shown only now."""
    return tokens.add(session, actor=actor, **body.given(expires_at="expires"))


@blueprint.post("/<token>/revoke")
@allowed(Role.MANAGER)
@gives()
def revoke(session: Session, actor: Actor, token: str) -> TokenShape:
    """Revoke a token at once."""
    return tokens.revoke(session, actor=actor, token=token)
