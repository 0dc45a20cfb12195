"""The first start: the first operator, and what is to be done first."""

from typing import Any

from flask import render_template, request
from sqlalchemy.orm import Session

from webhook.console.access import page, visitor
from webhook.console.answers import done
from webhook.console.frame import blueprint
from webhook.http import nudging
from worker import errors
from worker.billing import seller
from worker.database import connections
from worker.database.connections import Login
from worker.tables.tenancy import User
from worker.tenancy import first_start, organizations, passwords
from worker.tenancy.actors import Actor


@blueprint.get("/first/<clear>")
def first(clear: str) -> Any:
    """Show the form that makes the first operator; looking does not use the link up."""
    with connections.session(Login.WEB) as session:
        holds = first_start.holds(session, clear)
    return _form(holds)


@blueprint.post("/first/<clear>")
def begin_first(clear: str) -> Any:
    """Make the first operator, which ends the link, and have them sign in."""
    email = request.form.get("email", "")
    try:
        with connections.session(Login.WEB) as session:
            holds = first_start.holds(session, clear)
        if not holds:  # said before a password is hashed, which is dear
            return _form(False)
        new_hash = passwords.hashed(request.form.get("password", ""), about=email)
        with connections.session(Login.WEB) as session:
            holds = first_start.begin(session, clear, email=email, new_hash=new_hash)
    except (errors.InvalidInputError, errors.RefusedError, errors.BusyError) as error:
        return _form(True, refused=str(error))
    if not holds:
        return _form(False)
    return done("You are the first operator: sign in.", "sign_in", next="/console/first-steps")


@blueprint.get("/first-steps")
@page()
def first_steps(session: Session, actor: Actor) -> Any:
    """Show what an operator does first, and what of it is done."""
    return render_template(
        "first_steps.html",
        lacks=seller.lacks(session),
        samples=first_start.samples(session),
        organizations=organizations.in_sight(session, actor=actor),
        has_second_factor=session.get_one(User, visitor().user_id).has_second_factor,
    )


@blueprint.post("/first-steps/samples")
@page(on="first_steps")
def ask_for_samples(session: Session, actor: Actor) -> Any:
    """Have the worker make sample data."""
    first_start.ask_for_samples(session, actor=actor)
    nudging.after_commit("make_samples")
    return done("Sample data is on its way.", "first_steps")


@blueprint.get("/first-steps/progress")
@page()
def samples_progress(session: Session, _actor: Actor) -> Any:
    """Say whether the sample data is there; what shows it asks again until then."""
    stands = first_start.samples(session)
    if stands == "wanted":
        nudging.after_commit("make_samples")  # a hint may be lost
    return render_template("samples.html", samples=stands)


def _form(holds: bool, refused: str | None = None) -> Any:
    status = 404 if not holds else 422 if refused else 200
    return render_template("first_start.html", holds=holds, refused=refused), status
