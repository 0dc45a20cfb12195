"""Tokens: credentials for the API."""

from typing import Any

from flask import render_template, request
from sqlalchemy.orm import Session

from webhook.console import forms
from webhook.console.access import page
from webhook.console.answers import done
from webhook.console.choosing import chosen, place
from webhook.console.frame import blueprint
from worker.tenancy import organizations, tokens
from worker.tenancy.actors import Actor, Role
from worker.tenancy.tokens import TokenInClear


@blueprint.get("/tokens", endpoint="tokens")
@page(Role.MANAGER)
def tokens_page(session: Session, actor: Actor) -> Any:
    """List tokens; never the tokens themselves."""
    return _tokens(session, actor)


@blueprint.post("/tokens")
@page(Role.MANAGER, on="tokens", confirmed=True)
def add_token(session: Session, actor: Actor) -> Any:
    """Make a token, and show it once."""
    form = request.form
    made = tokens.add(
        session,
        actor=actor,
        name=form.get("name", ""),
        role=forms.role(),
        organization=form.get("organization") or None,
        expires=form.get("expires_at") or None,
    )
    return _tokens(session, actor, made=made)


@blueprint.post("/tokens/<token>/revoke")
@page(Role.MANAGER, on="tokens")
def revoke_token(session: Session, actor: Actor, token: str) -> Any:
    """Revoke a token at once."""
    tokens.revoke(session, actor=actor, token=token)
    return done("The token is revoked.", "tokens")


def _tokens(session: Session, actor: Actor, made: TokenInClear | None = None) -> Any:
    listed = tokens.listing(session, actor=actor, filters=chosen(tokens.Filters), **place())
    owners = organizations.in_sight(session, actor=actor)
    return render_template(
        "tokens.html", listed=listed, owners=owners, made=made, filtered=tokens.Filters
    )
