"""Users of the console."""

from typing import Any
from urllib.parse import urljoin

from flask import render_template, request
from sqlalchemy.orm import Session

from webhook.console import forms
from webhook.console.access import page
from webhook.console.answers import done
from webhook.console.choosing import chosen, place
from webhook.console.frame import blueprint
from webhook.http import nudging
from worker.tenancy import organizations, users
from worker.tenancy.actors import Actor, Role
from worker.tenancy.users import UserInvited


@blueprint.get("/users", endpoint="users")
@page(Role.MANAGER)
def users_page(session: Session, actor: Actor) -> Any:
    """List users."""
    return _users(session, actor)


@blueprint.post("/users")
@page(Role.MANAGER, on="users", confirmed=True)
def invite_user(session: Session, actor: Actor) -> Any:
    """Invite a user, and show the link once where it is not mailed."""
    email, organization = request.form.get("email", ""), request.form.get("organization") or None
    made = users.invite(
        session, actor=actor, email=email, organization=organization, role=forms.role()
    )
    return _linked(session, actor, made)


@blueprint.post("/users/<user>/reset")
@page(Role.MANAGER, on="users", confirmed=True)
def reset_user(session: Session, actor: Actor, user: str) -> Any:
    """Let a user choose a new password, and show the link once where it is not mailed."""
    return _linked(session, actor, users.reset(session, actor=actor, user=user))


@blueprint.post("/users/<user>/reset-second-factor")
@page(Role.MANAGER, on="users", confirmed=True)
def reset_second_factor(session: Session, actor: Actor, user: str) -> Any:
    """Remove a user's second factor, so that they set up another."""
    users.reset_second_factor(session, actor=actor, user=user)
    nudging.after_commit("mail")
    return done("Their second factor is removed; they are told by mail.", "users")


@blueprint.post("/users/<user>/disable")
@page(Role.MANAGER, on="users", confirmed=True)
def disable_user(session: Session, actor: Actor, user: str) -> Any:
    """Disable a user."""
    users.disable(session, actor=actor, user=user)
    return done("They can sign in no more.", "users")


@blueprint.post("/users/<user>/enable")
@page(Role.MANAGER, on="users", confirmed=True)
def enable_user(session: Session, actor: Actor, user: str) -> Any:
    """Let a disabled user sign in again."""
    users.enable(session, actor=actor, user=user)
    return done("They can sign in again.", "users")


def _linked(session: Session, actor: Actor, made: UserInvited) -> Any:
    if made["link"] is None:
        nudging.after_commit("mail")
        return done("A link is mailed to them.", "users")
    return _users(session, actor, made=made)


def _users(session: Session, actor: Actor, made: UserInvited | None = None) -> Any:
    owners = organizations.in_sight(session, actor=actor)
    listed = users.listing(session, actor=actor, filters=chosen(users.Filters), **place())
    link = urljoin(request.host_url, made["link"]) if made and made["link"] else None
    return render_template(
        "users.html", listed=listed, owners=owners, made=made, link=link, filtered=users.Filters
    )
