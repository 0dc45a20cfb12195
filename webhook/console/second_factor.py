"""The second factor: given at the sign-in, set up, and looked after by its user."""

from typing import Any

import segno
from flask import redirect, render_template, request
from flask import url_for as url
from sqlalchemy.orm import Session

from webhook.console import answers, asking
from webhook.console.access import SignedOutError, Visitor, begun, page, visitor
from webhook.console.answers import done
from webhook.console.frame import blueprint
from webhook.http.access import EVERYBODY
from worker import errors
from worker.database import connections
from worker.database.connections import Login
from worker.tables.tenancy import User
from worker.tenancy import second_factors
from worker.tenancy.actors import Actor

QR_SCALE = 5  # pixels a module


@blueprint.get("/second-factor", endpoint="second_factor")
def second_factor_page() -> Any:
    """Ask for a code; or show what an app scans to set a second factor up."""
    who = _signed_in()
    if _has_one(who):
        return redirect(url("console.account"), 303)
    return _form(who)


@blueprint.post("/second-factor")
def give_second_factor() -> Any:
    """Take a code, of a second factor that is there or that is set up with it."""
    who, code = _signed_in(), request.form.get("code", "")
    if _has_one(who):
        return redirect(url("console.account"), 303)
    if who.signed.lacks is None:
        asking.require(who.signed, who.id)
    with connections.session(Login.WEB) as session:
        wait = second_factors.admit(session, who.signed)
    if wait:
        return _form(who, refused=str(asking.WaitError(wait)))
    if who.signed.lacks == "code":
        with connections.session(Login.WEB) as session:
            return _given(session, who, code)
    with connections.session(Login.WEB, sees=who.actor.scope) as session:
        return _set_up(session, who, code)


@blueprint.post("/account/recovery-codes")
@page(*EVERYBODY, on="account", confirmed=True)
def renew_recovery_codes(session: Session, _actor: Actor) -> Any:
    """Make new recovery codes, and show them once."""
    codes = second_factors.renew_codes(session, user_id=visitor().user_id)
    return render_template("recovery_codes.html", codes=codes, onward=url("console.account"))


@blueprint.post("/account/second-factor/remove")
@page(*EVERYBODY, on="account", confirmed=True)
def remove_second_factor(session: Session, actor: Actor) -> Any:
    """Remove the user's own second factor; where one is demanded, they set up another."""
    second_factors.remove(session, actor=actor, user=session.get_one(User, visitor().user_id))
    return done("Your second factor is removed.", "account")


def _given(session: Session, who: Visitor, code: str) -> Any:
    if not second_factors.give(session, who.signed, code=code):
        return _form(who, refused=second_factors.WRONG)
    return redirect(answers.onward(), 303)


def _set_up(session: Session, who: Visitor, code: str) -> Any:
    sealed = request.form.get("sealed", "")
    try:
        codes = second_factors.set_up(session, who.signed, sealed=sealed, code=code)
    except errors.InvalidInputError as error:
        return _form(who, refused=str(error))
    return render_template(
        "recovery_codes.html", codes=codes, onward=answers.onward(), signed_in=True
    )


def _signed_in() -> Visitor:
    """Give who gave a password, whether or not their second factor is still asked for."""
    who = begun()
    if who is None:
        raise SignedOutError
    return who


def _has_one(who: Visitor) -> bool:
    """Say whether nothing is asked for, since the user has a second factor and gave it."""
    if who.signed.lacks is not None:
        return False
    with connections.session(Login.WEB, sees=who.actor.scope) as session:
        return session.get_one(User, who.user_id).has_second_factor


def _form(who: Visitor, refused: str | None = None) -> Any:
    status = 422 if refused else 200
    if who.signed.lacks == "code":
        return render_template("second_factor.html", refused=refused), status
    try:
        made = second_factors.enrol(who.signed.email, request.form.get("sealed"))
    except errors.InvalidInputError:
        made = second_factors.enrol(who.signed.email)
    code = segno.make(made.uri).svg_data_uri(scale=QR_SCALE, light="white")
    return render_template(
        "set_up_second_factor.html", made=made, code=code, refused=refused,
        demanded=who.signed.lacks is not None,
    ), status  # fmt: skip
