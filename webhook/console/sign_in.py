"""Signing in and out, the user's own password, and the start page."""

from typing import Any

from flask import redirect, render_template, request, session
from flask import url_for as url
from flask_login import login_user, logout_user
from sqlalchemy.orm import Session

from webhook.console.access import Visitor, load, page, visitor
from webhook.console.answers import done
from webhook.console.frame import blueprint
from webhook.console.words import may
from webhook.http.access import EVERYBODY
from worker.database import connections
from worker.database.connections import Login
from worker.tenancy import users
from worker.tenancy.actors import Actor

TOO_MANY = "Too many attempts lately; wait ten minutes and try again."
WRONG = "That address and password do not fit; try again, or ask your manager for a new password."


@blueprint.get("/")
@page(*EVERYBODY)
def home(_session: Session, _actor: Actor) -> Any:
    """Redirect to the first page that the user may see."""
    start = next(e for e in ("pools", "invoices", "events") if may(e))
    return redirect(url(f"console.{start}"), 303)


@blueprint.get("/sign-in")
def sign_in() -> Any:
    """Show the form to sign in."""
    return render_template("sign_in.html")


@blueprint.post("/sign-in")
def begin() -> Any:
    """Check the password, within the rate limit, and begin a session."""
    email, password = request.form.get("email", ""), request.form.get("password", "")
    client = request.remote_addr or ""
    with connections.session(Login.WEB) as opened:
        allowed = users.may_try(opened, email=email, client=client)
    if not allowed:
        return render_template("sign_in.html", error=TOO_MANY), 429, {"Retry-After": "600"}
    with connections.session(Login.WEB) as opened:
        began = users.sign_in(opened, email=email, password=password)
    if not began or not (known := load(began)):
        return render_template("sign_in.html", error=WRONG), 422
    return _begun(known)


@blueprint.post("/sign-out")
def sign_out() -> Any:
    """End this session."""
    logout_user()
    session.clear()
    return redirect(url("console.sign_in"), 303)


@blueprint.get("/account")
@page(*EVERYBODY)
def account(_session: Session, _actor: Actor) -> Any:
    """Show the user's account, and the form for a new password."""
    return render_template("account.html")


@blueprint.post("/account")
@page(*EVERYBODY, on="account")
def change_password(session: Session, actor: Actor) -> Any:
    """Change the user's password, which ends every session, and sign in again here."""
    old, new = request.form.get("old", ""), request.form.get("password", "")
    passwords = {"user_id": visitor().user_id, "old": old, "new": new}
    users.change_password(session, actor=actor, **passwords)
    logout_user()
    return done("Your password is new. Every session is over: sign in again.", "sign_in")


def _begun(known: Visitor) -> Any:
    session.clear()  # drop everything from before the sign-in (session fixation)
    session.permanent = True  # lasts for PERMANENT_SESSION_LIFETIME
    login_user(known)
    target = request.args.get("next", "")
    inside = target.startswith("/console/") and "\\" not in target
    return redirect(target if inside else url("console.home"), 303)
