"""Users of the console."""

from typing import Any

from flask import render_template, request
from sqlalchemy.orm import Session

from webhook.console import forms
from webhook.console.access import page
from webhook.console.answers import done
from webhook.console.frame import blueprint
from worker.tenancy import organizations, users
from worker.tenancy.actors import Actor, Role


@blueprint.get("/users", endpoint="users")
@page(Role.MANAGER)
def users_page(session: Session, actor: Actor) -> Any:
    """List users."""
    owners = organizations.listing(session, actor=actor)
    listed = users.listing(session, actor=actor)
    return render_template("users.html", listed=listed, owners=owners)


@blueprint.post("/users")
@page(Role.MANAGER, on="users", confirmed=True)
def add_user(session: Session, actor: Actor) -> Any:
    """Add a user."""
    fields = {name: request.form.get(name, "") for name in ("email", "password")}
    organization = request.form.get("organization") or None
    users.add(session, actor=actor, organization=organization, role=forms.role(), **fields)
    return done("They can sign in now.", "users")


@blueprint.post("/users/<user>/password")
@page(Role.MANAGER, on="users", confirmed=True)
def renew_password(session: Session, actor: Actor, user: str) -> Any:
    """Give a user a new password, which ends their sessions."""
    password = request.form.get("password", "")
    users.set_password(session, actor=actor, user=user, password=password)
    return done("The password is new; every session of theirs is over.", "users")


@blueprint.post("/users/<user>/disable")
@page(Role.MANAGER, on="users", confirmed=True)
def disable_user(session: Session, actor: Actor, user: str) -> Any:
    """Disable a user."""
    users.disable(session, actor=actor, user=user)
    return done("They can sign in no more.", "users")
