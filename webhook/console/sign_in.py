"""Signing in and out."""

import secrets
from typing import Any

from flask import redirect, render_template, request, session
from flask import url_for as url
from flask_login import logout_user

from webhook.console import answers, asking, beginning
from webhook.console.access import Visitor, load
from webhook.console.asking import Proof
from webhook.console.frame import blueprint
from worker.database import connections
from worker.database.connections import Login
from worker.tenancy import first_start, links, signing_in

WRONG = "That address and password do not fit; try again, or ask your manager for a new password."


@blueprint.get("/sign-in")
def sign_in() -> Any:
    """Show the form to sign in."""
    return _form()


@blueprint.post("/sign-in")
def begin() -> Any:
    """Check the password, unless the attempt has to wait, and begin a session."""
    try:
        proof = asking.proof(request.form.get("email", ""), request.form.get("password", ""))
    except asking.WaitError as error:
        return _form(str(error)), 429, {"Retry-After": str(error.seconds)}
    device = proof.attempt.device or secrets.token_urlsafe(32)
    if not (known := _begun(proof, device)):
        return _form(WRONG), 422
    return beginning.remembered(beginning.onward(known, answers.onward()), device)


@blueprint.post("/sign-out")
def sign_out() -> Any:
    """End this session."""
    beginning.end_former()
    logout_user()
    session.clear()
    to_sign_in: Any = redirect(url("console.sign_in"), 303)  # werkzeug's own class
    return beginning.emptied(to_sign_in)


def _form(error: str | None = None) -> str:
    with connections.session(Login.WEB) as opened:
        is_first = not first_start.somebody_can_sign_in(opened)
    return render_template(
        "sign_in.html", error=error, links_are_mailed=links.are_mailed(), is_first=is_first
    )


def _begun(proof: Proof, device: str) -> Visitor | None:
    with connections.session(Login.WEB) as opened:
        began = signing_in.begin(
            opened,
            proof.attempt,
            proof.admission,
            known_hash=proof.known_hash,
            device=device,
            browser=request.user_agent.string,
        )
    return load(began) if began else None
