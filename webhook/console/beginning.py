"""Beginning a session in a browser, however its user signed in, and ending it."""

from flask import Response, current_app, redirect, session
from flask_login import login_user

from webhook.console import asking
from webhook.console.access import Visitor, begun
from webhook.http.headers import CLEARING
from worker.database import connections
from worker.database.connections import Login
from worker.tenancy import sessions


def onward(known: Visitor, target: str) -> Response:
    """Put a session into the browser's cookie instead of a former one, and lead to a page of ours."""
    end_former()
    session.clear()  # drop everything from before the sign-in (session fixation)
    session.permanent = True  # lasts for PERMANENT_SESSION_LIFETIME
    login_user(known)
    return redirect(target, 303)  # type: ignore[return-value]  # werkzeug's own class


def end_former() -> None:
    """End the session that the browser came with, if it is one."""
    former = begun()
    if former is not None:
        with connections.session(Login.WEB) as opened:
            sessions.sign_out(opened, former.signed)


def emptied(response: Response) -> Response:
    """Have the browser forget the pages that it was shown, since the session is over."""
    response.headers.update(CLEARING)
    return response


def remembered(response: Response, device: str) -> Response:
    """Have the browser remember that the account was used on it; it lets nobody in."""
    response.set_cookie(
        asking.device_cookie(),
        device,
        max_age=sessions.DEVICE_KEPT,
        secure=current_app.config["SESSION_COOKIE_SECURE"],
        httponly=True,
        samesite="Lax",
    )
    return response
