"""Responses of pages: headers, errors, and forms that a rule refused."""

from collections.abc import Callable, Mapping
from typing import Any, NoReturn
from urllib.parse import unquote

import structlog
from apiflask import APIBlueprint
from flask import Response, current_app, flash, make_response, redirect, render_template, request
from flask import url_for as url
from flask_login import current_user
from flask_wtf.csrf import CSRFError
from sqlalchemy.orm import Session
from werkzeug.exceptions import HTTPException, NotFound

from webhook.console import asking, forms, packing
from webhook.console.access import SecondFactorError, SignedOutError
from webhook.console.asking import ConfirmFirstError
from webhook.http import problems
from worker import errors

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
REFUSAL_STATUSES = (
    404,
    409,
    422,
)  # found by what was typed, which could match something else next time


class NotSavedError(errors.RefusedError):
    """Nothing is saved yet: look at the report on the keys, then save."""


def install(blueprint: APIBlueprint) -> None:
    """Install these responses on a blueprint."""
    blueprint.after_request(_headed)
    blueprint.register_error_handler(SignedOutError, to_sign_in)
    blueprint.register_error_handler(SecondFactorError, to_second_factor)
    blueprint.register_error_handler(ConfirmFirstError, to_confirm)
    blueprint.register_error_handler(CSRFError, for_forged)
    blueprint.register_error_handler(Exception, for_error)
    blueprint.add_url_rule("/<path:nowhere>", "nowhere", _nowhere)


def onward() -> str:
    """Give the page of ours that was asked for before the sign-in, else the first."""
    target = request.args.get("next", "")
    inside = target.startswith("/console/") and ".." not in unquote(target.partition("?")[0])
    inside = inside and "\\" not in target and target.isprintable()
    return target if inside else url("console.home")


def attempt(session: Session, act: Callable[[], Any]) -> errors.KeypoolError | None:
    """Run a function in a savepoint, and give the error to show beside a form's field."""
    try:
        with session.begin_nested():
            act()
    except (errors.InvalidInputError, errors.RefusedError, errors.NotFoundError) as error:
        return error
    return None


def done(words: str, endpoint: str, **where: Any) -> Response:
    """Redirect to a page, with a message that something was done."""
    flash(words, "done")
    return redirect(url(f"console.{endpoint}", **where), 303)  # type: ignore[return-value]


def failed(words: str, endpoint: str, **where: Any) -> Response:
    """Redirect to a page, with a message that something was tried and failed elsewhere."""
    flash(words, "refused")
    return redirect(url(f"console.{endpoint}", **where), 303)  # type: ignore[return-value]


def to_sign_in(_error: SignedOutError) -> Any:
    """Redirect to the sign-in, and back to the page afterwards."""
    back = request.full_path.rstrip("?") if request.method == "GET" else None
    return redirect(url("console.sign_in", next=back), 303)


def to_second_factor(_error: SecondFactorError) -> Any:
    """Redirect to where the second factor is given, and back to the page afterwards."""
    back = request.full_path.rstrip("?") if request.method == "GET" else None
    return redirect(url("console.second_factor", next=back), 303)


def to_confirm(error: ConfirmFirstError) -> Any:
    """Ask for the password again, and keep the form, which is sent again with it."""
    asked = ("csrf_token", asking.FIELD)
    kept = [(name, value) for name, value in request.form.items(multi=True) if name not in asked]
    refused = str(error) if asking.FIELD in request.form else None
    page = render_template("confirm.html", kept=kept, refused=refused)
    return page, 422 if refused else 403


def for_forged(_error: CSRFError) -> Any:
    """Refuse a form without a valid CSRF token: it is not from our pages, or its session is over."""
    structlog.contextvars.bind_contextvars(problem="forged_form")
    words = "This form is too old, or not from here. Go back, load the page again, and send it."
    return _page(400, words)


def for_error(error: Exception) -> Any:
    """Answer an error with the same status as the API.

    A form keeps its input: the page that it is on is shown again.
    """
    if isinstance(error, HTTPException):
        headers = dict(error.get_headers())
        return _page(error.code or 500, error.description or "", headers)
    handlers = current_app.error_handler_spec[None][None]
    kind = next(kind for kind in type(error).__mro__ if kind in handlers)
    problem: Any = handlers[kind](error)
    words = problem.get_json()["detail"]
    if request.method == "POST" and problem.status_code in REFUSAL_STATUSES:
        page = forms.shown_again(error, words)
        if page:
            page.status_code = problem.status_code
            return page
    return _page(problem.status_code, words, dict(problem.headers))


def _nowhere(nowhere: str) -> NoReturn:
    raise NotFound("There is no such page.")


def _page(status: int, words: str, headers: Mapping[str, str] | None = None) -> Response:
    signed_in = current_user.is_authenticated if status < 500 else False
    page = render_template("error.html", words=words, signed_in=signed_in)
    return make_response(page, status, problems.kept(headers or {}))


def _headed(response: Response) -> Response:
    if "Content-Security-Policy" not in response.headers:
        response.headers.extend(HEADERS)
    static = request.endpoint == "console.static" and response.status_code < 400
    response.headers["Cache-Control"] = packing.keeping() if static else "no-store"
    packing.pack(response)
    return response
