"""The user's own account: password, and the browsers in which they are signed in."""

from typing import Any

from flask import render_template, request
from flask_login import logout_user
from sqlalchemy.orm import Session

from webhook.console import asking
from webhook.console.access import known, page, visitor
from webhook.console.answers import done
from webhook.console.beginning import emptied
from webhook.console.frame import blueprint
from webhook.http.access import EVERYBODY
from worker import errors
from worker.database import connections
from worker.database.connections import Login
from worker.tables.tenancy import User
from worker.tenancy import history, passwords, second_factors, sessions, users
from worker.tenancy.actors import Actor

ACTS_SHOWN = 20


@blueprint.get("/account")
@page(*EVERYBODY)
def account(session: Session, _actor: Actor) -> Any:
    """Show the user's account: sessions, what happened at its door, and the form for a new password."""
    user_id = visitor().user_id
    acts = history.of(session, thing="user", thing_id=user_id)[: -ACTS_SHOWN - 1 : -1]
    listed = sessions.own(session, user_id=user_id)
    here = str(visitor().signed.session_id)
    return render_template(
        "account.html",
        listed=listed,
        here=here,
        acts=acts,
        has_factor=session.get_one(User, user_id).has_second_factor,
        codes_left=second_factors.codes_left(session, user_id=user_id),
    )


@blueprint.post("/account")
@known(*EVERYBODY, on="account")
def change_password(actor: Actor) -> Any:
    """Change the user's password, which ends every session, and sign in again here."""
    who, form = visitor(), request.form
    if not asking.confirm(who.signed, who.id, form.get("old", "")):
        raise errors.InvalidInputError("That is not your present password.", field="old")
    new_hash = passwords.hashed(form.get("password", ""), about=who.signed.email)
    with connections.session(Login.WEB, sees=actor.scope) as session:
        users.change_password(session, actor=actor, user_id=who.user_id, new_hash=new_hash)
    logout_user()
    return emptied(done("Your password is new. Every session is over: sign in again.", "sign_in"))


@blueprint.post("/account/sessions/<ended>/end")
@page(*EVERYBODY, on="account", confirmed=True)
def end_own_session(session: Session, actor: Actor, ended: str) -> Any:
    """End one of the user's sessions."""
    sessions.end_own(session, actor=actor, user_id=visitor().user_id, ended=ended)
    return done("That session is over.", "account")


@blueprint.post("/account/sessions/end")
@page(*EVERYBODY, on="account", confirmed=True)
def end_own_sessions(session: Session, actor: Actor) -> Any:
    """End every session of the user, here too."""
    sessions.end_every(session, actor=actor, user_id=visitor().user_id)
    logout_user()
    return emptied(done("Every session is over: sign in again.", "sign_in"))
