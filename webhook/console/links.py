"""One-time links: by them users choose their password, and they ask for one who forgot theirs."""

from dataclasses import replace
from typing import Any

from flask import render_template, request

from webhook.console import asking
from webhook.console.answers import done
from webhook.console.frame import blueprint
from webhook.http import nudging
from worker import errors
from worker.database import connections
from worker.database.connections import Login
from worker.tenancy import links, passwords, throttling
from worker.tenancy.links import Bearer


@blueprint.get("/forgotten-password")
def forgotten_password() -> Any:
    """Show the form that asks for a link; where no mail brings it, there is none."""
    _require_mail()
    return render_template("forgotten_password.html")


@blueprint.post("/forgotten-password")
def ask_for_link() -> Any:
    """Mail a link to the user of an address; the answer is the same where there is none."""
    _require_mail()
    made = replace(asking.attempt(request.form.get("email", "")), about="link ")
    with connections.session(Login.WEB) as session:  # one commit, as for an address of nobody's
        wait = throttling.admit(session, made).wait
        if not wait:
            links.ask(session, email=made.email, client=made.client)
    if wait:
        error = asking.WaitError(wait)
        shown = render_template("forgotten_password.html", error=str(error))
        return shown, 429, {"Retry-After": str(error.seconds)}
    nudging.after_commit("mail")
    return render_template("forgotten_password.html", is_asked=True)


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


def _require_mail() -> None:
    if not links.are_mailed():
        raise errors.NotFoundError("No mail is sent here; ask your manager for a link.")


def _bearer(clear: str) -> Bearer | None:
    with connections.session(Login.WEB) as session:
        return links.bearer(session, clear)


def _form(whose: Bearer | None, refused: str | None = None) -> Any:
    status = 404 if whose is None else 422 if refused else 200
    return render_template("choose_password.html", whose=whose, refused=refused), status
