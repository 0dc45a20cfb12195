"""One-time links: by them users choose their password."""

from typing import Any

from flask import render_template, request

from webhook.console import asking
from webhook.console.answers import done
from webhook.console.frame import blueprint
from worker import errors
from worker.database import connections
from worker.database.connections import Login
from worker.tenancy import links, passwords, throttling
from worker.tenancy.links import Bearer


@blueprint.get("/links/<clear>")
def choose(clear: str) -> Any:
    """Show the form in which a password is chosen; looking does not use the link up."""
    return _form(_bearer(clear))


@blueprint.post("/links/<clear>")
def chosen(clear: str) -> Any:
    """Choose the password, which ends the link, and sign in with it."""
    whose = _bearer(clear)
    if whose is None:
        return _form(None)
    try:
        new_hash = passwords.hashed(request.form.get("password", ""), about=whose.email)
    except (errors.InvalidInputError, errors.BusyError) as error:
        return _form(whose, refused=str(error))
    with connections.session(Login.WEB) as session:
        if not links.use(session, clear, new_hash=new_hash):
            return _form(None)
        throttling.forgive(session, asking.attempt(whose.email), is_known=True)
    return done("Your password is chosen: sign in with it.", "sign_in")


def _bearer(clear: str) -> Bearer | None:
    with connections.session(Login.WEB) as session:
        return links.bearer(session, clear)


def _form(whose: Bearer | None, refused: str | None = None) -> Any:
    status = 404 if whose is None else 422 if refused else 200
    return render_template("choose_password.html", whose=whose, refused=refused), status
